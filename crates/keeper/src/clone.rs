//! A node is made anew from a copy of another, beside its old data. Every failure ends the attempt, cleans up and
//! tries again, from another donor if there is one; a promotion of the primary ends it at any point.

use crate::core::{Core, Owner};
use crate::health;
use crate::rejoin;
use crate::saga::{Asked, Plan, Saga};
use crate::state::Standing;
use firedrill_model::operation::Phase;
use firedrill_model::{
    GtidPos, Health, NodeCommand, NodeName, NodeReply, OperationId, OperationKind, OperationState, Role, Span,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A copy may take this long: terabytes over a slow link. A dead donor or link ends it much sooner.
const COPY_WITHIN: Span = Span::secs(6 * 3600);

/// Pause before the next attempt, times the number of attempts so far, up to [`ATTEMPT_PAUSE_MAX`].
const ATTEMPT_PAUSE: Span = Span::secs(1);

/// See [`ATTEMPT_PAUSE`].
const ATTEMPT_PAUSE_MAX: Span = Span::secs(15);

/// After so many failed attempts a person is called; it is tried on.
const ATTEMPTS_BEFORE_PERSON: u32 = 5;

/// Following and catching up may fail this often for passing reasons before the attempt counts as failed.
const JOIN_TRIES_MAX: u32 = 8;

/// Setting logs aside must not hold up the replacement for longer.
const CAPTURE_WITHIN: Span = Span::secs(30);

/// What a clone knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CloneNode {
    /// A person's choice of donor.
    wanted: Option<NodeName>,
    donor: Option<NodeName>,
    /// Donors that failed.
    tried: BTreeSet<NodeName>,
    attempts: u32,
    next_attempt: Timestamp,
    /// Where the primary stood when the copy began to follow.
    until: Option<GtidPos>,
    /// When it had caught up.
    caught_up: Option<Timestamp>,
}

impl CloneNode {
    fn new(now: Timestamp, wanted: Option<NodeName>) -> Self {
        Self {
            wanted,
            donor: None,
            tried: BTreeSet::new(),
            attempts: 0,
            next_attempt: now,
            until: None,
            caught_up: None,
        }
    }
}

/// From whom a node would be copied now.
pub(crate) fn likely_donor(core: &Core, node: &NodeName) -> Option<NodeName> {
    choose_donor(core, node, &CloneNode::new(core.now, None))
}

pub(crate) fn begin(core: &mut Core, node: &NodeName, cause: String, donor: Option<NodeName>) -> OperationId {
    let plan = CloneNode::new(core.now, donor);
    if let Some(record) = core.journal.edit().nodes.get_mut(node) {
        record.standing = Standing::Lost { why: cause.clone(), by_hand: false };
    }
    let failed_at = core.evidence.node(node).and_then(|evidence| evidence.gone_since);
    let saga = Saga::begin(core, OperationKind::Clone, node, cause, failed_at, Plan::Clone(plan));
    let id = saga.id().clone();
    core.journal.edit().sagas.push(saga);
    id
}

/// What cleans up after this clone.
pub(crate) fn aborts(saga: &Saga, plan: &CloneNode) -> Vec<NodeCommand> {
    let operation = saga.id().clone();
    let nodes = plan.donor.iter().chain(std::iter::once(&saga.operation.subject));
    nodes.map(|node| NodeCommand::CloneAbort { node: node.clone(), operation: operation.clone() }).collect()
}

pub(crate) fn advance(saga: &mut Saga, mut plan: CloneNode, core: &mut Core) {
    if let Err(why) = attempt(saga, &mut plan, core) {
        fail(saga, &mut plan, core, why);
    }
    saga.plan = Plan::Clone(plan);
}

