//! What an agent saw of a database server. Facts only: no judgement whether that is good or bad.

use crate::cluster::Endpoint;
use crate::gtid::{GtidPos, GtidState};
use crate::id::NodeName;
use crate::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One look at one node, sent several times a second and at once when the process changes state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeObservation {
    /// Which node.
    pub node: NodeName,
    /// What the kernel says of the server process.
    pub process: ProcessState,
    /// What the server answers; `None` when it does not answer now.
    pub status: Option<ServerStatus>,
    /// How long since it last answered; zero when `status` is fresh.
    pub unanswered_for: Span,
    /// The server's refusal or the client's error, when there is no status.
    pub error: Option<String>,
    /// The volume of its data does not take writes, as the agent found by trying itself; `None`: it does, or there was no
    /// reason to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_trouble: Option<DiskTrouble>,
}

/// A volume that does not take writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskTrouble {
    /// For how long no try has succeeded.
    pub lasts: Span,
    /// What the last try came to: an error, or no answer.
    pub problem: String,
}

/// The state of the server process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ProcessState {
    /// It exists.
    Running {
        /// Its process id on the host.
        pid: u32,
        /// Stopped by a signal or a frozen cgroup.
        stopped: bool,
    },
    /// It was there and has ended; seen by pidfd.
    Exited {
        /// The process id it had.
        pid: u32,
    },
    /// There is none and the agent has not seen one end.
    Absent,
}

impl ProcessState {
    /// True when no server process exists.
    #[must_use]
    pub fn is_gone(self) -> bool {
        !matches!(self, Self::Running { .. })
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerStatus {
    /// `@@server_id`.
    pub server_id: u32,
    /// `@@version`.
    pub version: String,
    /// `@@read_only`.
    pub read_only: bool,
    /// What its binary log holds (`@@gtid_binlog_state`).
    pub binlog_state: GtidState,
    /// `@@gtid_current_pos`: the last applied of everything, own writes included.
    pub position: GtidPos,
    /// Semi-synchronous replication, both sides.
    pub semi_sync: SemiSync,
    /// Its replication, when it is set up.
    pub replication: Option<Replication>,
    /// How long ago the agent's own small write was committed here (only tried where the node is writable); `None`
    /// before the first.
    pub write_heartbeat_age: Option<Span>,
}

/// Semi-synchronous replication on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SemiSync {
    /// `@@rpl_semi_sync_master_enabled`.
    pub primary_enabled: bool,
    /// `Rpl_semi_sync_master_status`: on, and has not fallen back to asynchronous.
    pub primary_active: bool,
    /// `@@rpl_semi_sync_slave_enabled`.
    pub acker_enabled: bool,
    /// `Rpl_semi_sync_slave_status`: enabled and connected as an acker.
    pub acker_active: bool,
    /// `Rpl_semi_sync_master_clients`: ackers connected to it.
    pub ackers_connected: u32,
    /// `Rpl_semi_sync_master_wait_sessions`: sessions waiting for an ack right now.
    pub waiting_sessions: u32,
    /// `Rpl_semi_sync_master_no_tx`: commits that were not acknowledged by any replica since it was switched on.
    pub unacknowledged_commits: u64,
}

/// The receiving and applying threads of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replication {
    /// Whom it follows.
    pub source: Endpoint,
    /// The receiving thread.
    pub receiver: Receiver,
    /// The applying thread runs.
    pub applier_running: bool,
    /// Everything that has been received (`Gtid_IO_Pos` joined with what is applied).
    pub received: GtidPos,
    /// Everything that has been applied (`@@gtid_slave_pos`).
    pub applied: GtidPos,
    /// How long since anything at all (event or heartbeat) arrived from the source.
    pub last_heard: Option<Span>,
    /// Seconds behind, as the server reckons; `None` while it cannot.
    pub lag: Option<Span>,
    /// The receiver's last error, with its number in front.
    pub receiver_error: Option<String>,
    /// The applier's last error, with its number in front.
    pub applier_error: Option<String>,
}

/// `Slave_IO_Running`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// `Yes`: connected.
    Connected,
    /// `Connecting` or `Preparing`.
    Connecting,
    /// `No`.
    Stopped,
}
