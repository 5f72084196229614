//! What the guards look at, gathered.

use crate::clock::now;
use crate::problem::store_failed;
use crate::server::Server;
use firedrill_api::http::Problem;
use firedrill_fault::kinds;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::experiment::DURATION_MAX;
use firedrill_model::guard::{Facts, HostFact, InPlace, OperationFact};
use firedrill_model::{ClusterName, ClusterView, RunId, Timestamp};
use firedrill_store::AttackRecord;

/// The fleet now.
///
/// # Errors
/// There is no such cluster, or the store cannot be read.
pub(crate) async fn facts(server: &Server, cluster: &ClusterName) -> Result<Facts, Problem> {
    let view = server.keepers.view(cluster)?;
    let operations = operations(server, &view).await?;
    let open = server.store.open_attacks().await.map_err(|error| store_failed(&error))?;
    let hosts = server.fleet.records().into_iter();
    let on_cluster = |run: &RunId| server.runs.cluster_of(run).as_ref() == Some(cluster);
    let now = now();
    Ok(Facts {
        now,
        view,
        operations,
        hosts: hosts.map(|record| HostFact { host: record.name, tags: record.tags, allowed: record.allowed }).collect(),
        in_place: open.into_iter().filter(|record| stays(record, now)).map(in_place).collect(),
        runs: server.runs.running().into_iter().filter(on_cluster).collect(),
    })
}

/// What a cluster's keeper has under way.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn operations(server: &Server, view: &ClusterView) -> Result<Vec<OperationFact>, Problem> {
    let mut operations = Vec::new();
    for id in &view.operations {
        let found = server.store.operation(id).await.map_err(|error| store_failed(&error))?;
        operations.extend(found.map(|operation| OperationFact {
            id: operation.id,
            kind: operation.kind,
            subject: operation.subject,
            partner: operation.partner,
            began: operation.began,
        }));
    }
    Ok(operations)
}

/// Something of it is on the host. What is over at once leaves only what the keeper sees; what is older than any attack
/// may last is out, and only its host has not come back to say so.
pub(crate) fn stays(record: &AttackRecord, now: Timestamp) -> bool {
    let AttackReport { fault, state, at, .. } = &record.report;
    let over = now.since(*at) > DURATION_MAX && *state != AttackState::UndoFailed;
    !over && !kinds::find(&fault.kind).is_some_and(|kind| kind.instant)
}

fn in_place(record: AttackRecord) -> InPlace {
    let AttackRecord { report, cluster, run, .. } = record;
    InPlace { attack: report.id, host: report.host, cluster, run, kind: report.fault.kind }
}
