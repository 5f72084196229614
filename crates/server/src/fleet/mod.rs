//! The hosts that are known, and the links to their agents.
//!
//! **Where to begin**: [`Fleet::call`], the one way in which the server asks an agent for anything.

mod session;

pub(crate) use session::{Pending, Session};

use crate::clock::now;
use firedrill_api::http::HostView;
use firedrill_api::link::{Answer, Hello, HostObservation, Order};
use firedrill_model::attack::AttackReport;
use firedrill_model::command::FailureKind;
use firedrill_model::{ClusterName, CommandFailure, Generation, HostName, Span, Timestamp};
use firedrill_store::HostRecord;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Links that came or went and whose keepers have not been told yet: several for each host of the largest fleet, which
/// connects all at once after a restart.
const PRESENCE_MAX: usize = 65_536;

/// Something to ask of an agent.
#[derive(Debug, Clone)]
pub struct Call {
    /// The cluster whose generation counts; `None`: none is checked.
    pub cluster: Option<ClusterName>,
    /// The agent refuses it when it has seen a newer one for the cluster.
    pub generation: Generation,
    /// The answer is not waited for any longer than this, and the agent does not begin later.
    pub within: Span,
    /// What.
    pub order: Order,
}

impl Call {
    /// An order that belongs to no cluster's generation.
    #[must_use]
    pub fn new(order: Order, within: Span) -> Self {
        Self { cluster: None, generation: Generation::default(), within, order }
    }
}

/// A link came or went.
#[derive(Debug)]
pub(crate) enum Presence {
    /// The stream of a session is open.
    Connected(Arc<Session>),
    /// A session that had been connected is over.
    Lost(Arc<Session>),
}

#[derive(Debug, Default)]
struct KnownHost {
    record: Option<HostRecord>,
    session: Option<Arc<Session>>,
    observation: Option<HostObservation>,
    last_seen: Option<Timestamp>,
}

/// All hosts and the links to their agents.
#[derive(Debug)]
pub struct Fleet {
    hosts: Mutex<BTreeMap<HostName, KnownHost>>,
    next_session: AtomicU64,
    presence: mpsc::Sender<Presence>,
}

