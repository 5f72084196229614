//! What a run comes to: the verdict, with everything it rests on.

use crate::attack::AttackReport;
use crate::experiment::Experiment;
use crate::id::{ClusterName, NodeName, RunId};
use crate::operation::Operation;
use crate::probe::ProbeState;
use crate::time::{Span, Timestamp};
use crate::timeline::TimelineEvent;
use crate::workload::Sample;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What can be said in the end. There is no fifth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The attack landed, enough was measured, and every expectation held.
    Passed,
    /// An expectation was broken.
    Failed,
    /// It cannot be told: the fault did not land, too few writes, a node could not be read.
    Inconclusive,
    /// The tool broke.
    Error,
}

impl Verdict {
    /// The exit status of the command line.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Error => 2,
            Self::Inconclusive => 3,
        }
    }

    /// The verdict of two together: a broken expectation outweighs everything, then a broken tool, then doubt.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let weight = |verdict| match verdict {
            Self::Passed => 0,
            Self::Inconclusive => 1,
            Self::Error => 2,
            Self::Failed => 3,
        };
        if weight(other) > weight(self) { other } else { self }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
        })
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Being carried out.
    Running,
    /// Over; the report has a verdict.
    Finished,
    /// Stopped by a halt or an abort condition; the report has a verdict too.
    Halted,
}

/// One run of one experiment, as stored, shown and sent. While it runs, what is not known yet is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunReport {
    /// Which run.
    pub run: RunId,
    /// What was to be done.
    pub experiment: Experiment,
    /// On which cluster.
    pub cluster: ClusterName,
    /// How far it is.
    pub state: RunState,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What it comes to; `None` while it runs.
    pub verdict: Option<Verdict>,
    /// Why the verdict is what it is, most important first.
    pub reasons: Vec<String>,
    /// Each expectation, and what came.
    pub expectations: Vec<ExpectationResult>,
    /// Each probe before and after the steps, and those that did not hold meanwhile.
    pub probes: Vec<ProbeResult>,
    /// What the probes showed while the steps were taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probe_series: Vec<ProbeSeries>,
    /// The abort condition that stopped the run, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<Aborted>,
    /// Attacks with their last state.
    pub attacks: Vec<AttackReport>,
    /// Operations of the cluster during the run.
    pub operations: Vec<Operation>,
    /// What happened.
    pub timeline: Vec<TimelineEvent>,
    /// The live load, in time order.
    pub samples: Vec<Sample>,
    /// Lag of every replica over time.
    pub lags: Vec<LagSample>,
    /// The ledger's numbers; `None` without a workload or before its end.
    pub ledger: Option<LedgerSummary>,
    /// What the numbers were made on: versions, cores, kernel.
    pub environment: Vec<(String, String)>,
    /// Who started it; `None`: it is of a version that did not keep that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// How far it is, or was in the end; `None`: it is of a version that did not keep that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<crate::progress::Progress>,
    /// The second person who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
}

/// One expectation after the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExpectationResult {
    /// What was expected, for people (`write outage below 600ms`).
    pub expected: String,
    /// What came (`94.2ms`).
    pub observed: String,
    /// Held, broken, or not to be told.
    pub verdict: Verdict,
}

/// One probe at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeResult {
    /// The probe's name.
    pub name: String,
    /// `before`, `during` or `after`.
    pub when: crate::experiment::When,
    /// When it was asked.
    pub at: Timestamp,
    /// Held or not.
    pub held: bool,
    /// It did not hold because it could not be asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// What was seen.
    pub observed: String,
}

/// One probe while the steps were taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeSeries {
    /// The probe's name.
    pub name: String,
    /// How often it was asked.
    pub asked: u64,
    /// How often it was broken.
    pub broken: u64,
    /// How often it could not be told.
    pub unknown: u64,
    /// In time order; of a long run not all.
    pub values: Vec<ProbeValue>,
}

/// Most values of all series of a run together; each probe has its share. A line of a chart needs no more.
pub const PROBE_VALUES_MAX: usize = 6000;

