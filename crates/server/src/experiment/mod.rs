//! Runs experiments: resolves targets at the moment they are needed, asks the agents, watches, and judges.
//!
//! [`start_for`] checks the guards and lets the run go; `run` carries it out step by step; `watch` answers questions about
//! what is seen meanwhile, `courses` keeps what the probes show; `load` makes the live load and fetches its history;
//! `judge` weighs the evidence. Only `run`
//! and `load` have effects.

mod courses;
mod environment;
mod first_write;
mod guard;
mod judge;
mod library;
mod load;
mod plan;
mod run;
mod watch;

pub(crate) use guard::{cluster, rung_below_has_passed};
pub use library::library;
pub use plan::plan;

use crate::Server;
use crate::guards::Asked;
use crate::problem::{MALFORMED, not_found, problem};
use firedrill_api::experiment_file;
use firedrill_api::http::{Problem, RunStarted, StartRun};
use firedrill_model::RunId;
use firedrill_model::experiment::Experiment;
use firedrill_model::progress::Progress;
use firedrill_model::report::{RunReport, RunState};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Starts a run on behalf of somebody; it goes on in the background and is read from the store.
///
/// # Errors
/// The file is not an experiment, its cluster is unknown, or a guard refuses: halted, another run on the cluster, an
/// empty target, a rung below that has not passed, or one of [`crate::guards`].
pub async fn start_for(server: Arc<Server>, request: StartRun, asked: Asked) -> Result<RunStarted, Problem> {
    let experiment = read(&request)?;
    let admitted = guard::admit(&server, experiment, &request, asked).await?;
    let run = admitted.guard.run().clone();
    let began = run::Run::begin(server, admitted).await?;
    tokio::spawn(began.carry_out());
    Ok(RunStarted { run })
}

/// The experiment that is asked for.
///
/// # Errors
/// The file is not an experiment; with what is wrong and where.
pub(crate) fn read(request: &StartRun) -> Result<Experiment, Problem> {
    experiment_file::read(&request.yaml, &BTreeMap::new(), firedrill_fault::check)
        .map_err(|error| problem(MALFORMED, format!("this is not an experiment:\n{error}")))
}

/// Stops a run: its attacks are taken out, its load is stopped, its report says halted.
///
/// # Errors
/// There is no such run under way.
pub async fn halt(server: &Server, run: &RunId, reason: &str) -> Result<(), Problem> {
    if server.runs.halt(run, reason) {
        return Ok(());
    }
    Err(not_found("run under way", run, "`firedrill experiment list` shows all runs and how they stand"))
}

/// A new id: sortable by time, unique without asking anybody.
fn new_run_id() -> RunId {
    RunId(uuid::Uuid::now_v7().to_string())
}

/// What is stored when a run begins.
fn empty_report(run: RunId, admitted: &guard::Admitted) -> RunReport {
    RunReport {
        run,
        experiment: admitted.experiment.clone(),
        cluster: admitted.cluster.spec.name.clone(),
        state: RunState::Running,
        began: crate::clock::now(),
        ended: None,
        verdict: None,
        reasons: vec![],
        expectations: vec![],
        probes: vec![],
        attacks: vec![],
        operations: vec![],
        timeline: vec![],
        samples: vec![],
        lags: vec![],
        probe_series: vec![],
        aborted: None,
        ledger: None,
        environment: vec![],
        progress: Some(Progress::default()),
        by: Some(admitted.asked.by.clone()),
        approved_by: admitted.asked.approved_by.clone(),
    }
}
