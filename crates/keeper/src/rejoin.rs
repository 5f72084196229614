//! A node that was the primary comes back, or a node turns out to hold transactions of its own: it takes its place
//! again when its history is a part of the primary's, and is made anew when it is not. What only it has is listed
//! before it is given up.

use crate::core::Core;
use crate::saga::{Asked, Plan, Saga};
use crate::state::Standing;
use firedrill_model::command::FailureKind;
use firedrill_model::operation::Phase;
use firedrill_model::timeline::EventKind;
use firedrill_model::{
    Gtid, GtidPos, GtidState, NodeCommand, NodeName, NodeReply, OperationId, OperationKind, OperationState, Role,
    Severity,
};
use serde::{Deserialize, Serialize};

/// A node that cannot be started or made to follow this often is made anew instead.
const TRIES_MAX: u32 = 6;

/// What a rejoin knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rejoin {
    /// Why it cannot be taken back.
    refused: Option<String>,
    /// What it held when it was started.
    started: Option<GtidState>,
    /// What only it holds; known once compared.
    own: Option<Vec<(Gtid, Gtid)>>,
    /// Where the primary stood when the node began to follow.
    until: Option<GtidPos>,
}

pub(crate) fn begin(core: &mut Core, node: &NodeName, cause: String) -> OperationId {
    let plan = Rejoin { refused: None, started: None, own: None, until: None };
    let saga = Saga::begin(core, OperationKind::Rejoin, node, cause, None, Plan::Rejoin(plan));
    let id = saga.id().clone();
    core.journal.edit().sagas.push(saga);
    id
}

pub(crate) fn advance(saga: &mut Saga, mut plan: Rejoin, core: &mut Core) {
    let node = saga.operation.subject.clone();
    if plan.own.is_none() {
        compare(saga, &mut plan, core, &node);
    }
    match plan.own.clone() {
        None => {}
        Some(own) if own.is_empty() && plan.refused.is_none() => follow(saga, &mut plan, core, &node),
        Some(own) => give_up(saga, &plan, core, &node, own),
    }
    saga.plan = Plan::Rejoin(plan);
}

/// Starts the node read-only and compares what it holds with what the others hold.
fn compare(saga: &mut Saga, plan: &mut Rejoin, core: &mut Core, node: &NodeName) {
    // Also when it seems to be gone: what is not fenced may still be open for writes.
    if saga.insist(core, Phase::Fence, NodeCommand::Fence { node: node.clone() }).is_none() {
        return;
    }
    saga.end_phase(core, Phase::Fence);
    let start = NodeCommand::Start { node: node.clone() };
    match saga.insist(core, Phase::Prepare, start.clone()) {
        Some(NodeReply::Started { binlog_state, .. }) => plan.started = Some(binlog_state),
        _ if saga.tries(&start) > TRIES_MAX => plan.refused = Some("its server process cannot be started".to_owned()),
        _ => return,
    }
    saga.end_phase(core, Phase::Prepare);
    let Some(reference) = reference(core, node) else { return };
    let own = plan.started.as_ref().map(|state| beyond(core, state, &reference)).unwrap_or_default();
    let ranges: Vec<String> = own.iter().map(|(first, last)| format!("{first}..{last}")).collect();
    let line = if own.is_empty() {
        format!("all that {node} holds is held by the primary too")
    } else {
        format!("only {node} holds {}", ranges.join(", "))
    };
    saga.record(Phase::Check, "compare its binary log with the primary's", core.now, core.now, vec![line]);
    saga.end_phase(core, Phase::Check);
    plan.own = Some(own);
}

/// What the nodes in service hold together; `None` until the primary has reported. A node that was cloned does not
/// know the older part of the common history by its binary log, another one does.
pub(crate) fn reference(core: &Core, but: &NodeName) -> Option<GtidState> {
    let within = core.policy().silent_after;
    core.evidence.status(&core.journal.primary, core.now, within)?;
    let states = core
        .journal
        .nodes
        .keys()
        .filter(|node| *node != but && core.journal.in_service(node))
        .filter_map(|node| core.evidence.status(node, core.now, within))
        .flat_map(|status| status.binlog_state.iter().collect::<Vec<_>>());
    Some(states.collect())
}

