//! A lost primary that nobody can replace is started again where it was.
//!
//! A promotion needs a survivor that provably holds every acknowledged write. When a whole region lost its power, or
//! on an asynchronous cluster, there is none; but the primary's own disk holds them all, if its server writes through
//! (`sync_binlog=1`, `innodb_flush_log_at_trx_commit=1`). So it is fenced, started with all that its binary log holds
//! (`NodeCommand::Recover`), compared with what every other node holds, and opened again.
//!
//! **What it relies on.** The server process is gone by its own agent's word, so nobody else has begun a crash
//! recovery that cuts the log's tail. And the disk: whether the settings of the server deserve that trust is what
//! power losses on purpose are for. Where another node holds more than what came back, the disk has forgotten; that
//! is never opened without a person.

use crate::core::Core;
use crate::evidence::NodeEvidence;
use crate::health::{Loss, LossClass};
use crate::promotion::{self, Promotion, REPOINT_PATIENCE};
use crate::saga::{Asked, Plan, Saga};
use firedrill_model::operation::Phase;
use firedrill_model::{
    GtidPos, NodeCommand, NodeName, NodeReply, OperationKind, OperationState, Role, Span, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Recoveries begun within one flap window; a primary that needs more has a cause that starting it does not cure.
const RECOVERIES_MAX: usize = 3;

/// A server that does not start, or is not opened, after this many tries will not with one more.
const TRIES_MAX: u32 = 3;

/// The others that went down with the primary get this long to come up and say what they hold. In lossless mode a
/// primary without them acknowledges nothing, so that waiting costs little; a large one may take minutes, and then the
/// comparison goes without it.
const COMPANIONS_PATIENCE: Span = Span::secs(5);

/// What a recovery knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recovery {
    node: NodeName,
    /// Nodes of its region whose servers are gone too: they are started to acknowledge again.
    companions: BTreeSet<NodeName>,
    /// What the other nodes said that they hold, and what earlier primaries acknowledged.
    claims: BTreeMap<NodeName, GtidPos>,
    inherited: GtidPos,
    /// When the server was up again, and what it holds.
    started: Option<(Timestamp, GtidPos)>,
    /// A person takes the loss of what it no longer holds upon them.
    without_proof: bool,
    opened_at: Option<Timestamp>,
}

impl Recovery {
    /// The primary is down or not open yet.
    pub(crate) fn vacates_primary(&self) -> bool {
        self.opened_at.is_none()
    }

    /// A person has given up what the primary no longer holds.
    pub(crate) fn accept_loss(&mut self) {
        self.without_proof = true;
    }
}

/// May the lost primary be started where it was, as nobody can take over from it?
pub(crate) fn possible(core: &Core, plan: &Promotion) -> bool {
    let gone = core.evidence.node(&plan.old).is_some_and(|evidence| evidence.gone_since.is_some());
    let window = core.policy().flap_window;
    let recent = core.journal.recoveries.iter().filter(|at| core.now.since(**at) < window).count();
    core.policy().automatic_recovery
        && !plan.requested
        && plan.loss.class == LossClass::ProcessGone
        && gone
        && core.reachable(&plan.old)
        && recent < RECOVERIES_MAX
}

/// Ends a promotion that cannot be done, and begins a recovery in its place.
pub(crate) fn instead(saga: &mut Saga, plan: &Promotion, core: &mut Core, obstacle: String) {
    let node = plan.old.clone();
    saga.finish(core, OperationState::Undone, Some(format!("{obstacle}. {node} is started again where it was")));
    let window = core.policy().flap_window;
    let now = core.now;
    let state = core.journal.edit();
    state.generation = state.generation.next();
    state.recoveries.retain(|at| now.since(*at) < window);
    state.recoveries.push(now);
    state.semi_sync_seen = false;
    let recovery = Recovery {
        companions: companions(core, &node),
        claims: plan.holdings.iter().map(|(node, holding)| (node.clone(), holding.received.clone())).collect(),
        inherited: core.journal.ackers.inherited().clone(),
        started: None,
        without_proof: core.policy().promote_without_proof,
        opened_at: None,
        node: node.clone(),
    };
    begin(core, recovery, &plan.loss, saga.operation.began, obstacle);
}

