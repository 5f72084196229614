//! A lost primary is replaced.
//!
//! `Waiting` (may it begin at all?) → `Revoking` (in parallel: the gateway holds, the old primary is fenced, every
//! acker stops receiving and says what it holds) → `Preparing` (the candidate applies all it has received, and
//! fetches what a better-informed survivor holds) → `Opening` (in parallel: the candidate is opened, the others
//! follow it; as soon as it is open, the gateway is told).
//!
//! A node is asked to open only after both proofs are in: the old primary can acknowledge nothing any more, and the
//! candidate holds all that could have been acknowledged (see [`crate::candidate`]). In the turn that asks, the
//! node becomes the keeper's `primary`, the one that may be open. Should it be lost before it has answered, it is
//! replaced by a promotion of its own, which fences it like any other.
//!
//! A promotion that cannot be done gives way to a [`crate::recovery`], where that is possible, and waits for a person
//! where it is not.

use crate::candidate::{self, Holding};
use crate::core::{Core, Owner};
use crate::health::{self, Loss, LossClass};
use crate::recovery;
use crate::saga::{Asked, Plan, Saga};
use crate::state::Standing;
use firedrill_model::command::FailureKind;
use firedrill_model::operation::Phase;
use firedrill_model::timeline::EventKind;
use firedrill_model::{
    CommandFailure, GtidPos, NodeCommand, NodeName, NodeReply, OperationKind, OperationState, Role, Severity, Span,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A promotion that may not begin waits this long before it calls a person: a missing answer or a debt of an acker
/// is usually there within a few round trips.
const PATIENCE: Span = Span::secs(1);

/// Fetching transactions that nobody was told OK for is worth this much outage; it spares a clone of the node that
/// has them.
const CATCH_UP_WITHIN: Span = Span::secs(1);

/// Nodes that do not follow the new primary within this are left to the upkeep.
pub(crate) const REPOINT_PATIENCE: Span = Span::secs(10);

/// A candidate that fails to drain this often is not asked any more.
const DRAIN_TRIES_MAX: u32 = 3;

/// What a promotion knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Promotion {
    /// The primary to be replaced.
    pub(crate) old: NodeName,
    pub(crate) loss: Loss,
    /// A person asked: limits and switches for automatic promotions do not count.
    pub(crate) requested: bool,
    /// This node and no other.
    pub(crate) target: Option<NodeName>,
    /// A person takes the loss of acknowledged writes upon them.
    pub(crate) without_proof: bool,
    stage: Stage,
    /// When it began to act.
    pub(crate) begun: Option<Timestamp>,
    /// The gateway was told to hold connections.
    held: bool,
    /// The journal of ackers at that moment.
    pub(crate) required: BTreeMap<NodeName, crate::ackers::Acker>,
    /// What the old primary had inherited.
    pub(crate) inherited: GtidPos,
    /// Others whose holdings are of use.
    optional: BTreeSet<NodeName>,
    pub(crate) holdings: BTreeMap<NodeName, Holding>,
    pub(crate) candidate: Option<NodeName>,
    /// Nodes that failed as candidates or as sources.
    pub(crate) rejected: BTreeSet<NodeName>,
    followers: BTreeSet<NodeName>,
    opened_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Waiting,
    Revoking,
    Preparing,
    Opening,
}

impl Promotion {
    pub(crate) fn new(old: NodeName, loss: Loss) -> Self {
        Self {
            old,
            loss,
            requested: false,
            target: None,
            without_proof: false,
            stage: Stage::Waiting,
            begun: None,
            held: false,
            required: BTreeMap::new(),
            inherited: GtidPos::default(),
            optional: BTreeSet::new(),
            holdings: BTreeMap::new(),
            candidate: None,
            rejected: BTreeSet::new(),
            followers: BTreeSet::new(),
            opened_at: None,
        }
    }

    /// The old primary is out of power and the new one is not open.
    pub(crate) fn vacates_primary(&self) -> bool {
        self.stage != Stage::Waiting && self.opened_at.is_none()
    }

