//! The rescue process: it outlives the agent and takes out what the agent left.
//!
//! The agent holds the write end of a pipe and never lets anybody inherit it. When the agent dies, however it dies, the
//! kernel closes that end; the rescue process sees it, undoes everything in the journal that the agent held, and ends.
//! A byte in the pipe means that the journal has changed: an attack whose deadline has passed although the agent is
//! alive (it hangs) is undone, too. Between such bytes and deadlines the rescue process sleeps.

use crate::FaultError;
use crate::attack::{forget, take_out};
use crate::faults::Context;
use crate::journal::{Journal, Record};
use firedrill_host::process::{Child, Identity, Stream};
use firedrill_host::{HostError, clock};
use firedrill_model::AttackId;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// An attack of a live agent is left to it for this long after its deadline.
const GRACE: Duration = Duration::from_secs(2);
/// What could not be undone is tried again this often …
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// … so many times after the agent's death. The next agent tries again at its start.
const RETRIES: u32 = 10;
/// A rescue process that ended is started again, not more often than this.
const RESTART_EVERY: Duration = Duration::from_secs(1);
/// How long a new rescue process waits for that of the previous agent, which is just undoing things.
const SUCCEED_WITHIN: Duration = Duration::from_secs(60);
const RESCUE_LOCK: &str = "rescue.lock";

/// How an attack ended that a rescue process took out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// Which attack.
    pub id: AttackId,
    /// What was seen, or why it could not be taken out.
    pub outcome: Result<String, String>,
}

/// Runs as the rescue process until the agent is gone and its attacks are out. `pipe` is the read end of the agent's
/// pipe (standard input, when started by [`crate::Faults`]). Returns what it took out, failures included.
pub async fn rescue(journal_dir: &Path, pipe: OwnedFd) -> Result<Vec<Rescued>, FaultError> {
    let agent = nix::unistd::getppid().as_raw().unsigned_abs();
    // An agent that is dead already cannot be asked who it was; then every record of a dead holder is ours.
    let agent = Identity::of(agent).ok();
    let journal = Journal::open(journal_dir)?;
    let mut pipe = pipe::Receiver::from_owned_fd(pipe).map_err(|problem| FaultError::Journal {
        action: "watch the agent of",
        path: journal_dir.to_owned(),
        source: problem,
    })?;
    // One rescue process per journal at a time.
    let _only_one = journal.hold_within(RESCUE_LOCK, SUCCEED_WITHIN).await?;
    let mut rescued = Vec::new();
    loop {
        let next = next_overdue(&journal)?;
        match timeout(next.unwrap_or(Duration::MAX), news(&mut pipe)).await {
            Ok(News::JournalChanged) => {}
            Ok(News::AgentGone) => break,
            Err(_) => {
                rescued.extend(undo_all(&journal, overdue).await?);
                // An attack that cannot be taken out must not be tried without a pause.
                sleep(RETRY_EVERY).await;
            }
        }
    }
    for _ in 0..=RETRIES {
        rescued.extend(undo_all(&journal, |record| Some(record.holder) == agent || !record.holder.alive()).await?);
        if rescued.iter().all(|one| one.outcome.is_ok()) || journal.records()?.is_empty() {
            break;
        }
        sleep(RETRY_EVERY).await;
    }
    Ok(rescued)
}

/// What the pipe says.
enum News {
    JournalChanged,
    AgentGone,
}

async fn news(pipe: &mut pipe::Receiver) -> News {
    let mut bytes = [0; 64];
    loop {
        match pipe.readable().await.and_then(|()| pipe.try_read(&mut bytes)) {
            Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => {}
            Ok(count) if count > 0 => return News::JournalChanged,
            // A pipe that cannot be read is as silent as one that is closed.
            Ok(_) | Err(_) => return News::AgentGone,
        }
    }
}

fn overdue(record: &Record) -> bool {
    clock::since_boot() >= record.deadline_since_boot.duration() + GRACE
}

