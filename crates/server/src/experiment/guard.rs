//! Whether a run may start at all. Nothing has been touched yet when one of these says no.

use crate::Server;
use crate::problem::{CLUSTER, refusal, store_failed};
use crate::runs::RunGuard;
use firedrill_api::http::{Problem, StartRun};
use firedrill_model::ClusterName;
use firedrill_model::experiment::{Experiment, StepSpec};
use firedrill_model::workload::Login;
use firedrill_store::ClusterRecord;

/// A rung below has not passed.
const RUNG: &str = "S020";
/// The cluster lacks what the load needs.
const NO_LOAD: &str = "S021";

/// A run that may start.
pub(super) struct Admitted {
    pub(super) experiment: Experiment,
    pub(super) cluster: ClusterRecord,
    pub(super) login: Option<Login>,
    pub(super) guard: RunGuard,
}

/// Asks every guard.
pub(super) async fn admit(server: &Server, experiment: Experiment, request: &StartRun) -> Result<Admitted, Problem> {
    crate::attacks::refuse_when_halted(server)?;
    let cluster = cluster(server, &experiment, request)?;
    let name = &cluster.spec.name;
    if let (Some(rung), false) = (experiment.rung, request.force) {
        rung_below_has_passed(server, name, rung).await?;
    }
    let login = request.login.clone().or_else(|| cluster.login.clone());
    if experiment.workload.is_some() {
        let missing = match (&cluster.spec.gateway, &cluster.spec.application_host, &login) {
            (None, _, _) => Some("gateway"),
            (_, None, _) => Some("application host"),
            (_, _, None) => Some("login for the load"),
            _ => None,
        };
        if let Some(missing) = missing {
            let text = format!("cluster {name} has no {missing}, so no load can be made; register it with the cluster");
            return Err(refusal(NO_LOAD, text));
        }
    }
    first_target_is_there(server, &cluster, &experiment)?;
    let guard = server.runs.begin(&super::new_run_id(), name)?;
    Ok(Admitted { experiment, cluster, login, guard })
}

/// The cluster that a run would be on.
pub(super) fn cluster(server: &Server, experiment: &Experiment, request: &StartRun) -> Result<ClusterRecord, Problem> {
    let known = server.keepers.records();
    let named = request.cluster.as_ref().or(experiment.cluster.as_ref());
    let names = || known.iter().map(|record| record.spec.name.to_string()).collect::<Vec<_>>().join(", ");
    match (named, known.as_slice()) {
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(refusal(CLUSTER, format!("name the cluster with --cluster; known are: {}", names()))),
        (Some(name), _) => known
            .iter()
            .find(|record| record.spec.name == *name)
            .cloned()
            .ok_or_else(|| refusal(CLUSTER, format!("there is no cluster {name}; known are: {}", names()))),
    }
}

/// The ladder: a rung is tried when the one below it holds (mission, D11).
async fn rung_below_has_passed(server: &Server, cluster: &ClusterName, rung: u32) -> Result<(), Problem> {
    if rung <= 1 {
        return Ok(());
    }
    let passed = server.store.passed_rungs(cluster).await.map_err(|error| store_failed(&error))?;
    if passed.iter().any(|(passed, _)| *passed == rung - 1) {
        return Ok(());
    }
    let below = super::library::of_rung(rung - 1);
    let name = below.map_or_else(|| format!("rung {}", rung - 1), |entry| entry.name);
    Err(refusal(
        RUNG,
        format!(
            "rung {rung} is refused on cluster {cluster}, for the rung below it has not passed there; run `firedrill experiment run {name}` first, or give --force"
        ),
    ))
}

/// Roles may move during a run, but what is attacked first must be there now.
fn first_target_is_there(server: &Server, cluster: &ClusterRecord, experiment: &Experiment) -> Result<(), Problem> {
    let first = experiment.steps.iter().find_map(|step| match step {
        StepSpec::Attack(attack) => Some(attack),
        _ => None,
    });
    match first {
        Some(attack) => crate::attacks::targets(server, &cluster.spec.name, attack).map(drop),
        None => Ok(()),
    }
}
