//! Whether a run may start at all. Nothing has been touched yet when one of these says no.

use crate::Server;
use crate::clock::now;
use crate::guards::{self, Asked};
use crate::problem::{CLUSTER, refusal, store_failed};
use crate::runs::RunGuard;
use firedrill_api::http::{Problem, StartRun};
use firedrill_model::experiment::{AttackStep, Experiment, StepSpec};
use firedrill_model::guard::{Answer, Guard, RunStanding};
use firedrill_model::workload::Login;
use firedrill_model::{ClusterName, RunId, Span};
use firedrill_store::ClusterRecord;
use std::collections::BTreeSet;
use std::time::Duration;

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
    pub(super) asked: Asked,
}

/// A cluster that has just been repaired may need a moment until its view says so.
const SETTLE_WITHIN: Span = Span::secs(10);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Asks every guard.
pub(super) async fn admit(
    server: &Server,
    experiment: Experiment,
    request: &StartRun,
    asked: Asked,
) -> Result<Admitted, Problem> {
    let (cluster, login) = may_begin(server, &experiment, request).await?;
    let guard = server.runs.begin(&super::new_run_id(), &cluster.spec.name)?;
    attacks_may_begin(server, &cluster.spec.name, &experiment, guard.run(), &asked).await?;
    Ok(Admitted { experiment, cluster, login, guard, asked })
}

/// Everything beside the guards of attacks and the runs that are under way.
pub(super) async fn may_begin(
    server: &Server,
    experiment: &Experiment,
    request: &StartRun,
) -> Result<(ClusterRecord, Option<Login>), Problem> {
    crate::attacks::refuse_when_halted(server)?;
    let cluster = cluster(server, experiment, request)?;
    let name = &cluster.spec.name;
    if let (Some(rung), false) = (experiment.rung, request.force) {
        refuse_without_rung_below(server, name, rung).await?;
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
    Ok((cluster, login))
}

/// The cluster that a run is meant for.
///
/// # Errors
/// It is unknown, or not said although there are several.
pub(crate) fn cluster(server: &Server, experiment: &Experiment, request: &StartRun) -> Result<ClusterRecord, Problem> {
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
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn rung_below_has_passed(server: &Server, cluster: &ClusterName, rung: u32) -> Result<bool, Problem> {
    if rung <= 1 {
        return Ok(true);
    }
    let passed = server.store.passed_rungs(cluster).await.map_err(|error| store_failed(&error))?;
    Ok(passed.iter().any(|(passed, _)| *passed == rung - 1))
}

async fn refuse_without_rung_below(server: &Server, cluster: &ClusterName, rung: u32) -> Result<(), Problem> {
    if rung_below_has_passed(server, cluster, rung).await? {
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

/// Roles may move during a run, so the guards are asked again before each attack. Now they are asked about the first
/// one, which must be there, and whether what follows touches what is protected or needs a second person: a run is not
/// begun that is known to stop half-way.
async fn attacks_may_begin(
    server: &Server,
    cluster: &ClusterName,
    experiment: &Experiment,
    run: &RunId,
    asked: &Asked,
) -> Result<(), Problem> {
    for (index, attack) in attacks(experiment).enumerate() {
        let standing = standing(experiment, run);
        if index == 0 {
            when_settled(server, cluster, attack, &standing, asked).await?;
        } else if let Ok(plan) = crate::attacks::plan(server, Some(standing), cluster, attack, asked).await {
            let answers: Vec<Answer> = plan.guards.into_iter().filter(|answer| answer.guard.is_lasting()).collect();
            guards::refuse(cluster, attack.label(), &answers)?;
        }
    }
    Ok(())
}

/// Asks about one attack; waits a while when only the cluster's state speaks against it.
async fn when_settled(
    server: &Server,
    cluster: &ClusterName,
    attack: &AttackStep,
    standing: &RunStanding,
    asked: &Asked,
) -> Result<(), Problem> {
    let end = now() + SETTLE_WITHIN;
    loop {
        let plan = crate::attacks::plan(server, Some(standing.clone()), cluster, attack, asked).await?;
        let refused = guards::refuse(cluster, attack.label(), &plan.guards);
        if refused.is_ok() || !may_settle(&plan.guards) || now() >= end {
            return refused;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Only the cluster's state refuses, and that changes by itself.
pub(super) fn may_settle(answers: &[Answer]) -> bool {
    answers
        .iter()
        .filter(|answer| answer.stands())
        .all(|answer| matches!(answer.guard, Guard::Degraded | Guard::Operation))
}

pub(super) fn attacks(experiment: &Experiment) -> impl Iterator<Item = &AttackStep> {
    experiment.steps.iter().filter_map(|step| match step {
        StepSpec::Attack(attack) => Some(attack.as_ref()),
        _ => None,
    })
}

/// A run that has not attacked yet.
pub(super) fn standing(experiment: &Experiment, run: &RunId) -> RunStanding {
    RunStanding { run: run.clone(), attacked: None, hit: BTreeSet::new(), overlap: experiment.overlap }
}
