//! What the nodes hold in the end.

use crate::history::{FinalRead, Known, NodeState, Primary};

/// The final reads of a history, and what was known of the nodes before the load.
#[derive(Debug, Default)]
pub(super) struct Finals {
    pub(super) known: Vec<Known>,
    pub(super) primary: Option<Primary>,
    pub(super) nodes: Vec<FinalRead>,
}

impl Finals {
    /// The primary's final read.
    pub(super) fn primary_read(&self) -> Option<(&str, &NodeState)> {
        let Some(Primary::Server(server)) = self.primary else { return None };
        self.read().find(|(_, state)| state.server == server)
    }

    pub(super) fn primary_state(&self) -> Option<&NodeState> {
        self.primary_read().map(|(_, state)| state)
    }

    /// Why the primary's content is not known; `None` when it is.
    pub(super) fn primary_unknown(&self) -> Option<String> {
        if self.primary_read().is_some() {
            return None;
        }
        Some(match &self.primary {
            None => "the history has no final reads".to_owned(),
            Some(Primary::NotKnown(reason)) => format!("no node takes writes in the end: {reason}"),
            Some(Primary::Server(server)) => format!("the primary {} could not be read in the end", self.name(*server)),
        })
    }

    /// Nodes that were read.
    pub(super) fn read(&self) -> impl Iterator<Item = (&str, &NodeState)> {
        self.nodes.iter().filter_map(|node| Some((node.node.as_str(), node.state.as_ref().ok()?)))
    }

    /// Nodes that were read, without the primary.
    pub(super) fn others(&self) -> impl Iterator<Item = (&str, &NodeState)> {
        let primary = self.primary_state().map(|state| state.server);
        self.read().filter(move |(_, state)| Some(state.server) != primary)
    }

    /// Nodes that could not be read, and why.
    pub(super) fn unread(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nodes.iter().filter_map(|node| Some((node.node.as_str(), node.state.as_ref().err()?.as_str())))
    }

    pub(super) fn state_of(&self, node: &str) -> Option<&NodeState> {
        self.read().find(|(name, _)| *name == node).map(|(_, state)| state)
    }

    /// A server's name, or its id where it is unknown.
    pub(super) fn name(&self, server: u32) -> String {
        let read = self.read().find(|(_, state)| state.server == server).map(|(name, _)| name.to_owned());
        let known = || self.known.iter().find(|known| known.server == server).map(|known| known.node.to_string());
        read.or_else(known).unwrap_or_else(|| format!("server {server}"))
    }
}