/// One answer of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeValue {
    /// When it came.
    pub at: Timestamp,
    /// How long after the question.
    pub took: Span,
    /// What it comes to.
    pub state: ProbeState,
    /// What was seen.
    pub observed: String,
}

/// A run that an abort condition stopped. All times by the server's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Aborted {
    /// Which condition, as in `write outage above 30s`.
    pub condition: String,
    /// What was seen.
    pub observed: String,
    /// When it became true.
    pub breach_at: Timestamp,
    /// When the run was stopped and the faults began to be taken out.
    pub halt_at: Timestamp,
    /// When all of them were seen to be out; `None` while they are not.
    pub faults_gone_at: Option<Timestamp>,
}

impl Aborted {
    /// From the breach to the last fault gone; `None` while there is one.
    #[must_use]
    pub fn took(&self) -> Option<Span> {
        self.faults_gone_at.map(|gone| gone.since(self.breach_at))
    }
}

/// Lag of one node at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LagSample {
    /// When.
    pub at: Timestamp,
    /// Which node.
    pub node: NodeName,
    /// Transactions that it has not applied of what the primary had.
    pub behind: u64,
    /// As the server reckons, `None` when it is not replicating.
    pub lag: Option<Span>,
}

/// The ledger's numbers, as shown; the `ledger` crate fills it from a history. Times are relative to the start of the
/// history, on its own monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerSummary {
    /// The ledger's own verdict, without the experiment's expectations.
    pub verdict: Verdict,
    /// Why.
    pub reasons: Vec<String>,
    /// Operations in the history.
    pub operations: u64,
    /// Writes that got an OK.
    pub writes_acknowledged: u64,
    /// Writes that certainly did not happen.
    pub writes_failed: u64,
    /// Writes with no answer.
    pub writes_unknown: u64,
    /// Of the unknown, how many are there in the end (legal).
    pub unknown_present: u64,
    /// Acknowledged and absent from the primary in the end, by class.
    pub lost: Vec<LossClass>,
    /// Said to have failed, and there.
    pub failed_but_present: Findings,
    /// The same token twice.
    pub duplicates: Findings,
    /// Seen by a read, gone later, never acknowledged.
    pub vanished: Findings,
    /// Reads answered.
    pub reads_ok: u64,
    /// Reads failed or without an answer.
    pub reads_failed: u64,
    /// Reads that missed a write acknowledged before they began, by node.
    pub stale: Vec<StaleReads>,
    /// Two nodes that acknowledged writes in overlapping time.
    pub forks: Findings,
    /// Nodes that differ from the primary at one position.
    pub divergence: Findings,
    /// The times without a single acknowledged write, longest first.
    pub write_outages: Vec<Outage>,
    /// The times without a single answered read at the gateway, longest first.
    pub read_outages: Vec<Outage>,
    /// No shorter outage can be told from the spacing of the load.
    pub resolution: Span,
}

impl LedgerSummary {
    /// All acknowledged and lost writes together.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.iter().map(|class| class.findings.count).sum()
    }
    /// The longest time without an acknowledged write.
    #[must_use]
    pub fn longest_write_outage(&self) -> Span {
        self.write_outages.first().map_or(Span::ZERO, |outage| outage.length)
    }
}

/// How many, and the first few by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Findings {
    /// All of them.
    pub count: u64,
    /// At most [`EXAMPLES_MAX`], each a sentence or a token.
    pub examples: Vec<String>,
}

/// Most examples listed with one finding; the history has all.
pub const EXAMPLES_MAX: usize = 50;

/// Lost writes of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LossClass {
    /// `failover loss` (an old primary still has them), `crash loss` (nobody has), `restore loss`.
    pub class: String,
    /// The lost tokens.
    pub findings: Findings,
}

/// Stale reads of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StaleReads {
    /// Which node; `gateway` for reads through it.
    pub node: String,
    /// How many.
    pub count: u64,
    /// Of how many reads.
    pub of: u64,
    /// Median age of the oldest missed write.
    pub p50: Span,
    /// 99th percentile.
    pub p99: Span,
    /// Oldest.
    pub max: Span,
}

/// One window without service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outage {
    /// Its start.
    pub began: Timestamp,
    /// Its length.
    pub length: Span,
}
