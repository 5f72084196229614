//! What an agent holds: it starts attacks, ends them, knows them, and finds those of its previous life.

use crate::FaultError;
use crate::attack::{self, Attack, Ground, Step};
use crate::journal::{self, Hold, Journal, Record};
use crate::rescue::Lifeline;
use crate::state::host_down::Down;
use firedrill_engine::Admin;
use firedrill_host::clock;
use firedrill_host::process::{Identity, Spawn};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackId, AttackSpec, HostName, NodeName};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Most attacks at a time on one host. More are refused.
pub const ATTACKS_MAX: usize = 64;
/// Ended attacks that are remembered, so that a repeated question gets the same answer.
const ENDED_MAX: usize = 256;
/// Reports that may wait for the agent: each attack makes at most four, and two for each pulse, which take seconds.
const REPORTS_MAX: usize = 4 * (ATTACKS_MAX + ENDED_MAX);
/// The file whose lock says which process the journal belongs to.
const HOLDER_LOCK: &str = "holder.lock";
/// How long an agent waits for the lock of the one before it, which has just died.
const SUCCEED_WITHIN: Duration = Duration::from_secs(2);

/// Finds the process of a node.
pub type FindDatabase = dyn Fn(&NodeName) -> Option<Identity> + Send + Sync;
/// Orders the host down, or says why that did not work.
pub type TakeDown = dyn Fn(Down) -> Result<(), String> + Send + Sync;
/// Finds the way to the server of a node.
pub type FindAdmin = dyn Fn(&NodeName) -> Option<Admin> + Send + Sync;
/// Is told of a step of an attack.
pub type OnStep = dyn Fn(&AttackId, Step) + Send + Sync;

/// What faults have to know of their host.
pub struct Context {
    /// Its name, for reports.
    pub host: HostName,
    /// The database server process of a node that lives here; `None` when there is none (now).
    pub database: Box<FindDatabase>,
    /// The way to the running database server of a node that lives here, for faults inside it; `None` when there is none.
    pub admin: Box<FindAdmin>,
    /// Whether the data of the nodes that live here may be lost: only then faults are accepted that destroy data.
    pub expendable: bool,
    /// TCP endpoints on other hosts that may be connected to and left at once, to measure paths with. Hosts that
    /// appear here, and the peers that an attack names, are also probed on a closed port.
    pub acquaintances: Box<dyn Fn() -> Vec<SocketAddr> + Send + Sync>,
    /// The firedrill servers that this host's agent is connected to: network faults spare them unless told otherwise.
    pub servers: Box<dyn Fn() -> Vec<SocketAddr> + Send + Sync>,
    /// How the rescue process is started (`firedrill rescue --journal DIR`); its standard input is set here. `None`
    /// only where something else watches over the journal.
    pub rescue: Option<Box<dyn Fn() -> Spawn + Send + Sync>>,
    /// How a process is started that calls [`crate::worker::work`] with the argument that is added here (`firedrill
    /// worker JOB`); its streams are set here. Without it, faults that need one are refused.
    pub worker: Option<Box<dyn Fn() -> Spawn + Send + Sync>>,
    /// Takes this host down: a sandbox ends its processes and its link, an agent of a real host asks the system. `None`
    /// where the host must stay up; shutdown, reboot and power-off are refused then.
    pub take_down: Option<Box<TakeDown>>,
    /// Told of each step of each attack; tests crash there.
    pub on_step: Box<OnStep>,
}

impl Context {
    /// A host with no database, no acquaintances and no rescue process; set what there is.
    #[must_use]
    pub fn new(host: HostName) -> Self {
        Self {
            host,
            database: Box::new(|_| None),
            admin: Box::new(|_| None),
            expendable: false,
            acquaintances: Box::new(Vec::new),
            servers: Box::new(Vec::new),
            rescue: None,
            worker: None,
            take_down: None,
            on_step: Box::new(|_, _| {}),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("host", &self.host).finish_non_exhaustive()
    }
}

/// The attacks of one host. Cheap to clone; all clones are one. When the last one is dropped every attack is undone
/// in the background, and by the rescue process if this one ends before.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

struct Shared {
    ground: Arc<Ground>,
    attacks: Mutex<BTreeMap<AttackId, Handle>>,
    _hold: Hold,
}

/// What is kept of one attack.
#[derive(Clone)]
struct Handle {
    severs_server: bool,
    stop: watch::Sender<Option<String>>,
    latest: watch::Receiver<AttackReport>,
}

impl Handle {
    /// Its task has ended: the report does not change any more.
    fn ended(&self) -> bool {
        self.latest.has_changed().is_err()
    }

