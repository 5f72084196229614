//! Follows one load from its start (or from where an earlier agent left it) until its history is at the server.

use super::Surroundings;
use super::run_dir::RunDir;
use crate::backoff::Backoff;
use crate::link::{LinkError, upload};
use firedrill_api::link::Upward;
use firedrill_host::process::{Child, Pidfd};
use firedrill_model::Timestamp;
use firedrill_model::workload::WorkloadState;
use firedrill_workload::{Handle, HandleError, Progress};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Five looks a second, as often as the workload writes samples.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Attempts to send a history, a second apart in the end: about ten minutes, longer than any experiment cuts a host off.
const UPLOADS_MAX: u32 = 600;

/// Why a load cannot be followed any more.
#[derive(Debug, thiserror::Error)]
enum Unfollowed {
    #[error(transparent)]
    Handle(#[from] HandleError),
    #[error("its files cannot be used: {0}")]
    Files(#[from] io::Error),
    #[error("its process cannot be watched: {0}")]
    Process(String),
    #[error("its process ended with {how} before its history was whole; last words: {last_words}")]
    Ended { how: String, last_words: String },
    #[error("its history could not be sent: {0}")]
    Unsent(LinkError),
}

/// Ends when there is nothing more to report. `child`: the process, when this agent started it. The last state is left
/// in `state`.
pub(super) async fn follow(
    run_dir: RunDir,
    child: Option<Child>,
    around: Arc<Surroundings>,
    state: Arc<Mutex<Option<WorkloadState>>>,
) {
    let say = |new: WorkloadState| {
        *state.lock().unwrap_or_else(PoisonError::into_inner) = Some(new.clone());
        around.outbox.push(Upward::Workload { run: run_dir.run().clone(), state: new });
    };
    let end = match to_the_end(&run_dir, child.as_ref(), &around, &say).await {
        Ok(end) => end,
        Err(error) => {
            tracing::error!(run = %run_dir.run(), %error, dir = %run_dir.path().display(), "the workload failed");
            let message = format!("the workload of run {} failed: {error}", run_dir.run());
            WorkloadState::Failed { message }
        }
    };
    say(end);
}

/// Forwards what happens; the answer is the last state, which is not yet said.
async fn to_the_end(
    run_dir: &RunDir,
    child: Option<&Child>,
    around: &Surroundings,
    say: &impl Fn(WorkloadState),
) -> Result<WorkloadState, Unfollowed> {
    let process = match child {
        Some(child) => child.pidfd().try_clone().map(Some),
        None => run_dir.process(),
    };
    let process = process.map_err(|error| Unfollowed::Process(error.full()))?;
    let mut watched = Watched { handle: Handle::adopt(run_dir.path()), reported: run_dir.reported()?, state: None };
    loop {
        let ended = ended_within(process.as_ref(), LOOK_EVERY).await;
        // After the end one more look: everything is written by then.
        if let Some(new) = watched.look(run_dir, around).await? {
            match new {
                WorkloadState::Finished { .. } => {
                    if !run_dir.is_sent() {
                        send(run_dir, around, &watched.handle.history()).await?;
                    }
                    return Ok(new);
                }
                WorkloadState::Failed { .. } => return Ok(new),
                WorkloadState::Started | WorkloadState::FinalReads => say(new),
            }
        }
        if let Some(how) = ended {
            return Err(Unfollowed::Ended { how, last_words: run_dir.log_tail() });
        }
    }
}

/// How the process ended; `None` when it has not within this time. Without a process it has ended before.
async fn ended_within(process: Option<&Pidfd>, within: Duration) -> Option<String> {
    match process {
        None => Some("an unknown status".to_owned()),
        Some(process) => {
            let ended = timeout(within, process.exited()).await.ok()?;
            Some(ended.map_or_else(|error| error.full(), |exit| exit.to_string()))
        }
    }
}

struct Watched {
    handle: Handle,
    /// Samples up to this moment were reported, maybe by an earlier agent.
    reported: Timestamp,
    state: Option<WorkloadState>,
}

impl Watched {
    /// Forwards new samples; answers the state when it has changed.
    async fn look(&mut self, run_dir: &RunDir, around: &Surroundings) -> Result<Option<WorkloadState>, Unfollowed> {
        loop {
            let progress = self.poll().await?;
            let caught_up = progress.samples.is_empty();
            for sample in progress.samples {
                if sample.at > self.reported {
                    self.reported = sample.at;
                    around.outbox.push(Upward::Sample { run: run_dir.run().clone(), sample });
                }
            }
            if caught_up {
                let changed = progress.state.is_some() && progress.state != self.state;
                self.state = progress.state;
                return Ok(self.state.clone().filter(|_| changed));
            }
            run_dir.note_reported(self.reported)?;
        }
    }

    /// Reads off the event loop: the disk may be slow, by nature or by experiment.
    async fn poll(&mut self) -> Result<Progress, Unfollowed> {
        let dir = self.handle.dir().to_owned();
        let mut handle = std::mem::replace(&mut self.handle, Handle::adopt(dir));
        let (handle, progress) = tokio::task::spawn_blocking(move || {
            let progress = handle.poll();
            (handle, progress)
        })
        .await
        .map_err(io::Error::other)?;
        self.handle = handle;
        Ok(progress?)
    }
}

/// Sends the history, again and again while the link is away.
async fn send(run_dir: &RunDir, around: &Surroundings, history: &Path) -> Result<(), Unfollowed> {
    let mut backoff = Backoff::link();
    let mut last: Result<(), LinkError> = Ok(());
    for server in around.servers.iter().cycle().take(UPLOADS_MAX as usize) {
        match upload(server, &around.tls, run_dir.run(), history).await {
            Ok(()) => {
                tracing::info!(run = %run_dir.run(), %server, "the history is sent");
                run_dir.note_sent()?;
                return Ok(());
            }
            Err(error @ LinkError::Refused { status, .. }) if status.is_client_error() => {
                return Err(Unfollowed::Unsent(error));
            }
            Err(error) => last = Err(error),
        }
        sleep(backoff.next()).await;
    }
    last.map_err(Unfollowed::Unsent)
}