    /// A node was asked to open: there is no way back and no choice any more.
    pub(crate) fn opening(&self) -> bool {
        self.stage == Stage::Opening
    }
}

/// Begins a promotion when the primary is lost, and lets it replace one whose candidate was lost in turn.
pub(crate) fn watch(core: &mut Core) {
    if core.journal.sagas.iter().any(|saga| matches!(saga.plan, Plan::Recovery(_))) {
        // It looks after the primary itself, and ends when it cannot.
        return;
    }
    let primary = core.journal.primary.clone();
    let Some(loss) = health::loss(core, &primary) else { return };
    let under_way = core.journal.sagas.iter().position(|saga| matches!(&saga.plan, Plan::Promotion(_)));
    if let Some(index) = under_way
        && let Some(mut saga) = core.journal.take_saga(index)
    {
        let Plan::Promotion(plan) = &mut saga.plan else { return core.journal.put_saga(index, saga, false) };
        if plan.old == primary {
            let news = plan.loss.class != loss.class && plan.loss.class != LossClass::ProcessGone;
            if news {
                plan.loss = loss;
            }
            return core.journal.put_saga(index, saga, news);
        }
        let state = if plan.opened_at.is_some() { OperationState::Finished } else { OperationState::Undone };
        let reason = format!("{primary} was lost while it took over: {}", loss.seen);
        saga.finish(core, state, Some(reason));
        core.close(saga);
        core.journal.edit();
    }
    begin(core, Promotion::new(primary, loss));
}

/// Begins a promotion; a switchover or a recovery that is under way ends here.
pub(crate) fn begin(core: &mut Core, plan: Promotion) -> firedrill_model::OperationId {
    preempt(core, |saga| matches!(saga.plan, Plan::Switchover(_) | Plan::Recovery(_)));
    let cause = format!("the primary {} is lost: {}", plan.old, plan.loss.seen);
    let (old, loss) = (plan.old.clone(), plan.loss.clone());
    let mut saga =
        Saga::begin(core, OperationKind::Promotion, &old, cause, Some(loss.failed_at), Plan::Promotion(plan));
    if loss.class != LossClass::Requested {
        saga.record(Phase::Detect, "notice the failure", loss.failed_at, core.now, vec![loss.seen]);
        saga.end_phase(core, Phase::Detect);
    }
    let id = saga.id().clone();
    core.journal.edit().sagas.insert(0, saga);
    id
}

/// Gives operations up in favour of the promotion; upkeep begins them again when it is over.
fn preempt(core: &mut Core, which: impl Fn(&Saga) -> bool) {
    let (ended, kept): (Vec<Saga>, Vec<Saga>) =
        std::mem::take(&mut core.journal.edit().sagas).into_iter().partition(which);
    core.journal.edit().sagas = kept;
    for mut saga in ended {
        if let Plan::Clone(plan) = &saga.plan {
            for command in crate::clone::aborts(&saga, plan) {
                let within = core.policy().step_within;
                core.perform(Owner::Nobody, command, within);
            }
        }
        saga.finish(core, OperationState::Undone, Some("a promotion of the primary goes first".to_owned()));
        core.close(saga);
    }
}

pub(crate) fn advance(saga: &mut Saga, mut plan: Promotion, core: &mut Core) {
    // Each stage hands over to the next within the same turn.
    loop {
        let stage = plan.stage;
        match stage {
            Stage::Waiting => waiting(saga, &mut plan, core),
            Stage::Revoking => revoking(saga, &mut plan, core),
            Stage::Preparing => preparing(saga, &mut plan, core),
            Stage::Opening => opening(saga, &mut plan, core),
        }
        if plan.stage == stage || saga.ended() {
            break;
        }
    }
    saga.plan = Plan::Promotion(plan);
}

