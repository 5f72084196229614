//! Faults on this host: accepted unless halted, reported at each change, and taken out when the server is not heard of.

use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::nodes::Nodes;
use crate::outbox::Outbox;
use crate::presence::Presence;
use crate::storage;
use firedrill_api::link::Upward;
use firedrill_fault::kinds;
use firedrill_fault::{Context, Down, FaultError, Faults, TakeDown};
use firedrill_host::process::{Spawn, Stream};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::command::FailureKind;
use firedrill_model::{AllowList, AttackId, AttackSpec, CommandFailure, HostName};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// After the lease ran out, what is still in place is looked at this often: attacks that could not be taken out at
/// first, and those that a late instruction began.
const EXPIRED_LOOK_EVERY: Duration = Duration::from_millis(250);

/// The tag of a host whose database may lose its data: `expendable: "true"`. It stands in the agent's own configuration,
/// which no server changes.
const EXPENDABLE: &str = "expendable";

/// The faults of this host.
#[derive(Debug)]
pub(crate) struct Attacks {
    host: HostName,
    faults: Faults,
    outbox: Arc<Outbox>,
    /// Why none is accepted; on disk too, so that a restart does not forget it.
    halted: Mutex<Option<String>>,
    halt_file: PathBuf,
    /// What the host's owner allows; `None`: everything.
    allow: Option<AllowList>,
    /// Answered when everything reported before is in the outbox.
    flush: mpsc::Sender<oneshot::Sender<()>>,
    _forward: AbortOnDropHandle<()>,
}

/// The host's owner does not allow it.
pub(crate) const NOT_ALLOWED: &str = "S132";

/// Why the host's owner does not allow an attack; `None`: it is allowed.
fn not_allowed(host: &HostName, allow: &AllowList, spec: &AttackSpec) -> Option<String> {
    let kind = kinds::find(spec.fault.kind());
    let lasts = kind.is_none_or(|kind| !kind.instant).then_some(spec.duration);
    let why = allow.refusal(spec.fault.kind(), kind.map(|kind| kind.family.into()), lasts)?;
    Some(format!(
        "{NOT_ALLOWED}: the owner of host {host} does not allow it: {why}; the list is `allow` of the agent's configuration"
    ))
}

impl Attacks {
    /// Takes out what an earlier agent left in the journal, and starts the rescue process.
    ///
    /// # Errors
    /// When the journal cannot be used or the rescue process does not start.
    pub(crate) async fn open(config: &AgentConfig, nodes: Arc<Nodes>, outbox: Arc<Outbox>) -> Result<Self, AgentError> {
        let journal = config.data_dir.join("attacks");
        storage::make_private_dir(&journal).map_err(AgentError::storage("make", &journal))?;
        let halt_file = config.data_dir.join("halted");
        let halted = storage::read_if_there(&halt_file).map_err(AgentError::storage("read", &halt_file))?;
        let halted = halted.map(|reason| String::from_utf8_lossy(&reason).into_owned());
        let failed = |error: FaultError| AgentError::Part { part: "undo journal", problem: chain(&error) };
        let (faults, reports) = Faults::open(&journal, context(config, nodes)).await.map_err(failed)?;
        let (flush, flushes) = mpsc::channel(1);
        let forward = AbortOnDropHandle::new(tokio::spawn(forward(reports, flushes, Arc::clone(&outbox))));
        let (host, halted, allow) = (config.host.clone(), Mutex::new(halted), config.allow.clone());
        Ok(Self { host, faults, outbox, halted, halt_file, allow, flush, _forward: forward })
    }

    /// Puts a fault in place, unless halted, or not allowed by the host's owner.
    pub(crate) async fn inject(&self, spec: AttackSpec) -> AttackReport {
        let halted = self.halted().as_ref().map(|reason| format!("attacks are halted on this host: {reason}"));
        match halted.or_else(|| not_allowed(&self.host, self.allow.as_ref()?, &spec)) {
            None => self.faults.inject(spec).await,
            Some(evidence) => AttackReport {
                id: spec.id,
                host: self.host.clone(),
                fault: spec.fault,
                state: AttackState::Refused,
                at: firedrill_host::clock::wall(),
                in_place: None,
                mechanism: String::new(),
                evidence,
            },
        }
    }

    /// Takes one out.
    pub(crate) async fn undo(&self, id: &AttackId) -> Result<AttackReport, CommandFailure> {
        self.faults.undo(id).await.map_err(|error| {
            let kind = match error {
                FaultError::Unknown(_) | FaultError::BadId(_) => FailureKind::Invalid,
                _ => FailureKind::Failed,
            };
            CommandFailure { kind, message: chain(&error) }
        })
    }

    /// Takes all out and accepts none from now on. That none is accepted holds at once, also when it cannot be
    /// recorded; what could not be recorded is only logged, because a halt must not fail for want of a disk.
    pub(crate) async fn halt(&self, reason: &str) -> Vec<AttackReport> {
        *self.halted() = Some(reason.to_owned());
        let (path, content) = (self.halt_file.clone(), reason.to_owned());
        let record = tokio::task::spawn_blocking(move || storage::replace(&path, content.as_bytes()));
        let reason = format!("halted: {reason}");
        let (reports, recorded) = tokio::join!(self.faults.undo_all(&reason), record);
        if let Err(error) = recorded.map_err(std::io::Error::other).and_then(|recorded| recorded) {
            tracing::error!(path = %self.halt_file.display(), %error, "the halt holds, but a restarted agent will not know of it");
        }
        reports
    }

