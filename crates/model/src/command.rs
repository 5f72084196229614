//! The vocabulary between the keeper and the agents: what can be asked of a node or of the gateway, and what comes
//! back. Every command is idempotent: asked twice it leaves the same state and gives an equivalent answer, because a
//! server that was killed asks again.
//!
//! Commands that change a server's replication or its process are carried out one after the other, per node, in the
//! order in which they came; one whose bound has passed is over before the next begins. [`NodeCommand::Fence`] goes
//! first, always. Waiting and copying (`Drain`, `AwaitPosition`, `Fingerprint`, `Capture`, `ListTransactions`,
//! `CloneReceive`, `CloneSend`, `ClonePrepare`) holds nothing else up.

use crate::cluster::Endpoint;
use crate::gtid::{Gtid, GtidPos, GtidState};
use crate::id::{ClusterName, NodeName, OperationId};
use crate::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing to do, at the agent of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum NodeCommand {
    /// Make sure that the server process is gone and stays gone (SIGKILL, then seen by pidfd; supervision off). The
    /// hardest fence there is, and the only one that also holds on a hung server or a stalled disk.
    /// Answer: [`NodeReply::Fenced`].
    Fence {
        /// Which node.
        node: NodeName,
    },
    /// Stop the receiving thread only, so that it acknowledges nothing more to its source, and say what it holds.
    /// The applier goes on; the relay log stays. Answer: [`NodeReply::Position`].
    StopReceiving {
        /// Which node.
        node: NodeName,
    },
    /// Wait until the applier has applied `until`. Answer: [`NodeReply::Position`].
    Drain {
        /// Which node.
        node: NodeName,
        /// Everything that it received.
        until: GtidPos,
    },
    /// Follow `source` until `until` is applied, then stop receiving: a candidate fetches what a better-informed
    /// survivor holds. Its own relay log must be drained before. Answer: [`NodeReply::Position`].
    CatchUp {
        /// Which node.
        node: NodeName,
        /// The better-informed survivor.
        source: Endpoint,
        /// What that one holds.
        until: GtidPos,
    },
    /// Become the primary: replication removed, acker side off, primary side of semi-sync as told, and last of all
    /// `read_only=0`. Answer: [`NodeReply::Position`] at the moment of opening.
    Open {
        /// Which node.
        node: NodeName,
        /// Switch the primary side of semi-sync on (lossless: no time-out, waits without replicas too).
        semi_sync: bool,
    },
    /// For a switchover: `read_only=1`, primary side of semi-sync kept, user sessions killed, and what it now holds.
    /// Nothing can be written afterwards. Answer: [`NodeReply::Position`].
    CloseWrites {
        /// Which node.
        node: NodeName,
    },
    /// Undo of [`NodeCommand::CloseWrites`] when a switchover is given up before another node was opened.
    /// Answer: [`NodeReply::Done`].
    ReopenWrites {
        /// Which node.
        node: NodeName,
    },
    /// Replicate from `source` by GTID from where the node stands; read-only; primary side of semi-sync off.
    /// Answer: [`NodeReply::Position`], given when the receiver is connected.
    Follow {
        /// Which node.
        node: NodeName,
        /// The new source.
        source: Endpoint,
        /// Acknowledge (semi-sync) to that source. Only for nodes on the keeper's journalled list of ackers.
        acker: bool,
    },
    /// Switch the acker side on or off, with the receiver restarted so that it takes effect. Answer: `Done`.
    SetAcker {
        /// Which node.
        node: NodeName,
        /// Acknowledge or not.
        on: bool,
    },
    /// Start the server process read-only, replication not started, acker off, as a replica-to-be (so that a
    /// MariaDB in semi-sync drops what no acker had, `init_rpl_role=SLAVE`). Nothing to do when it runs already.
    /// Answer: [`NodeReply::Started`].
    Start {
        /// Which node.
        node: NodeName,
    },
    /// As [`NodeCommand::Start`], but crash recovery keeps all that the binary log holds (`init_rpl_role=MASTER`): for
    /// the primary that nobody has replaced, which may alone hold what it acknowledged.
    /// Answer: [`NodeReply::Started`].
    Recover {
        /// Which node.
        node: NodeName,
    },
    /// Copy logs, status and the list of data files of a failed server aside, for a look at what happened.
    /// Answer: [`NodeReply::Captured`].
    Capture {
        /// Which node.
        node: NodeName,
        /// Names the captured directory.
        operation: OperationId,
    },
    /// List the transactions (GTID, time, tables) that the node's binary log holds in these ranges, before they are
    /// given up. Works on the files; the server need not run. Answer: [`NodeReply::Transactions`].
    ListTransactions {
        /// Which node.
        node: NodeName,
        /// First and last GTID of each range.
        ranges: Vec<(Gtid, Gtid)>,
    },
    /// On the recipient: empty a side directory and listen for the stream. The node's own data stays untouched.
    /// Answer: [`NodeReply::Listening`].
    CloneReceive {
        /// Which node is to be made.
        node: NodeName,
        /// Which clone; a second receive of the same operation starts the copy anew.
        operation: OperationId,
    },
    /// On the donor: stream a physical backup of `node` to the recipient. Answer: [`NodeReply::Copied`].
    CloneSend {
        /// The donor.
        node: NodeName,
        /// Which clone.
        operation: OperationId,
        /// The recipient's listening address.
        to: Endpoint,
        /// Proves to the recipient that this is the expected stream.
        token: String,
    },
    /// On the recipient: apply the log to the copy so that it is consistent. Answer: [`NodeReply::Prepared`].
    ClonePrepare {
        /// Which node.
        node: NodeName,
        /// Which clone.
        operation: OperationId,
    },
    /// On the recipient: fence what runs, move the copy into place (the old data kept aside until
    /// [`NodeCommand::CloneFinish`]), start the server read-only and seed its position. Answer: [`NodeReply::Started`].
    CloneActivate {
        /// Which node.
        node: NodeName,
        /// Which clone.
        operation: OperationId,
        /// The position the copy ends at.
        seed: GtidPos,
    },
    /// On the recipient: the clone is in service; remove the data that was kept aside. Answer: `Done`.
    CloneFinish {
        /// Which node.
        node: NodeName,
        /// Which clone.
        operation: OperationId,
    },
    /// On donor or recipient: stop the copy and remove the side directory; data kept aside is put back when the clone
    /// had been activated but not finished. Answer: `Done`.
    CloneAbort {
        /// Which node.
        node: NodeName,
        /// Which clone.
        operation: OperationId,
    },
    /// Wait until `until` is applied. With an empty `until` it answers at once, on a primary too: where the node
    /// stands *after* the question was asked. Answer: [`NodeReply::Position`].
    AwaitPosition {
        /// Which node.
        node: NodeName,
        /// The goal.
        until: GtidPos,
    },
    /// An order-free fingerprint of every user table, read in one consistent snapshot, with the GTID it stands at.
    /// Answer: [`NodeReply::Fingerprint`].
    Fingerprint {
        /// Which node.
        node: NodeName,
    },
    /// Tell the gateway of `cluster` where connections go. Answer: `Done`.
    Route {
        /// Whose gateway.
        cluster: ClusterName,
        /// Where to.
        route: Route,
    },
}

