//! When a promotion may begin, when it may open a node, and which one.

use crate::ackers::Acker;
use crate::core::Core;
use crate::health::LossClass;
use crate::promotion::Promotion;
use crate::state::Standing;
use firedrill_model::{GtidPos, NodeName, Role, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// With a person's leave to do without proof, the ackers still get this long to answer.
const WITHOUT_PROOF_PATIENCE: Span = Span::secs(1);

/// What a node said that it holds, after it stopped receiving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Holding {
    /// Everything it holds.
    pub(crate) received: GtidPos,
    /// Of it, what is applied.
    pub(crate) applied: GtidPos,
    /// The server process that said so: another one has lost the relay log.
    pub(crate) pid: Option<u32>,
}

impl Holding {
    /// Better to open than the other: it holds more, or the same and has applied more of it, which is outage spared.
    fn outranks(&self, other: &Self) -> bool {
        let same = self.received.covers(&other.received) && other.received.covers(&self.received);
        !other.received.covers(&self.received) || (same && !other.applied.covers(&self.applied))
    }
}

/// May the promotion begin to act? Otherwise says why not, and what to do.
pub(crate) fn may_begin(core: &Core, plan: &Promotion) -> Result<(), String> {
    if plan.without_proof {
        return Ok(());
    }
    let old = &plan.old;
    let policy = core.policy();
    if !plan.requested {
        if !policy.automatic_promotion {
            return Err(format!("{old} is lost and automatic promotion is off; promote by hand"));
        }
        let recent = core.journal.promotions.iter().filter(|at| core.now.since(**at) < policy.flap_window).count();
        if recent >= usize::try_from(policy.promotions_max).unwrap_or(usize::MAX) {
            return Err(format!(
                "{old} is lost, and there were {recent} promotions within {} already: find out why primaries fail, then promote by hand",
                policy.flap_window
            ));
        }
    }
    if !core.lossless() && !policy.promote_without_proof {
        return Err(format!(
            "{old} is lost, and on an asynchronous cluster the newest acknowledged writes may be on it alone: bring it \
             back, or promote without proof"
        ));
    }
    match plan.loss.class {
        LossClass::ProcessGone => Ok(()),
        LossClass::Hung | LossClass::Requested if policy.promote_without_proof || !core.lossless() => Ok(()),
        LossClass::Silent if !core.lossless() => Err(format!(
            "{old} is silent and its host cannot be reached to fence it; on an asynchronous cluster it may still be \
             acknowledging writes: reach or power off its host, then promote without proof"
        )),
        LossClass::Hung | LossClass::Silent | LossClass::Requested => provable(core, plan),
    }
}

/// An old primary that may still be serving is not touched before everybody who must answer can.
fn provable(core: &Core, plan: &Promotion) -> Result<(), String> {
    if plan.loss.class == LossClass::Silent && !core.journal.semi_sync_seen {
        return Err(format!(
            "{} is silent, cannot be fenced, and was not seen in lossless mode, so that it may be acknowledging writes \
             alone: reach or power off its host, then promote without proof",
            plan.old
        ));
    }
    let within = core.policy().silent_after;
    for (node, entry) in core.journal.ackers.of(&plan.old) {
        let heard = core.evidence.status(node, core.now, within).is_some() && core.reachable(node);
        if entry.acks_for(&plan.old) && !heard {
            return Err(may_hold(core, plan, node, "does not answer"));
        }
        if entry.debt.as_ref().is_some_and(|debt| debt.barrier.is_none()) {
            return Err(may_hold(core, plan, node, "was restarted"));
        }
    }
    if core.journal.ackers.of(&plan.old).next().is_none() {
        return Err(format!("{} is lost and no node was acknowledging for it; bring it back", plan.old));
    }
    Ok(())
}

fn may_hold(core: &Core, plan: &Promotion, node: &NodeName, how: &str) -> String {
    let host = core.host_of(node).map(|host| host.to_string()).unwrap_or_default();
    let link = if core.reachable(node) { "its agent reports" } else { "its agent is not connected" };
    format!(
        "{} is lost, and {node} on {host} may hold acknowledged writes that no other node has, but {how} ({link}). The \
         promotion goes on by itself when that is settled; or promote without proof and lose them",
        plan.old
    )
}

