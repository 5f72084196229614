//! What is put right outside operations: every node is brought to what its role calls for, one command at a time,
//! and operations are begun for what a command cannot cure. A new cluster is brought up by the same rules.

use crate::core::{Core, Owner};
use crate::evidence::NodeEvidence;
use crate::health;
use crate::saga::Plan;
use crate::state::Standing;
use crate::{clone, pseudo, rejoin};
use firedrill_model::command::FailureKind;
use firedrill_model::observation::{Receiver, ServerStatus};
use firedrill_model::timeline::EventKind;
use firedrill_model::{CommandFailure, NodeCommand, NodeName, NodeReply, Role, Severity, Span};

/// An observation that arrives this soon after the answer to a command may have been made before it.
const OBSERVATION_LAG: Span = Span::millis(500);

/// Pause after a failed command of the upkeep, times the failures in a row, at most [`REST_MAX`].
const REST: Span = Span::millis(500);

/// See [`REST`].
const REST_MAX: Span = Span::secs(10);

/// A receiver or applier that is set going this often and stops again is broken beyond repair.
const REPAIRS_MAX: u32 = 6;

/// How many times [`firedrill_model::Policy::replace_replica_after`] a replica may hang before it is replaced: one
/// that hangs still has its data, and often comes back.
const HUNG_FACTOR: u32 = 15;

/// A node is taken for a second writer after so many observations in a row.
const WRITABLE_SIGHTINGS: u32 = 2;

pub(crate) fn run(core: &mut Core) {
    pseudo::watch(core);
    for node in core.journal.names() {
        if core.involved(&node) || !core.reachable(&node) {
            continue;
        }
        match core.journal.nodes.get(&node).map(|record| record.standing.clone()) {
            Some(Standing::InService) => in_service(core, &node),
            Some(Standing::Doubtful { why }) => {
                rejoin::begin(core, &node, why);
            }
            Some(Standing::Lost { why, by_hand: false }) => replace(core, &node, why),
            Some(Standing::Lost { .. }) | None => {}
        }
    }
}

/// The node's data is of no use: it is cloned, one at a time.
fn replace(core: &mut Core, node: &NodeName, why: String) {
    let busy = core.journal.sagas.iter().any(|saga| matches!(saga.plan, Plan::Clone(_)));
    if core.policy().automatic_clone && !busy {
        clone::begin(core, node, why, None);
    }
}

fn in_service(core: &mut Core, node: &NodeName) {
    let Some(evidence) = core.evidence.node(node).cloned() else { return };
    let primary = *node == core.journal.primary;
    if !primary && let Some(why) = beyond_help(core, &evidence) {
        let text = format!("{node} is given up: {why}");
        core.note(Severity::Warning, EventKind::Health, Some(node), text);
        if let Some(record) = core.journal.edit().nodes.get_mut(node) {
            record.standing = Standing::Lost { why, by_hand: false };
        }
        core.journal.edit().assign_roles();
        return;
    }
    let lagging = evidence.commanded_at.is_some_and(|at| evidence.observed_at.since(at) < OBSERVATION_LAG);
    let resting = core.upkeep_after.get(node).is_some_and(|until| core.now < *until);
    let Some(status) = evidence
        .status()
        .filter(|_| !lagging && core.now.since(evidence.observed_at) < core.policy().silent_after)
        .cloned()
    else {
        return;
    };
    if core.busy(node) || resting {
        return;
    }
    if primary {
        keep_primary(core, node, &status);
    } else if status.read_only {
        if let Some(evidence) = core.evidence.node_mut(node) {
            evidence.writable_in_a_row = 0;
        }
        keep_follower(core, node, &status);
    } else {
        second_writer(core, node);
    }
}

/// A dead or hung node that has had its time to come back.
fn beyond_help(core: &Core, evidence: &NodeEvidence) -> Option<String> {
    let patience = core.policy().replace_replica_after;
    if !core.policy().automatic_clone {
        return None;
    }
    if let Some(since) = evidence.gone_since {
        let gone = core.now.since(since);
        return (gone >= patience).then(|| format!("its server process has been gone for {gone}"));
    }
    let unanswered = evidence.observation.unanswered_for;
    let hung = evidence.status().is_none() && unanswered.duration() >= patience.duration().saturating_mul(HUNG_FACTOR);
    hung.then(|| format!("its server process has not answered for {unanswered}"))
}

/// Two nodes that take writes are the worst there is: the wrong one is killed at once.
fn second_writer(core: &mut Core, node: &NodeName) {
    let Some(evidence) = core.evidence.node_mut(node) else { return };
    evidence.writable_in_a_row += 1;
    if evidence.writable_in_a_row < WRITABLE_SIGHTINGS {
        return;
    }
    evidence.writable_in_a_row = 0;
    let primary = core.journal.primary.clone();
    let text = format!(
        "{node} takes writes although {primary} is the primary: it is fenced now, compared with the primary and taken \
         back or cloned anew; find out who opened it"
    );
    core.note(Severity::Critical, EventKind::Health, Some(node), text);
    if let Some(record) = core.journal.edit().nodes.get_mut(node) {
        record.standing = Standing::Doubtful { why: "it took writes without being the primary".to_owned() };
    }
}