impl NodeCommand {
    /// It changes nothing, and says only what is there.
    #[must_use]
    pub const fn only_looks(&self) -> bool {
        matches!(self, Self::ListTransactions { .. } | Self::AwaitPosition { .. } | Self::Fingerprint { .. })
    }

    /// The node it acts on; `None` for gateway commands.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Fence { node }
            | Self::StopReceiving { node }
            | Self::Drain { node, .. }
            | Self::CatchUp { node, .. }
            | Self::Open { node, .. }
            | Self::CloseWrites { node }
            | Self::ReopenWrites { node }
            | Self::Follow { node, .. }
            | Self::SetAcker { node, .. }
            | Self::Start { node }
            | Self::Recover { node }
            | Self::Capture { node, .. }
            | Self::ListTransactions { node, .. }
            | Self::CloneReceive { node, .. }
            | Self::CloneSend { node, .. }
            | Self::ClonePrepare { node, .. }
            | Self::CloneActivate { node, .. }
            | Self::CloneFinish { node, .. }
            | Self::CloneAbort { node, .. }
            | Self::AwaitPosition { node, .. }
            | Self::Fingerprint { node } => Some(node),
            Self::Route { .. } => None,
        }
    }
}

/// Where the gateway sends connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "to")]
pub enum Route {
    /// Nowhere yet: cut every session, hold new connections (bounded in number and time).
    Hold,
    /// To this primary.
    Primary {
        /// Its name, for logs.
        node: NodeName,
        /// Its address.
        endpoint: Endpoint,
    },
}

