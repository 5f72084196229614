//! What a request would come to, for people who are about to make it. The request is made of a copy of the keeper, so
//! what it says of refusals, waiting and choices is what would happen, and not another opinion about it.

use crate::core::Core;
use crate::event::{Refusal, Request};
use crate::saga::Plan;
use crate::text::command_title;
use crate::{candidate, health, rejoin, requests};
use firedrill_model::foreseen::{Choice, Foreseen, Obstacle, Risk};
use firedrill_model::{
    GtidPos, Health, NodeCommand, NodeName, OperationId, OperationKind, OperationState, Role, Timestamp,
};

/// `None`: the request begins no operation.
pub(crate) fn foresee(core: &Core, now: Timestamp, request: &Request) -> Option<Foreseen> {
    let mut here = core.clone();
    here.now = now;
    let core = &here;
    let (kind, subject) = match request {
        Request::Promote { .. } => (OperationKind::Promotion, core.journal.primary.clone()),
        Request::Switchover { .. } => (OperationKind::Switchover, core.journal.primary.clone()),
        Request::Clone { node, .. } => (OperationKind::Clone, node.clone()),
        Request::Rejoin { node } => (OperationKind::Rejoin, node.clone()),
        Request::Cancel { .. } | Request::SetPolicy { .. } => return None,
    };
    let outcome = Outcome::of(core, now, request);
    let mut foreseen = Foreseen {
        kind,
        subject,
        partner: outcome.partner,
        refused: outcome.refused.map(obstacle),
        waits: outcome.waits,
        steps: Vec::new(),
        risk: Risk::Nothing,
        loss: Vec::new(),
        effects: outcome.given_up,
        choices: choices(core, now, request),
        generation: core.journal.generation,
    };
    match request {
        Request::Promote { to, without_proof } => promotion(core, &mut foreseen, to.as_ref(), *without_proof),
        Request::Switchover { .. } => switchover(core, &mut foreseen),
        Request::Clone { node, donor } => clone(core, &mut foreseen, node, donor.as_ref()),
        Request::Rejoin { node } => take_back(core, &mut foreseen, node),
        Request::Cancel { .. } | Request::SetPolicy { .. } => {}
    }
    Some(foreseen)
}

fn obstacle(refusal: Refusal) -> Obstacle {
    Obstacle { code: refusal.code, message: refusal.message }
}

/// What came of the request where it was tried.
#[derive(Default)]
struct Outcome {
    refused: Option<Refusal>,
    partner: Option<NodeName>,
    waits: Option<String>,
    given_up: Vec<String>,
}

impl Outcome {
    fn of(core: &Core, now: Timestamp, request: &Request) -> Self {
        let mut copy = core.clone();
        let begun: Option<OperationId> = match requests::ask(&mut copy, now, request.clone()) {
            Ok((begun, _)) => begun,
            Err(refusal) => return Self { refused: Some(refusal), ..Self::default() },
        };
        let still = |id: &OperationId| copy.journal.sagas.iter().any(|saga| saga.id() == id);
        let ended = core.journal.sagas.iter().filter(|saga| !still(saga.id()));
        let given_up = ended
            .map(|saga| {
                let operation = &saga.operation;
                format!("Operation {} ({} of {}) is given up for it.", operation.id, operation.kind, operation.subject)
            })
            .collect();
        let Some(saga) = copy.journal.sagas.iter().find(|saga| Some(saga.id()) == begun.as_ref()) else {
            return Self { given_up, ..Self::default() };
        };
        let waits = match &saga.plan {
            Plan::Promotion(plan) if plan.begun.is_none() => candidate::may_begin(&copy, plan).err(),
            _ if saga.operation.state == OperationState::NeedsPerson => saga.operation.reason.clone(),
            _ => None,
        };
        Self { refused: None, partner: saga.operation.partner.clone(), waits, given_up }
    }
}

