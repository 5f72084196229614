//! One cluster, and what its keeper does.

use super::{PAGE_ROWS, frame};
use crate::access::Acting;
use crate::attacks;
use crate::problem::{Failure, not_found};
use crate::server::Server;
use axum::extract::{Path, State};
use axum::response::Html;
use firedrill_console::{Place, cluster, pages};
use firedrill_model::{ClusterName, OperationId};
use firedrill_store::TimelineFilter;
use std::sync::Arc;

/// Operations on the page of a cluster; a link leads to the others.
const OPERATIONS: u32 = 10;

/// `GET /clusters/{cluster}`.
pub(super) async fn cluster(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
) -> Result<Html<String>, Failure> {
    let name = named(&name)?;
    let view = server.keepers.view(&name)?;
    let spec = server.keepers.record(&name)?.spec;
    let mut under_way = Vec::new();
    for id in &view.operations {
        under_way.extend(server.store.operation(id).await?);
    }
    let operations = server.store.operations(Some(&name), OPERATIONS).await?;
    let attacks = attacks::in_place_on(&server, &spec).await?;
    let filter = TimelineFilter { cluster: Some(name), run: None };
    let timeline = server.store.newest_events(&filter, PAGE_ROWS).await?;
    let latest = server.series.latest(&view.cluster);
    let frame = frame(&server, &acting, view.cluster.as_str(), Place::Fleet);
    let page = cluster::Cluster { view, gateway: spec.gateway_host, attacks, under_way, operations, timeline, latest };
    Ok(Html(cluster::page(&frame, &page)))
}

/// The cluster of that name, which need not exist.
pub(super) fn named(name: &str) -> Result<ClusterName, Failure> {
    let unknown = |_| Failure(not_found("cluster", name, "the first page names those that are registered"));
    name.parse().map_err(unknown)
}

/// `GET /operations/{operation}`.
pub(super) async fn operation(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(id): Path<String>,
) -> Result<Html<String>, Failure> {
    let id = OperationId(id);
    let found = server.store.operation(&id).await?;
    let found = found.ok_or_else(|| not_found("operation", &id, "the first page shows the newest"))?;
    let frame = frame(&server, &acting, &found.id.0, Place::Fleet);
    Ok(Html(pages::operation(&frame, &found)))
}