    fn report(&self) -> AttackReport {
        self.latest.borrow().clone()
    }

    /// Something may be in place: it is under way, or could not be taken out.
    fn counts(&self) -> bool {
        !self.ended() || self.latest.borrow().state == AttackState::UndoFailed
    }

    fn stop(&self, reason: &str) {
        self.stop.send_if_modified(|already| {
            let first = already.is_none();
            already.get_or_insert_with(|| reason.to_owned());
            first
        });
    }
}

impl Faults {
    /// Opens the journal, undoes everything that a previous life left in it, and starts the rescue process. Must be
    /// called within a tokio runtime. Every change of an attack comes out of the receiver, those left ones first.
    pub async fn open(dir: &Path, context: Context) -> Result<(Self, mpsc::Receiver<AttackReport>), FaultError> {
        let journal = Journal::open(dir)?;
        let hold = journal.hold_within(HOLDER_LOCK, SUCCEED_WITHIN).await?;
        journal.remove_drafts()?;
        let left = journal.records()?;
        let context = Arc::new(context);
        let lifeline = Lifeline::start(&context)?;
        let (reports, receiver) = mpsc::channel(REPORTS_MAX);
        let ground = Arc::new(Ground { context, journal, lifeline, reports });
        let faults = Self { shared: Arc::new(Shared { ground, attacks: Mutex::default(), _hold: hold }) };
        for record in left {
            faults.recover(&record, "found in the journal of a previous life").await;
        }
        Ok((faults, receiver))
    }

    /// Puts a fault in place and measures it; returns when that is known ([`AttackState::Active`],
    /// [`AttackState::NoEffect`]) or when it came to nothing. Repeating an id repeats the answer.
    pub async fn inject(&self, spec: AttackSpec) -> AttackReport {
        let mut latest = match self.start(spec) {
            Ok(handle) => handle.latest,
            Err(refused) => return *refused,
        };
        // An error means that the task has ended: the report is the last one.
        let _settled = latest.wait_for(|report| report.state != AttackState::Preparing).await.map(drop);
        latest.borrow().clone()
    }

    /// Takes a fault out; returns when it was seen to be out, or when that failed. Repeating it is harmless, and tries
    /// again what failed.
    pub async fn undo(&self, id: &AttackId) -> Result<AttackReport, FaultError> {
        let handle = self.attacks().get(id).cloned().ok_or_else(|| FaultError::Unknown(id.clone()))?;
        Ok(self.end(handle, "it was called off").await)
    }

    /// Takes everything out, all at once, and says how each stands. Attacks that are being prepared end, too.
    pub async fn undo_all(&self, reason: &str) -> Vec<AttackReport> {
        self.end_all(reason, |_| true).await
    }

    /// As [`Faults::undo_all`], except for attacks that cut this host from its server on purpose: for when the server
    /// has not been heard of.
    pub async fn undo_all_except_severing(&self, reason: &str) -> Vec<AttackReport> {
        self.end_all(reason, |handle| !handle.severs_server).await
    }

    /// Attacks that are in place, being put in place or taken out, or that could not be taken out.
    #[must_use]
    pub fn active(&self) -> Vec<AttackReport> {
        self.attacks().values().filter(|handle| handle.counts()).map(Handle::report).collect()
    }

    fn start(&self, spec: AttackSpec) -> Result<Handle, Box<AttackReport>> {
        let mut attacks = self.attacks();
        if let Some(known) = attacks.get(&spec.id) {
            return Ok(known.clone());
        }
        let report = self.first_report(&spec);
        let refuse =
            |why: String| Box::new(AttackReport { state: AttackState::Refused, evidence: why, ..report.clone() });
        journal::check_id(&spec.id).map_err(|problem| refuse(problem.to_string()))?;
        if attacks.values().filter(|handle| handle.counts()).count() >= ATTACKS_MAX {
            return Err(refuse(format!("{ATTACKS_MAX} attacks are on this host already; undo some first")));
        }
        forget_oldest(&mut attacks);
        let (stop, stopped) = watch::channel(None);
        let (latest, watched) = watch::channel(report.clone());
        let handle = Handle { severs_server: spec.severs_server, stop, latest: watched };
        attacks.insert(spec.id.clone(), handle.clone());
        let ground = Arc::clone(&self.shared.ground);
        ground.tell(report);
        tokio::spawn(Attack { spec, ground, stop: stopped, latest }.run());
        Ok(handle)
    }

