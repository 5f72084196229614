//! The first page.

use super::frame;
use crate::access::Acting;
use crate::clock::now;
use crate::experiment;
use crate::guards;
use crate::problem::Failure;
use crate::server::{Server, run_entry};
use axum::extract::{Query, State};
use axum::response::Html;
use firedrill_console::Place;
use firedrill_console::pages::{self, FleetQuery, UnderWay};
use firedrill_model::report::RunState;
use firedrill_store::TimelineFilter;
use std::sync::Arc;

/// Rows of what is newest: the first page is about now, and each list has a page of its own.
const NEWEST_ROWS: u32 = 12;
/// Operations under way that the first page tells the progress of: a region with fifty clusters is lost at once.
const UNDER_WAY_MAX: usize = 200;

pub(super) async fn overview(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(query): Query<FleetQuery>,
) -> Result<Html<String>, Failure> {
    let store = &server.store;
    let (views, operations) = (server.keepers.views(), store.operations(None, NEWEST_ROWS).await?);
    let mut under_way = UnderWay {
        runs: store.runs_in(RunState::Running).await?.into_iter().map(run_entry).collect(),
        ..Default::default()
    };
    for id in views.iter().flat_map(|view| &view.operations).take(UNDER_WAY_MAX) {
        under_way.operations.extend(store.operation(id).await?);
    }
    let (open, at) = (store.open_attacks().await?, now());
    for cluster in open.into_iter().filter(|attack| guards::stays(attack, at)).filter_map(|attack| attack.cluster) {
        *under_way.attacks.entry(cluster).or_default() += 1;
    }
    let runs = store.runs(NEWEST_ROWS).await?.into_iter().map(run_entry);
    let mut timeline = store.newest_events(&TimelineFilter::default(), NEWEST_ROWS).await?;
    timeline.retain(|line| acting.sees(line.scope.cluster.as_ref()));
    let frame = frame(&server, &acting, "Fleet", Place::Fleet);
    let page = pages::Overview {
        query,
        under_way,
        clusters: views.into_iter().filter(|view| acting.sees(Some(&view.cluster))).collect(),
        operations: operations.into_iter().filter(|operation| acting.sees(Some(&operation.cluster))).collect(),
        runs: runs.filter(|run| acting.sees(Some(&run.cluster))).collect(),
        library: experiment::library(),
        timeline,
    };
    Ok(Html(pages::overview(&frame, &page)))
}