impl Fleet {
    /// With the hosts that the store knows. Comings and goings are sent in order to the receiver.
    pub(crate) fn new(hosts: Vec<(HostRecord, Option<Timestamp>)>) -> (Self, mpsc::Receiver<Presence>) {
        let (presence, changes) = mpsc::channel(PRESENCE_MAX);
        let known = |(record, last_seen): (HostRecord, _)| {
            (record.name.clone(), KnownHost { record: Some(record), last_seen, ..KnownHost::default() })
        };
        let hosts = Mutex::new(hosts.into_iter().map(known).collect());
        // Numbers of an earlier process are never given again: an agent that comes back with one is told so.
        let first = now().0.cast_unsigned();
        (Self { hosts, next_session: AtomicU64::new(first), presence }, changes)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HostName, KnownHost>> {
        // The map is changed by single assignments only; a panic elsewhere leaves it whole.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the agent of a host and waits for its answer.
    ///
    /// # Errors
    /// What the agent says; `Unreachable` when it has no live link or the link breaks; `TimedOut` when `within` passes.
    pub async fn call(&self, host: &HostName, call: Call) -> Result<Answer, CommandFailure> {
        self.send(host, call)?.answer().await
    }

    /// Sends an instruction to the agent of a host; those to one host arrive in the order in which they were sent.
    pub(crate) fn send(&self, host: &HostName, call: Call) -> Result<Pending, CommandFailure> {
        let session = self.session(host).ok_or_else(|| CommandFailure {
            kind: FailureKind::Unreachable,
            message: format!("the agent of host {host} is not connected"),
        })?;
        session.send(call)
    }

    /// The live session of a host.
    pub(crate) fn session(&self, host: &HostName) -> Option<Arc<Session>> {
        self.lock().get(host)?.session.clone().filter(|session| session.is_live())
    }

    /// The session of that number, when it is the host's present one.
    pub(crate) fn session_numbered(&self, host: &HostName, number: u64) -> Option<Arc<Session>> {
        self.lock().get(host)?.session.clone().filter(|session| session.number() == number && !session.has_ended())
    }

    /// Opens a session for a host and ends its previous one. `unaccounted` are attacks that should be in place there and
    /// of which its hello says nothing; a host that `concerns_a_keeper` is listened to more closely in a large fleet.
    pub(crate) fn open(
        &self,
        record: HostRecord,
        (hello, unaccounted): (Hello, Vec<AttackReport>),
        concerns_a_keeper: bool,
    ) -> Arc<Session> {
        let number = self.next_session.fetch_add(1, Ordering::Relaxed);
        let beat = session::beat(concerns_a_keeper, self.lock().len());
        let session = Session::new(number, record.name.clone(), (hello, unaccounted), beat, self.presence.clone());
        let previous = {
            let mut hosts = self.lock();
            let known = hosts.entry(record.name.clone()).or_default();
            known.record = Some(record);
            known.last_seen = Some(now());
            known.session.replace(Arc::clone(&session))
        };
        if let Some(previous) = previous {
            previous.end("its agent said hello anew");
        }
        session.watch_silence();
        session
    }

    /// Has hosts connect anew that are listened to less closely than they deserve now.
    pub(crate) fn quicken<'a>(&self, hosts: impl IntoIterator<Item = &'a HostName>) {
        for session in hosts.into_iter().filter_map(|host| self.session(host)).filter(|session| session.is_slow()) {
            session.end("its host is of a cluster now");
        }
    }

    /// Keeps what was seen of a host.
    pub(crate) fn observed(&self, host: &HostName, observation: HostObservation) {
        if let Some(known) = self.lock().get_mut(host) {
            known.observation = Some(observation);
        }
    }

    /// All hosts that ever said hello, by name.
    #[must_use]
    pub fn records(&self) -> Vec<HostRecord> {
        self.lock().values().filter_map(|known| known.record.clone()).collect()
    }

    /// Hosts with a live link, by name.
    #[must_use]
    pub fn connected(&self) -> Vec<HostName> {
        let hosts = self.lock();
        let live = |known: &KnownHost| known.session.as_ref().is_some_and(|session| session.is_live());
        hosts.iter().filter(|(_, known)| live(known)).map(|(name, _)| name.clone()).collect()
    }

    /// The last sign of a host.
    #[must_use]
    pub fn last_seen(&self, host: &HostName) -> Option<Timestamp> {
        self.lock().get(host).and_then(KnownHost::last_sign)
    }

    /// Ends the session of a host, if it has one.
    pub(crate) fn end(&self, host: &HostName, why: &str) {
        let session = self.lock().get(host).and_then(|known| known.session.clone());
        if let Some(session) = session {
            session.end(why);
        }
    }

    /// One host; `None`: its agent has never said hello.
    #[must_use]
    pub fn view(&self, host: &HostName) -> Option<HostView> {
        self.lock().get(host).map(|known| known.view(host))
    }

    /// All hosts for pages and lists.
    #[must_use]
    pub fn views(&self) -> Vec<HostView> {
        self.lock().iter().map(|(name, known)| known.view(name)).collect()
    }
}

impl KnownHost {
    fn last_sign(&self) -> Option<Timestamp> {
        self.session.as_ref().map(|session| session.heard()).max(self.last_seen)
    }

    fn view(&self, name: &HostName) -> HostView {
        let record = self.record.as_ref();
        HostView {
            address: record.map(|record| record.address),
            region: record.and_then(|record| record.region.clone()),
            tags: record.map(|record| record.tags.clone()).unwrap_or_default(),
            connected: self.session.as_ref().is_some_and(|session| session.is_live()),
            last_seen: self.last_sign(),
            agent_version: record.map(|record| record.agent_version.clone()),
            nodes: record.map(|record| record.nodes.iter().map(|(_, node)| node.clone()).collect()).unwrap_or_default(),
            observation: self.observation.clone(),
            allowed: record.and_then(|record| record.allowed.clone()),
            ..HostView::unseen(name.clone())
        }
    }
}
