//! The holder's side of a worker.

use super::{Job, Progress, Told};
use crate::journal::Undo;
use crate::kinds::{Effect, Failure, Mechanism, Pending, Refusal, StillThere};
use crate::{Context, FaultError};
use firedrill_host::HostError;
use firedrill_host::process::{Child, Identity, Pidfd, Signal, Stream};
use firedrill_host::{clock, usage};
use firedrill_model::Span;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::time::timeout;

/// Starting the program again takes some ten milliseconds; a busy host takes longer.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// A process ends at once on SIGKILL, but much memory takes time to be given back, and so does a slow device.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// A worker process. Dropping it ends the process.
pub(crate) struct Worker {
    child: Child,
    leases: OwnedFd,
    told: Lines<BufReader<pipe::Receiver>>,
    /// Since boot; `None` as long as it has not been told to begin.
    began: Option<Duration>,
}

/// How a worker is to be started, other than as its holder lives.
#[derive(Debug, Default)]
pub(crate) struct Life<'a> {
    /// The cgroup directory it is born in.
    pub(crate) cgroup: Option<&'a Path>,
    /// The system user it becomes.
    pub(crate) user: Option<&'a str>,
}

/// What must be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worked {
    pub(crate) worker: Identity,
}

impl Worker {
    /// Starts a worker that is ready to begin, or says why it cannot do that job.
    pub(crate) async fn start(context: &Context, job: &Job, life: Life<'_>) -> Result<Self, Refusal> {
        let make = context.worker.as_ref().ok_or_else(|| {
            Refusal("this agent was not told how to start worker processes; run it as `firedrill agent`".to_owned())
        })?;
        let job = serde_json::to_string(job).map_err(|problem| Refusal(problem.to_string()))?;
        let mut spawn = make().arg(job).stdin(Stream::Pipe).stdout(Stream::Pipe).dies_with_parent(Signal::SIGKILL);
        if let Some(dir) = life.cgroup {
            spawn = spawn.cgroup(dir);
        }
        if let Some(user) = life.user {
            spawn = spawn.user(user);
        }
        let mut child = spawn.spawn()?;
        let lost = || Refusal("a worker process was started without its pipes".to_owned());
        let (leases, told) = (child.stdin.take().ok_or_else(lost)?, child.stdout.take().ok_or_else(lost)?);
        let broken = |problem: io::Error| Refusal(format!("the pipe to a worker process cannot be used: {problem}"));
        fcntl(leases.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|problem| broken(problem.into()))?;
        let told = BufReader::new(pipe::Receiver::from_owned_fd(told).map_err(broken)?).lines();
        let mut worker = Self { child, leases, told, began: None };
        match timeout(READY_WITHIN, worker.next()).await {
            Ok(Some(Told::Ready)) => Ok(worker),
            Ok(Some(Told::Refused { why })) => Err(Refusal(why)),
            Ok(Some(Told::At(_)) | None) => Err(Refusal("the worker process ended before it was ready".to_owned())),
            Err(_) => Err(Refusal(format!("the worker process was not ready within {}", Span(READY_WITHIN)))),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.child.identity()
    }

    /// What the journal must hold.
    pub(crate) fn record(&self) -> Worked {
        Worked { worker: self.identity() }
    }

    /// Has it go on for so long; the first time, begin.
    pub(crate) fn lease(&mut self, lease: Duration) -> Result<(), HostError> {
        self.began.get_or_insert_with(clock::since_boot);
        let line = format!("{}\n", lease.as_millis().max(1));
        match nix::unistd::write(&self.leases, line.as_bytes()) {
            // Full: it does not run, and when it does it has leases enough.
            Ok(_) | Err(nix::Error::EAGAIN) => Ok(()),
            Err(problem) => Err(HostError::System {
                action: "tell",
                object: format!("the worker process {}", self.child.pid()),
                source: problem.into(),
            }),
        }
    }

    /// As [`Worker::lease`], for [`crate::kinds::Mechanism::renew`].
    pub(crate) fn renew(&mut self, lease: Duration) -> Result<(), String> {
        if !self.identity().alive() {
            return Err(format!("the worker process {} has ended", self.child.pid()));
        }
        self.lease(lease).map_err(|problem| problem.full())
    }

    /// How far it has come: waits until it is settled, or for so long, and answers the last that it said. `None` when
    /// it has ended.
    pub(crate) async fn settled(&mut self, within: Duration) -> Option<Progress> {
        let began = Instant::now();
        let mut last = Progress::default();
        while !last.settled {
            match timeout(within.saturating_sub(began.elapsed()), self.next()).await {
                Ok(Some(Told::At(progress))) => last = progress,
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(_) => break,
            }
        }
        Some(last)
    }

    /// When it was told to begin, since boot.
    pub(crate) fn began(&self) -> Duration {
        self.began.unwrap_or_else(clock::since_boot)
    }

    /// Processor time that it has used.
    pub(crate) fn cpu_time(&self) -> Result<Duration, HostError> {
        usage::cpu_time(self.identity())
    }

    async fn next(&mut self) -> Option<Told> {
        let line = self.told.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Gone already: that is what is wanted.
        let _gone = self.child.signal(Signal::SIGKILL);
    }
}

/// What a worker does, as its holder knows it.
pub(crate) trait Load: Send {
    /// By what it works, for reports.
    fn describe(&self) -> String;

    /// Measures its effect, within seconds.
    fn verify<'a>(&'a mut self, worker: &'a mut Worker) -> Pending<'a, Effect>;
}

/// A fault that is in place as long as its worker lives.
pub(crate) struct Held<L> {
    pub(crate) worker: Worker,
    pub(crate) load: L,
}

impl<L: Load> Mechanism for Held<L> {
    fn describe(&self) -> String {
        format!("{}, held by a worker process that ends with its holder", self.load.describe())
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Undo::by(&self.worker.record())
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move { Ok(self.worker.lease(lease)?) })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        self.load.verify(&mut self.worker)
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        self.worker.renew(lease)
    }
}

/// Takes out what only a worker holds: it must be gone.
pub(crate) fn undo(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        match undo.read::<Worked>()? {
            Some(worked) => Ok(end(worked.worker).await?),
            None => Ok(()),
        }
    })
}

/// Ends a worker, whoever started it, and waits until the last of its threads is gone: only then is what it held free.
pub(crate) async fn end(worker: Identity) -> Result<(), HostError> {
    let handle = match Pidfd::open(worker.pid) {
        Err(HostError::NoProcess { .. }) => return Ok(()),
        other => other?,
    };
    // Asked after the handle was taken; a first thread that is a zombie may still have others.
    if worker.state().is_none() {
        return Ok(());
    }
    match handle.signal(Signal::SIGKILL) {
        Ok(()) | Err(HostError::NoProcess { .. }) => {}
        Err(problem) => return Err(problem),
    }
    match timeout(GONE_WITHIN, handle.exited()).await {
        Ok(ended) => ended.map(drop),
        Err(_) => {
            let what = format!("the worker process {}, which was killed,", worker.pid);
            Err(HostError::TimedOut { what, within: GONE_WITHIN })
        }
    }
}

pub(crate) fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        match undo.read::<Worked>()? {
            Some(worked) => gone(worked.worker),
            None => Ok("nothing was held".to_owned()),
        }
    })
}

pub(crate) fn gone(worker: Identity) -> Result<String, StillThere> {
    if worker.alive() {
        return Err(StillThere(format!("the worker process {} is still there", worker.pid)));
    }
    Ok(format!("the worker process {} and all that it held are gone", worker.pid))
}