/// One attempt, from top to bottom; returns where an answer is missing. `Err` ends the attempt.
fn attempt(saga: &mut Saga, plan: &mut CloneNode, core: &mut Core) -> Result<(), String> {
    let node = saga.operation.subject.clone();
    let operation = saga.id().clone();
    if core.now < plan.next_attempt || !prepared(saga, core, &node) {
        return Ok(());
    }
    let Some(donor) = donor(saga, plan, core) else { return Ok(()) };
    let receive = NodeCommand::CloneReceive { node: node.clone(), operation: operation.clone() };
    let Some(NodeReply::Listening { at, token }) = once(saga.ask(core, Phase::Copy, receive))? else { return Ok(()) };
    let gone = core.evidence.node(&donor).is_some_and(|evidence| evidence.gone_since.is_some());
    let send = NodeCommand::CloneSend { node: donor.clone(), operation: operation.clone(), to: at, token };
    let copied = once(saga.ask_within(core, Phase::Copy, send, COPY_WITHIN))?;
    if copied.is_none() {
        return if gone { Err(format!("the donor {donor} died")) } else { Ok(()) };
    }
    saga.end_phase(core, Phase::Copy);
    let prepare = NodeCommand::ClonePrepare { node: node.clone(), operation: operation.clone() };
    let Some(NodeReply::Prepared { position }) = once(saga.ask_within(core, Phase::Prepare, prepare, COPY_WITHIN))?
    else {
        return Ok(());
    };
    let activate = NodeCommand::CloneActivate { node: node.clone(), operation: operation.clone(), seed: position };
    if once(saga.ask(core, Phase::Prepare, activate))?.is_none() {
        return Ok(());
    }
    saga.end_phase(core, Phase::Prepare);
    if !catch_up(saga, plan, core, &node)? || !checked(saga, plan, core, &node)? {
        return Ok(());
    }
    let wants_acker = core.lossless() && core.journal.role(&node) == Role::Replica;
    if wants_acker && !insist(saga, core, Phase::Join, NodeCommand::SetAcker { node: node.clone(), on: true })? {
        return Ok(());
    }
    if !core.journal.in_service(&node) {
        rejoin::join(core, &node);
    }
    let tidy = NodeCommand::CloneFinish { node: node.clone(), operation };
    if !saga.ask(core, Phase::Join, tidy).ended() {
        return Ok(());
    }
    saga.end_phase(core, Phase::Join);
    saga.finish(core, OperationState::Finished, None);
    Ok(())
}

/// The old server is down and its logs are set aside.
fn prepared(saga: &mut Saga, core: &mut Core, node: &NodeName) -> bool {
    if saga.insist(core, Phase::Capture, NodeCommand::Fence { node: node.clone() }).is_none() {
        return false;
    }
    let capture = NodeCommand::Capture { node: node.clone(), operation: saga.id().clone() };
    let captured = saga.ask_within(core, Phase::Capture, capture, CAPTURE_WITHIN).ended();
    if captured {
        saga.end_phase(core, Phase::Capture);
    }
    captured
}

/// The donor of this attempt.
fn donor(saga: &mut Saga, plan: &mut CloneNode, core: &mut Core) -> Option<NodeName> {
    if plan.donor.is_none() {
        plan.donor = choose_donor(core, &saga.operation.subject, plan);
        if plan.donor.is_none() && !plan.tried.is_empty() {
            plan.tried.clear();
            plan.donor = choose_donor(core, &saga.operation.subject, plan);
        }
        match &plan.donor {
            Some(_) => saga.goes_on(),
            None => {
                saga.needs_person(core, "no healthy node can be copied from; it goes on when one is back".to_owned())
            }
        }
        saga.operation.partner.clone_from(&plan.donor);
    }
    plan.donor.clone()
}

/// Rather a node that nobody needs: a pseudo-replica, then the pseudo-primary, then a replica that is not the last
/// acker, and the primary only when there is nobody else.
pub(crate) fn choose_donor(core: &Core, node: &NodeName, plan: &CloneNode) -> Option<NodeName> {
    let ackers = core.journal.ackers.acking(&core.journal.primary);
    let rank = |donor: &NodeName| match core.journal.role(donor) {
        Role::PseudoReplica => 0,
        Role::PseudoPrimary => 1,
        Role::Replica if !core.lossless() || ackers > 1 => 2,
        Role::Replica => 3,
        Role::Primary | Role::OutOfService => 4,
    };
    let fit = |donor: &&NodeName| {
        *donor != node
            && core.journal.in_service(donor)
            && !plan.tried.contains(*donor)
            && plan.wanted.as_ref().is_none_or(|wanted| wanted == *donor)
            && health::health(core, donor).0 == Health::Healthy
    };
    core.journal.nodes.keys().filter(fit).min_by_key(|donor| rank(donor)).cloned()
}

