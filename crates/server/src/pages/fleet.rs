//! The first page.

use super::{PAGE_ROWS, frame};
use crate::access::Acting;
use crate::experiment;
use crate::problem::Failure;
use crate::server::{Server, run_entry};
use axum::extract::{Query, State};
use axum::response::Html;
use firedrill_console::Place;
use firedrill_console::pages::{self, FleetQuery};
use firedrill_model::report::RunState;
use firedrill_store::TimelineFilter;
use std::sync::Arc;

/// Operations under way that the first page tells the progress of: a region with fifty clusters is lost at once.
const UNDER_WAY_MAX: usize = 200;

pub(super) async fn overview(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(query): Query<FleetQuery>,
) -> Result<Html<String>, Failure> {
    let store = &server.store;
    let (views, operations) = (server.keepers.views(), store.operations(None, PAGE_ROWS).await?);
    let runs_under_way = store.runs_in(RunState::Running).await?.into_iter().map(run_entry);
    let mut operations_under_way = Vec::new();
    for id in views.iter().flat_map(|view| &view.operations).take(UNDER_WAY_MAX) {
        operations_under_way.extend(store.operation(id).await?);
    }
    let runs = store.runs(PAGE_ROWS).await?.into_iter().map(run_entry);
    let mut timeline = store.newest_events(&TimelineFilter::default(), PAGE_ROWS).await?;
    timeline.retain(|line| acting.sees(line.scope.cluster.as_ref()));
    let frame = frame(&server, &acting, "Fleet", Place::Fleet);
    let page = pages::Overview {
        status: server.status(),
        query,
        operations_under_way,
        runs_under_way: runs_under_way.collect(),
        clusters: views.into_iter().filter(|view| acting.sees(Some(&view.cluster))).collect(),
        operations: operations.into_iter().filter(|operation| acting.sees(Some(&operation.cluster))).collect(),
        runs: runs.filter(|run| acting.sees(Some(&run.cluster))).collect(),
        hosts: server.fleet.views(),
        library: experiment::library(),
        timeline,
    };
    Ok(Html(pages::overview(&frame, &page)))
}
