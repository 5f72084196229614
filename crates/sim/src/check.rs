//! What must hold in every run, checked as it goes and at the end.

use crate::control::{index_of, node_name, opens, timestamp};
use crate::mariadb::{Io, Mariadb};
use crate::network::{MILLI, Micros, NODES, SECOND};
use crate::world::{Happening, World};
use firedrill_keeper::{Keeper, Request};
use firedrill_model::{Generation, NodeCommand, OperationKind, OperationState};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// After the last fault is over the cluster must be whole again within this: a clone from the last remaining donor
/// may be tried several times.
const SETTLES_WITHIN: Micros = 150 * SECOND;

/// A promotion that still waits for a person this long after the last fault is over gets one.
const PERSON_COMES_AFTER: Micros = 12 * SECOND;

/// When that did not help, the person comes again and names a node.
const PERSON_COMES_AGAIN: Micros = 8 * SECOND;

const JUDGED_EVERY: Micros = 500 * MILLI;

#[derive(Debug, Clone, Copy)]
struct Acked {
    token: u32,
    sequence: usize,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// One primary, every node in service, nothing lost.
    Settled,
    /// The keeper refused to go on without a person, said why, and even the person could not go on.
    Refused(String),
    /// A rule was broken.
    Broken(Vec<String>),
}

#[derive(Debug, Default)]
pub(crate) struct Checker {
    acked: Vec<Acked>,
    /// The node that was opened last.
    latest: Option<usize>,
    opened_in: BTreeMap<Generation, BTreeSet<usize>>,
    violations: Vec<String>,
    /// A person has accepted the loss of what was acknowledged before the next opening.
    excused: bool,
    person_visits: i64,
    pub(crate) ending: Option<Ending>,
    pub(crate) reasons: Vec<String>,
}

impl Checker {
    pub(crate) fn broken(&mut self, now: Micros, what: String) {
        self.violations.push(format!("at {:.3} s: {what}", now as f64 / 1_000_000.0));
    }

    /// Two nodes must not be opened in one generation.
    pub(crate) fn asked(&mut self, now: Micros, generation: Generation, command: &NodeCommand) {
        let Some(node) = opens(command).and_then(index_of) else { return };
        let opened = self.opened_in.entry(generation).or_default();
        opened.insert(node);
        if opened.len() > 1 {
            let what = format!("nodes {opened:?} were asked to open in one generation, {generation}");
            self.broken(now, what);
        }
    }

    /// An OK of a server that is not the newest primary is only right for a write that the newest has too.
    pub(crate) fn client_ok(&mut self, now: Micros, node: usize, token: u32, sequence: usize, nodes: &[Mariadb]) {
        if let Some(latest) = self.latest.filter(|latest| *latest != node)
            && nodes[latest].entry(sequence).is_none_or(|txn| txn.token != token)
            && !self.excused
        {
            let what =
                format!("node {node} acknowledged write {token}, which the newer primary {latest} does not have");
            self.broken(now, what);
        }
        self.acked.push(Acked { token, sequence });
    }

    fn missing_on(&self, server: &Mariadb) -> Vec<u32> {
        let has = |acked: &Acked| server.log.get(acked.sequence - 1).is_some_and(|txn| txn.token == acked.token);
        self.acked.iter().filter(|acked| !has(acked)).map(|acked| acked.token).collect()
    }
}

/// Could this server still give a client its OK?
fn can_acknowledge(nodes: &[Mariadb], node: usize) -> bool {
    let server = &nodes[node];
    let acker = |listener: usize| {
        let other = &nodes[listener];
        other.pid.is_some()
            && other.replication.as_ref().is_some_and(|one| {
                one.source == node && one.acks && other.acker_side && matches!(one.io, Io::Connected { .. })
            })
    };
    server.pid.is_some() && !server.read_only && (!server.primary_side || (0..NODES).any(acker))
}

impl World {
    /// A node takes writes from now on.
    pub(crate) fn opened(&mut self, node: usize) {
        let now = self.now;
        self.say(|| format!("node {node}: open for writes"));
        if self.checker.excused {
            // Before that a person took the loss upon them.
            let missing = self.checker.missing_on(&self.nodes[node]);
            self.say(|| format!("{} acknowledged writes were given up by the person", missing.len()));
            self.checker.acked.clear();
            if self.checker.latest != Some(node) {
                self.checker.excused = false;
            }
        }
        self.checker.latest = Some(node);
        if std::mem::take(&mut self.plan.trap) {
            let soon = self.random.random_range(0..40 * MILLI);
            self.after(soon, Happening::Kill(node));
        }
        let missing = self.checker.missing_on(&self.nodes[node]);
        if !missing.is_empty() {
            let what =
                format!("node {node} was opened without {} acknowledged writes: {:?}", missing.len(), first(&missing));
            self.checker.broken(now, what);
        }
        for other in (0..NODES).filter(|other| *other != node) {
            if can_acknowledge(&self.nodes, other) && self.checker.person_visits == 0 {
                let what = format!("node {node} was opened while node {other} could still acknowledge writes");
                self.checker.broken(now, what);
            }
        }
    }