fn keep_primary(core: &mut Core, node: &NodeName, status: &ServerStatus) {
    let semi_sync = core.lossless();
    let as_wanted = !status.read_only
        && status.semi_sync.primary_enabled == semi_sync
        && (!semi_sync || status.semi_sync.primary_active)
        && status.replication.is_none();
    if as_wanted {
        core.upkeep_failures.remove(node);
    } else if health::loss(core, node).is_none() {
        repair(core, node, NodeCommand::Open { node: node.clone(), semi_sync });
    }
    if !status.read_only && core.journal.route.as_ref() != Some(node) {
        core.route_to(Some(node.clone()));
    }
    let blocked = semi_sync && status.semi_sync.ackers_connected == 0 && status.semi_sync.waiting_sessions > 0;
    if blocked {
        let text = format!(
            "{} writes wait on {node}: no replica acknowledges. Replicas of its region are being brought back; writes go \
             on with the first",
            status.semi_sync.waiting_sessions
        );
        core.complain(Severity::Critical, node, "no-acker", text);
    } else if status.semi_sync.ackers_connected > 0 {
        core.complaint_over(node, "no-acker", format!("writes on {node} are acknowledged again"));
    }
}

/// Follows the right source, with the acker side as its role calls for.
fn keep_follower(core: &mut Core, node: &NodeName, status: &ServerStatus) {
    let Some(source) = core.journal.source_of(node) else { return };
    let Some(endpoint) = core.journal.node(&source).map(|node| node.endpoint) else { return };
    if core.evidence.node(&source).is_some_and(|evidence| evidence.gone_since.is_some()) {
        return;
    }
    let acker = core.lossless() && core.journal.role(node) == Role::Replica;
    let replication = status.replication.as_ref();
    if let Some(error) = replication.and_then(|one| one.receiver_error.as_ref())
        && replication.is_some_and(|one| one.receiver == Receiver::Stopped && one.source == endpoint)
        && error.starts_with("1236")
    {
        let error = error.clone();
        return diverged(core, node, &error);
    }
    let follows = replication
        .is_some_and(|one| one.source == endpoint && one.receiver != Receiver::Stopped && one.applier_running);
    let connected = replication.is_some_and(|one| one.receiver == Receiver::Connected);
    let command = if !follows {
        NodeCommand::Follow { node: node.clone(), source: endpoint, acker }
    } else if status.semi_sync.acker_enabled != acker
        || acker && connected && !status.semi_sync.acker_active
        || crate::ackers::unsettled(core, node)
    {
        NodeCommand::SetAcker { node: node.clone(), on: acker }
    } else {
        if connected {
            core.upkeep_failures.remove(node);
        }
        return;
    };
    let repairs = core.upkeep_failures.get(node).copied().unwrap_or(0);
    if repairs >= REPAIRS_MAX
        && let Some(error) = replication.and_then(|one| one.applier_error.clone())
    {
        return diverged(core, node, &error);
    }
    repair(core, node, command);
}

/// Sends a command of the upkeep; the same node is not bothered again for a while that grows with each time in a row.
fn repair(core: &mut Core, node: &NodeName, command: NodeCommand) {
    let repairs = core.upkeep_failures.entry(node.clone()).or_insert(0);
    *repairs = repairs.saturating_add(1);
    let repairs = *repairs;
    let pause = REST.duration().saturating_mul(repairs).min(REST_MAX.duration());
    let until = core.now + Span(pause);
    core.upkeep_after.insert(node.clone(), until);
    let within = core.policy().step_within;
    core.perform(Owner::Upkeep, command, within);
}

/// A command of the upkeep was answered.
pub(crate) fn answered(
    core: &mut Core,
    node: &NodeName,
    command: &NodeCommand,
    result: &Result<NodeReply, CommandFailure>,
) {
    match result {
        Ok(_) => {
            core.complaint_over(node, "upkeep", format!("{node} takes commands again"));
            if matches!(command, NodeCommand::Open { .. }) && *node == core.journal.primary {
                core.route_to(Some(node.clone()));
            }
        }
        Err(failure) if failure.kind == FailureKind::Diverged => diverged(core, node, &failure.message),
        Err(failure) => {
            let title = crate::text::command_title(command);
            let text = format!("{node} did not do as asked ({title}) and is asked again: {}", failure.message);
            core.complain(Severity::Warning, node, "upkeep", text);
        }
    }
}

/// The node was refused by its source: it is compared with the others, and what only it has is listed, before it is
/// made anew.
pub(crate) fn diverged(core: &mut Core, node: &NodeName, why: &str) {
    if core.involved(node) || *node == core.journal.primary || !core.journal.in_service(node) {
        return;
    }
    if let Some(record) = core.journal.edit().nodes.get_mut(node) {
        record.standing = Standing::Doubtful { why: format!("it cannot follow its source: {why}") };
    }
    core.journal.edit().assign_roles();
}
