//! The live load of a run: started and stopped at the application host's agent; its history judged by the ledger.

use super::guard::Admitted;
use crate::Server;
use crate::fleet::Call;
use firedrill_api::link::Order;
use firedrill_model::report::{LedgerSummary, RunReport};
use firedrill_model::workload::WorkloadSpec;
use firedrill_model::{CommandFailure, HostName, RunId, Span};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Making a table and opening connections takes well under a second; a slow host gets this long.
pub(super) const START_WITHIN: Span = Span::secs(30);
/// Draining the writers, waiting for every node to converge, reading it, and sending the history.
pub(super) const FINISH_WITHIN: Span = Span::secs(120);
/// An order is taken or not; what it leads to comes as news.
const ORDER_WITHIN: Span = Span::secs(15);
/// Reads a history at the speed of the disk.
const BUFFER_BYTES: usize = 1 << 20;

/// What the load needs, when the experiment has one.
pub(super) fn spec(run: &RunId, admitted: &Admitted) -> Option<(HostName, WorkloadSpec)> {
    let load = admitted.experiment.workload.clone()?;
    let cluster = &admitted.cluster.spec;
    let spec = WorkloadSpec {
        run: run.clone(),
        load,
        gateway: cluster.gateway?,
        nodes: cluster.nodes.iter().map(|node| (node.name.clone(), node.endpoint)).collect(),
        login: admitted.login.clone()?,
    };
    Some((cluster.application_host.clone()?, spec))
}

/// Starts the load.
pub(super) async fn start(server: &Server, host: &HostName, spec: WorkloadSpec) -> Result<(), CommandFailure> {
    order(server, host, Order::StartWorkload { workload: Box::new(spec) }).await
}

/// Stops the writers; the final reads and the history follow.
pub(super) async fn stop(server: &Server, host: &HostName, run: &RunId) -> Result<(), CommandFailure> {
    order(server, host, Order::StopWorkload { run: run.clone() }).await
}

/// Stops the load of a run that nobody waits for any more. Nothing depends on it: a load without a run stops nothing
/// but itself, and the next one has its own table.
pub(super) async fn drop_load(server: &Server, report: &RunReport) {
    let record = server.keepers.record(&report.cluster);
    let Some(host) = record.ok().and_then(|record| record.spec.application_host) else { return };
    if let Err(failure) = order(server, &host, Order::DropWorkload { run: report.run.clone() }).await {
        tracing::info!(run = %report.run, %host, %failure, "the load of an ended run could not be told to stop");
    }
}

async fn order(server: &Server, host: &HostName, order: Order) -> Result<(), CommandFailure> {
    server.fleet.call(host, Call::new(order, ORDER_WITHIN)).await.map(drop)
}

/// Checks a history on a thread of its own: ten million operations take seconds of processor time.
pub(super) async fn check(history: &Path) -> Result<LedgerSummary, String> {
    let path = history.to_owned();
    let checked = tokio::task::spawn_blocking(move || {
        let file = File::open(&path).map_err(|error| format!("cannot read the history {}: {error}", path.display()))?;
        firedrill_ledger::check(BufReader::with_capacity(BUFFER_BYTES, file))
            .map_err(|error| format!("the history {} cannot be judged: {error}", path.display()))
    });
    checked.await.map_err(|error| format!("the ledger broke: {error}"))?
}
