//! What must survive a crash of the server: everything the keeper has decided and not yet seen finished.

use crate::ackers::AckerJournal;
use crate::saga::Saga;
use firedrill_model::observation::ProcessState;
use firedrill_model::{ClusterSpec, Generation, NodeName, NodeSpec, Operation, RegionName, Role, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;

/// Ended operations that are kept so that [`crate::Keeper::restore`] can hand them out once more: a crash after the
/// state was stored and before the actions were carried out must not lose the end of an operation.
const ENDED_KEPT: usize = 8;

/// Calls are numbered from blocks that are reserved in the stored state, so that not every call costs a write and
/// still no number comes twice.
const CALLS_RESERVED_AT_ONCE: u64 = 1000;

/// Everything that the keeper of one cluster knows and must not forget. Opaque but for its revision; it is stored
/// as JSON **before** the actions of the same turn are carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeeperState {
    /// Grows by one with each turn that changed anything here.
    pub revision: u64,
    /// The cluster as registered, with the rules in force.
    pub(crate) spec: ClusterSpec,
    /// Grows with each change of authority.
    pub(crate) generation: Generation,
    /// The one node that is, or may be, open for writes. It changes only when its predecessor provably
    /// acknowledges nothing any more, in the same turn in which `Open` is asked of the new one.
    pub(crate) primary: NodeName,
    /// A primary in lossless mode has been seen with semi-sync active, so that it acknowledges nothing without an
    /// acker: without this, stopping the ackers is no fence.
    pub(crate) semi_sync_seen: bool,
    /// The keeper's part of each node.
    pub(crate) nodes: BTreeMap<NodeName, NodeRecord>,
    /// Who may acknowledge for the present primary.
    pub(crate) ackers: AckerJournal,
    /// Where the gateway was told to send connections; `None`: it holds them.
    pub(crate) route: Option<NodeName>,
    /// No call number at or above this was ever given.
    pub(crate) calls_reserved: u64,
    /// The number of the next operation.
    pub(crate) next_operation: u64,
    /// Operations that run or wait for a person.
    pub(crate) sagas: Vec<Saga>,
    /// The last that ended.
    pub(crate) ended: VecDeque<Operation>,
    /// When primaries were replaced without being asked for; only those inside the flap window.
    pub(crate) promotions: Vec<Timestamp>,
    /// When primaries were started again where they were; only those inside the flap window.
    #[serde(default)]
    pub(crate) recoveries: Vec<Timestamp>,
}

/// The keeper's part of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    /// Its role when in service.
    pub(crate) role: Role,
    /// May it be used.
    pub(crate) standing: Standing,
    /// The server process that was last seen running there. A primary found under another process id was down in
    /// between, and what it holds is in doubt.
    pub(crate) pid: Option<u32>,
    /// The one before, and when the server was started anew: observations of it soon after are late.
    pub(crate) former: Option<(u32, Timestamp)>,
}

/// An observation can have been made before the answer to a command and still arrive after it, by this much at most:
/// agents send both over one connection, in order, as soon as they have them.
const LATE_AT_MOST: Span = Span::secs(3);

impl NodeRecord {
    /// The server was started by the keeper's order: the next process seen there is a new one.
    pub(crate) fn restarted(&mut self, now: Timestamp) {
        if let Some(pid) = self.pid.take() {
            self.former = Some((pid, now));
        }
    }

    /// An observation that was made before the keeper's own restart of the server, or that cannot be told from one.
    pub(crate) fn is_late(&self, now: Timestamp, process: ProcessState) -> bool {
        let Some((former, started)) = self.former.filter(|_| self.pid.is_none()) else { return false };
        let of_former = match process {
            ProcessState::Running { pid, .. } | ProcessState::Exited { pid } => pid == former,
            ProcessState::Absent => true,
        };
        of_former && now.since(started) < LATE_AT_MOST
    }
}

/// Whether a node may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// In its role, or on the way to it by ordinary replication.
    InService,
    /// It was the primary, or takes writes without being it, or was refused by its source: fenced on contact, compared
    /// with the others, then taken back or given up.
    Doubtful {
        /// Why, for people.
        why: String,
    },
    /// Its data is of no use: it is made anew from a donor.
    Lost {
        /// Why, for people.
        why: String,
        /// A person has stopped this; only a person's request begins it again.
        by_hand: bool,
    },
}

impl KeeperState {
    pub(crate) fn new(spec: ClusterSpec) -> Option<Self> {
        let primary = spec.nodes.iter().find(|node| node.initial_role == Role::Primary)?.clone();
        let mut nodes = BTreeMap::new();
        for node in &spec.nodes {
            let record = NodeRecord { role: node.initial_role, standing: Standing::InService, pid: None, former: None };
            nodes.insert(node.name.clone(), record);
        }
        let mut state = Self {
            revision: 0,
            generation: Generation(1),
            primary: primary.name,
            semi_sync_seen: false,
            nodes,
            ackers: AckerJournal::default(),
            route: None,
            calls_reserved: 0,
            next_operation: 1,
            sagas: Vec::new(),
            ended: VecDeque::new(),
            promotions: Vec::new(),
            recoveries: Vec::new(),
            spec,
        };
        state.assign_roles();
        Some(state)
    }

