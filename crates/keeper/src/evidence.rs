//! What was heard lately of nodes and hosts. Not stored: after a restart it is heard anew within a second.

use firedrill_model::observation::{NodeObservation, Receiver, Replication, ServerStatus};
use firedrill_model::{HostName, NodeName, Span, Timestamp};
use std::collections::BTreeMap;

/// The last word on every node and host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    nodes: BTreeMap<NodeName, NodeEvidence>,
    hosts: BTreeMap<HostName, HostEvidence>,
    /// Before this nothing could have been heard.
    pub(crate) since: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct NodeEvidence {
    pub(crate) observation: NodeObservation,
    pub(crate) observed_at: Timestamp,
    /// When the server last answered its agent.
    pub(crate) answered_at: Option<Timestamp>,
    /// When its receiver last had any sign of its present source.
    pub(crate) heard_at: Option<Timestamp>,
    /// When its process was first seen to be gone; `None` while it is there.
    pub(crate) gone_since: Option<Timestamp>,
    /// When an answer to a command last came from it: an observation shortly after may have been made before it.
    pub(crate) commanded_at: Option<Timestamp>,
    /// Observations in a row in which it took writes without being the primary.
    pub(crate) writable_in_a_row: u32,
}

#[derive(Debug, Clone, Copy)]
struct HostEvidence {
    connected: bool,
    since: Timestamp,
}

impl Evidence {
    pub(crate) fn new(since: Timestamp) -> Self {
        Self { nodes: BTreeMap::new(), hosts: BTreeMap::new(), since }
    }

    pub(crate) fn observed(&mut self, now: Timestamp, observation: NodeObservation) {
        let before = self.nodes.get(&observation.node);
        let replication = observation.status.as_ref().and_then(|status| status.replication.as_ref());
        let source_before = before.and_then(NodeEvidence::replication).map(|replication| replication.source);
        let heard_before = before
            .filter(|_| replication.is_none() || source_before == replication.map(|replication| replication.source))
            .and_then(|before| before.heard_at);
        let heard_now = replication
            .filter(|replication| replication.receiver == Receiver::Connected)
            .and_then(|replication| replication.last_heard)
            .map(|ago| now - ago);
        let answered_before = before.and_then(|before| before.answered_at);
        let answered_at = if observation.status.is_some() {
            Some(now - observation.unanswered_for).max(answered_before)
        } else {
            answered_before
        };
        let gone_since =
            observation.process.is_gone().then(|| before.and_then(|before| before.gone_since).unwrap_or(now));
        let fresh = NodeEvidence {
            observed_at: now,
            answered_at,
            heard_at: heard_now.max(heard_before),
            gone_since,
            commanded_at: before.and_then(|before| before.commanded_at),
            writable_in_a_row: before.map_or(0, |before| before.writable_in_a_row),
            observation,
        };
        self.nodes.insert(fresh.observation.node.clone(), fresh);
    }

    pub(crate) fn node(&self, node: &NodeName) -> Option<&NodeEvidence> {
        self.nodes.get(node)
    }

    pub(crate) fn node_mut(&mut self, node: &NodeName) -> Option<&mut NodeEvidence> {
        self.nodes.get_mut(node)
    }

    pub(crate) fn host_is(&mut self, now: Timestamp, host: &HostName, connected: bool) -> bool {
        let before = self.hosts.insert(host.clone(), HostEvidence { connected, since: now });
        before.is_none_or(|before| before.connected != connected)
    }

    pub(crate) fn connected(&self, host: &HostName) -> bool {
        self.hosts.get(host).is_some_and(|host| host.connected)
    }

    /// When the host's link came or went; `None` when nothing was heard of it.
    pub(crate) fn link_changed(&self, host: &HostName) -> Option<Timestamp> {
        self.hosts.get(host).map(|host| host.since)
    }

    /// What the server on `node` said of itself, when that was at most `within` ago.
    pub(crate) fn status(&self, node: &NodeName, now: Timestamp, within: Span) -> Option<&ServerStatus> {
        let evidence = self.nodes.get(node)?;
        let status = evidence.observation.status.as_ref()?;
        (now.since(evidence.observed_at) <= within).then_some(status)
    }
}

impl NodeEvidence {
    pub(crate) fn status(&self) -> Option<&ServerStatus> {
        self.observation.status.as_ref()
    }

    /// Its server process was there when it was last looked at.
    pub(crate) fn runs(&self) -> bool {
        self.gone_since.is_none()
    }

    pub(crate) fn replication(&self) -> Option<&Replication> {
        self.status().and_then(|status| status.replication.as_ref())
    }
}
