//! What agents report.

use super::Caller;
use super::session::SessionQuery;
use crate::attacks;
use crate::clock::now;
use crate::fleet::{Call, Session};
use crate::problem::{Failure, MALFORMED, problem};
use crate::server::Server;
use crate::workload_feed::{WorkloadItem, WorkloadNews};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use firedrill_api::http::{Done, Live};
use firedrill_api::link::{Order, REPORT_ITEMS_MAX, Report, Upward};
use firedrill_model::workload::WorkloadState;
use firedrill_model::{HostName, RunId, Span};
use std::sync::Arc;

/// Dropping a workload is killing a process.
const DROP_WITHIN: Span = Span::secs(10);

/// `POST /link/v1/report`.
pub(super) async fn report(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Query(query): Query<SessionQuery>,
    body: Bytes,
) -> Result<Json<Done>, Failure> {
    let session = query.find(&server, &caller.host)?;
    session.hear();
    let report: Report = serde_json::from_slice(&body)
        .map_err(|error| problem(MALFORMED, format!("the report of host {} is malformed: {error}", caller.host)))?;
    if report.items.len() > REPORT_ITEMS_MAX {
        let message = format!("{} items in one report; at most {REPORT_ITEMS_MAX}", report.items.len());
        return Err(Failure(problem(MALFORMED, message)));
    }
    let mut changes = Vec::new();
    for item in report.items {
        match item {
            Upward::Attack { report } => changes.push((caller.host.clone(), report)),
            item => take(&server, &session, item).await,
        }
    }
    if !changes.is_empty() {
        attacks::reported(&server, changes).await;
    }
    Ok(Json(Done {}))
}

async fn take(server: &Arc<Server>, session: &Arc<Session>, item: Upward) {
    let host = session.host();
    match item {
        Upward::Observation { observation } => server.keepers.observed(host, *observation).await,
        Upward::Host { observation } => server.fleet.observed(host, observation),
        Upward::Answer { id, result } => session.answer(&id, result),
        Upward::Attack { report } => attacks::reported(server, vec![(host.clone(), report)]).await,
        Upward::Sample { run, sample } => {
            if known(server, host, &run) {
                let lags = server.lags_of(&run);
                server.live.send(Live::Sample { run: run.clone(), sample: sample.clone(), lags });
                server.workloads.send(WorkloadItem { run, host: host.clone(), news: WorkloadNews::Sample(sample) });
            }
        }
        Upward::Workload { run, state } => {
            let over = matches!(state, WorkloadState::Finished { .. } | WorkloadState::Failed { .. });
            if over || known(server, host, &run) {
                server.workloads.send(WorkloadItem { run, host: host.clone(), news: WorkloadNews::State(state) });
            }
        }
    }
}

/// A load whose run is not under way (the server was killed meanwhile) is nobody's any more: it is stopped.
fn known(server: &Arc<Server>, host: &HostName, run: &RunId) -> bool {
    if server.runs.cluster_of(run).is_some() {
        return true;
    }
    if server.orphans.insert(host, run, now()) {
        let (server, host, run) = (Arc::clone(server), host.clone(), run.clone());
        tokio::spawn(async move {
            tracing::warn!(%host, %run, "a workload runs for a run that is not under way; stopping it");
            let order = Order::DropWorkload { run: run.clone() };
            if let Err(failure) = server.fleet.call(&host, Call::new(order, DROP_WITHIN)).await {
                tracing::warn!(%host, %run, %failure, "the workload could not be stopped; its next sign tries again");
            }
        });
    }
    false
}
