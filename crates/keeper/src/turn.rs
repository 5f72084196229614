//! One turn: what is looked at, in which order.

use crate::core::{Call, Core, Owner};
use crate::event::{Action, CallId, Event};
use crate::saga::{Plan, Saga};
use crate::{ackers, clone, health, promotion, pseudo, recovery, rejoin, switchover, upkeep};
use firedrill_model::command::FailureKind;
use firedrill_model::observation::ProcessState;
use firedrill_model::timeline::EventKind;
use firedrill_model::{
    CommandFailure, Health, HostName, NodeCommand, NodeName, NodeObservation, NodeReply, Severity, Timestamp,
};

/// An operation that ends can make room for the next one in the same turn; more rounds than this have no reason.
const ROUNDS_MAX: usize = 4;

pub(crate) fn take(core: &mut Core, now: Timestamp, event: Event) -> Vec<Action> {
    core.now = now;
    match event {
        Event::Tick => {}
        Event::Observed(observation) => observed(core, observation),
        Event::HostConnected(host) => host_changed(core, &host, true),
        Event::HostLost(host) => host_changed(core, &host, false),
        Event::Answered { call, result } => answered(core, call, result),
    }
    for call in core.overdue() {
        answered(core, call, Err(Core::overdue_failure()));
    }
    finish_turn(core)
}

/// Goes on after a restart: what was asked and not answered is asked again.
pub(crate) fn resume(core: &mut Core) -> Vec<Action> {
    let ended: Vec<Action> = core.journal.ended.iter().cloned().map(Action::Operation).collect();
    core.actions.extend(ended);
    for index in 0..core.journal.sagas.len() {
        if let Some(saga) = core.journal.take_saga(index) {
            saga.reissue(core);
            core.journal.put_saga(index, saga, false);
        }
    }
    finish_turn(core)
}

/// Decides, then hands out the actions: calls first, because somebody waits for them.
pub(crate) fn finish_turn(core: &mut Core) -> Vec<Action> {
    think(core);
    let changed: Vec<_> = core
        .journal
        .sagas
        .iter()
        .map(|saga| saga.operation.clone())
        .filter(|operation| core.shown.get(&operation.id) != Some(operation))
        .collect();
    for operation in changed {
        core.shown.insert(operation.id.clone(), operation.clone());
        core.actions.push(Action::Operation(operation));
    }
    core.journal.seal();
    let (calls, others): (Vec<Action>, Vec<Action>) =
        std::mem::take(&mut core.actions).into_iter().partition(|action| matches!(action, Action::Perform { .. }));
    calls.into_iter().chain(others).collect()
}

fn think(core: &mut Core) {
    say_health(core);
    for _ in 0..ROUNDS_MAX {
        let before = core.journal.sagas.len();
        promotion::watch(core);
        advance(core);
        if !core.frozen() {
            ackers::pay(core);
            upkeep::run(core);
        } else if !core.promoting() {
            ackers::pay(core);
        }
        if core.journal.sagas.len() == before {
            break;
        }
    }
    core.repeat_route();
}

/// Runs every operation that is not frozen as far as it comes.
fn advance(core: &mut Core) {
    let mut index = 0;
    while index < core.journal.sagas.len() {
        let Some(mut saga) = core.journal.take_saga(index) else { break };
        let before = saga.clone();
        let frozen = core.frozen_but_for(&saga);
        if !frozen {
            step(&mut saga, core);
        }
        let changed = saga != before;
        if saga.ended() {
            core.close(saga);
        } else {
            core.journal.put_saga(index, saga, changed);
            index += 1;
        }
    }
}

fn step(saga: &mut Saga, core: &mut Core) {
    match &saga.plan {
        Plan::Promotion(plan) => promotion::advance(saga, plan.clone(), core),
        Plan::Recovery(plan) => recovery::advance(saga, plan.clone(), core),
        Plan::Pseudo(plan) => pseudo::advance(saga, plan.clone(), core),
        Plan::Clone(plan) => clone::advance(saga, plan.clone(), core),
        Plan::Rejoin(plan) => rejoin::advance(saga, plan.clone(), core),
        Plan::Switchover(plan) => switchover::advance(saga, plan.clone(), core),
    }
}

fn observed(core: &mut Core, observation: NodeObservation) {
    let node = observation.node.clone();
    let Some(record) = core.journal.nodes.get(&node).cloned() else { return };
    if let Some(host) = core.host_of(&node)
        && core.evidence.link_changed(&host).is_none()
    {
        host_changed(core, &host, true);
    }
    if record.is_late(core.now, observation.process) {
        return;
    }
    ackers::observed(core, &node, record.pid, observation.process);
    let primary = node == core.journal.primary;
    if let ProcessState::Running { pid, .. } = observation.process
        && record.pid != Some(pid)
        && (record.pid.is_none() || !primary)
        && let Some(record) = core.journal.edit().nodes.get_mut(&node)
    {
        record.pid = Some(pid);
    }
    if primary && let Some(status) = &observation.status {
        let active = status.semi_sync.primary_enabled && status.semi_sync.primary_active;
        if core.journal.semi_sync_seen != active {
            core.journal.edit().semi_sync_seen = active;
        }
    }
    if let Some(replication) = observation.status.as_ref().and_then(|status| status.replication.as_ref())
        && observation.status.as_ref().is_some_and(|status| status.semi_sync.acker_enabled)
        && core.journal.node(&core.journal.primary).is_some_and(|primary| primary.endpoint == replication.source)
    {
        ackers::discovered(core, &node);
    }
    core.evidence.observed(core.now, observation);
}