/// Nodes that need not answer but may know more, or be candidates: replicas beside the old primary that are no
/// ackers, and the pseudo-primaries.
pub(crate) fn optional(core: &Core, plan: &Promotion) -> BTreeSet<NodeName> {
    let near = |node: &NodeName| core.journal.same_region(node, &plan.old) || plan.target.as_ref() == Some(node);
    core.journal
        .nodes
        .iter()
        .filter(|(node, record)| near(node) || record.role == Role::PseudoPrimary)
        .filter(|(node, record)| {
            **node != plan.old && record.standing == Standing::InService && !plan.required.contains_key(*node)
        })
        .filter(|(node, _)| core.reachable(node) && core.evidence.node(node).is_none_or(|one| one.gone_since.is_none()))
        .map(|(node, _)| node.clone())
        .collect()
}

/// A node has stopped receiving and says what it holds. One that was restarted since it acknowledged is taken for
/// what it is: its relay log is gone.
pub(crate) fn answered(core: &Core, plan: &mut Promotion, node: &NodeName, holding: Holding) {
    if plan.holdings.contains_key(node) {
        return;
    }
    let restarted = core.journal.ackers.get(node).and_then(|entry| entry.debt.clone());
    if let Some(entry) = plan.required.get_mut(node).filter(|entry| entry.debt.is_none()) {
        entry.debt = restarted;
    }
    let pid = core.journal.nodes.get(node).and_then(|record| record.pid);
    plan.holdings.insert(node.clone(), Holding { pid, ..holding });
}

/// What stands against opening a node now: `None` when the old primary can acknowledge nothing any more and all that
/// it did acknowledge is accounted for.
pub(crate) fn proofs(core: &Core, plan: &Promotion, fenced: bool) -> Option<String> {
    let waited = plan.begun.map_or(Span::ZERO, |begun| core.now.since(begun));
    let missing = unaccounted(core, plan);
    let stopped =
        plan.required.iter().all(|(node, entry)| !entry.acks_for(&plan.old) || plan.holdings.contains_key(node));
    let gone = plan.loss.class == LossClass::ProcessGone || fenced;
    // Without an acker a lossless primary acknowledges nothing, however alive it is.
    let revoked = core.lossless() && core.journal.semi_sync_seen && stopped;
    if plan.without_proof {
        let answered = missing.is_none() && (gone || revoked);
        return (!answered && waited < WITHOUT_PROOF_PATIENCE).then(|| "the last answers are waited for".to_owned());
    }
    if !gone && !revoked {
        return Some(missing.unwrap_or_else(|| {
            format!(
                "{} cannot be fenced, its host does not answer: reach or power off its host, then promote without proof",
                plan.old
            )
        }));
    }
    if core.policy().promote_without_proof {
        return (missing.is_some() && waited < core.policy().straggler_within)
            .then(|| "the last answers are waited for".to_owned());
    }
    missing
}

/// Names an acker that may hold what nobody else has.
fn unaccounted(core: &Core, plan: &Promotion) -> Option<String> {
    plan.required.iter().find_map(|(node, entry)| {
        if entry.acks_for(&plan.old) && !plan.holdings.contains_key(node) {
            return Some(may_hold(core, plan, node, "has not answered"));
        }
        if entry.debt.as_ref().is_some_and(|debt| debt.barrier.is_none()) {
            return Some(may_hold(core, plan, node, "was restarted before another acker had all it had acknowledged"));
        }
        None
    })
}

/// Everything that could have been acknowledged, by the old primary or before it: the new primary must hold it.
pub(crate) fn floor(plan: &Promotion) -> GtidPos {
    plan.required.iter().fold(plan.inherited.clone(), |floor, (node, Acker { debt, .. })| {
        let floor = plan.holdings.get(node).map_or(floor.clone(), |holding| floor.union(&holding.received));
        debt.as_ref().and_then(|debt| debt.barrier.as_ref()).map_or(floor.clone(), |barrier| floor.union(barrier))
    })
}

/// The candidate holds everything that could have been acknowledged.
pub(crate) fn floor_covered(plan: &Promotion) -> bool {
    let candidate = plan.candidate.as_ref().and_then(|candidate| plan.holdings.get(candidate));
    candidate.is_some_and(|holding| holding.received.covers(&floor(plan)))
}

