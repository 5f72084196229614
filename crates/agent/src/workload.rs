//! The live loads that run on this host: each a process of its own with a directory of its own, found again after a
//! restart of the agent, its samples forwarded and its history sent to the server.

mod follow;
mod run_dir;

use crate::error::AgentError;
use crate::link::Server;
use crate::outbox::Outbox;
use crate::storage;
use firedrill_api::link::Upward;
use firedrill_host::HostError;
use firedrill_host::process::{Child, Signal, Spawn, Stream};
use firedrill_model::command::FailureKind;
use firedrill_model::workload::{WorkloadSpec, WorkloadState};
use firedrill_model::{CommandFailure, RunId};
use firedrill_workload::Handle;
use run_dir::RunDir;
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::task::AbortOnDropHandle;

/// Runs whose directories are kept after their history was sent, for a look at their logs.
const KEPT_RUNS: usize = 3;

/// What following a workload needs of the rest of the agent.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Where samples and states go.
    pub(crate) outbox: Arc<Outbox>,
    /// Where the history goes; tried in turn.
    pub(crate) servers: Vec<Server>,
    /// With the client certificate.
    pub(crate) tls: Arc<ClientConfig>,
}

/// All loads of this host.
#[derive(Debug)]
pub(crate) struct Workloads {
    dir: PathBuf,
    program: PathBuf,
    around: Arc<Surroundings>,
    followed: Mutex<BTreeMap<RunId, Followed>>,
}

#[derive(Debug)]
struct Followed {
    /// What was reported last; said again in each new session, as the server may have been killed before it kept it.
    state: Arc<Mutex<Option<WorkloadState>>>,
    _task: AbortOnDropHandle<()>,
}

impl Workloads {
    /// Finds the loads that an earlier agent started, and follows them.
    ///
    /// # Errors
    /// [`AgentError::Storage`] when the directory cannot be used.
    pub(crate) fn open(dir: PathBuf, program: PathBuf, around: Surroundings) -> Result<Self, AgentError> {
        storage::make_private_dir(&dir).map_err(AgentError::storage("make", &dir))?;
        let found = RunDir::find(&dir).map_err(AgentError::storage("read", &dir))?;
        let workloads = Self { dir, program, around: Arc::new(around), followed: Mutex::default() };
        for run_dir in found {
            tracing::info!(run = %run_dir.run(), dir = %run_dir.path().display(), "a workload of an earlier agent is followed");
            workloads.follow(run_dir, None);
        }
        Ok(workloads)
    }

    /// Starts a load; one that was started before is left as it is.
    pub(crate) fn start(&self, spec: &WorkloadSpec) -> Result<(), CommandFailure> {
        let run = &spec.run;
        let failed = |problem: String| CommandFailure {
            kind: FailureKind::Failed,
            message: format!("the workload of run {run} was not started: {problem}"),
        };
        if self.lock().contains_key(run) {
            return Ok(());
        }
        RunDir::prune(&self.dir, KEPT_RUNS).map_err(|error| failed(format!("{}: {error}", self.dir.display())))?;
        let run_dir =
            RunDir::make(&self.dir, spec).map_err(|error| failed(format!("{}: {error}", self.dir.display())))?;
        match self.spawn(&run_dir) {
            Ok(child) => {
                tracing::info!(%run, pid = child.pid(), "the workload is started");
                self.follow(run_dir, Some(child));
                Ok(())
            }
            Err(error) => {
                let removed = run_dir.remove();
                let left = removed.err().map(|error| format!("; {} was left behind: {error}", self.dir.display()));
                Err(failed(format!("{}{}", error.full(), left.unwrap_or_default())))
            }
        }
    }

    /// Asks a load to end: final reads and history follow by themselves.
    pub(crate) fn stop(&self, run: &RunId) -> Result<(), CommandFailure> {
        let run_dir = self.known(run)?;
        Handle::adopt(run_dir.path()).request_stop().map_err(|error| CommandFailure {
            kind: FailureKind::Failed,
            message: format!("the workload of run {run} was not asked to stop: {error}"),
        })
    }

    /// Ends a load at once and removes what it recorded. One that is unknown is gone already.
    pub(crate) async fn discard(&self, run: &RunId) -> Result<(), CommandFailure> {
        let failed = |problem: String| CommandFailure {
            kind: FailureKind::Failed,
            message: format!("the workload of run {run} was not dropped: {problem}"),
        };
        self.lock().remove(run);
        let Some(run_dir) = RunDir::existing(&self.dir, run).map_err(|error| failed(error.to_string()))? else {
            return Ok(());
        };
        if let Some(process) = run_dir.process().map_err(|error| failed(error.full()))? {
            process.signal(Signal::SIGKILL).map_err(|error| failed(error.full()))?;
            process.exited().await.map_err(|error| failed(error.full()))?;
        }
        run_dir.remove().map_err(|error| failed(error.to_string()))
    }

    /// Queues the state of every load again, for a server that may not know it.
    pub(crate) fn say_again(&self) {
        for (run, followed) in &*self.lock() {
            let state = followed.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(state) = state {
                self.around.outbox.push(Upward::Workload { run: run.clone(), state });
            }
        }
    }

    fn spawn(&self, run_dir: &RunDir) -> Result<Child, HostError> {
        let child = Spawn::new(&self.program)
            .args(["workload", "--spec"])
            .arg(run_dir.spec_file())
            .arg("--dir")
            .arg(run_dir.path())
            .stderr(Stream::Append(run_dir.log_file()))
            .new_session()
            .spawn()?;
        match child.identity().save(&run_dir.identity_file()) {
            Ok(()) => Ok(child),
            Err(error) => {
                // Unknown to a later agent, it could never be stopped.
                child.signal(Signal::SIGKILL)?;
                Err(error)
            }
        }
    }

    fn known(&self, run: &RunId) -> Result<RunDir, CommandFailure> {
        let invalid = |problem: String| CommandFailure { kind: FailureKind::Invalid, message: problem };
        RunDir::existing(&self.dir, run)
            .map_err(|error| invalid(format!("the workload of run {run} cannot be looked up: {error}")))?
            .ok_or_else(|| invalid(format!("there is no workload of run {run} on this host")))
    }

    fn follow(&self, run_dir: RunDir, child: Option<Child>) {
        let state = Arc::new(Mutex::new(None));
        let run = run_dir.run().clone();
        let task = tokio::spawn(follow::follow(run_dir, child, Arc::clone(&self.around), Arc::clone(&state)));
        self.lock().insert(run, Followed { state, _task: AbortOnDropHandle::new(task) });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Followed>> {
        // Only whole entries are inserted and removed.
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