/// May it begin? Until then nothing is touched: the primary may yet be serving behind a partition.
fn waiting(saga: &mut Saga, plan: &mut Promotion, core: &mut Core) {
    let back = health::loss(core, &plan.old).is_none()
        && core.evidence.status(&plan.old, core.now, core.policy().silent_after).is_some();
    if back && plan.loss.class != LossClass::Requested && !plan.requested {
        let reason = format!("{} answers again and was never touched", plan.old);
        return saga.finish(core, OperationState::Undone, Some(reason));
    }
    if let Err(obstacle) = candidate::may_begin(core, plan) {
        if core.waited(saga.operation.began) >= PATIENCE {
            stuck(saga, plan, core, obstacle);
        }
        return;
    }
    saga.goes_on();
    saga.record(Phase::Confirm, "make sure of it", saga.operation.began, core.now, vec![plan.loss.seen.clone()]);
    saga.end_phase(core, Phase::Confirm);
    preempt(core, |other| !matches!(other.plan, Plan::Promotion(_)));
    let now = core.now;
    let window = core.policy().flap_window;
    let state = core.journal.edit();
    state.generation = state.generation.next();
    state.promotions.retain(|at| now.since(*at) < window);
    if !plan.requested {
        state.promotions.push(now);
    }
    plan.required = state.ackers.of(&plan.old).map(|(node, entry)| (node.clone(), entry.clone())).collect();
    plan.inherited = core.journal.ackers.inherited().clone();
    plan.optional = candidate::optional(core, plan);
    plan.begun = Some(now);
    plan.stage = Stage::Revoking;
}

/// It cannot be done as things are: the old primary is started again where it was, or a person is called.
fn stuck(saga: &mut Saga, plan: &Promotion, core: &mut Core, obstacle: String) {
    if recovery::possible(core, plan) {
        recovery::instead(saga, plan, core, obstacle);
    } else {
        saga.needs_person(core, obstacle);
    }
}

/// Asks everybody at once; goes on when both proofs are in.
fn revoking(saga: &mut Saga, plan: &mut Promotion, core: &mut Core) {
    let begun = plan.begun.unwrap_or(core.now);
    let nodes: BTreeSet<NodeName> = plan.required.keys().chain(&plan.optional).chain(&plan.target).cloned().collect();
    let mut optional_missing = false;
    for node in nodes {
        let command = NodeCommand::StopReceiving { node: node.clone() };
        match saga.ask(core, Phase::Fence, command.clone()) {
            Asked::Done(NodeReply::Position { received, applied }) => {
                candidate::answered(
                    core,
                    plan,
                    &node,
                    Holding { received: received.union(&applied), applied, pid: None },
                );
            }
            Asked::Done(_) | Asked::Failed(_) => saga.again(core, &command),
            Asked::Waiting => optional_missing |= plan.optional.contains(&node),
        }
    }
    let fence = saga.insist(core, Phase::Fence, NodeCommand::Fence { node: plan.old.clone() });
    if !std::mem::replace(&mut plan.held, true) {
        core.route_to(None);
    }
    let waited = core.now.since(begun);
    let proofs = candidate::proofs(core, plan, fence.is_some());
    if let Some(missing) = proofs {
        let patience = if plan.without_proof || core.policy().promote_without_proof { Span::ZERO } else { PATIENCE };
        if core.waited(begun) >= patience.max(core.policy().straggler_within) {
            stuck(saga, plan, core, missing);
        }
        return;
    }
    if optional_missing && waited < core.policy().straggler_within {
        return;
    }
    match candidate::choose(core, plan) {
        Ok(candidate) => {
            saga.goes_on();
            saga.end_phase(core, Phase::Fence);
            saga.operation.partner = Some(candidate.clone());
            let lines = candidate::explain(plan, &candidate);
            saga.record(Phase::Drain, &format!("choose {candidate}"), core.now, core.now, lines);
            plan.candidate = Some(candidate);
            plan.stage = Stage::Preparing;
        }
        Err(missing) => {
            if core.waited(begun) >= PATIENCE {
                stuck(saga, plan, core, missing);
            }
        }
    }
}