/// The process that answered is still the one that runs.
pub(crate) fn alive(core: &Core, plan: &Promotion, node: &NodeName) -> bool {
    let pid = core.journal.nodes.get(node).and_then(|record| record.pid);
    let gone = core.evidence.node(node).is_some_and(|evidence| evidence.gone_since.is_some());
    plan.holdings.get(node).is_some_and(|holding| holding.pid.is_none() || holding.pid == pid) && !gone
}

fn usable(core: &Core, plan: &Promotion, node: &NodeName) -> bool {
    core.journal.in_service(node) && *node != plan.old && !plan.rejected.contains(node) && alive(core, plan, node)
}

/// The node to be opened: the one asked for, else the best-informed beside the old primary. `Err` says why there is
/// none.
pub(crate) fn choose(core: &Core, plan: &Promotion) -> Result<NodeName, String> {
    let eligible = |node: &NodeName| match &plan.target {
        Some(target) => target == node,
        None => core.journal.same_region(node, &plan.old),
    };
    let mut best: Option<(&NodeName, &Holding)> = None;
    for (node, holding) in plan.holdings.iter().filter(|(node, _)| eligible(node) && usable(core, plan, node)) {
        if best.is_none_or(|(_, other)| holding.outranks(other)) {
            best = Some((node, holding));
        }
    }
    let Some((node, holding)) = best else {
        return Err(match &plan.target {
            Some(target) => {
                format!("{target} does not answer, so it cannot take over from {}; name another node", plan.old)
            }
            None => format!(
                "{} is lost and no node of its region can take over: bring one back, or promote a pseudo-primary by \
                 hand (writes that never reached it are lost)",
                plan.old
            ),
        });
    };
    let excused = plan.without_proof || core.policy().promote_without_proof;
    let floor = floor(plan);
    let reachable = plan
        .holdings
        .iter()
        .filter(|(node, _)| usable(core, plan, node))
        .fold(holding.received.clone(), |all, (_, one)| all.union(&one.received));
    if !excused && !reachable.covers(&floor) {
        return Err(format!(
            "{} is lost; acknowledged writes reach up to {floor}, and of the nodes that are left {node} holds most, up \
             to {}: bring back the node that had the rest, or promote without proof and lose {} transactions",
            plan.old,
            holding.received,
            reachable.missing_from(&floor)
        ));
    }
    Ok(node.clone())
}

/// The survivor that holds most beyond the candidate, when one does.
pub(crate) fn better_informed(core: &Core, plan: &Promotion, candidate: &NodeName) -> Option<NodeName> {
    let own = &plan.holdings.get(candidate)?.received;
    let mut best: Option<(&NodeName, &GtidPos)> = None;
    for (node, holding) in plan.holdings.iter().filter(|(node, _)| *node != candidate && usable(core, plan, node)) {
        let better = best.is_none_or(|(_, other)| !other.covers(&holding.received));
        if !own.covers(&holding.received) && better {
            best = Some((node, &holding.received));
        }
    }
    best.map(|(node, _)| node.clone())
}

/// Who held what, for the step log.
pub(crate) fn explain(plan: &Promotion, chosen: &NodeName) -> Vec<String> {
    plan.holdings
        .iter()
        .map(|(node, holding)| {
            let mark = if node == chosen { " (chosen)" } else { "" };
            format!("{node} has received {} and applied {}{mark}", holding.received, holding.applied)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(received: &str, applied: &str) -> Holding {
        let position = |text: &str| text.parse().expect("a position");
        Holding { received: position(received), applied: position(applied), pid: None }
    }

    #[test]
    fn what_was_received_counts_first_and_then_what_was_applied() {
        let behind = holding("0-1-10", "0-1-4");
        let drained = holding("0-1-10", "0-1-10");
        let ahead = holding("0-1-11", "0-1-4");
        assert!(drained.outranks(&behind) && !behind.outranks(&drained));
        assert!(ahead.outranks(&drained) && !drained.outranks(&ahead), "an acknowledged write is worth any wait");
        assert!(!drained.outranks(&drained.clone()));
    }
}
