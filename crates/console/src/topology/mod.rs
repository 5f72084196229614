//! A cluster as people see it: who follows whom and how far behind, where the gateway sends connections, what is attacked
//! and what is under way on which node. [`members`] says it, [`Topology::of`] draws it.

mod layout;

use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::observation::{Receiver, Replication};
use firedrill_model::{ClusterView, Durability, Health, HostName, NodeName, NodeView, Operation, OperationState, Role};

pub(crate) use layout::Topology;

/// Whether changes flow from a source to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Received and applied.
    Flowing,
    /// Not received, or not applied.
    Broken,
    /// The node does not say.
    Unknown,
}

impl Flow {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Flowing => "flowing",
            Self::Broken => "broken",
            Self::Unknown => "not-known",
        }
    }
}

/// How a node gets its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// From whom: the node that it says, else the one that its role calls for.
    pub(crate) source: NodeName,
    pub(crate) flow: Flow,
    /// Whether the primary waits for it.
    pub(crate) mode: &'static str,
    /// How far behind it is, or what is wrong.
    pub(crate) lag: String,
}

/// One node with everything that concerns it now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member<'a> {
    pub(crate) node: &'a NodeView,
    pub(crate) link: Option<Link>,
    /// What is, or may be, in place on its host.
    pub(crate) attacks: Vec<String>,
    /// What is under way with it, in words, and the operation.
    pub(crate) work: Vec<(String, &'a Operation)>,
    /// The gateway sends connections here.
    pub(crate) routed: bool,
}

/// The gateway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gateway<'a> {
    pub(crate) host: &'a HostName,
    /// `None`: it holds connections.
    pub(crate) route: Option<&'a NodeName>,
    pub(crate) attacks: Vec<String>,
}

/// All nodes, in the order of the view.
pub(crate) fn members<'a>(
    view: &'a ClusterView,
    attacks: &[AttackReport],
    under_way: &'a [Operation],
) -> Vec<Member<'a>> {
    let member = |node: &'a NodeView| Member {
        node,
        link: link(view, node),
        attacks: attacks_on(attacks, &node.host),
        work: under_way.iter().filter_map(|operation| Some((work(operation, &node.name)?, operation))).collect(),
        routed: view.route.as_ref() == Some(&node.name),
    };
    view.nodes.iter().map(member).collect()
}

/// The gateway, when the cluster has one.
pub(crate) fn gateway<'a>(
    view: &'a ClusterView,
    host: Option<&'a HostName>,
    attacks: &[AttackReport],
) -> Option<Gateway<'a>> {
    host.map(|host| Gateway { host, route: view.route.as_ref(), attacks: attacks_on(attacks, host) })
}

fn attacks_on(attacks: &[AttackReport], host: &HostName) -> Vec<String> {
    attacks.iter().filter(|attack| attack.host == *host).map(attack_in_words).collect()
}

fn attack_in_words(attack: &AttackReport) -> String {
    match attack.state {
        AttackState::Preparing => format!("{} is being prepared", attack.fault),
        AttackState::UndoFailed => format!("{} could NOT be taken out", attack.fault),
        _ => attack.fault.to_string(),
    }
}

fn work(operation: &Operation, node: &NodeName) -> Option<String> {
    let Operation { kind, subject, partner, state, .. } = operation;
    let is_partner = partner.as_ref() == Some(node);
    let what = match kind {
        _ if subject == node => format!("{kind}"),
        firedrill_model::OperationKind::Clone if is_partner => format!("donor for {subject}"),
        _ if is_partner => format!("takes over from {subject}"),
        _ => return None,
    };
    let phase = operation.steps.last().map(|step| format!(", {}", step.phase)).unwrap_or_default();
    Some(match state {
        OperationState::NeedsPerson => format!("{what} waits for a person"),
        _ if subject == node => format!("{what}{phase}"),
        _ => what,
    })
}

fn link(view: &ClusterView, node: &NodeView) -> Option<Link> {
    if node.role == Role::Primary {
        return None;
    }
    let status = node.observation.as_ref().and_then(|observation| observation.status.as_ref());
    let replication = status.and_then(|status| status.replication.as_ref());
    let named = replication.and_then(|replication| {
        view.nodes.iter().find(|other| other.endpoint == replication.source).map(|other| other.name.clone())
    });
    let source = named.or_else(|| meant(view, node))?;
    let (flow, lag) = match (status, replication) {
        (None, _) => (Flow::Unknown, "lag not known".to_owned()),
        (Some(_), None) => (Flow::Broken, "not replicating".to_owned()),
        (Some(_), Some(replication)) => flow(replication, node.behind),
    };
    let active = status.is_some_and(|status| status.semi_sync.acker_active);
    let mode = match (node.acker, active) {
        (true, true) => "semi-sync acker",
        (true, false) => "semi-sync, inactive",
        (false, true) => "semi-sync, new",
        (false, false) => "asynchronous",
    };
    Some(Link { source, flow, mode, lag })
}

fn flow(replication: &Replication, behind: Option<u64>) -> (Flow, String) {
    if replication.receiver != Receiver::Connected {
        return (Flow::Broken, "not connected".to_owned());
    }
    if !replication.applier_running {
        return (Flow::Broken, "applier stopped".to_owned());
    }
    let lag = replication.lag.map_or_else(|| "lag not known".to_owned(), |lag| format!("lag {lag}"));
    let behind = behind.filter(|behind| *behind > 0);
    (Flow::Flowing, behind.map_or(lag.clone(), |behind| format!("{lag}, {behind} behind")))
}

/// Whom its role calls it to follow.
fn meant(view: &ClusterView, node: &NodeView) -> Option<NodeName> {
    let with = |role: Role| view.nodes.iter().find(|other| other.role == role && other.name != node.name);
    let feeder = view.nodes.iter().find(|other| other.role == Role::PseudoPrimary && other.region == node.region);
    let source = match node.role {
        Role::Primary | Role::OutOfService => None,
        Role::PseudoReplica => feeder.or_else(|| with(Role::Primary)),
        Role::Replica | Role::PseudoPrimary => with(Role::Primary),
    };
    source.map(|source| source.name.clone())
}

/// A sign for each state: colours say nothing to some.
pub(crate) fn sign(health: Health) -> &'static str {
    match health {
        Health::Healthy => "✔",
        Health::Joining => "↻",
        Health::Suspect | Health::Unreachable | Health::Unknown => "?",
        Health::Dead | Health::Hung | Health::Silent | Health::Diverged => "✖",
    }
}

/// What an OK means on this cluster, in words.
pub(crate) fn durability(view: &ClusterView) -> &'static str {
    match view.policy.durability {
        Durability::Lossless => "an acknowledged write is on two nodes",
        Durability::Asynchronous => "asynchronous: the newest acknowledged writes may be on the primary alone",
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::view as example;
