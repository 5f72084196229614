//! What a person asks for: refused with a code and a way out, or begun.

use crate::core::{Core, Owner};
use crate::event::{Action, Refusal, Request};
use crate::health::{self, Loss, LossClass};
use crate::promotion::{self, Promotion};
use crate::saga::Plan;
use crate::state::Standing;
use crate::{ackers, candidate, clone, rejoin, switchover, turn};
use firedrill_model::cluster::Policy;
use firedrill_model::timeline::EventKind;
use firedrill_model::{Health, NodeName, OperationId, OperationState, Role, Severity, Timestamp};

type Taken = Result<Option<OperationId>, Refusal>;

pub(crate) fn ask(
    core: &mut Core,
    now: Timestamp,
    request: Request,
) -> Result<(Option<OperationId>, Vec<Action>), Refusal> {
    core.now = now;
    let operation = match request {
        Request::Promote { to, without_proof } => promote(core, to, without_proof),
        Request::Switchover { to } => switch(core, to),
        Request::Clone { node, donor } => make_anew(core, &node, donor),
        Request::Rejoin { node } => take_back(core, &node),
        Request::Cancel { operation } => cancel(core, operation),
        Request::SetPolicy { policy } => set_policy(core, *policy),
    }?;
    Ok((operation, turn::finish_turn(core)))
}

fn refuse<T>(code: &str, message: String) -> Result<T, Refusal> {
    Err(Refusal { code: code.to_owned(), message })
}

fn known(core: &Core, node: &NodeName) -> Result<(), Refusal> {
    if core.journal.node(node).is_some() {
        return Ok(());
    }
    let names: Vec<String> = core.journal.names().iter().map(ToString::to_string).collect();
    refuse("K001", format!("cluster {} has no node {node}; it has {}", core.journal.spec.name, names.join(", ")))
}

fn not_frozen(core: &Core) -> Result<(), Refusal> {
    match core.journal.sagas.iter().find(|saga| saga.freezes()) {
        None => Ok(()),
        Some(saga) => refuse(
            "K002",
            format!(
                "operation {} ({} of {}) comes first; wait for its end",
                saga.id(),
                saga.operation.kind,
                saga.operation.subject
            ),
        ),
    }
}

fn not_involved(core: &Core, node: &NodeName) -> Result<(), Refusal> {
    match core.journal.sagas.iter().find(|saga| saga.involves(node)) {
        None => Ok(()),
        Some(saga) => refuse(
            "K002",
            format!(
                "{node} takes part in operation {} ({}); wait for its end or cancel it",
                saga.id(),
                saga.operation.kind
            ),
        ),
    }
}

fn not_primary(core: &Core, node: &NodeName, what: &str) -> Result<(), Refusal> {
    if *node != core.journal.primary {
        return Ok(());
    }
    refuse(
        "K008",
        format!("{node} is the primary and cannot be {what}; move the primary's role away first (switchover)"),
    )
}

fn promote(core: &mut Core, to: Option<NodeName>, without_proof: bool) -> Taken {
    if let Some(to) = &to {
        known(core, to)?;
    }
    if let Some(id) = join_recovery(core, to.as_ref(), without_proof)? {
        return Ok(Some(id));
    }
    if let Some(to) = &to {
        if *to == core.journal.primary {
            return refuse("K003", format!("{to} is the primary already"));
        }
        if !core.journal.in_service(to) {
            return refuse("K003", format!("{to} is not in service: its data may be incomplete; name another node"));
        }
    }
    if let Some(id) = join_promotion(core, to.as_ref(), without_proof)? {
        return Ok(Some(id));
    }
    if !recovering(core) {
        not_frozen(core)?;
    }
    let old = core.journal.primary.clone();
    let excused = without_proof || core.policy().promote_without_proof;
    let far = to.as_ref().is_some_and(|to| !core.journal.same_region(to, &old));
    if (far || !core.lossless()) && !excused {
        return refuse(
            "K004",
            format!(
                "the newest acknowledged writes of {old} may not have reached the node that would take over; while {old} \
                 works use a switchover, else ask again with without_proof and accept the loss"
            ),
        );
    }
    let can = |node: &NodeName| {
        *node != old
            && core.journal.in_service(node)
            && core.evidence.status(node, core.now, core.policy().silent_after).is_some()
            && to.as_ref().map_or_else(|| core.journal.same_region(node, &old), |to| to == node)
    };
    if !core.journal.names().iter().any(can) {
        return refuse(
            "K005",
            match &to {
                Some(to) => format!("{to} does not answer its agent, so it cannot take over; name another node"),
                None => format!("no node of the region of {old} answers; name a pseudo-primary, without_proof"),
            },
        );
    }
    let loss = health::loss(core, &old).unwrap_or_else(|| Loss {
        class: LossClass::Requested,
        failed_at: core.now,
        seen: "a person asked for its replacement".to_owned(),
    });
    let mut plan = Promotion::new(old, loss);
    plan.requested = true;
    plan.target = to;
    plan.without_proof = without_proof;
    if plan.loss.class == LossClass::Requested
        && let Err(obstacle) = candidate::may_begin(core, &plan)
    {
        return refuse("K004", obstacle);
    }
    Ok(Some(promotion::begin(core, plan)))
}

