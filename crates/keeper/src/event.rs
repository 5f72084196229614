//! What the keeper is told and what it asks for.

use firedrill_model::cluster::Policy;
use firedrill_model::{
    CommandFailure, Generation, HostName, NodeCommand, NodeName, NodeObservation, NodeReply, Operation, OperationId,
    Span, TimelineEvent,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Numbers the keeper's calls to agents; never reused within a cluster, also not after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every event is an observation; a box would only add an allocation"
)]
pub enum Event {
    /// Time passed. Sent at least every 50 ms; the only way the keeper notices that something did *not* happen.
    Tick,
    /// An agent looked at a node.
    Observed(NodeObservation),
    /// The agent of a host has a live link to the server.
    HostConnected(HostName),
    /// The agent of a host has lost its link (closed, or silent beyond the link's own bound).
    HostLost(HostName),
    /// A call came to an end.
    Answered {
        /// Which call.
        call: CallId,
        /// What the agent said; also synthesised by the runner (`Unreachable`, `TimedOut`).
        result: Result<NodeReply, CommandFailure>,
    },
}

/// What a person (or an experiment) asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// Replace the primary now, though it may be alive (it is fenced first).
    Promote {
        /// By this node; `None`: the best one.
        to: Option<NodeName>,
        /// Also when acknowledged writes may be missing.
        #[serde(default)]
        without_proof: bool,
    },
    /// Move the primary's role in peace, losing nothing.
    Switchover {
        /// To this node; `None`: the best one.
        to: Option<NodeName>,
    },
    /// Make this node anew from a donor.
    Clone {
        /// Which.
        node: NodeName,
        /// From whom; `None`: the keeper chooses.
        donor: Option<NodeName>,
    },
    /// Take this node, which runs, back into service.
    Rejoin {
        /// Which.
        node: NodeName,
    },
    /// Give an operation up and undo it, where that is still possible.
    Cancel {
        /// Which.
        operation: OperationId,
    },
    /// Change the rules.
    SetPolicy {
        /// The new ones.
        policy: Box<Policy>,
    },
}

/// Why a request is not followed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable code (`K003`); each has a page in `docs/errors/`.
    pub code: String,
    /// What stands against it, with names, and what to do.
    pub message: String,
}

/// What is to be done now, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the agent of `host`; the answer comes back as [`Event::Answered`], always (the runner makes one up when
    /// the link breaks or `within` passes).
    Perform {
        /// To match the answer.
        call: CallId,
        /// Whose agent.
        host: HostName,
        /// What to ask.
        command: NodeCommand,
        /// The agent refuses it when it has seen a newer one for this cluster.
        generation: Generation,
        /// The answer is not waited for any longer than this.
        within: Span,
    },
    /// An operation is new or has changed: store and show it, whole.
    Operation(Operation),
    /// Something worth a line in the timeline (sequence 0; the store numbers it).
    Note(TimelineEvent),
}