/// The candidate applies what it has received and fetches what it lacks.
fn preparing(saga: &mut Saga, plan: &mut Promotion, core: &mut Core) {
    let Some(candidate) = plan.candidate.clone() else {
        plan.stage = Stage::Revoking;
        return;
    };
    if !candidate::alive(core, plan, &candidate) {
        return reject(saga, plan, core, candidate, "its server process is gone");
    }
    let Some(holding) = plan.holdings.get(&candidate).cloned() else { return };
    let source = candidate::better_informed(core, plan, &candidate);
    if !holding.applied.covers(&holding.received) {
        let drain = NodeCommand::Drain { node: candidate.clone(), until: holding.received.clone() };
        // The source can serve only what it has applied; it drains at the same time.
        let fed = source.as_ref().map(|source| drain_source(saga, plan, core, source));
        match saga.ask(core, Phase::Drain, drain.clone()) {
            Asked::Done(_) => {}
            Asked::Waiting => return,
            Asked::Failed(_) if saga.tries(&drain) < DRAIN_TRIES_MAX => return saga.again(core, &drain),
            Asked::Failed(failure) => return reject(saga, plan, core, candidate, &failure.message),
        }
        if fed == Some(None) {
            return;
        }
    }
    if let Some(source) = source {
        match catch_up(saga, plan, core, &candidate, &source) {
            Asked::Waiting => return,
            Asked::Done(NodeReply::Position { received, applied }) if gained(plan, &source, &received) => {
                let pid = holding.pid;
                plan.holdings.insert(candidate, Holding { received: received.union(&applied), applied, pid });
                // Another source may hold more still; each is asked once.
                return preparing(saga, plan, core);
            }
            Asked::Done(_) => return do_without(saga, plan, core, &source, "the candidate did not get it all"),
            Asked::Failed(failure) => return do_without(saga, plan, core, &source, &failure.message),
        }
    }
    saga.end_phase(core, Phase::Drain);
    hand_over(saga, plan, core, candidate);
}

/// `Some(true)` when the source has applied all it holds, `None` while it is at it.
fn drain_source(saga: &mut Saga, plan: &Promotion, core: &mut Core, source: &NodeName) -> Option<bool> {
    let holding = plan.holdings.get(source)?;
    if holding.applied.covers(&holding.received) {
        return Some(true);
    }
    let drain = NodeCommand::Drain { node: source.clone(), until: holding.received.clone() };
    match saga.ask_within(core, Phase::Drain, drain, source_within(core, plan)) {
        Asked::Waiting => None,
        Asked::Done(_) => Some(true),
        Asked::Failed(_) => Some(false),
    }
}

fn catch_up(saga: &mut Saga, plan: &Promotion, core: &mut Core, candidate: &NodeName, source: &NodeName) -> Asked {
    match drain_source(saga, plan, core, source) {
        None => return Asked::Waiting,
        Some(false) => {
            let message = format!("{source} did not apply what it has received");
            return Asked::Failed(CommandFailure { kind: FailureKind::Failed, message });
        }
        Some(true) => {}
    }
    let until = plan.holdings.get(source).map(|holding| holding.received.clone()).unwrap_or_default();
    let Some(endpoint) = core.journal.node(source).map(|node| node.endpoint) else { return Asked::Waiting };
    let command = NodeCommand::CatchUp { node: candidate.clone(), source: endpoint, until };
    saga.ask_within(core, Phase::Drain, command, source_within(core, plan))
}

/// What was never acknowledged is worth little waiting; what may have been is worth a lot.
fn source_within(core: &Core, plan: &Promotion) -> Span {
    if candidate::floor_covered(plan) { CATCH_UP_WITHIN } else { core.policy().step_within }
}

fn gained(plan: &Promotion, source: &NodeName, received: &GtidPos) -> bool {
    plan.holdings.get(source).is_some_and(|holding| received.covers(&holding.received))
}

/// Chooses anew, this source left out; the choice fails where the source's holdings cannot be done without.
fn do_without(saga: &mut Saga, plan: &mut Promotion, core: &Core, source: &NodeName, why: &str) {
    let title = format!("do without what only {source} holds");
    saga.record(Phase::Drain, &title, core.now, core.now, vec![why.to_owned()]);
    plan.rejected.insert(source.clone());
    plan.candidate = None;
    plan.stage = Stage::Revoking;
}

