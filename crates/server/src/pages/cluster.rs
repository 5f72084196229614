//! One cluster, and what its keeper does.

use super::{PAGE_ROWS, frame};
use crate::access::Acting;
use crate::problem::{Failure, not_found};
use crate::server::Server;
use axum::extract::{Path, State};
use axum::response::Html;
use firedrill_console::{Place, pages};
use firedrill_model::{ClusterName, OperationId};
use firedrill_store::TimelineFilter;
use std::sync::Arc;

/// `GET /clusters/{cluster}`.
pub(super) async fn cluster(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
) -> Result<Html<String>, Failure> {
    let unknown = |_| not_found("cluster", &name, "the first page names those that are registered");
    let name: ClusterName = name.parse().map_err(unknown)?;
    let view = server.keepers.view(&name)?;
    let operations = server.store.operations(Some(&name), PAGE_ROWS).await?;
    let filter = TimelineFilter { cluster: Some(name), run: None };
    let timeline = server.store.newest_events(&filter, PAGE_ROWS).await?;
    let frame = frame(&server, &acting, view.cluster.as_str(), Place::Fleet);
    Ok(Html(pages::cluster(&frame, &view, &operations, &timeline)))
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