/// Ranges that `state` holds beyond the reference, but for the present primary's own newest writes: those are only
/// newer than the reference.
pub(crate) fn beyond(core: &Core, state: &GtidState, reference: &GtidState) -> Vec<(Gtid, Gtid)> {
    let primary = core.journal.node(&core.journal.primary).map(|node| node.server_id);
    state.beyond(reference).into_iter().filter(|(_, last)| Some(last.server) != primary).collect()
}

fn follow(saga: &mut Saga, plan: &mut Rejoin, core: &mut Core, node: &NodeName) {
    let Some(source) =
        core.journal.source_of(node).and_then(|source| core.journal.node(&source)).map(|one| one.endpoint)
    else {
        return;
    };
    let acker = core.lossless() && core.journal.role(node) == Role::Replica;
    let command = NodeCommand::Follow { node: node.clone(), source, acker };
    match saga.ask(core, Phase::CatchUp, command.clone()) {
        Asked::Waiting => return,
        Asked::Done(_) => {}
        Asked::Failed(failure) => {
            if failure.kind == FailureKind::Diverged || saga.tries(&command) > TRIES_MAX {
                plan.refused = Some(failure.message);
            } else {
                saga.again(core, &command);
            }
            return;
        }
    }
    let primary = core.journal.primary.clone();
    let within = core.policy().silent_after;
    if plan.until.is_none() {
        plan.until = core.evidence.status(&primary, core.now, within).map(|status| status.binlog_state.position());
    }
    let Some(until) = plan.until.clone() else { return };
    let caught_up = NodeCommand::AwaitPosition { node: node.clone(), until };
    if saga.insist(core, Phase::CatchUp, caught_up.clone()).is_none() {
        if saga.tries(&caught_up) > TRIES_MAX {
            plan.refused = Some("it does not apply what it receives".to_owned());
        }
        return;
    }
    saga.end_phase(core, Phase::CatchUp);
    join(core, node);
    saga.record(Phase::Join, "take it back into service", core.now, core.now, Vec::new());
    saga.end_phase(core, Phase::Join);
    saga.finish(core, OperationState::Finished, None);
}

/// The node is in service from now on, in the role that is free for it.
pub(crate) fn join(core: &mut Core, node: &NodeName) {
    let state = core.journal.edit();
    if let Some(record) = state.nodes.get_mut(node) {
        record.standing = Standing::InService;
    }
    state.assign_roles();
    core.upkeep_failures.remove(node);
    let text = format!("{node} is in service as {}", core.journal.role(node));
    core.note(Severity::Info, EventKind::Role, Some(node), text);
}

/// Lists what only this node has, then leaves it to a clone.
fn give_up(saga: &mut Saga, plan: &Rejoin, core: &mut Core, node: &NodeName, own: Vec<(Gtid, Gtid)>) {
    let mut why = plan.refused.clone().unwrap_or_else(|| "it holds transactions of its own".to_owned());
    if !own.is_empty() {
        let list = NodeCommand::ListTransactions { node: node.clone(), ranges: own.clone() };
        let total = match saga.ask(core, Phase::Check, list.clone()) {
            Asked::Waiting => return,
            Asked::Done(NodeReply::Transactions { total, .. }) => format!("{total}"),
            Asked::Failed(_) if saga.tries(&list) <= TRIES_MAX => return saga.again(core, &list),
            Asked::Done(_) | Asked::Failed(_) => "an unknown number of".to_owned(),
        };
        let ranges: Vec<String> = own.iter().map(|(first, last)| format!("{first}..{last}")).collect();
        why = format!("it holds {total} transactions of its own ({})", ranges.join(", "));
        let text = format!(
            "{node} holds {total} transactions that the cluster does not have ({}); they are listed in operation {}, the \
             node's data is set aside and it is cloned anew",
            ranges.join(", "),
            saga.id()
        );
        core.note_in(Severity::Warning, EventKind::Health, Some(node), Some(saga.id()), text);
    }
    if let Some(record) = core.journal.edit().nodes.get_mut(node) {
        record.standing = Standing::Lost { why: why.clone(), by_hand: false };
    }
    saga.finish(core, OperationState::Undone, Some(format!("{why}; it is made anew by a clone")));
}