fn reject(saga: &mut Saga, plan: &mut Promotion, core: &Core, candidate: NodeName, why: &str) {
    saga.record(Phase::Drain, &format!("give {candidate} up as candidate"), core.now, core.now, vec![why.to_owned()]);
    plan.rejected.insert(candidate);
    plan.candidate = None;
    plan.stage = Stage::Revoking;
}

/// The one turn in which power moves: the candidate becomes the node that may be open, the list of ackers starts anew.
fn hand_over(saga: &mut Saga, plan: &mut Promotion, core: &mut Core, candidate: NodeName) {
    // Less than the floor only when a person has given the rest up.
    let held = plan.holdings.get(&candidate).map(|holding| holding.received.clone()).unwrap_or_default();
    let floor = candidate::floor(plan);
    let inherited = if held.covers(&floor) { floor } else { held };
    let state = core.journal.edit();
    state.primary = candidate.clone();
    state.semi_sync_seen = false;
    state.ackers.hand_over(inherited);
    if let Some(record) = state.nodes.get_mut(&plan.old) {
        record.standing = Standing::Doubtful { why: format!("it was replaced as primary by {candidate}") };
    }
    state.assign_roles();
    let others: Vec<NodeName> =
        state.names().into_iter().filter(|node| *node != candidate && *node != plan.old).collect();
    plan.followers = others
        .into_iter()
        .filter(|node| core.journal.in_service(node) && core.reachable(node))
        .filter(|node| core.journal.source_of(node).as_ref() == Some(&candidate))
        .filter(|node| core.evidence.node(node).is_none_or(|evidence| evidence.gone_since.is_none()))
        .collect();
    let text = format!("{candidate} takes over as primary from {}", plan.old);
    core.note_in(Severity::Warning, EventKind::Role, Some(&candidate), Some(saga.id()), text);
    plan.stage = Stage::Opening;
}

/// Opens the candidate and lets the others follow it, at the same time: without an acker its first write would wait.
fn opening(saga: &mut Saga, plan: &mut Promotion, core: &mut Core) {
    let Some(candidate) = plan.candidate.clone() else { return };
    let open = NodeCommand::Open { node: candidate.clone(), semi_sync: core.lossless() };
    let opened = saga.insist(core, Phase::Open, open).is_some();
    let pending = follow_all(saga, &plan.followers, &candidate, core);
    if opened && plan.opened_at.is_none() {
        plan.opened_at = Some(core.now);
        let began = core.now;
        core.route_to(Some(candidate.clone()));
        let title = format!("let the gateway send connections to {candidate}");
        saga.record(Phase::Open, &title, began, core.now, Vec::new());
        saga.end_phase(core, Phase::Open);
    }
    let Some(opened_at) = plan.opened_at else { return };
    if pending && core.now.since(opened_at) < REPOINT_PATIENCE {
        return;
    }
    saga.end_phase(core, Phase::Repoint);
    saga.finish(core, OperationState::Finished, None);
}

/// Re-points nodes to a new primary; true while an answer is missing. One that cannot follow is given to the upkeep.
pub(crate) fn follow_all(saga: &mut Saga, nodes: &BTreeSet<NodeName>, primary: &NodeName, core: &mut Core) -> bool {
    let Some(source) = core.journal.node(primary).map(|node| node.endpoint) else { return false };
    let mut pending = false;
    for node in nodes {
        let acker = core.lossless() && core.journal.role(node) == Role::Replica;
        let command = NodeCommand::Follow { node: node.clone(), source, acker };
        match saga.ask(core, Phase::Repoint, command) {
            Asked::Waiting => pending = true,
            Asked::Failed(failure) if failure.kind == FailureKind::Diverged => {
                crate::upkeep::diverged(core, node, &failure.message);
            }
            Asked::Done(_) | Asked::Failed(_) => {}
        }
    }
    pending
}
