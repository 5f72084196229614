//! The database nodes of this host.
//!
//! Commands to one node run beside each other: the engine itself gives the turn to change a server to one at a time,
//! and a fence waits for none of them.

use firedrill_engine::{Admin, Instance, InstanceConfig};
use firedrill_host::process::Identity;
use firedrill_model::command::FailureKind;
use firedrill_model::{CommandFailure, NodeCommand, NodeName, NodeReply, Span};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// All nodes of this host.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: BTreeMap<NodeName, Arc<Node>>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    /// The server.
    pub(crate) instance: Instance,
    /// Rung when a command has ended: it may have changed something, and the next look is due.
    pub(crate) look: Notify,
}

impl Nodes {
    /// The nodes that the configuration names.
    pub(crate) fn new(configs: Vec<InstanceConfig>) -> Self {
        let node = |config: InstanceConfig| {
            (config.node.clone(), Arc::new(Node { instance: Instance::new(config), look: Notify::new() }))
        };
        Self { nodes: configs.into_iter().map(node).collect() }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The server process of a node; `None` when there is none, or no such node.
    pub(crate) fn process(&self, node: &NodeName) -> Option<Identity> {
        self.nodes.get(node)?.instance.process()
    }

    /// The server of a node; `None` when there is no such node.
    pub(crate) fn instance(&self, node: &NodeName) -> Option<Instance> {
        self.nodes.get(node).map(|node| node.instance.clone())
    }

    /// The way to the running server of a node, for faults inside it; `None` when there is none, or no such node.
    pub(crate) fn admin(&self, node: &NodeName) -> Option<Admin> {
        self.nodes.get(node)?.instance.admin()
    }

    /// Carries a command out.
    pub(crate) async fn carry_out(&self, command: NodeCommand, within: Span) -> Result<NodeReply, CommandFailure> {
        let Some(node) = command.node().and_then(|name| self.nodes.get(name)) else {
            let named = command.node().map(NodeName::to_string).unwrap_or_default();
            let message = format!("this host has no node {named:?}; is the agent's configuration up to date?");
            return Err(CommandFailure { kind: FailureKind::Invalid, message });
        };
        let outcome = node.instance.carry_out(command, within).await;
        node.look.notify_one();
        outcome
    }
}
