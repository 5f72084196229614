//! What a request to the keeper would come to if it were made now: told before anything is begun.

use crate::cluster::Role;
use crate::gtid::GtidPos;
use crate::id::{Generation, NodeName};
use crate::operation::OperationKind;
use crate::view::Health;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request, thought through. It holds for the moment at which it was made; the keeper decides again when it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Foreseen {
    /// What would begin.
    pub kind: OperationKind,
    /// The node that it is about.
    pub subject: NodeName,
    /// Who would take over, or be copied from, as far as that can be known now.
    pub partner: Option<NodeName>,
    /// Why the request would be refused.
    pub refused: Option<Obstacle>,
    /// It would begin, and then wait for this.
    pub waits: Option<String>,
    /// What would be done, in this order.
    pub steps: Vec<String>,
    /// Whether anything can be lost by it.
    pub risk: Risk,
    /// What could be lost, and why not more: sentences.
    pub loss: Vec<String>,
    /// What else people would notice: sentences.
    pub effects: Vec<String>,
    /// The nodes that could take over, or be copied from.
    pub choices: Vec<Choice>,
    /// The cluster as it was looked at.
    pub generation: Generation,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Obstacle {
    /// With a page in `docs/errors/`.
    pub code: String,
    /// What stands against it, and what to do.
    pub message: String,
}

/// Whether anything can be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Nothing that was acknowledged.
    Nothing,
    /// Something that was acknowledged, or that only one node holds.
    Possible,
    /// Nobody can tell.
    Unknown,
}

/// A node that could take over, or be copied from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// Which.
    pub node: NodeName,
    /// Its role.
    pub role: Role,
    /// How it is.
    pub health: Health,
    /// It acknowledges writes of the primary.
    pub acker: bool,
    /// All that it has received, as it said last; `None`: it does not answer.
    pub received: Option<GtidPos>,
    /// Transactions that it has not received of those that anybody is known to hold.
    pub missing: Option<u64>,
    /// Why it would be refused.
    pub refused: Option<Obstacle>,
}