fn host_changed(core: &mut Core, host: &HostName, connected: bool) {
    let now = core.now;
    if !core.evidence.host_is(now, host, connected) {
        return;
    }
    let node = core.journal.spec.nodes.iter().find(|node| node.host == *host).map(|node| node.name.clone());
    let text =
        if connected { format!("the agent of {host} is connected") } else { format!("the agent of {host} is lost") };
    let severity = if connected { Severity::Info } else { Severity::Warning };
    core.note(severity, EventKind::Agent, node.as_ref(), text);
    if connected && core.journal.spec.gateway_host.as_ref() == Some(host) {
        core.forget_route();
    }
}

fn answered(core: &mut Core, id: CallId, result: Result<NodeReply, CommandFailure>) {
    let Some(Call { owner, command, .. }) = core.calls.remove(&id) else { return };
    let node = command.node().cloned();
    let now = core.now;
    let changing = !matches!(owner, Owner::Barrier | Owner::Holder) && changes(&command);
    if changing && let Some(evidence) = node.as_ref().and_then(|node| core.evidence.node_mut(node)) {
        evidence.commanded_at = Some(now);
    }
    // A server that has just carried a command out is not hung, whatever an older observation says.
    let worked = result.is_ok() && !matches!(command, NodeCommand::Fence { .. } | NodeCommand::Capture { .. });
    if worked && let Some(evidence) = node.as_ref().and_then(|node| core.evidence.node_mut(node)) {
        evidence.answered_at = Some(now);
    }
    if let (Some(node), Ok(NodeReply::Started { .. })) = (&node, &result) {
        started(core, node, &command);
    }
    ackers::after(core, &command, &result);
    match (owner, node) {
        (Owner::Step { operation, step }, _) => {
            let sagas = &mut core.journal.edit().sagas;
            if let Some(saga) = sagas.iter_mut().find(|saga| *saga.id() == operation) {
                saga.answered(now, step, result);
            }
        }
        (Owner::Barrier, _) => ackers::barrier_answered(core, id.0, &result),
        (Owner::Holder, Some(node)) => {
            if let NodeCommand::AwaitPosition { until, .. } = &command {
                ackers::holder_answered(core, &node, until, result.is_ok());
            }
        }
        (Owner::Upkeep, Some(node)) => upkeep::answered(core, &node, &command, &result),
        (Owner::Route, _) => route_answered(core, &result),
        (Owner::Nobody | Owner::Holder | Owner::Upkeep, _) => {}
    }
}

/// The keeper's order has started a server: whatever process ran there before is not its process any more. The new one
/// may have been reported before the command was answered; then it is the one, also at a primary, where another process
/// than the known one is otherwise a loss. That holds only where nothing else ran when the command was given.
fn started(core: &mut Core, node: &NodeName, command: &NodeCommand) {
    let now = core.now;
    let alone = matches!(command, NodeCommand::Start { .. } | NodeCommand::Recover { .. });
    let process = core.evidence.node(node).filter(|evidence| evidence.runs()).map(|one| one.observation.process);
    let Some(record) = core.journal.edit().nodes.get_mut(node) else { return };
    match process {
        Some(ProcessState::Running { pid, .. }) if alone => record.pid = Some(pid),
        _ => record.restarted(now),
    }
}

/// Commands after which an older observation no longer tells how the node is.
fn changes(command: &NodeCommand) -> bool {
    !matches!(
        command,
        NodeCommand::AwaitPosition { .. }
            | NodeCommand::Drain { .. }
            | NodeCommand::Capture { .. }
            | NodeCommand::ListTransactions { .. }
            | NodeCommand::CloneReceive { .. }
            | NodeCommand::CloneSend { .. }
            | NodeCommand::ClonePrepare { .. }
            | NodeCommand::Fingerprint { .. }
    )
}

fn route_answered(core: &mut Core, result: &Result<NodeReply, CommandFailure>) {
    let primary = core.journal.primary.clone();
    match result {
        Ok(_) => core.complaint_over(&primary, "route", "the gateway takes routes again".to_owned()),
        Err(failure) if failure.kind == FailureKind::Stale => {
            let text = format!("the gateway refused a route as out of date: {}", failure.message);
            core.complain(Severity::Critical, &primary, "route", text);
        }
        Err(failure) => {
            let text = format!("the gateway could not be told where to go and is told again: {}", failure.message);
            core.complain(Severity::Warning, &primary, "route", text);
        }
    }
}

/// Notes what has changed in the health of each node.
fn say_health(core: &mut Core) {
    let names: Vec<NodeName> = core.journal.spec.nodes.iter().map(|node| node.name.clone()).collect();
    for node in names {
        let (health, reason) = health::health(core, &node);
        let before = core.said.insert(node.clone(), health);
        if before == Some(health) || before.is_none() && matches!(health, Health::Unknown | Health::Healthy) {
            continue;
        }
        let severity = match health {
            Health::Healthy | Health::Joining | Health::Unknown => Severity::Info,
            _ => Severity::Warning,
        };
        let reason = if reason.is_empty() { "works in its role".to_owned() } else { reason };
        core.note(severity, EventKind::Health, Some(&node), format!("{node} is {health}: {reason}"));
    }
}
