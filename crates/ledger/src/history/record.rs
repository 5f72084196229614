//! What a history says.

use crate::interval::{Intervals, TokenSet};
use crate::token::{Nanos, Token};
use firedrill_model::{Gtid, GtidPos, GtidState, NodeName, RunId, Span, Timestamp};
use serde::{Deserialize, Serialize};

/// What a history begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Of which run.
    pub run: RunId,
    /// The wall-clock moment of [`Nanos`] zero, so that outages can be put on a timeline.
    pub origin: Timestamp,
    /// Nodes that are read directly; [`Via::Node`] counts from 0 in this list.
    pub nodes: Vec<NodeName>,
    /// No shorter write outage can be told: the spacing of the writes, or of the attempts to connect.
    pub write_resolution: Span,
    /// The same of reads through the gateway.
    pub read_resolution: Span,
    /// An operation without an answer after this long is unknown.
    pub timeout: Span,
}

/// One entry of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A process begins an operation.
    Invoke {
        /// Which process; ids grow, and an id is never used again after an unknown outcome.
        process: u32,
        /// Just before the first byte was sent.
        at: Nanos,
        /// What it asks.
        operation: Operation,
    },
    /// The process's operation is over.
    Complete {
        /// Which process.
        process: u32,
        /// Just after the answer, the error or the time-out.
        at: Nanos,
        /// What came.
        outcome: Outcome,
    },
    /// A node's server was reached directly before the load.
    Known(Box<Known>),
    /// Something that is no operation.
    Mark {
        /// When.
        at: Nanos,
        /// What.
        mark: Mark,
    },
    /// Which server takes the writes after the load.
    Primary(Box<Primary>),
    /// The state of one node after the load.
    Final(Box<FinalRead>),
}

/// What an operation asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Insert this token.
    Write(Token),
    /// Which tokens of this writer are there?
    Read {
        /// Through the gateway or directly on a node.
        via: Via,
        /// Whose tokens.
        writer: u32,
    },
}

/// Where a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The address that applications use.
    Gateway,
    /// That node of [`Header::nodes`].
    Node(u16),
}

/// How an operation ended. An operation without one, in a whole history, is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The write was acknowledged.
    Written {
        /// The acknowledging server's `server_id`, when it could still be asked.
        server: Option<u32>,
        /// The transaction, likewise.
        gtid: Option<Gtid>,
    },
    /// The read was answered.
    Seen {
        /// The answering server's `server_id`.
        server: u32,
        /// `seen` is all that was there of the writer from this sequence on.
        from: u32,
        /// The sequences that were there.
        seen: Intervals,
    },
    /// It certainly did not happen.
    Failed {
        /// Why.
        reason: String,
    },
    /// It may or may not have happened, or may yet.
    Unknown {
        /// Why it is not known.
        reason: String,
    },
}

/// A node as it was before the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Which node.
    pub node: NodeName,
    /// Its `server_id`.
    pub server: u32,
    /// `gtid_binlog_state` before the load; what is here is not the doing of this run.
    pub binlog_state: GtidState,
}

/// Something that is no operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// No operation is begun from here on; silence is no outage any more.
    LoadEnded,
    /// A fault came, by its name.
    FaultBegan(String),
    /// It went.
    FaultEnded(String),
    /// Anything worth knowing.
    Note(String),
}

/// Which server takes the writes after the load; absent wins and losses are reckoned against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Primary {
    /// This `server_id`.
    Server(u32),
    /// It could not be found out, and why.
    NotKnown(String),
}

/// The state of one node after the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalRead {
    /// Which node; `gateway` when the primary is none of the known nodes and was read through the gateway.
    pub node: String,
    /// What it holds, or why it could not be read.
    pub state: Result<NodeState, String>,
}

/// What a node holds after the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Its `server_id`.
    pub server: u32,
    /// `gtid_current_pos` when it was read.
    pub position: GtidPos,
    /// `gtid_binlog_state` when it was read.
    pub binlog_state: GtidState,
    /// Whether it had everything that the primary held when the load ended; only then can contents be compared.
    pub converged: bool,
    /// Tokens that are there.
    pub present: TokenSet,
    /// Tokens that are there more than once.
    pub duplicates: TokenSet,
    /// One fingerprint per table, by name.
    pub tables: Vec<TableFingerprint>,
}

/// The content of one table in short, independent of the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFingerprint {
    /// The table's name.
    pub table: String,
    /// Rows and hash, or why it could not be taken.
    pub content: Result<(u64, u64), String>,
}

/// What a whole history ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trailer {
    /// Operations begun, as the writer of the history counted them.
    pub operations: u64,
    /// Writes that were due and were not begun, because the earlier ones had no answer yet.
    pub writes_skipped: u64,
    /// The same of reads.
    pub reads_skipped: u64,
}
