//! The live load of a run: what is asked for, and what is seen of it second by second.

use crate::cluster::Endpoint;
use crate::id::{NodeName, RunId};
use crate::time::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How clients log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// Database user.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Database (schema) that the load may use.
    pub database: String,
}

/// The size and shape of the load, as in an experiment file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Connections that write.
    pub writers: u32,
    /// Writes begun per second over all writers, on a fixed schedule whether or not earlier ones have answered.
    pub writes_per_second: u32,
    /// Connections that read, spread over the gateway and the replicas.
    pub readers: u32,
    /// Reads begun per second over all readers.
    pub reads_per_second: u32,
    /// Bytes of payload per row.
    pub row_bytes: u32,
    /// An operation that has no answer after this long is unknown.
    pub timeout: Span,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            writers: 16,
            writes_per_second: 600,
            readers: 4,
            reads_per_second: 100,
            row_bytes: 100,
            timeout: Span::secs(5),
        }
    }
}

/// What the workload process is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadSpec {
    /// For which run; names the table and the history.
    pub run: RunId,
    /// The load.
    pub load: Load,
    /// Writes go here, and some of the reads.
    pub gateway: Endpoint,
    /// Reads go here directly, and the final reads of every node.
    pub nodes: Vec<(NodeName, Endpoint)>,
    /// Credentials.
    pub login: Login,
}

/// One interval of the live load, some per second, for charts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// The end of the interval.
    pub at: Timestamp,
    /// Its length.
    pub over: Span,
    /// Writes acknowledged.
    pub writes_ok: u32,
    /// Writes that certainly did not happen.
    pub writes_failed: u32,
    /// Writes of which it is not known.
    pub writes_unknown: u32,
    /// Reads answered.
    pub reads_ok: u32,
    /// Reads failed.
    pub reads_failed: u32,
    /// Median latency of acknowledged writes from their scheduled start; `None` without any.
    pub write_p50: Option<Span>,
    /// 99th percentile of the same.
    pub write_p99: Option<Span>,
    /// Writes acknowledged since the start.
    pub acknowledged_total: u64,
}

/// How much of the load has happened, from the workload process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum WorkloadState {
    /// Table made, connections open; load begins.
    Started,
    /// Writers stopped, final reads of every node under way.
    FinalReads,
    /// The history is whole and on disk.
    Finished {
        /// Where, on the application host.
        history: String,
        /// Operations recorded.
        operations: u64,
    },
    /// It could not go on.
    Failed {
        /// Why.
        message: String,
    },
}