    /// The generation in force.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The cluster as registered, with the rules in force.
    #[must_use]
    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    pub(crate) fn node(&self, name: &NodeName) -> Option<&NodeSpec> {
        self.spec.node(name)
    }

    pub(crate) fn region_of(&self, name: &NodeName) -> Option<&RegionName> {
        self.node(name).map(|node| &node.region)
    }

    pub(crate) fn same_region(&self, one: &NodeName, other: &NodeName) -> bool {
        self.region_of(one) == self.region_of(other)
    }

    pub(crate) fn role(&self, name: &NodeName) -> Role {
        self.nodes.get(name).map_or(Role::OutOfService, |record| record.role)
    }

    pub(crate) fn in_service(&self, name: &NodeName) -> bool {
        self.nodes.get(name).is_some_and(|record| record.standing == Standing::InService)
    }

    pub(crate) fn names(&self) -> Vec<NodeName> {
        self.nodes.keys().cloned().collect()
    }

    /// The pseudo-primary of a region, in service or not.
    pub(crate) fn pseudo_primary(&self, region: &RegionName) -> Option<NodeName> {
        self.nodes
            .iter()
            .find(|(name, record)| record.role == Role::PseudoPrimary && self.region_of(name) == Some(region))
            .map(|(name, _)| name.clone())
    }

    /// Whom a node replicates from in its role; `None` for the primary.
    pub(crate) fn source_of(&self, name: &NodeName) -> Option<NodeName> {
        if *name == self.primary {
            return None;
        }
        let feeder = match self.role(name) {
            Role::PseudoReplica => self
                .region_of(name)
                .and_then(|region| self.pseudo_primary(region))
                .filter(|feeder| self.in_service(feeder) && feeder != name),
            _ => None,
        };
        Some(feeder.unwrap_or_else(|| self.primary.clone()))
    }

    /// Gives every node the role that its region and the present primary call for: replicas beside the primary; in
    /// every other region one pseudo-primary (the one there is, else the first in service) and pseudo-replicas.
    pub(crate) fn assign_roles(&mut self) {
        let home = self.region_of(&self.primary).cloned();
        let mut feeders: BTreeMap<RegionName, NodeName> = BTreeMap::new();
        for pass in [Role::PseudoPrimary, Role::OutOfService] {
            for node in &self.spec.nodes {
                let kept = pass != Role::PseudoPrimary || self.role(&node.name) == Role::PseudoPrimary;
                if Some(&node.region) != home.as_ref() && kept && self.in_service(&node.name) {
                    feeders.entry(node.region.clone()).or_insert_with(|| node.name.clone());
                }
            }
        }
        for node in &self.spec.nodes {
            let role = if node.name == self.primary {
                Role::Primary
            } else if Some(&node.region) == home.as_ref() {
                Role::Replica
            } else if feeders.get(&node.region) == Some(&node.name) {
                Role::PseudoPrimary
            } else {
                Role::PseudoReplica
            };
            if let Some(record) = self.nodes.get_mut(&node.name) {
                record.role = role;
            }
        }
    }

    pub(crate) fn keep_ended(&mut self, operation: Operation) {
        self.ended.push_back(operation);
        while self.ended.len() > ENDED_KEPT {
            self.ended.pop_front();
        }
    }
}

/// The state with a mark whether this turn has changed it; there is no other way to change it.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    state: KeeperState,
    changed: bool,
    next_call: u64,
}

impl Journal {
    pub(crate) fn new(state: KeeperState) -> Self {
        Self { next_call: state.calls_reserved, state, changed: false }
    }

    /// The state, to be changed: this turn is stored.
    pub(crate) fn edit(&mut self) -> &mut KeeperState {
        self.changed = true;
        &mut self.state
    }

    /// A call number that was never given before, also not before a restart.
    pub(crate) fn next_call(&mut self) -> u64 {
        if self.next_call >= self.state.calls_reserved {
            self.edit().calls_reserved += CALLS_RESERVED_AT_ONCE;
        }
        self.next_call += 1;
        self.next_call - 1
    }

    /// Ends the turn: a changed state gets its new revision.
    pub(crate) fn seal(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.state.revision += 1;
        }
    }
}

impl Deref for Journal {
    type Target = KeeperState;
    fn deref(&self) -> &KeeperState {
        &self.state
    }
}

impl Journal {
    /// Takes an operation out to work on it; it is put back with [`Journal::put_saga`] at the same place.
    pub(crate) fn take_saga(&mut self, index: usize) -> Option<Saga> {
        (index < self.state.sagas.len()).then(|| self.state.sagas.remove(index))
    }

    /// Puts an operation back; only a changed one makes the turn one that is stored.
    pub(crate) fn put_saga(&mut self, index: usize, saga: Saga, changed: bool) {
        self.state.sagas.insert(index.min(self.state.sagas.len()), saga);
        self.changed |= changed;
    }
}
