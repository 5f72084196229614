//! How each node is, by all evidence together, and whether the primary (or a pseudo-primary) is lost.
//!
//! No single silence counts. A process that is gone is conclusive: its own agent saw it end. Everything else needs
//! witnesses: the replicas that listen to the node. The witnesses' *receivers* are asked what they hear; their appliers
//! are no evidence, and they are never restarted as a probe (that would drop relay logs).

use crate::core::Core;
use crate::evidence::NodeEvidence;
use crate::state::{NodeRecord, Standing};
use firedrill_model::observation::{ProcessState, Receiver};
use firedrill_model::{Health, NodeName, Timestamp};
use serde::{Deserialize, Serialize};

/// Why a node that feeds others counts as lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loss {
    pub(crate) class: LossClass,
    /// The last sign of life, or the moment of the exit.
    pub(crate) failed_at: Timestamp,
    /// What was seen, for people.
    pub(crate) seen: String,
}

/// Classes of loss, by what they allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LossClass {
    /// The process has ended: it acknowledges nothing any more and its sessions are gone.
    ProcessGone,
    /// The process exists, does not answer, and nobody hears from it; its agent can fence it.
    Hung,
    /// Neither its agent nor its replicas hear from it; it may be alive behind a partition.
    Silent,
    /// A person asked for its replacement.
    Requested,
}

/// What the replicas of a node say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Witnesses {
    /// None can be asked: the observer itself may be the isolated one.
    None,
    /// At least one hears it.
    Hear,
    /// All that can be asked have heard nothing since this moment.
    Deaf(Timestamp),
}

/// Is `node`, which feeds others, lost? `Err` says what speaks against a suspicion; `Ok(None)`: nothing is wrong.
pub(crate) fn loss(core: &Core, node: &NodeName) -> Option<Loss> {
    let evidence = core.evidence.node(node);
    let record = core.journal.nodes.get(node);
    if let Some(loss) = evidence.zip(record).and_then(|(evidence, record)| process_gone(evidence, record)) {
        return Some(loss);
    }
    let policy = core.policy();
    let age = evidence.map(|evidence| core.now.since(evidence.observed_at));
    let fresh = age.is_some_and(|age| age < policy.silent_after) && core.reachable(node);
    match evidence.filter(|_| fresh) {
        Some(evidence) => hung(core, node, evidence),
        None => silent(core, node, evidence),
    }
}

fn process_gone(evidence: &NodeEvidence, record: &NodeRecord) -> Option<Loss> {
    let failed_at = evidence.gone_since.unwrap_or(evidence.observed_at);
    let Some(known) = record.pid else {
        // Started by the keeper and ended before it was seen to run; one that was never started is not lost.
        let since = record.former.map(|(_, started)| started);
        let ended = evidence.gone_since.is_some() && since.is_some_and(|started| evidence.observed_at > started);
        let seen = "its server process has ended again, right after it was started".to_owned();
        return ended.then_some(Loss { class: LossClass::ProcessGone, failed_at, seen });
    };
    let seen = match evidence.observation.process {
        ProcessState::Exited { pid } => format!("its server process {pid} has ended"),
        ProcessState::Absent => format!("its server process {known} no longer exists"),
        ProcessState::Running { pid, .. } if pid != known => {
            format!("its server process {known} has ended; another one, {pid}, runs in its place")
        }
        ProcessState::Running { .. } => return None,
    };
    Some(Loss { class: LossClass::ProcessGone, failed_at, seen })
}

/// It may answer, but what it is asked to keep it cannot: its volume takes no writes, by its agent's own tries, and
/// where the agent also writes through the server, that is stuck as long. A lock or a missing acker stops only the
/// second, a file system that is full for others only the first.
fn disk_dead(core: &Core, evidence: &NodeEvidence) -> Option<Loss> {
    let trouble = evidence.observation.disk_trouble.as_ref()?;
    let patience = core.policy().disk_dead_after;
    let committed = evidence.status().and_then(|status| status.write_heartbeat_age);
    let working = trouble.lasts < patience || committed.is_some_and(|age| age < patience);
    let seen = format!("its volume has taken no writes for {} ({})", trouble.lasts, trouble.problem);
    let failed_at = evidence.observed_at - trouble.lasts;
    (!working).then_some(Loss { class: LossClass::Hung, failed_at, seen })
}

fn hung(core: &Core, node: &NodeName, evidence: &NodeEvidence) -> Option<Loss> {
    let ProcessState::Running { stopped, pid } = evidence.observation.process else { return None };
    if let Some(loss) = disk_dead(core, evidence) {
        return Some(loss);
    }
    let unanswered = evidence.observation.unanswered_for;
    let answered = evidence.answered_at.is_some_and(|at| core.now.since(at) < core.policy().hung_after);
    if evidence.observation.status.is_some() || unanswered < core.policy().hung_after || answered {
        return None;
    }
    let failed_at = evidence.answered_at.unwrap_or(evidence.observed_at - unanswered);
    if stopped {
        let seen = format!("its server process {pid} is stopped and has not answered for {unanswered}");
        return Some(Loss { class: LossClass::Hung, failed_at, seen });
    }
    match witnesses(core, node) {
        Witnesses::Deaf(_) => {
            let seen =
                format!("its server process {pid} has not answered for {unanswered} and no replica hears from it");
            Some(Loss { class: LossClass::Hung, failed_at, seen })
        }
        Witnesses::None | Witnesses::Hear => None,
    }
}

