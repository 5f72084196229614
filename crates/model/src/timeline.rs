//! The one append-only line of what happened, from which pages, reports and notifications are made.

use crate::id::{ClusterName, HostName, NodeName, OperationId, RunId};
use crate::operation::Phase;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How loud an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Expected course of things.
    Info,
    /// Unexpected, handled or harmless so far.
    Warning,
    /// A person is needed.
    Critical,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEvent {
    /// Given by the store, growing by one; 0 before it is stored.
    #[serde(default)]
    pub sequence: u64,
    /// When it happened.
    pub at: Timestamp,
    /// How loud.
    pub severity: Severity,
    /// What kind of event.
    pub kind: EventKind,
    /// One sentence for people.
    pub text: String,
    /// Where it belongs; all optional.
    #[serde(flatten)]
    pub scope: Scope,
}

/// What an event belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Scope {
    /// A cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// A node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// A host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// An operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// A run of an experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// What it means for those who are sent messages, where the kind does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<crate::message::Topic>,
}

/// Kinds of events, closed so that pages and reports can rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A run began or moved to its next step.
    Run,
    /// An attack is in place.
    AttackStarted,
    /// An attack is out.
    AttackEnded,
    /// A probe or a check gave its answer.
    Probe,
    /// An abort condition or a halt.
    Halt,
    /// The keeper's view of a node changed (suspect, dead, hung, silent, back).
    Health,
    /// A role moved.
    Role,
    /// An operation began.
    OperationStarted,
    /// A phase of an operation ended.
    PhaseEnded(Phase),
    /// An operation ended.
    OperationEnded,
    /// The gateway was told where to go.
    Route,
    /// An agent came or went.
    Agent,
    /// The server itself: start, recovery.
    Server,
    /// A schedule came to a due time, or was changed.
    Schedule,
    /// A guard was passed over, its limits were changed, or a second person was asked or has approved.
    Guard,
    /// A person asked for something.
    Person,
    /// A person says something about a run.
    Note,
    /// A person takes a part in a game day; see [`crate::progress::part_taken`].
    Part,
}