fn begin(core: &mut Core, plan: Recovery, loss: &Loss, noticed: Timestamp, obstacle: String) {
    let node = plan.node.clone();
    let cause = format!("the primary {node} is lost ({}) and nobody can take over", loss.seen);
    let mut saga = Saga::begin(core, OperationKind::Recovery, &node, cause, Some(loss.failed_at), Plan::Recovery(plan));
    saga.record(Phase::Detect, "notice the failure", loss.failed_at, noticed, vec![loss.seen.clone()]);
    saga.end_phase(core, Phase::Detect);
    saga.record(Phase::Confirm, "look for a node that can take over", noticed, core.now, vec![obstacle]);
    saga.end_phase(core, Phase::Confirm);
    core.route_to(None);
    core.journal.edit().sagas.insert(0, saga);
}

/// Nodes in service in the primary's region whose servers are gone and whose agents can start them.
fn companions(core: &Core, primary: &NodeName) -> BTreeSet<NodeName> {
    let gone = |node: &NodeName| core.evidence.node(node).is_some_and(|evidence| evidence.gone_since.is_some());
    let names = core.journal.names().into_iter();
    names
        .filter(|node| node != primary && core.journal.same_region(node, primary) && core.journal.in_service(node))
        .filter(|node| gone(node) && core.reachable(node))
        .collect()
}

pub(crate) fn advance(saga: &mut Saga, mut plan: Recovery, core: &mut Core) {
    if plan.opened_at.is_none() {
        bring_back(saga, &mut plan, core);
    }
    if plan.opened_at.is_some() {
        reunite(saga, &plan, core);
    }
    saga.plan = Plan::Recovery(plan);
}

/// Fences, starts, compares, opens.
fn bring_back(saga: &mut Saga, plan: &mut Recovery, core: &mut Core) {
    let node = plan.node.clone();
    if out_of_reach(core, &node) {
        let reason = format!("the host of {node} is out of reach");
        return saga.finish(core, OperationState::Undone, Some(reason));
    }
    // Whatever runs there by now has not been started by this operation.
    if saga.insist(core, Phase::Fence, NodeCommand::Fence { node: node.clone() }).is_none() {
        return;
    }
    saga.end_phase(core, Phase::Fence);
    let waiting = start_companions(saga, plan, core);
    let Some((since, held)) = start(saga, plan, core) else { return };
    if waiting && core.now.since(since) < COMPANIONS_PATIENCE {
        return;
    }
    saga.end_phase(core, Phase::Prepare);
    if let Some(forgotten) = forgotten(core, plan, &held) {
        if !plan.without_proof {
            return saga.needs_person(core, forgotten);
        }
        saga.record(Phase::Check, "give up what it forgot", core.now, core.now, vec![forgotten]);
    }
    saga.goes_on();
    open(saga, plan, core, &node);
}

fn out_of_reach(core: &Core, node: &NodeName) -> bool {
    let since = core.host_of(node).and_then(|host| core.evidence.link_changed(&host));
    !core.reachable(node) && since.is_none_or(|since| core.now.since(since) >= core.policy().silent_after)
}

/// Starts the primary with all that its binary log holds: when it was up, and what that is.
fn start(saga: &mut Saga, plan: &mut Recovery, core: &mut Core) -> Option<(Timestamp, GtidPos)> {
    let node = plan.node.clone();
    let recover = NodeCommand::Recover { node: node.clone() };
    match saga.ask(core, Phase::Prepare, recover.clone()) {
        Asked::Waiting => None,
        Asked::Failed(_) if saga.tries(&recover) < TRIES_MAX => {
            saga.again(core, &recover);
            None
        }
        Asked::Failed(failure) => {
            let reason = format!("{node} does not start: {}", failure.message);
            saga.finish(core, OperationState::Undone, Some(reason));
            None
        }
        Asked::Done(reply) => {
            let held = held(&reply)?;
            Some(plan.started.get_or_insert((core.now, held)).clone())
        }
    }
}

