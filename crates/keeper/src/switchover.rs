//! The primary's role moves in peace: the old one is closed, the new one applies everything, is opened, and the
//! others follow it. Until the new one is asked to open, everything can be taken back.

use crate::core::Core;
use crate::promotion;
use crate::saga::{Asked, Plan, Saga};
use firedrill_model::operation::Phase;
use firedrill_model::timeline::EventKind;
use firedrill_model::{
    NodeCommand, NodeName, NodeReply, OperationId, OperationKind, OperationState, Severity, Span, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Writers wait at the gateway meanwhile; a target that has not caught up within this is not worth it.
pub(crate) const CLOSED_AT_MOST: Span = Span::secs(10);

/// Nodes that do not follow the new primary within this are left to the upkeep.
const REPOINT_PATIENCE: Span = Span::secs(10);

/// What a switchover knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Switchover {
    old: NodeName,
    to: NodeName,
    stage: Stage,
    followers: BTreeSet<NodeName>,
    opened_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Closing,
    Opening,
    Undoing { why: String },
}

impl Switchover {
    pub(crate) fn vacates_primary(&self) -> bool {
        self.opened_at.is_none()
    }

    /// It can still be taken back.
    pub(crate) fn reversible(&self) -> bool {
        self.stage == Stage::Closing
    }

    /// Takes it back from the next turn on.
    pub(crate) fn give_up(&mut self, why: String) {
        self.stage = Stage::Undoing { why };
    }
}

pub(crate) fn begin(core: &mut Core, to: NodeName) -> OperationId {
    let old = core.journal.primary.clone();
    let cause = format!("a switchover from {old} to {to} was asked for");
    let plan = Switchover {
        old: old.clone(),
        to: to.clone(),
        stage: Stage::Closing,
        followers: BTreeSet::new(),
        opened_at: None,
    };
    let mut saga = Saga::begin(core, OperationKind::Switchover, &old, cause, None, Plan::Switchover(plan));
    saga.operation.partner = Some(to);
    let id = saga.id().clone();
    let state = core.journal.edit();
    state.generation = state.generation.next();
    state.sagas.insert(0, saga);
    core.route_to(None);
    id
}

pub(crate) fn advance(saga: &mut Saga, mut plan: Switchover, core: &mut Core) {
    if plan.stage == Stage::Closing {
        closing(saga, &mut plan, core);
    }
    match plan.stage.clone() {
        Stage::Closing => {}
        Stage::Opening => opening(saga, &mut plan, core),
        Stage::Undoing { why } => undoing(saga, &plan, core, why),
    }
    saga.plan = Plan::Switchover(plan);
}

fn closing(saga: &mut Saga, plan: &mut Switchover, core: &mut Core) {
    let gone = core.evidence.node(&plan.to).is_some_and(|evidence| evidence.gone_since.is_some());
    if gone {
        return plan.give_up(format!("{} died", plan.to));
    }
    if core.now.since(saga.operation.began) >= CLOSED_AT_MOST {
        return plan.give_up(format!("{} had not caught up with {} within {CLOSED_AT_MOST}", plan.to, plan.old));
    }
    let close = NodeCommand::CloseWrites { node: plan.old.clone() };
    let Some(NodeReply::Position { received, applied }) = saga.insist(core, Phase::Fence, close) else { return };
    saga.end_phase(core, Phase::Fence);
    let until = received.union(&applied);
    let caught_up = NodeCommand::AwaitPosition { node: plan.to.clone(), until: until.clone() };
    match saga.ask_within(core, Phase::Drain, caught_up, CLOSED_AT_MOST) {
        Asked::Waiting => return,
        Asked::Failed(failure) => return plan.give_up(failure.message),
        Asked::Done(_) => saga.end_phase(core, Phase::Drain),
    }
    let state = core.journal.edit();
    state.primary = plan.to.clone();
    state.semi_sync_seen = false;
    state.ackers.hand_over(until);
    state.assign_roles();
    let others = core.journal.names().into_iter().filter(|node| *node != plan.to);
    plan.followers = others
        .filter(|node| core.journal.in_service(node) && core.reachable(node))
        .filter(|node| core.journal.source_of(node).as_ref() == Some(&plan.to))
        .filter(|node| core.evidence.node(node).is_none_or(|evidence| evidence.gone_since.is_none()))
        .collect();
    let text = format!("{} takes over as primary from {}", plan.to, plan.old);
    core.note_in(Severity::Info, EventKind::Role, Some(&plan.to), Some(saga.id()), text);
    plan.stage = Stage::Opening;
}

fn opening(saga: &mut Saga, plan: &mut Switchover, core: &mut Core) {
    let open = NodeCommand::Open { node: plan.to.clone(), semi_sync: core.lossless() };
    let opened = saga.insist(core, Phase::Open, open).is_some();
    let pending = promotion::follow_all(saga, &plan.followers, &plan.to, core);
    if opened && plan.opened_at.is_none() {
        plan.opened_at = Some(core.now);
        core.route_to(Some(plan.to.clone()));
        saga.end_phase(core, Phase::Open);
    }
    let Some(opened_at) = plan.opened_at else { return };
    if pending && core.now.since(opened_at) < REPOINT_PATIENCE {
        return;
    }
    saga.end_phase(core, Phase::Repoint);
    saga.finish(core, OperationState::Finished, None);
}

fn undoing(saga: &mut Saga, plan: &Switchover, core: &mut Core, why: String) {
    let reopen = NodeCommand::ReopenWrites { node: plan.old.clone() };
    if saga.insist(core, Phase::Undo, reopen).is_none() {
        return;
    }
    core.route_to(Some(plan.old.clone()));
    saga.end_phase(core, Phase::Undo);
    saga.finish(core, OperationState::Undone, Some(why));
}
