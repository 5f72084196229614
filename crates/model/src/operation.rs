//! Operations: what the keeper does to a cluster, as a saga of recorded steps.

use crate::id::{ClusterName, HostName, NodeName, OperationId};
use crate::time::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Unplanned: a lost primary (or pseudo-primary) is replaced by its best replica.
    Promotion,
    /// Unplanned: a lost primary that nobody can replace is started again where it was.
    Recovery,
    /// Planned: the primary's role moves while all is well.
    Switchover,
    /// A node is replaced by a copy of another.
    Clone,
    /// A node that came back takes its place again.
    Rejoin,
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Promotion => "promotion",
            Self::Recovery => "recovery",
            Self::Switchover => "switchover",
            Self::Clone => "clone",
            Self::Rejoin => "rejoin",
        })
    }
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Steps are being taken.
    Running,
    /// Done.
    Finished,
    /// Given up and undone.
    Undone,
    /// Stopped: a person must look; the reason says at what.
    NeedsPerson,
}

/// The phases by which durations are compared over the weeks (D6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// From the last sign of life of the failed node to the keeper's suspicion.
    Detect,
    /// From suspicion to certainty.
    Confirm,
    /// The old primary can no longer acknowledge a write.
    Fence,
    /// The candidate applies all it has received.
    Drain,
    /// The new primary takes writes.
    Open,
    /// Everybody else follows it.
    Repoint,
    /// From open to the first acknowledged write (from the workload; absent without one).
    FirstGoodWrite,
    /// Logs and state of the failed node are set aside.
    Capture,
    /// Data goes from donor to recipient.
    Copy,
    /// The copy is made consistent.
    Prepare,
    /// The new node applies what happened meanwhile.
    CatchUp,
    /// The new node is compared with its source.
    Check,
    /// The new node takes its role.
    Join,
    /// What was begun is taken back.
    Undo,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Detect => "detect",
            Self::Confirm => "confirm",
            Self::Fence => "fence",
            Self::Drain => "drain",
            Self::Open => "open",
            Self::Repoint => "re-point",
            Self::FirstGoodWrite => "first good write",
            Self::Capture => "capture",
            Self::Copy => "copy",
            Self::Prepare => "prepare",
            Self::CatchUp => "catch up",
            Self::Check => "check",
            Self::Join => "join",
            Self::Undo => "undo",
        })
    }
}

/// One operation, whole: what is stored, shown and reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Its id, `<cluster>-<number>`.
    pub id: OperationId,
    /// On which cluster.
    pub cluster: ClusterName,
    /// What for.
    pub kind: OperationKind,
    /// The node that it is about: the lost primary, the node being cloned.
    pub subject: NodeName,
    /// The node that takes over, or the donor; known once it is chosen.
    pub partner: Option<NodeName>,
    /// Why it was started, for people.
    pub cause: String,
    /// How far it is.
    pub state: OperationState,
    /// Why it stopped, when it did not finish; what is missing and what a person can do.
    pub reason: Option<String>,
    /// When the failure began, as far as known (the exit was seen, the last sign of life).
    pub failure_at: Option<Timestamp>,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// In the order they began; several can run at once.
    pub steps: Vec<Step>,
}

impl Operation {
    /// The first start and the last end of a phase's steps; `None` when the phase has no finished step.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> Option<(Timestamp, Timestamp)> {
        let steps = || self.steps.iter().filter(|step| step.phase == phase);
        let began = steps().map(|step| step.began).min()?;
        let ended = steps().filter_map(|step| step.ended).max()?;
        Some((began, ended))
    }

    /// Phases in order of their start, with their length.
    #[must_use]
    pub fn phases(&self) -> Vec<(Phase, Timestamp, Span)> {
        let mut phases: Vec<Phase> = self.steps.iter().map(|step| step.phase).collect();
        phases.sort_unstable();
        phases.dedup();
        let mut spans: Vec<_> = phases
            .into_iter()
            .filter_map(|phase| self.phase(phase).map(|(began, ended)| (phase, began, ended.since(began))))
            .collect();
        spans.sort_by_key(|(phase, began, _)| (*began, *phase));
        spans
    }
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its place in the operation.
    pub number: u32,
    /// Which phase it counts to.
    pub phase: Phase,
    /// The host that carries it out; `None`: the keeper itself (a wait, a decision).
    pub host: Option<HostName>,
    /// What is done, for people.
    pub title: String,
    /// How far it is.
    pub state: StepState,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What was found or done, a line each; at most [`STEP_LOG_LINES_MAX`].
    pub log: Vec<String>,
}

/// Most log lines kept with one step.
pub const STEP_LOG_LINES_MAX: usize = 200;

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Asked for, not answered.
    Running,
    /// Done.
    Done,
    /// Not done; the log says why.
    Failed,
    /// Taken back.
    Undone,
    /// Not needed any more.
    Skipped,
}
