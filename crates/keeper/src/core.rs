//! One turn of the keeper: the moment, what is known, and the actions gathered so far. Every rule works through it.

use crate::event::{Action, CallId};
use crate::evidence::Evidence;
use crate::saga::Saga;
use crate::state::Journal;
use firedrill_model::command::FailureKind;
use firedrill_model::command::Route;
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{
    CommandFailure, Durability, HostName, NodeCommand, NodeName, Operation, OperationId, Policy, Severity, Span,
    TimelineEvent, Timestamp,
};
use std::collections::BTreeMap;

/// The runner always answers a call; should it not, the keeper itself counts it as timed out this long after its
/// bound. Generous: the runner's own bound must win.
const ANSWER_OVERDUE: Span = Span::secs(5);

/// How often the gateway is told again what it should already know: a gateway that was killed and started again
/// holds every connection until it is told.
const ROUTE_REPEATED: Span = Span::secs(1);

/// Who waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A step of an operation.
    Step { operation: OperationId, step: u32 },
    /// The upkeep of a node outside operations.
    Upkeep,
    /// The journal of ackers, asking the primary where it is.
    Barrier,
    /// The journal of ackers, asking an acker to have applied a barrier.
    Holder,
    /// The gateway's route.
    Route,
    /// Nobody: an abort whose answer changes nothing.
    Nobody,
}

/// A call that was made and not answered.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) owner: Owner,
    pub(crate) command: NodeCommand,
    overdue: Timestamp,
}

/// An agent that has lost its server tries again every second at the latest, and needs a few round trips then.
const AGENTS_BACK_WITHIN: Span = Span::millis(1500);

#[derive(Debug, Clone)]
pub(crate) struct Core {
    pub(crate) now: Timestamp,
    pub(crate) journal: Journal,
    pub(crate) evidence: Evidence,
    pub(crate) calls: BTreeMap<CallId, Call>,
    pub(crate) actions: Vec<Action>,
    /// What the last turn said about each node, so that only changes are noted.
    pub(crate) said: BTreeMap<NodeName, firedrill_model::Health>,
    /// Upkeep that failed is tried again no sooner than this.
    pub(crate) upkeep_after: BTreeMap<NodeName, Timestamp>,
    /// Standing complaints that were already noted.
    pub(crate) complaints: BTreeMap<String, Timestamp>,
    /// Each operation as it was last handed out.
    pub(crate) shown: BTreeMap<OperationId, Operation>,
    /// How often in a row the upkeep of a node has failed.
    pub(crate) upkeep_failures: BTreeMap<NodeName, u32>,
    route_told: Option<Timestamp>,
    /// Until then agents may only be on their way back after a restart of the server: no patience runs out before.
    agents_back: Timestamp,
}

impl Core {
    pub(crate) fn new(journal: Journal, now: Timestamp) -> Self {
        Self {
            now,
            journal,
            evidence: Evidence::new(now),
            calls: BTreeMap::new(),
            actions: Vec::new(),
            said: BTreeMap::new(),
            upkeep_after: BTreeMap::new(),
            complaints: BTreeMap::new(),
            shown: BTreeMap::new(),
            upkeep_failures: BTreeMap::new(),
            route_told: None,
            agents_back: now,
        }
    }

    /// As [`Core::new`], when the server was away: what it did not hear meanwhile was not silence.
    pub(crate) fn resumed(journal: Journal, now: Timestamp) -> Self {
        Self { agents_back: now + AGENTS_BACK_WITHIN, ..Self::new(journal, now) }
    }

    /// How long somebody has been waited for who could have answered.
    pub(crate) fn waited(&self, since: Timestamp) -> Span {
        self.now.since(since.max(self.agents_back))
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.journal.spec.policy
    }

    pub(crate) fn lossless(&self) -> bool {
        self.policy().durability == Durability::Lossless
    }

    pub(crate) fn host_of(&self, node: &NodeName) -> Option<HostName> {
        self.journal.node(node).map(|node| node.host.clone())
    }

    /// The agent of the node's host can be asked.
    pub(crate) fn reachable(&self, node: &NodeName) -> bool {
        self.journal.node(node).is_some_and(|node| self.evidence.connected(&node.host))
    }

    /// Asks an agent. The acker journal hears of it first: a command that makes a node acknowledge, or that may
    /// drop what it has acknowledged, is entered before it is sent.
    pub(crate) fn perform(&mut self, owner: Owner, command: NodeCommand, within: Span) {
        let host = match command.node() {
            Some(node) => self.host_of(node),
            None => self.journal.spec.gateway_host.clone(),
        };
        let Some(host) = host else { return };
        crate::ackers::before(self, &command);
        let call = CallId(self.journal.next_call());
        let overdue = self.now + within + ANSWER_OVERDUE;
        self.calls.insert(call, Call { owner, command: command.clone(), overdue });
        let generation = self.journal.generation;
        self.actions.push(Action::Perform { call, host, command, generation, within });
    }