fn recovering(core: &Core) -> bool {
    core.journal.sagas.iter().any(|saga| matches!(&saga.plan, Plan::Recovery(plan) if plan.vacates_primary()))
}

/// A recovery whose primary has forgotten something goes on without it, on a person's word. `None`: another node is to
/// take over, in its place.
fn join_recovery(core: &mut Core, to: Option<&NodeName>, without_proof: bool) -> Taken {
    if !recovering(core) || to.is_some_and(|to| *to != core.journal.primary) {
        return Ok(None);
    }
    let Some(index) = core.journal.sagas.iter().position(|saga| matches!(saga.plan, Plan::Recovery(_))) else {
        return Ok(None);
    };
    if !without_proof {
        return not_frozen(core).map(|()| None);
    }
    let saga = &mut core.journal.edit().sagas[index];
    if let Plan::Recovery(plan) = &mut saga.plan {
        plan.accept_loss();
    }
    Ok(Some(saga.id().clone()))
}

/// A promotion that waits takes the person's word as its own.
fn join_promotion(core: &mut Core, to: Option<&NodeName>, without_proof: bool) -> Taken {
    let found = core.journal.sagas.iter().position(|saga| matches!(&saga.plan, Plan::Promotion(_)));
    let Some(index) = found else { return Ok(None) };
    let opening = matches!(&core.journal.sagas[index].plan, Plan::Promotion(plan) if plan.opening());
    if opening {
        not_frozen(core)?;
    }
    let saga = &mut core.journal.edit().sagas[index];
    if let Plan::Promotion(plan) = &mut saga.plan {
        plan.requested = true;
        plan.without_proof |= without_proof;
        plan.target = to.cloned().or_else(|| plan.target.take());
        plan.rejected.clear();
    }
    Ok(Some(saga.id().clone()))
}

fn switch(core: &mut Core, to: Option<NodeName>) -> Taken {
    if let Some(to) = &to {
        known(core, to)?;
    }
    not_frozen(core)?;
    let old = core.journal.primary.clone();
    let (health, reason) = health::health(core, &old);
    if health != Health::Healthy {
        return refuse(
            "K007",
            format!("{old} is {health} ({reason}); a switchover needs a working primary: promote instead"),
        );
    }
    let fit = |node: &&NodeName| {
        core.journal.role(node) == Role::Replica
            && core.journal.in_service(node)
            && health::health(core, node).0 == Health::Healthy
            && !core.journal.sagas.iter().any(|saga| saga.involves(node))
    };
    let names = core.journal.names();
    let chosen = match to {
        Some(to) if fit(&&to) => to,
        Some(to) => {
            let (health, reason) = health::health(core, &to);
            let role = core.journal.role(&to);
            return refuse(
                "K003",
                format!(
                    "{to} ({role}) is {health} {reason}: only a healthy replica in the region of {old} can take over in peace"
                ),
            );
        }
        None => {
            let behind = |node: &&NodeName| {
                let status = core.evidence.node(node).and_then(|evidence| evidence.status());
                status.map(|status| std::cmp::Reverse(status.position.iter().map(|gtid| gtid.sequence).sum::<u64>()))
            };
            match names.iter().filter(fit).min_by_key(behind) {
                Some(node) => node.clone(),
                None => return refuse("K005", format!("no healthy replica in the region of {old} can take over")),
            }
        }
    };
    Ok(Some(switchover::begin(core, chosen)))
}