fn held(reply: &NodeReply) -> Option<GtidPos> {
    let NodeReply::Started { binlog_state, position } = reply else { return None };
    Some(binlog_state.position().union(position))
}

/// True while one of them is still coming up.
fn start_companions(saga: &mut Saga, plan: &mut Recovery, core: &mut Core) -> bool {
    let mut waiting = false;
    for node in plan.companions.clone() {
        match saga.ask(core, Phase::Prepare, NodeCommand::Start { node: node.clone() }) {
            Asked::Waiting => waiting = true,
            Asked::Done(reply) => plan.claims.extend(held(&reply).map(|held| (node, held))),
            // It is replaced by a clone when this is over.
            Asked::Failed(_) => {}
        }
    }
    waiting
}

/// What others hold and the primary no longer does, in words for a person; `None` when it holds everything.
fn forgotten(core: &Core, plan: &Recovery, held: &GtidPos) -> Option<String> {
    let node = &plan.node;
    let within = core.policy().silent_after;
    let others = core.journal.names().into_iter().filter(|other| other != node && core.journal.in_service(other));
    let live = others.filter_map(|other| {
        let status = core.evidence.status(&other, core.now, within)?;
        let received = status.replication.as_ref().map(|one| one.received.clone()).unwrap_or_default();
        Some((other, received.union(&status.position)))
    });
    let claimed = plan.claims.iter().map(|(node, position)| (node.clone(), position.clone()));
    let holders = live.chain(claimed).filter(|(_, position)| !held.covers(position));
    let (who, most) = match holders.max_by_key(|(_, position)| held.missing_from(position)) {
        Some((holder, position)) => (format!("{holder} holds"), position),
        None if held.covers(&plan.inherited) => return None,
        None => ("earlier primaries acknowledged".to_owned(), plan.inherited.clone()),
    };
    Some(format!(
        "{node} came back without {} transactions: it holds {held}, {who} {most}. Its disk or its settings \
         (sync_binlog, innodb_flush_log_at_trx_commit) do not survive what has happened, and acknowledged writes may be \
         gone: promote the node that holds most, or promote without proof and let {node} go on without them",
        held.missing_from(&most)
    ))
}

fn open(saga: &mut Saga, plan: &mut Recovery, core: &mut Core, node: &NodeName) {
    let open = NodeCommand::Open { node: node.clone(), semi_sync: core.lossless() };
    match saga.ask(core, Phase::Open, open.clone()) {
        Asked::Waiting => {}
        Asked::Failed(_) if saga.tries(&open) < TRIES_MAX => saga.again(core, &open),
        Asked::Failed(failure) => {
            let reason = format!("{node} is not opened: {}", failure.message);
            saga.finish(core, OperationState::Undone, Some(reason));
        }
        Asked::Done(_) => {
            plan.opened_at = Some(core.now);
            core.route_to(Some(node.clone()));
            let title = format!("let the gateway send connections to {node}");
            saga.record(Phase::Open, &title, core.now, core.now, Vec::new());
            saga.end_phase(core, Phase::Open);
        }
    }
}

/// The companions follow again, so that there is somebody to acknowledge.
fn reunite(saga: &mut Saga, plan: &Recovery, core: &mut Core) {
    let up = |node: &&NodeName| core.evidence.node(node).is_none_or(NodeEvidence::runs);
    let followers = plan.companions.iter().filter(|node| plan.claims.contains_key(*node)).filter(up).cloned().collect();
    let pending = promotion::follow_all(saga, &followers, &plan.node, core);
    let patient = plan.opened_at.is_some_and(|opened| core.now.since(opened) < REPOINT_PATIENCE);
    if pending && patient {
        return;
    }
    saga.end_phase(core, Phase::Repoint);
    let text = format!("{} is the primary again, with all that it held", plan.node);
    debug_assert_eq!(core.journal.role(&plan.node), Role::Primary, "a recovery moves no role");
    saga.record(Phase::Join, "take the primary's role up again", core.now, core.now, vec![text]);
    saga.finish(core, OperationState::Finished, None);
}
