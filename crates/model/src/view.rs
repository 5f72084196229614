//! The keeper's view of a cluster, for pages, the command line and steady-state probes. Derived, never stored.

use crate::cluster::{Endpoint, Policy, Role};
use crate::id::{ClusterName, Generation, HostName, NodeName, OperationId, RegionName};
use crate::observation::NodeObservation;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One cluster now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterView {
    /// Which.
    pub cluster: ClusterName,
    /// Grows with each change of primary.
    pub generation: Generation,
    /// The node that may take writes; `None` while one is being chosen.
    pub primary: Option<NodeName>,
    /// Where the gateway was last told to send connections; `None`: it holds them.
    pub route: Option<NodeName>,
    /// All nodes, primary side first, by region and name.
    pub nodes: Vec<NodeView>,
    /// Operations that run or wait for a person.
    pub operations: Vec<OperationId>,
    /// Every node in service, replicating, caught up, all that was acknowledged known to be on two nodes, and nothing
    /// running.
    pub fully_redundant: bool,
    /// Sentences on what is wrong, loudest first; empty when all is well.
    pub problems: Vec<String>,
    /// The rules in force.
    pub policy: Policy,
    /// The moment of the view.
    pub at: Timestamp,
}

/// One node now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Which.
    pub name: NodeName,
    /// Where it lives.
    pub host: HostName,
    /// Its region.
    pub region: RegionName,
    /// Its address.
    pub endpoint: Endpoint,
    /// The role that the keeper gave it.
    pub role: Role,
    /// How it is.
    pub health: Health,
    /// Why it is so, one sentence; empty when healthy.
    pub reason: String,
    /// On the journalled list of ackers.
    pub acker: bool,
    /// Transactions that it has not applied of what its primary had; `None` when unknown.
    pub behind: Option<u64>,
    /// What the agent saw last.
    pub observation: Option<NodeObservation>,
    /// When that was.
    pub observed_at: Option<Timestamp>,
}

/// How a node is, by all evidence together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// In its role and working.
    Healthy,
    /// Something is off, not yet certain.
    Suspect,
    /// Its server process is gone.
    Dead,
    /// Its process exists and does not answer.
    Hung,
    /// Neither its agent nor its replicas hear from it.
    Silent,
    /// Only the server does not hear from it; its replicas do.
    Unreachable,
    /// Coming into service.
    Joining,
    /// Holds transactions of its own, or was given up; waits for a clone or a person.
    Diverged,
    /// Not observed yet.
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Hung => "hung",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
            Self::Joining => "joining",
            Self::Diverged => "diverged",
            Self::Unknown => "unknown",
        })
    }
}