/// The same request for each node that it could name.
fn choices(core: &Core, now: Timestamp, request: &Request) -> Vec<Choice> {
    let naming = |one: &NodeName| match request {
        Request::Promote { without_proof, .. } => {
            Some(Request::Promote { to: Some(one.clone()), without_proof: *without_proof })
        }
        Request::Switchover { .. } => Some(Request::Switchover { to: Some(one.clone()) }),
        Request::Clone { node, .. } if node != one => {
            Some(Request::Clone { node: node.clone(), donor: Some(one.clone()) })
        }
        _ => None,
    };
    let is_donor = matches!(request, Request::Clone { .. });
    let known = known(core);
    let names = core.journal.names().into_iter().filter(|node| is_donor || *node != core.journal.primary);
    let choice = |node: NodeName| {
        let named = naming(&node)?;
        let received = received(core, &node);
        Some(Choice {
            role: if core.journal.in_service(&node) { core.journal.role(&node) } else { Role::OutOfService },
            health: health::health(core, &node).0,
            acker: core.journal.ackers.get(&node).is_some_and(|entry| entry.acks_for(&core.journal.primary)),
            missing: received.as_ref().map(|received| received.missing_from(&known)),
            received,
            refused: Outcome::of(core, now, &named).refused.map(obstacle),
            node,
        })
    };
    names.filter_map(choice).collect()
}

/// What a node has received, when it says so now.
fn received(core: &Core, node: &NodeName) -> Option<GtidPos> {
    let status = core.evidence.status(node, core.now, core.policy().silent_after)?;
    let own = status.binlog_state.position().union(&status.position);
    Some(status.replication.as_ref().map_or(own.clone(), |replication| own.union(&replication.received)))
}

/// All that anybody is known to hold now.
fn known(core: &Core) -> GtidPos {
    let names = core.journal.names();
    names.iter().filter_map(|node| received(core, node)).fold(GtidPos::default(), |all, one| all.union(&one))
}

