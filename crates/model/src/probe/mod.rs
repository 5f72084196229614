//! Probes: what is asked, at which times, and what an answer comes to. Asking is done elsewhere; everything here is a
//! value or a pure rule.
//!
//! **Where to begin**: [`Probe`] (what a user writes), then [`judge()`] (from an answer to held, broken or unknown), then
//! [`Course`] (one probe over the time of a run).

mod check;
mod comparison;
mod course;
mod facts;
mod judge;
mod prometheus;
mod question;

pub use check::{problems, statement};
pub use comparison::Comparison;
pub use course::{Change, Course};
pub use facts::{Facts, judge_facts};
pub use judge::{Answer, Finding, HostProbe, HostSeen, Seen, judge};
pub use question::{CommandQuestion, HttpQuestion, JsonCheck, PrometheusQuestion, RoleCount, SqlQuestion, TcpQuestion};

use crate::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most probes of one experiment: each may have a question under way.
pub const PROBES_MAX: usize = 50;
/// Shortest interval and shortest patience of a probe. Below, a probe is a load.
pub const PROBE_SPAN_MIN: Span = Span::millis(100);
/// Longest interval: what is looked at less often is not watched.
pub const EVERY_MAX: Span = Span::secs(60);
/// Longest patience with one question: nobody calls it an answer after that.
pub const TIMEOUT_MAX: Span = Span::secs(10);
/// Most bytes that are read of one answer: a page of health or of metrics is far smaller.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Most bytes of one value of a database, and of what a command printed.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Most hosts that one question is put to: the nodes of a cluster, with room to spare.
pub const HOSTS_MAX: usize = 50;

/// When a probe is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// After the warm-up, before the first step; must hold or the run is given up as inconclusive.
    Before,
    /// Every so often while the steps run.
    During,
    /// After the cool-down.
    After,
}

/// One part of the steady state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// To refer to it.
    pub name: String,
    /// What is measured.
    pub measure: Measure,
    /// At which times; `before` and `after` unless said otherwise.
    #[serde(default = "default_when")]
    pub when: Vec<When>,
    /// How often it is asked while the steps run.
    #[serde(default = "default_span")]
    pub every: Span,
    /// How long one question may take.
    #[serde(default = "default_span")]
    pub timeout: Span,
    /// It may be broken, or not be told, for less than this at a time while the steps run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tolerate: Span,
}

fn default_when() -> Vec<When> {
    vec![When::Before, When::After]
}

fn default_span() -> Span {
    Span::secs(1)
}

fn is_zero(span: &Span) -> bool {
    *span == Span::ZERO
}

/// What a probe measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// At least so many writes were acknowledged in the last second.
    WritesPerSecondAtLeast(u32),
    /// The 99th percentile of the time from a write's scheduled start to its acknowledgement, over the last second.
    AckLatencyAtMost(Span),
    /// Every replica is at most so far behind.
    LagAtMost(Span),
    /// The cluster has exactly one writable primary and every node in service.
    ClusterHealthy,
    /// Exactly one node accepts writes.
    OnePrimary,
    /// So many healthy nodes play a role.
    RoleCount(RoleCount),
    /// What nodes of the cluster answer to a query.
    Sql(SqlQuestion),
    /// What a web server answers.
    Http(HttpQuestion),
    /// A port takes connections.
    Tcp(TcpQuestion),
    /// What Prometheus says of a query at this moment.
    Prometheus(PrometheusQuestion),
    /// How a program ends on hosts of the fleet.
    Command(CommandQuestion),
}

impl Measure {
    /// It is told from what the server knows already; the others ask somebody.
    #[must_use]
    pub const fn is_fact(&self) -> bool {
        matches!(
            self,
            Self::WritesPerSecondAtLeast(_)
                | Self::AckLatencyAtMost(_)
                | Self::LagAtMost(_)
                | Self::ClusterHealthy
                | Self::OnePrimary
                | Self::RoleCount(_)
        )
    }
}

/// What can be said of a probe at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeState {
    /// It was asked, and it is as wanted.
    Held,
    /// It was asked, and it is not as wanted, or nobody answered.
    Broken,
    /// It could not be asked. Never counts as held.
    Unknown,
}

impl ProbeState {
    /// Of several together: one that is broken outweighs one that is unknown, which outweighs those that hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Broken, _) | (_, Self::Broken) => Self::Broken,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Held, Self::Held) => Self::Held,
        }
    }
}

impl fmt::Display for ProbeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Held => "held",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
        })
    }
}
