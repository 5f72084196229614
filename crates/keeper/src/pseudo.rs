//! A lost pseudo-primary is replaced by the best of its replicas. No writer and no gateway is involved: nothing was
//! ever acknowledged there.

use crate::core::Core;
use crate::health::{self, Loss, LossClass};
use crate::promotion;
use crate::saga::{Asked, Plan, Saga};
use firedrill_model::operation::Phase;
use firedrill_model::timeline::EventKind;
use firedrill_model::{
    GtidPos, NodeCommand, NodeName, NodeReply, OperationKind, OperationState, RegionName, Role, Severity, Span,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A pseudo-replica that has not said what it holds within this is not waited for.
const ANSWER_WITHIN: Span = Span::secs(2);

/// What the replacement of a pseudo-primary knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PseudoPromotion {
    old: NodeName,
    region: RegionName,
    candidates: BTreeSet<NodeName>,
    /// What each of them has received.
    received: BTreeMap<NodeName, GtidPos>,
    chosen: Option<NodeName>,
}

/// Begins it when the pseudo-primary of a region is lost and somebody can take its place.
pub(crate) fn watch(core: &mut Core) {
    let feeders: Vec<NodeName> = core
        .journal
        .nodes
        .iter()
        .filter(|(_, record)| record.role == Role::PseudoPrimary)
        .map(|(node, _)| node.clone())
        .collect();
    for old in feeders {
        let under_way =
            core.journal.sagas.iter().any(|saga| matches!(saga.plan, Plan::Pseudo(_)) && saga.involves(&old));
        let Some(loss) = lost(core, &old).filter(|_| !under_way) else { continue };
        let Some(region) = core.journal.region_of(&old).cloned() else { continue };
        let candidates = candidates(core, &old);
        if !candidates.is_empty() {
            begin(core, old, region, &loss, candidates);
        }
    }
}

fn lost(core: &Core, node: &NodeName) -> Option<Loss> {
    if core.journal.in_service(node) {
        return health::loss(core, node);
    }
    let seen = "it was taken out of service".to_owned();
    Some(Loss { class: LossClass::Requested, failed_at: core.now, seen })
}

fn candidates(core: &Core, old: &NodeName) -> BTreeSet<NodeName> {
    core.journal
        .nodes
        .keys()
        .filter(|node| *node != old && core.journal.same_region(node, old) && core.journal.in_service(node))
        .filter(|node| {
            core.evidence.status(node, core.now, core.policy().silent_after).is_some() && core.reachable(node)
        })
        .cloned()
        .collect()
}

fn begin(core: &mut Core, old: NodeName, region: RegionName, loss: &Loss, candidates: BTreeSet<NodeName>) {
    let cause = format!("the pseudo-primary {old} of {region} is lost: {}", loss.seen);
    let plan = PseudoPromotion { old: old.clone(), region, candidates, received: BTreeMap::new(), chosen: None };
    let mut saga = Saga::begin(core, OperationKind::Promotion, &old, cause, Some(loss.failed_at), Plan::Pseudo(plan));
    saga.record(Phase::Detect, "notice the failure", loss.failed_at, core.now, vec![loss.seen.clone()]);
    saga.end_phase(core, Phase::Detect);
    core.journal.edit().sagas.push(saga);
}

pub(crate) fn advance(saga: &mut Saga, mut plan: PseudoPromotion, core: &mut Core) {
    if plan.chosen.is_none() {
        choose(saga, &mut plan, core);
    }
    if let Some(chosen) = plan.chosen.clone() {
        repoint(saga, &mut plan, core, &chosen);
    }
    saga.plan = Plan::Pseudo(plan);
}

fn choose(saga: &mut Saga, plan: &mut PseudoPromotion, core: &mut Core) {
    let mut missing = false;
    for node in plan.candidates.clone() {
        let command = NodeCommand::StopReceiving { node: node.clone() };
        match saga.ask_within(core, Phase::Drain, command, ANSWER_WITHIN) {
            Asked::Done(NodeReply::Position { received, applied }) => {
                plan.received.insert(node, received.union(&applied));
            }
            Asked::Waiting => missing = true,
            Asked::Done(_) | Asked::Failed(_) => {
                plan.candidates.remove(&node);
            }
        }
    }
    if missing && core.now.since(saga.operation.began) < ANSWER_WITHIN {
        return;
    }
    let mut best: Option<(&NodeName, &GtidPos)> = None;
    for (node, received) in plan.received.iter().filter(|(node, _)| plan.candidates.contains(*node)) {
        if best.is_none_or(|(_, other)| !other.covers(received)) {
            best = Some((node, received));
        }
    }
    let Some((chosen, _)) = best else {
        let reason = format!("no other node of {} answers; it is tried again when one does", plan.region);
        return saga.finish(core, OperationState::Undone, Some(reason));
    };
    let chosen = chosen.clone();
    saga.end_phase(core, Phase::Drain);
    let state = core.journal.edit();
    for (node, role) in [(&plan.old, Role::PseudoReplica), (&chosen, Role::PseudoPrimary)] {
        if let Some(record) = state.nodes.get_mut(node) {
            record.role = role;
        }
    }
    saga.operation.partner = Some(chosen.clone());
    let text = format!("{chosen} takes over as pseudo-primary of {} from {}", plan.region, plan.old);
    core.note_in(Severity::Warning, EventKind::Role, Some(&chosen), Some(saga.id()), text);
    plan.chosen = Some(chosen);
}

fn repoint(saga: &mut Saga, plan: &mut PseudoPromotion, core: &mut Core, chosen: &NodeName) {
    let primary = core.journal.primary.clone();
    let Some(source) = core.journal.node(&primary).map(|node| node.endpoint) else { return };
    let gone = core.evidence.node(chosen).is_some_and(|evidence| evidence.gone_since.is_some());
    let follow = NodeCommand::Follow { node: chosen.clone(), source, acker: false };
    match saga.ask(core, Phase::Repoint, follow) {
        Asked::Waiting if !gone => return,
        Asked::Done(_) => {}
        Asked::Waiting | Asked::Failed(_) => {
            let reason = format!("{chosen} could not follow {primary}; the upkeep goes on from there");
            return saga.finish(core, OperationState::Undone, Some(reason));
        }
    }
    // It serves the others only what it has applied, and must not be behind any of them.
    let until = plan.received.values().fold(GtidPos::default(), |all, one| all.union(one));
    match saga.ask(core, Phase::CatchUp, NodeCommand::AwaitPosition { node: chosen.clone(), until }) {
        Asked::Waiting => return,
        Asked::Done(_) | Asked::Failed(_) => saga.end_phase(core, Phase::CatchUp),
    }
    let others: BTreeSet<NodeName> = plan.received.keys().filter(|node| *node != chosen).cloned().collect();
    if promotion::follow_all(saga, &others, chosen, core) {
        return;
    }
    saga.end_phase(core, Phase::Repoint);
    saga.finish(core, OperationState::Finished, None);
}