    /// Calls whose answer the runner owes for too long.
    pub(crate) fn overdue(&self) -> Vec<CallId> {
        self.calls.iter().filter(|(_, call)| call.overdue <= self.now).map(|(id, _)| *id).collect()
    }

    pub(crate) fn overdue_failure() -> CommandFailure {
        CommandFailure { kind: FailureKind::TimedOut, message: "no answer came within its bound".to_owned() }
    }

    /// A call of upkeep or of a step of an operation to `node` is not answered yet.
    pub(crate) fn busy(&self, node: &NodeName) -> bool {
        self.calls
            .values()
            .any(|call| matches!(call.owner, Owner::Upkeep | Owner::Step { .. }) && call.command.node() == Some(node))
    }

    pub(crate) fn note(&mut self, severity: Severity, kind: EventKind, node: Option<&NodeName>, text: String) {
        self.note_in(severity, kind, node, None, text);
    }

    pub(crate) fn note_in(
        &mut self,
        severity: Severity,
        kind: EventKind,
        node: Option<&NodeName>,
        operation: Option<&OperationId>,
        text: String,
    ) {
        let scope = Scope {
            cluster: Some(self.journal.spec.name.clone()),
            node: node.cloned(),
            host: node.and_then(|node| self.host_of(node)),
            operation: operation.cloned(),
            run: None,
            about: None,
        };
        self.actions.push(Action::Note(TimelineEvent { sequence: 0, at: self.now, severity, kind, text, scope }));
    }

    /// Decides where connections go and tells the gateway.
    pub(crate) fn route_to(&mut self, node: Option<NodeName>) {
        if self.journal.route != node {
            self.journal.edit().route = node.clone();
            let text = match &node {
                Some(node) => format!("the gateway sends connections to {node}"),
                None => "the gateway holds new connections; sessions to the old primary are cut".to_owned(),
            };
            self.note(Severity::Info, EventKind::Route, node.as_ref(), text);
        }
        self.tell_route();
    }

    fn tell_route(&mut self) {
        let route = match self.journal.route.as_ref().and_then(|node| self.journal.node(node)) {
            Some(node) => Route::Primary { node: node.name.clone(), endpoint: node.endpoint },
            None => Route::Hold,
        };
        self.route_told = Some(self.now);
        let command = NodeCommand::Route { cluster: self.journal.spec.name.clone(), route };
        self.perform(Owner::Route, command, ROUTE_REPEATED);
    }

    /// Tells the gateway again, when it was some time ago.
    pub(crate) fn repeat_route(&mut self) {
        let due = self.route_told.is_none_or(|told| self.now.since(told) >= ROUTE_REPEATED);
        let asked = self.calls.values().any(|call| call.owner == Owner::Route);
        let listening = self.journal.spec.gateway_host.as_ref().is_some_and(|host| self.evidence.connected(host));
        if due && !asked && listening {
            self.tell_route();
        }
    }

    /// The gateway's agent has come back: it is told at once.
    pub(crate) fn forget_route(&mut self) {
        self.route_told = None;
    }

    /// A primary is being replaced or moved, or is about to be: everything else on the cluster stands still.
    pub(crate) fn frozen(&self) -> bool {
        self.journal.sagas.iter().any(Saga::freezes)
    }

    /// A promotion has begun to take the old primary's place.
    pub(crate) fn promoting(&self) -> bool {
        self.journal.sagas.iter().any(Saga::vacates_primary)
    }

    /// Another operation has frozen the cluster.
    pub(crate) fn frozen_but_for(&self, saga: &Saga) -> bool {
        !saga.freezes() && self.frozen()
    }

    /// An operation works on the node.
    pub(crate) fn involved(&self, node: &NodeName) -> bool {
        self.journal.sagas.iter().any(|saga| saga.involves(node))
    }

    /// An operation has ended: hands it out a last time and keeps it for a while.
    pub(crate) fn close(&mut self, saga: Saga) {
        self.shown.remove(&saga.operation.id);
        self.actions.push(Action::Operation(saga.operation.clone()));
        self.journal.edit().keep_ended(saga.operation);
    }

    /// Says something once, until it is said that it is over.
    pub(crate) fn complain(&mut self, severity: Severity, node: &NodeName, key: &str, text: String) {
        let key = format!("{node}/{key}");
        if self.complaints.insert(key, self.now).is_none() {
            self.note(severity, EventKind::Health, Some(node), text);
        }
    }

    pub(crate) fn complaint_over(&mut self, node: &NodeName, key: &str, text: String) {
        if self.complaints.remove(&format!("{node}/{key}")).is_some() {
            self.note(Severity::Info, EventKind::Health, Some(node), text);
        }
    }
}