fn silent(core: &Core, node: &NodeName, evidence: Option<&NodeEvidence>) -> Option<Loss> {
    let heard_of = evidence.map_or(core.evidence.since, |evidence| evidence.observed_at);
    if core.now.since(heard_of) < core.policy().silent_after {
        return None;
    }
    match witnesses(core, node) {
        Witnesses::Deaf(since) => {
            let failed_at = since.max(heard_of);
            let silence = core.now.since(failed_at);
            let seen = format!("its host and every replica that can be asked have heard nothing from it for {silence}");
            Some(Loss { class: LossClass::Silent, failed_at, seen })
        }
        Witnesses::None | Witnesses::Hear => None,
    }
}

/// Asks the nodes that listen to `node` and whose agents report now.
fn witnesses(core: &Core, node: &NodeName) -> Witnesses {
    let Some(endpoint) = core.journal.node(node).map(|node| node.endpoint) else { return Witnesses::None };
    let silent_after = core.policy().silent_after;
    let mut verdict = Witnesses::None;
    for listener in core.journal.spec.nodes.iter().filter(|one| core.journal.same_region(&one.name, node)) {
        let Some(evidence) = core.evidence.node(&listener.name) else { continue };
        let reports = core.evidence.connected(&listener.host) && core.now.since(evidence.observed_at) < silent_after;
        let Some(replication) = evidence.replication().filter(|one| reports && one.source == endpoint) else {
            continue;
        };
        if replication.receiver == Receiver::Stopped {
            continue;
        }
        // What it had heard when it was looked at: the time since then says something of the observer only.
        let heard_at = evidence.heard_at.unwrap_or(core.evidence.since);
        if evidence.observed_at.since(heard_at) < silent_after {
            return Witnesses::Hear;
        }
        verdict = match verdict {
            Witnesses::Deaf(since) => Witnesses::Deaf(since.max(heard_at)),
            _ => Witnesses::Deaf(heard_at),
        };
    }
    verdict
}

/// The health of a node with one sentence why; the sentence is empty when it is healthy.
pub(crate) fn health(core: &Core, node: &NodeName) -> (Health, String) {
    let Some(evidence) = core.evidence.node(node) else {
        return (Health::Unknown, "its agent has not reported yet".to_owned());
    };
    if evidence.observation.process.is_gone() {
        return (Health::Dead, "its server process is gone".to_owned());
    }
    if let Some(loss) = core.journal.nodes.get(node).and_then(|_| loss(core, node)) {
        let health = match loss.class {
            LossClass::ProcessGone => Health::Dead,
            LossClass::Hung => Health::Hung,
            LossClass::Silent | LossClass::Requested => Health::Silent,
        };
        return (health, loss.seen);
    }
    let policy = core.policy();
    let age = core.now.since(evidence.observed_at);
    if !core.reachable(node) || age >= policy.silent_after {
        return match witnesses(core, node) {
            Witnesses::Hear => {
                (Health::Unreachable, format!("nothing from its agent for {age}, but its replicas hear it"))
            }
            _ => (Health::Silent, format!("nothing from its agent for {age}, and no replica can speak for it")),
        };
    }
    answering(core, node, evidence)
}

fn answering(core: &Core, node: &NodeName, evidence: &NodeEvidence) -> (Health, String) {
    let policy = core.policy();
    let unanswered = evidence.observation.unanswered_for;
    let Some(status) = evidence.status() else {
        let health = if unanswered >= policy.hung_after { Health::Hung } else { Health::Suspect };
        let error = evidence.observation.error.as_deref().unwrap_or("no error was reported");
        return (health, format!("it runs but has not answered for {unanswered} ({error})"));
    };
    if let Some(record) = core.journal.nodes.get(node) {
        match &record.standing {
            Standing::Lost { why, .. } => return (Health::Diverged, why.clone()),
            Standing::Doubtful { why } => return (Health::Joining, why.clone()),
            Standing::InService => {}
        }
    }
    if *node == core.journal.primary {
        return if status.read_only {
            (Health::Suspect, "it is the primary and refuses writes (read_only)".to_owned())
        } else if core.lossless() && !(status.semi_sync.primary_enabled && status.semi_sync.primary_active) {
            let text = "it acknowledges writes without waiting for a replica (semi-sync is off or has fallen back)";
            (Health::Suspect, text.to_owned())
        } else {
            (Health::Healthy, String::new())
        };
    }
    following(core, node, status.replication.as_ref())
}

fn following(
    core: &Core,
    node: &NodeName,
    replication: Option<&firedrill_model::observation::Replication>,
) -> (Health, String) {
    let Some(replication) = replication else {
        return (Health::Suspect, "it replicates from nobody".to_owned());
    };
    let source = core.journal.source_of(node).and_then(|source| core.journal.node(&source).cloned());
    if source.as_ref().is_none_or(|source| source.endpoint != replication.source) {
        return (Health::Suspect, format!("it replicates from {}, not from its source", replication.source));
    }
    let error = |error: &Option<String>| error.clone().unwrap_or_else(|| "no error reported".to_owned());
    if replication.receiver != Receiver::Connected {
        return (Health::Suspect, format!("its receiver is not connected ({})", error(&replication.receiver_error)));
    }
    if !replication.applier_running {
        return (Health::Suspect, format!("its applier does not run ({})", error(&replication.applier_error)));
    }
    (Health::Healthy, String::new())
}