    /// Accepts faults again.
    pub(crate) async fn resume(&self) -> Result<(), CommandFailure> {
        let resumed = self.halted().is_none();
        if resumed {
            return Ok(());
        }
        storage::remove_if_there(&self.halt_file).map_err(|error| CommandFailure {
            kind: FailureKind::Failed,
            message: format!("attacks stay halted: cannot remove {}: {error}", self.halt_file.display()),
        })?;
        *self.halted() = None;
        Ok(())
    }

    /// What is in place.
    pub(crate) fn active(&self) -> Vec<AttackId> {
        self.faults.active().into_iter().map(|report| report.id).collect()
    }

    /// Queues how each attack stands, for a server that may not know it.
    pub(crate) fn say_again(&self) {
        for report in self.faults.active() {
            self.outbox.push(Upward::Attack { report });
        }
    }

    /// Takes faults out whenever the server's lease has run out, for ever. Those that cut this host from the server on
    /// purpose stay until their own deadline.
    pub(crate) async fn keep_lease(&self, presence: &Presence) {
        loop {
            let ends = presence.lease_ends();
            if Instant::now() < ends {
                sleep_until(ends.into()).await;
                continue;
            }
            let reason = format!("the server was not heard of for {:?}", presence.lease());
            // Each is reported like every other change of an attack.
            let _reports = self.faults.undo_all_except_severing(&reason).await;
            sleep(EXPIRED_LOOK_EVERY).await;
        }
    }

    /// The agent ends: everything out, and in the outbox that it is.
    pub(crate) async fn end(&self) {
        let _reports = self.faults.undo_all("the agent was asked to end").await;
        let (done, flushed) = oneshot::channel();
        // Both fail only when the forwarding task has ended, and then there is nothing to wait for.
        if self.flush.send(done).await.is_ok() {
            let _ = flushed.await;
        }
    }

    fn halted(&self) -> MutexGuard<'_, Option<String>> {
        // One assignment; a panic elsewhere does not spoil it.
        self.halted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries reports to the outbox, for ever.
async fn forward(
    mut reports: mpsc::Receiver<AttackReport>,
    mut flushes: mpsc::Receiver<oneshot::Sender<()>>,
    outbox: Arc<Outbox>,
) {
    loop {
        tokio::select! {
            biased;
            Some(report) = reports.recv() => {
                note(&report);
                outbox.push(Upward::Attack { report });
            }
            Some(done) = flushes.recv() => {
                // Who asked may have given up waiting.
                let _ = done.send(());
            }
            else => return,
        }
    }
}

fn context(config: &AgentConfig, nodes: Arc<Nodes>) -> Context {
    let mut context = Context::new(config.host.clone());
    let servers_of_nodes = Arc::clone(&nodes);
    context.database = Box::new(move |node| nodes.process(node));
    context.admin = Box::new(move |node| servers_of_nodes.admin(node));
    context.expendable = config.tags.get(EXPENDABLE).is_some_and(|value| value == "true");
    // The one other host that every agent knows, and that must stay reachable.
    let servers = Arc::new(config.servers.clone());
    let acquaintances = Arc::clone(&servers);
    context.acquaintances = Box::new(move || addresses(&acquaintances));
    context.servers = Box::new(move || addresses(&servers));
    context.take_down = config.power_switch.clone().map(|file| {
        Box::new(move |down: Down| {
            storage::replace(&file, down.to_string().as_bytes())
                .map_err(|error| format!("cannot write the order to {}: {error}", file.display()))
        }) as Box<TakeDown>
    });
    let (program, dir) = (config.program.clone(), config.data_dir.clone());
    let worker = program.clone();
    context.worker = Some(Box::new(move || Spawn::new(&worker).arg("worker")));
    context.rescue = Some(Box::new(move || {
        let (journal, log) = (dir.join("attacks"), dir.join("rescue.log"));
        Spawn::new(&program).args(["rescue", "--journal"]).arg(journal).stderr(Stream::Append(log))
    }));
    context
}

/// The addresses of servers that are given by address or by name. A name that does not resolve has none: neither does
/// the agent reach such a server.
fn addresses(servers: &[String]) -> Vec<SocketAddr> {
    servers.iter().filter_map(|server| server.to_socket_addrs().ok()).flatten().collect()
}

/// The agent's own log has each change too: the link may be what the attack has cut.
fn note(report: &AttackReport) {
    let (attack, fault, state, evidence) = (&report.id, &report.fault, report.state, &report.evidence);
    match state {
        AttackState::UndoFailed => tracing::error!(%attack, %fault, evidence, "an attack could not be taken out"),
        AttackState::NoEffect | AttackState::Refused => tracing::warn!(%attack, %fault, ?state, evidence, "an attack"),
        _ => tracing::info!(%attack, %fault, ?state, evidence, "an attack"),
    }
}

/// An error with its causes, for one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