/// Follows its source and applies what the primary had at that time.
fn catch_up(saga: &mut Saga, plan: &mut CloneNode, core: &mut Core, node: &NodeName) -> Result<bool, String> {
    // By its role when in service; the feeder of a region may have changed meanwhile.
    let source = core.journal.source_of(node).and_then(|source| core.journal.node(&source)).map(|one| one.endpoint);
    let Some(source) = source else { return Ok(false) };
    if !insist(saga, core, Phase::CatchUp, NodeCommand::Follow { node: node.clone(), source, acker: false })? {
        return Ok(false);
    }
    let primary = core.journal.primary.clone();
    if plan.until.is_none() {
        let status = core.evidence.status(&primary, core.now, core.policy().silent_after);
        plan.until = status.map(|status| status.binlog_state.position());
    }
    let Some(until) = plan.until.clone() else { return Ok(false) };
    if !insist(saga, core, Phase::CatchUp, NodeCommand::AwaitPosition { node: node.clone(), until })? {
        return Ok(false);
    }
    saga.end_phase(core, Phase::CatchUp);
    Ok(true)
}

/// Looks at the node once more before it is trusted: read-only, following, nothing of its own.
fn checked(saga: &mut Saga, plan: &mut CloneNode, core: &mut Core, node: &NodeName) -> Result<bool, String> {
    let since = *plan.caught_up.get_or_insert(core.now);
    let fresh = core.evidence.node(node).filter(|evidence| evidence.observed_at > since);
    let Some(status) = fresh.and_then(|evidence| evidence.status()) else {
        let overdue = core.now.since(since) > core.policy().step_within;
        return if overdue { Err("it does not answer its agent".to_owned()) } else { Ok(false) };
    };
    if !status.read_only {
        return Err("it takes writes".to_owned());
    }
    let Some(reference) = rejoin::reference(core, node) else { return Ok(false) };
    let own = rejoin::beyond(core, &status.binlog_state, &reference);
    if !own.is_empty() {
        return Err(format!("it holds transactions that the cluster does not have, from {}", own[0].0));
    }
    saga.record(
        Phase::Check,
        "compare it with its source",
        since,
        core.now,
        vec![format!("it stands at {}", status.position)],
    );
    saga.end_phase(core, Phase::Check);
    Ok(true)
}

fn once(asked: Asked) -> Result<Option<NodeReply>, String> {
    match asked {
        Asked::Waiting => Ok(None),
        Asked::Done(reply) => Ok(Some(reply)),
        Asked::Failed(failure) => Err(failure.message),
    }
}

/// Asks until it is done, within the attempt's patience.
fn insist(saga: &mut Saga, core: &mut Core, phase: Phase, command: NodeCommand) -> Result<bool, String> {
    match saga.ask(core, phase, command.clone()) {
        Asked::Done(_) => Ok(true),
        Asked::Waiting => Ok(false),
        Asked::Failed(failure) if saga.tries(&command) > JOIN_TRIES_MAX => Err(failure.message),
        Asked::Failed(failure) if failure.kind == firedrill_model::command::FailureKind::Diverged => {
            Err(failure.message)
        }
        Asked::Failed(_) => {
            saga.again(core, &command);
            Ok(false)
        }
    }
}

/// Ends the attempt: cleans up at both ends, and waits a little.
fn fail(saga: &mut Saga, plan: &mut CloneNode, core: &mut Core, why: String) {
    let within = core.policy().step_within;
    for command in aborts(saga, plan) {
        core.perform(Owner::Nobody, command, within);
    }
    saga.forget(core, |command| !matches!(command, NodeCommand::Capture { .. }));
    plan.attempts += 1;
    let from = plan.donor.as_ref().map(|donor| format!(" from {donor}")).unwrap_or_default();
    saga.record(Phase::Undo, &format!("attempt {}{from} failed", plan.attempts), core.now, core.now, vec![why.clone()]);
    plan.tried.extend(plan.donor.take());
    plan.until = None;
    plan.caught_up = None;
    let pause = ATTEMPT_PAUSE.duration().saturating_mul(plan.attempts).min(ATTEMPT_PAUSE_MAX.duration());
    plan.next_attempt = core.now + Span(pause);
    if plan.attempts >= ATTEMPTS_BEFORE_PERSON {
        let reason = format!("{} attempts failed, the last because: {why}; it is tried on", plan.attempts);
        saga.needs_person(core, reason);
    }
}