    fn first_report(&self, spec: &AttackSpec) -> AttackReport {
        AttackReport {
            id: spec.id.clone(),
            host: self.shared.ground.context.host.clone(),
            fault: spec.fault.clone(),
            state: AttackState::Preparing,
            at: clock::wall(),
            in_place: None,
            mechanism: String::new(),
            evidence: "being checked and recorded".to_owned(),
        }
    }

    async fn end_all(&self, reason: &str, which: impl Fn(&Handle) -> bool) -> Vec<AttackReport> {
        let chosen: Vec<Handle> = {
            let attacks = self.attacks();
            attacks.values().filter(|handle| handle.counts() && which(handle)).cloned().collect()
        };
        // All are told before any is waited for.
        chosen.iter().for_each(|handle| handle.stop(reason));
        let mut reports = Vec::new();
        for handle in chosen {
            reports.push(self.end(handle, reason).await);
        }
        reports
    }

    async fn end(&self, mut handle: Handle, reason: &str) -> AttackReport {
        handle.stop(reason);
        while handle.latest.changed().await.is_ok() {}
        let report = handle.report();
        match report.state {
            AttackState::Undone | AttackState::Refused => report,
            AttackState::UndoFailed => self.try_again(report, reason).await,
            // The task ended with nothing to take back: a kill.
            _ => self.conclude(report, AttackState::Undone, "there is nothing to take back".to_owned()),
        }
    }

    async fn try_again(&self, report: AttackReport, reason: &str) -> AttackReport {
        match self.shared.ground.journal.read(&report.id) {
            Ok(Some(record)) => self.recover(&record, reason).await,
            // The rescue process, or another call of this, was successful meanwhile.
            Ok(None) => self.conclude(report, AttackState::Undone, format!("{reason}; it is not in the journal")),
            Err(problem) => self.conclude(report, AttackState::UndoFailed, problem.to_string()),
        }
    }

    /// Undoes by the record alone.
    async fn recover(&self, record: &Record, reason: &str) -> AttackReport {
        let outcome = attack::take_out(record).await;
        let (state, evidence) = match outcome {
            Ok(seen) => {
                attack::forget(&self.shared.ground.journal, &record.id).await;
                (AttackState::Undone, format!("{reason}; {seen}"))
            }
            Err(problem) => (AttackState::UndoFailed, format!("{reason}; {problem}")),
        };
        let report = AttackReport {
            id: record.id.clone(),
            host: record.host.clone(),
            fault: record.fault.clone(),
            state,
            at: clock::wall(),
            in_place: None,
            mechanism: record.mechanism.clone(),
            evidence: String::new(),
        };
        self.conclude(report, state, evidence)
    }

    /// Remembers the last word on an attack that has no task, and tells the agent.
    fn conclude(&self, report: AttackReport, state: AttackState, evidence: String) -> AttackReport {
        let report = AttackReport { state, at: clock::wall(), evidence, ..report };
        let (stop, _) = watch::channel(None);
        let (_, latest) = watch::channel(report.clone());
        self.attacks().insert(report.id.clone(), Handle { severs_server: false, stop, latest });
        self.shared.ground.tell(report.clone());
        report
    }

    fn attacks(&self) -> MutexGuard<'_, BTreeMap<AttackId, Handle>> {
        // The map is whole after each statement that changes it.
        self.shared.attacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("active", &self.active()).finish()
    }
}

/// Makes room: of more than [`ENDED_MAX`] ended attacks the one that ended first is forgotten.
fn forget_oldest(attacks: &mut BTreeMap<AttackId, Handle>) {
    let ended = || attacks.iter().filter(|(_, handle)| !handle.counts());
    if ended().count() < ENDED_MAX {
        return;
    }
    let oldest = ended().min_by_key(|(_, handle)| handle.latest.borrow().at).map(|(id, _)| id.clone());
    oldest.map(|id| attacks.remove(&id));
}