fn joined(nodes: &[NodeName]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The nodes that acknowledge for the present primary.
fn ackers(core: &Core) -> Vec<NodeName> {
    let primary = &core.journal.primary;
    let acking = core.journal.ackers.iter().filter(|(_, entry)| entry.acks_for(primary));
    acking.map(|(node, _)| node.clone()).collect()
}

fn answers(core: &Core, node: &NodeName) -> bool {
    core.reachable(node) && received(core, node).is_some()
}

/// The node of the primary's region that has received most, among those that answer.
fn best(core: &Core) -> Option<NodeName> {
    let old = &core.journal.primary;
    let names = core.journal.names().into_iter();
    let near = names.filter(|node| node != old && core.journal.in_service(node) && core.journal.same_region(node, old));
    let known = known(core);
    near.filter_map(|node| Some((received(core, &node)?.missing_from(&known), node))).min().map(|(_, node)| node)
}

fn promotion(core: &Core, foreseen: &mut Foreseen, to: Option<&NodeName>, without_proof: bool) {
    let old = core.journal.primary.clone();
    let taker = to.cloned().or_else(|| best(core));
    foreseen.partner.clone_from(&taker);
    let ackers = ackers(core);
    let name = taker.as_ref().map_or_else(|| "the node that holds most".to_owned(), ToString::to_string);
    let open = if core.lossless() { "lossless" } else { "asynchronous" };
    foreseen.steps = vec![
        "The gateway holds new connections; sessions to the old primary are cut.".to_owned(),
        sentence(&command_title(&NodeCommand::Fence { node: old.clone() })),
        if ackers.is_empty() {
            "The other nodes stop receiving and say what they hold.".to_owned()
        } else {
            format!("Those that acknowledge writes ({}) stop receiving and say what they hold.", joined(&ackers))
        },
        format!("{name} applies all that it has received, and fetches what another node holds beyond it."),
        format!("{name} is opened for writes, {open}; the gateway sends connections to it."),
        format!("The other nodes follow {name}."),
        format!("Afterwards {old} is compared with {name}: it is taken back, or made anew when it holds more."),
    ];
    foreseen.effects.push("Writes wait at the gateway from the first step until the new primary is open.".to_owned());
    let (health, reason) = health::health(core, &old);
    if health == Health::Healthy {
        foreseen.effects.push(format!("{old} is healthy: a switchover moves its role without killing anything."));
    } else {
        foreseen.effects.push(format!("{old} is {health}: {reason}."));
    }
    if !core.reachable(&old) {
        foreseen.effects.push(format!("The agent of {old} is not connected, so {old} cannot be fenced by it."));
    }
    promotion_loss(core, foreseen, taker.as_ref(), without_proof, &ackers);
}

fn promotion_loss(
    core: &Core,
    foreseen: &mut Foreseen,
    taker: Option<&NodeName>,
    without_proof: bool,
    ackers: &[NodeName],
) {
    let old = &core.journal.primary;
    let excused = without_proof || core.policy().promote_without_proof;
    let loss = &mut foreseen.loss;
    if core.lossless() && !excused {
        loss.push(format!(
            "Nothing that was acknowledged: a node is opened only when all that {old} could have acknowledged is known to \
             be on it. When that cannot be shown, nothing is opened and a person is asked."
        ));
    } else {
        foreseen.risk = Risk::Possible;
        let why = if core.lossless() { "without waiting for proof" } else { "and this cluster is asynchronous" };
        loss.push(format!("Acknowledged writes that only {old} holds: the new primary is opened {why}."));
        match taker.map(|taker| (taker, received(core, taker))) {
            Some((taker, Some(received))) => {
                let missing = received.missing_from(&known(core));
                loss.push(if missing == 0 {
                    format!("Now {taker} has received all that any node that answers is known to hold.")
                } else {
                    format!(
                        "Now {taker} lacks {missing} transactions that another node holds; they are lost when it cannot fetch \
                         them."
                    )
                });
            }
            Some((taker, None)) => {
                foreseen.risk = Risk::Unknown;
                loss.push(format!("It is not known what {taker} has received: it does not answer."));
            }
            None => {
                foreseen.risk = Risk::Unknown;
                loss.push(format!("No node of the region of {old} answers, so nobody knows what would be kept."));
            }
        }
        if received(core, old).is_none() {
            foreseen.risk = Risk::Unknown;
            loss.push(format!("{old} does not answer, so it is not known what it holds beyond the others."));
        }
    }
    let silent: Vec<NodeName> = ackers.iter().filter(|node| !answers(core, node)).cloned().collect();
    if !ackers.is_empty() {
        loss.push(if silent.is_empty() {
            format!("Every node that acknowledges for {old} answers now: {}.", joined(ackers))
        } else {
            format!("Of those that acknowledge for {old}, these do not answer now: {}.", joined(&silent))
        });
    }
    loss.push(format!(
        "Writes that {old} has not answered when it is fenced may or may not be there afterwards; their clients have to look."
    ));
}

fn switchover(core: &Core, foreseen: &mut Foreseen) {
    let old = core.journal.primary.clone();
    let to = foreseen.partner.as_ref().map_or_else(|| "the chosen replica".to_owned(), ToString::to_string);
    let most = crate::switchover::CLOSED_AT_MOST;
    foreseen.steps = vec![
        "The gateway holds new connections.".to_owned(),
        sentence(&command_title(&NodeCommand::CloseWrites { node: old.clone() })),
        format!("{to} applies everything that {old} holds. Has it not done so within {most}, {old} is opened again."),
        format!("{to} is opened for writes; the gateway sends connections to it."),
        format!("{old} and the other nodes follow {to}."),
    ];
    foreseen.loss = vec![format!("Nothing: {to} is opened only when it has applied all that {old} holds.")];
    foreseen.effects.push(format!("Writes wait at the gateway meanwhile, {most} at most."));
    foreseen.effects.push(format!(
        "Transactions that are open on {old} are rolled back; their clients see an error and have to begin again."
    ));
    let missing = foreseen.partner.as_ref().and_then(|to| received(core, to)).map(|own| own.missing_from(&known(core)));
    if let Some(missing) = missing.filter(|missing| *missing > 0) {
        foreseen.effects.push(format!("{to} has {missing} transactions to receive first, as things are now."));
    }
}

/// What only this node holds: ranges; `None`: it does not answer, or there is nothing to compare it with.
fn own(core: &Core, node: &NodeName) -> Option<Vec<String>> {
    let status = core.evidence.status(node, core.now, core.policy().silent_after)?;
    let reference = rejoin::reference(core, node)?;
    let own = rejoin::beyond(core, &status.binlog_state, &reference);
    Some(own.into_iter().map(|(first, last)| format!("{first} to {last}")).collect())
}

fn own_loss(core: &Core, foreseen: &mut Foreseen, node: &NodeName, what_follows: &str) {
    let (risk, text) = match own(core, node) {
        None => (
            Risk::Unknown,
            format!("It is not known whether {node} holds transactions that no other node has. {what_follows}"),
        ),
        Some(own) if own.is_empty() => {
            (Risk::Nothing, format!("Nothing: all that {node} holds is held by other nodes too."))
        }
        Some(own) => {
            (Risk::Possible, format!("Transactions that only {node} holds: {}. {what_follows}", own.join(", ")))
        }
    };
    foreseen.risk = risk;
    foreseen.loss.push(text);
}

fn clone(core: &Core, foreseen: &mut Foreseen, node: &NodeName, donor: Option<&NodeName>) {
    let donor = donor.or(foreseen.partner.as_ref()).cloned().or_else(|| crate::clone::likely_donor(core, node));
    foreseen.partner.clone_from(&donor);
    let from = donor.map_or_else(|| "a donor".to_owned(), |donor| donor.to_string());
    foreseen.steps = vec![
        sentence(&command_title(&NodeCommand::Fence { node: node.clone() })),
        format!("The logs and the state of {node} are set aside."),
        format!("The data of {from} is copied to {node}, beside its own data, and made consistent."),
        format!("The copy takes the place of the old data, and the server of {node} is started."),
        format!("{node} follows its source, catches up, and is compared with it."),
        format!("{node} is in service again; its old data is removed."),
    ];
    own_loss(core, foreseen, node, "The data of the node is replaced and then removed.");
    foreseen
        .effects
        .push(format!("{node} is out of service until the end; the disk and the network of {from} are busier."));
    without(core, foreseen, node);
}

fn take_back(core: &Core, foreseen: &mut Foreseen, node: &NodeName) {
    foreseen.steps = vec![
        sentence(&command_title(&NodeCommand::Fence { node: node.clone() })),
        sentence(&command_title(&NodeCommand::Start { node: node.clone() })),
        "What it holds is compared with what the others hold.".to_owned(),
        format!("When it holds nothing of its own, {node} follows its source, catches up and is in service again."),
        "Else its own transactions are listed in the operation, and it is made anew by a clone.".to_owned(),
    ];
    own_loss(core, foreseen, node, "They are listed first; then the data of the node is made anew.");
    foreseen.effects.push(format!("The server process of {node} is killed and started; sessions to it end."));
    without(core, foreseen, node);
}

/// What is left of the acknowledging nodes while one is away.
fn without(core: &Core, foreseen: &mut Foreseen, node: &NodeName) {
    let ackers = ackers(core);
    if core.lossless() && ackers.contains(node) {
        let rest: Vec<NodeName> = ackers.into_iter().filter(|one| one != node).collect();
        foreseen.effects.push(match rest.len() {
            0 => "No node acknowledges writes meanwhile: all writes wait.".to_owned(),
            _ => format!("Meanwhile writes are acknowledged by {}.", joined(&rest)),
        });
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}