fn make_anew(core: &mut Core, node: &NodeName, donor: Option<NodeName>) -> Taken {
    known(core, node)?;
    not_primary(core, node, "cloned")?;
    not_frozen(core)?;
    not_involved(core, node)?;
    if let Some(donor) = &donor {
        known(core, donor)?;
        let (health, reason) = health::health(core, donor);
        if donor == node || health != Health::Healthy {
            return refuse(
                "K009",
                format!("{donor} is {health} {reason} and cannot be copied from; name another donor or none"),
            );
        }
    }
    if let Some(saga) = core.journal.sagas.iter().find(|saga| matches!(saga.plan, Plan::Clone(_))) {
        return refuse("K002", format!("operation {} clones {} now; one at a time", saga.id(), saga.operation.subject));
    }
    let primary = &core.journal.primary;
    let last = core.journal.ackers.get(node).is_some_and(|entry| entry.acks_for(primary))
        && core.journal.ackers.acking(primary) == 1;
    if core.lossless() && last {
        return refuse(
            "K010",
            format!("{node} is the only node that acknowledges writes: without it all writes would wait"),
        );
    }
    Ok(Some(clone::begin(core, node, "it was asked for".to_owned(), donor)))
}

fn take_back(core: &mut Core, node: &NodeName) -> Taken {
    known(core, node)?;
    not_primary(core, node, "taken back")?;
    not_frozen(core)?;
    not_involved(core, node)?;
    let cause = "it was asked for".to_owned();
    if let Some(record) = core.journal.edit().nodes.get_mut(node) {
        record.standing = Standing::Doubtful { why: cause.clone() };
    }
    Ok(Some(rejoin::begin(core, node, cause)))
}

fn cancel(core: &mut Core, operation: OperationId) -> Taken {
    let found = core.journal.sagas.iter().position(|saga| *saga.id() == operation);
    let Some(index) = found else {
        return refuse("K006", format!("operation {operation} does not run; it has ended or never was"));
    };
    let Some(mut saga) = core.journal.take_saga(index) else { return Ok(None) };
    let reason = "a person cancelled it".to_owned();
    match &mut saga.plan {
        Plan::Switchover(plan) if plan.reversible() => {
            plan.give_up(reason);
            core.journal.put_saga(index, saga, true);
            return Ok(Some(operation));
        }
        Plan::Clone(_) | Plan::Rejoin(_) => {}
        Plan::Switchover(_) | Plan::Promotion(_) | Plan::Recovery(_) | Plan::Pseudo(_) => {
            let message = format!(
                "operation {operation} ({} of {}) cannot be taken back any more; it goes on",
                saga.operation.kind, saga.operation.subject
            );
            core.journal.put_saga(index, saga, false);
            return refuse("K006", message);
        }
    }
    let subject = saga.operation.subject.clone();
    if let Plan::Clone(plan) = &saga.plan {
        let within = core.policy().step_within;
        for command in clone::aborts(&saga, plan) {
            core.perform(Owner::Nobody, command, within);
        }
    }
    // It stays out of service until somebody asks for it: automation must not undo what a person did.
    if let Some(record) = core.journal.edit().nodes.get_mut(&subject) {
        record.standing = Standing::Lost { why: reason.clone(), by_hand: true };
    }
    saga.finish(core, OperationState::Undone, Some(reason));
    core.close(saga);
    Ok(Some(operation))
}

fn set_policy(core: &mut Core, policy: Policy) -> Taken {
    let durability = core.policy().durability != policy.durability;
    if durability {
        not_frozen(core)?;
    }
    core.journal.edit().spec.policy = policy;
    if durability {
        ackers::distrust_all(core);
    }
    core.note(Severity::Info, EventKind::Server, None, "the rules of the cluster were changed".to_owned());
    Ok(None)
}
