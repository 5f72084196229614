//! What a fleet is: clusters, their nodes and roles, and the policy by which the keeper may act.

use crate::id::{ClusterName, HostName, NodeName, RegionName};
use crate::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// An address and a TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// IPv4 or IPv6 address; never a host name, so that a broken resolver cannot move a primary.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::from((self.address, self.port)).fmt(f)
    }
}

/// The part a node plays. Roles are assigned by the keeper; what a server says of itself is an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Takes the writes.
    Primary,
    /// Replicates from the primary in the primary's region; may be an acker.
    Replica,
    /// Replicates from the primary in another region, takes no user traffic, and feeds the pseudo-replicas.
    PseudoPrimary,
    /// Replicates from the pseudo-primary.
    PseudoReplica,
    /// Known, but not in service: being cloned, rejoined, or waiting for a person.
    OutOfService,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::PseudoPrimary => "pseudo-primary",
            Self::PseudoReplica => "pseudo-replica",
            Self::OutOfService => "out-of-service",
        })
    }
}

/// One database server of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeSpec {
    /// Unique in the fleet.
    pub name: NodeName,
    /// The host it lives on; that host's agent controls it.
    pub host: HostName,
    /// Its failure domain.
    pub region: RegionName,
    /// Where clients and replicas reach it.
    pub endpoint: Endpoint,
    /// The role at the time the cluster was registered; the keeper's state says the present one.
    pub initial_role: Role,
    /// The server's `server_id`.
    pub server_id: u32,
}

/// How writes are made durable before a client gets its OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Semi-synchronous, AFTER_SYNC, never falling to asynchronous: an acknowledged write is in the relay log of at
    /// least one acker.
    Lossless,
    /// Asynchronous: the newest acknowledged writes can be lost with the primary.
    Asynchronous,
}

/// By which rules, limits and patience the keeper acts on one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "snake_case", deny_unknown_fields)]
pub struct Policy {
    /// What an OK means on this cluster.
    pub durability: Durability,
    /// Promote without being asked.
    pub automatic_promotion: bool,
    /// Start a lost primary again where it was, when nobody can take over from it. What it acknowledged survives that
    /// if its server writes through (`sync_binlog=1`, `innodb_flush_log_at_trx_commit=1`).
    pub automatic_recovery: bool,
    /// Replace a dead replica without being asked.
    pub automatic_clone: bool,
    /// Promote even when acknowledged writes may be missing on every reachable node. Never for data one wants to keep.
    pub promote_without_proof: bool,
    /// A node that neither its agent nor its replicas have heard from for this long is silent.
    pub silent_after: Span,
    /// A server process that exists but has not answered for this long is hung.
    pub hung_after: Span,
    /// A primary whose volume takes no writes, and that has committed nothing itself, for this long is as good as hung.
    pub disk_dead_after: Span,
    /// How long a dead replica may take to come back by itself before it is replaced.
    pub replace_replica_after: Span,
    /// How long one step may take before it counts as failed, when the step has no bound of its own.
    pub step_within: Span,
    /// How long the keeper waits for optional answers (a node that is no acker) during a promotion.
    pub straggler_within: Span,
    /// Automatic promotions allowed in one [`Policy::flap_window`]; one more asks a person.
    pub promotions_max: u32,
    /// The window of `promotions_max`.
    pub flap_window: Span,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            durability: Durability::Lossless,
            automatic_promotion: true,
            automatic_recovery: true,
            automatic_clone: true,
            promote_without_proof: false,
            // Three missed heartbeats of 500 ms: two are needed to tell silence from a lost packet.
            silent_after: Span::millis(1500),
            hung_after: Span::millis(1500),
            // Snapshots freeze a file system for a second or two.
            disk_dead_after: Span::secs(5),
            replace_replica_after: Span::secs(2),
            step_within: Span::secs(30),
            straggler_within: Span::millis(150),
            promotions_max: 20,
            flap_window: Span::secs(3600),
        }
    }
}

/// A cluster as registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterSpec {
    /// Its name.
    pub name: ClusterName,
    /// Every node, in any order.
    pub nodes: Vec<NodeSpec>,
    /// The host whose agent runs the gateway; none: applications find the primary by themselves.
    pub gateway_host: Option<HostName>,
    /// Where applications connect.
    pub gateway: Option<Endpoint>,
    /// The host the workload runs on.
    pub application_host: Option<HostName>,
    /// The rules.
    #[serde(default)]
    pub policy: Policy,
}

/// Why a cluster cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// Not exactly one primary.
    #[error("cluster {cluster} names {count} primaries; exactly one node must have initial_role: primary")]
    Primaries {
        /// Which cluster.
        cluster: ClusterName,
        /// How many were named.
        count: usize,
    },
    /// Two nodes share what must be unique.
    #[error("cluster {cluster}: nodes {first} and {second} share the same {what}")]
    Shared {
        /// Which cluster.
        cluster: ClusterName,
        /// One of them.
        first: NodeName,
        /// The other.
        second: NodeName,
        /// `name`, `server_id` or `endpoint`.
        what: &'static str,
    },
}

impl ClusterSpec {
    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&NodeSpec> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// Checks what every later rule relies on: one primary; unique names, server ids and endpoints.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn validate(&self) -> Result<(), ClusterError> {
        let count = self.nodes.iter().filter(|node| node.initial_role == Role::Primary).count();
        if count != 1 {
            return Err(ClusterError::Primaries { cluster: self.name.clone(), count });
        }
        for (index, first) in self.nodes.iter().enumerate() {
            for second in &self.nodes[index + 1..] {
                let what = if first.name == second.name {
                    "name"
                } else if first.server_id == second.server_id {
                    "server_id"
                } else if first.endpoint == second.endpoint {
                    "endpoint"
                } else {
                    continue;
                };
                let (first, second) = (first.name.clone(), second.name.clone());
                return Err(ClusterError::Shared { cluster: self.name.clone(), first, second, what });
            }
        }
        Ok(())
    }
}