    /// Looks whether the run can end.
    pub(crate) fn judge(&mut self) {
        if !self.checker.violations.is_empty() {
            let violations = std::mem::take(&mut self.checker.violations);
            return self.end(Ending::Broken(violations));
        }
        self.after(JUDGED_EVERY, Happening::Judge);
        let quiet_since = self.plan.quiet_at;
        if self.now < quiet_since + SECOND {
            return;
        }
        if self.settled() {
            return self.end(Ending::Settled);
        }
        if self.now > quiet_since + PERSON_COMES_AFTER + self.checker.person_visits * PERSON_COMES_AGAIN {
            self.call_person();
        }
        if self.now > quiet_since + SETTLES_WITHIN {
            let what = self.unsettled();
            let now = self.now;
            self.checker.broken(now, format!("it did not settle: {what}"));
        }
    }

    /// Whole again: writers are stopped, then every node must come to hold the same.
    fn settled(&mut self) -> bool {
        let Some(view) = self.control.keeper.as_ref().map(|keeper| keeper.view(timestamp(self.now))) else {
            return false;
        };
        let Some(primary) = view.primary.as_ref().and_then(index_of) else { return false };
        let writes = self.clients.stopped || self.now - self.clients.last_ok < SECOND;
        if !view.fully_redundant || self.gateway.route != Some(primary) || !writes {
            return false;
        }
        self.clients.stopped = true;
        let same = self.nodes.iter().all(|node| node.answers() && node.log == self.nodes[primary].log);
        if !same || !self.nodes[primary].waiting.is_empty() {
            return false;
        }
        let open = self.nodes.iter().filter(|node| !node.read_only).count();
        if open != 1 {
            let now = self.now;
            self.checker.broken(now, format!("{open} nodes take writes at the end"));
            return false;
        }
        let missing = self.checker.missing_on(&self.nodes[primary]);
        if !missing.is_empty() {
            let now = self.now;
            self.checker.broken(now, format!("{} acknowledged writes are lost: {:?}", missing.len(), first(&missing)));
            return false;
        }
        true
    }

    /// What is not as it should be.
    fn unsettled(&self) -> String {
        let Some(view) = self.control.keeper.as_ref().map(|keeper| keeper.view(timestamp(self.now))) else {
            return "the server is down".to_owned();
        };
        let lengths: Vec<(usize, bool)> = self.nodes.iter().map(|node| (node.log.len(), node.answers())).collect();
        let ago = (self.now - self.clients.last_ok) / SECOND;
        format!(
            "redundant {}, route {:?}, last OK {ago} s ago, logs {lengths:?}, operations {:?}; {}",
            view.fully_redundant,
            self.gateway.route,
            view.operations,
            view.problems.join("; ")
        )
    }

    /// A person reads why the promotion waits, and accepts what may be lost.
    fn call_person(&mut self) {
        let waiting = self
            .control
            .operations
            .values()
            .find(|operation| {
                operation.ended.is_none()
                    && operation.state == OperationState::NeedsPerson
                    && matches!(operation.kind, OperationKind::Promotion | OperationKind::Recovery)
            })
            .cloned();
        let Some(operation) = waiting else { return };
        let now = self.now;
        match &operation.reason {
            Some(reason) if !reason.is_empty() => self.checker.reasons.push(reason.clone()),
            _ => {
                self.checker.broken(now, format!("operation {} waits for a person and does not say why", operation.id))
            }
        }
        self.checker.excused = true;
        // First the keeper's choice, then, visit by visit, every node that still answers.
        let answering = (0..NODES).filter(|node| self.nodes[*node].answers()).map(|node| Some(node_name(node)));
        let mut targets =
            std::iter::once(None).chain(answering).skip(usize::try_from(self.checker.person_visits).unwrap_or(0));
        self.checker.person_visits += 1;
        let Some(to) = targets.next() else {
            let reason = operation.reason.unwrap_or_default();
            return self.end(Ending::Refused(reason));
        };
        self.say(|| format!("person: promotes without proof, to {to:?}"));
        let Some(keeper) = &mut self.control.keeper else { return };
        match ask(keeper, now, Request::Promote { to, without_proof: true }) {
            Ok(actions) => self.carry_out(actions),
            Err(why) => self.say(|| format!("refused: {why}")),
        }
    }

    pub(crate) fn end(&mut self, ending: Ending) {
        self.checker.ending = Some(ending);
        self.over = true;
    }
}

fn ask(keeper: &mut Keeper, now: Micros, request: Request) -> Result<Vec<firedrill_keeper::Action>, String> {
    keeper.ask(timestamp(now), request).map(|(_, actions)| actions).map_err(|refusal| refusal.message)
}

fn first(tokens: &[u32]) -> &[u32] {
    &tokens[..tokens.len().min(5)]
}