/// Until the first deadline passes with its grace; `None` without attacks.
fn next_overdue(journal: &Journal) -> Result<Option<Duration>, FaultError> {
    let now = clock::since_boot();
    let records = journal.records()?;
    Ok(records.iter().map(|record| (record.deadline_since_boot.duration() + GRACE).saturating_sub(now)).min())
}

pub(crate) async fn undo_all(journal: &Journal, which: impl Fn(&Record) -> bool) -> Result<Vec<Rescued>, FaultError> {
    let mut rescued = Vec::new();
    for record in journal.records()?.into_iter().filter(|record| which(record)) {
        // Undone by its holder since the list was read: a successor's attack on the same process must not be touched.
        if journal.read(&record.id)?.as_ref() != Some(&record) {
            continue;
        }
        let outcome = take_out(&record).await;
        match &outcome {
            Ok(seen) => {
                forget(journal, &record.id).await;
                tracing::warn!(attack = %record.id, fault = %record.fault, seen, "taken out by the rescue process");
            }
            Err(problem) => {
                tracing::error!(attack = %record.id, fault = %record.fault, problem, "the rescue process failed");
            }
        }
        rescued.push(Rescued { id: record.id, outcome });
    }
    Ok(rescued)
}

/// The agent's end: it starts the rescue process, and starts it again should it end.
#[derive(Debug)]
pub(crate) struct Lifeline {
    /// `None` while there is no rescue process.
    pipe: Arc<Mutex<Option<OwnedFd>>>,
    keeper: JoinHandle<()>,
}

impl Lifeline {
    /// `None` when the context has no rescue process.
    pub(crate) fn start(context: &Arc<Context>) -> Result<Option<Self>, FaultError> {
        if context.rescue.is_none() {
            return Ok(None);
        }
        let (child, first) = spawn(context)?;
        let pipe = Arc::new(Mutex::new(Some(first)));
        let keeper = tokio::spawn(keep(Arc::downgrade(context), Arc::downgrade(&pipe), child));
        Ok(Some(Self { pipe, keeper }))
    }

    /// Whether there is a rescue process.
    pub(crate) fn is_up(&self) -> bool {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Has the rescue process look at the deadlines again.
    pub(crate) fn journal_changed(&self) {
        let pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = pipe.as_ref() {
            match nix::unistd::write(pipe, b"j") {
                // Full: there is unread news already. Closed: its end is noticed and handled elsewhere.
                Ok(_) | Err(nix::Error::EAGAIN | nix::Error::EPIPE) => {}
                Err(problem) => tracing::error!(%problem, "the rescue process cannot be told of a new attack"),
            }
        }
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

fn spawn(context: &Context) -> Result<(Child, OwnedFd), HostError> {
    let lost =
        |source: io::Error| HostError::System { action: "start", object: "the rescue process".to_owned(), source };
    let make = context.rescue.as_ref().ok_or_else(|| lost(io::ErrorKind::Unsupported.into()))?;
    let mut child = make().stdin(Stream::Pipe).new_session().spawn()?;
    let pipe = child.stdin.take().ok_or_else(|| lost(io::ErrorKind::BrokenPipe.into()))?;
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(pipe.as_fd(), nix::fcntl::FcntlArg::F_SETFL(flags)).map_err(|problem| lost(problem.into()))?;
    Ok((child, pipe))
}

/// Starts the rescue process again whenever it ends. Ends itself when the agent has let go.
async fn keep(context: Weak<Context>, pipe: Weak<Mutex<Option<OwnedFd>>>, mut child: Child) {
    loop {
        let exit = child.exited().await;
        let (Some(context), Some(pipe)) = (context.upgrade(), pipe.upgrade()) else { return };
        let set = |end| *pipe.lock().unwrap_or_else(PoisonError::into_inner) = end;
        set(None);
        tracing::error!(?exit, "the rescue process ended; attacks are refused until it is back");
        child = loop {
            sleep(RESTART_EVERY).await;
            match spawn(&context) {
                Ok((child, end)) => {
                    set(Some(end));
                    break child;
                }
                Err(problem) => tracing::error!(problem = problem.full(), "the rescue process does not start"),
            }
        };
        tracing::info!(pid = child.pid(), "the rescue process is back");
    }
}