/// The answer to a command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum NodeReply {
    /// Nothing more to say.
    Done,
    /// The process is gone.
    Fenced {
        /// A process was running and was killed; false: it had already ended.
        killed: bool,
    },
    /// Where the node stands.
    Position {
        /// Received and applied together: everything the node holds.
        received: GtidPos,
        /// Applied.
        applied: GtidPos,
    },
    /// The server runs, read-only.
    Started {
        /// What its binary log holds.
        binlog_state: GtidState,
        /// Everything applied.
        position: GtidPos,
    },
    /// What was set aside.
    Captured {
        /// The directory on that host.
        directory: String,
        /// The last lines of the server's error log.
        log_tail: Vec<String>,
    },
    /// Transactions found in the binary log.
    Transactions {
        /// In log order; at most [`TRANSACTIONS_MAX`].
        listed: Vec<TransactionSummary>,
        /// How many there are in all.
        total: u64,
    },
    /// Ready for a stream.
    Listening {
        /// Where.
        at: Endpoint,
        /// What the sender must say first.
        token: String,
    },
    /// The stream was taken in whole by the recipient.
    Copied {
        /// Bytes sent.
        bytes: u64,
        /// How long it took.
        took: Span,
    },
    /// The copy is consistent.
    Prepared {
        /// The position it ends at.
        position: GtidPos,
    },
    /// The fingerprint of a node.
    Fingerprint(Fingerprint),
}

/// Most transactions that one [`NodeReply::Transactions`] lists; more are counted.
pub const TRANSACTIONS_MAX: usize = 1000;

/// One transaction of a binary log, as text for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransactionSummary {
    /// Its id.
    pub gtid: Gtid,
    /// When it was written, as the log says.
    pub at: String,
    /// What it did, e.g. `INSERT shop.orders x1`, or the statement.
    pub text: String,
}

/// A fingerprint of all user tables at one position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// Where the node stood.
    pub position: GtidPos,
    /// One per table, sorted by name.
    pub tables: Vec<TableFingerprint>,
}

/// The order-free hash of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableFingerprint {
    /// `schema.table`.
    pub table: String,
    /// Rows.
    pub rows: u64,
    /// Exclusive-or of the row hashes, per bucket of the row hash itself, so that two nodes' differing buckets can be
    /// compared row by row.
    pub hash: u64,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, JsonSchema)]
#[error("{message}")]
pub struct CommandFailure {
    /// What class of failure.
    pub kind: FailureKind,
    /// For the person: which object, what was seen, what was already done.
    pub message: String,
}

/// Classes of failure that decide differ by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The agent knows a newer generation: another server has taken over. Never retried.
    Stale,
    /// The deadline passed; the effect may or may not have happened.
    TimedOut,
    /// No agent is connected for that host, or the link broke before an answer.
    Unreachable,
    /// The server does not run or does not answer.
    NotAnswering,
    /// The source does not have what the replica asks for (diverged, or its log was purged): a clone is needed.
    Diverged,
    /// The instruction makes no sense there (unknown node, clone not begun).
    Invalid,
    /// Anything else that was reported.
    Failed,
}
