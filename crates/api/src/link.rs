//! The agent link: the agent dials out (HTTP over mutual TLS) and holds two requests open.
//!
//! - `POST /link/v1/enrol`: [`Enrol`] → [`Enrolled`]; the only call without a client certificate; the token is used up.
//! - `POST /link/v1/renew`: [`Renew`] → [`Renewed`]; the next certificate, for a key of its own. The present one stays good
//!   until the next one is used.
//! - `POST /link/v1/renewed`: nothing → nothing, over a connection with the new certificate: it is kept, the old one is not
//!   needed any more.
//! - `POST /link/v1/hello`: [`Hello`] → [`Welcome`]; opens a session, ends the host's previous one.
//! - `GET /link/v1/stream?session=N`: answers with one [`Downward`] per line (NDJSON), for as long as the link lives.
//! - `POST /link/v1/report?session=N`: [`Report`], as often as there is something; a process exit goes out at once.
//! - `PUT /link/v1/history/{run}`: the body is the recorded history of a run, streamed.
//!
//! The host's name is taken from the client certificate (its common name), never from the body.

use firedrill_model::attack::{AttackReport, AttackSpec};
use firedrill_model::probe::{HostProbe, HostSeen};
use firedrill_model::workload::{Sample, WorkloadSpec, WorkloadState};
use firedrill_model::{
    AllowList, AttackId, ClusterName, CommandFailure, Generation, HostName, InstructionId, NodeCommand, NodeName,
    NodeObservation, NodeReply, RegionName, RunId, Span, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Asks for a certificate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Enrol {
    /// One-time token, bound by the server to one host name.
    pub token: String,
    /// The host.
    pub host: HostName,
    /// Certificate signing request, PEM; the key never leaves the host.
    pub signing_request: String,
}

/// The certificate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Enrolled {
    /// For the agent, PEM.
    pub certificate: String,
    /// The authority that signs agents and server, PEM.
    pub authority: String,
}

/// Asks for the next certificate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Renew {
    /// Certificate signing request for a new key, PEM.
    pub signing_request: String,
}

/// The next certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Renewed {
    /// For the agent, PEM.
    pub certificate: String,
    /// From when on it is to be renewed itself, by the server's clock.
    pub renew_at: Timestamp,
}

/// Opens a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// [`crate::LINK_VERSION`] of the agent.
    pub link_version: u32,
    /// The agent's package version.
    pub agent_version: String,
    /// The kernel's boot id: tells a reboot from a lost link.
    pub boot_id: String,
    /// The address by which other hosts reach this one.
    pub address: IpAddr,
    /// Its region.
    pub region: Option<RegionName>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Database nodes on this host.
    pub nodes: Vec<(ClusterName, NodeName)>,
    /// The cluster whose gateway runs here.
    pub gateway_of: Option<ClusterName>,
    /// Attacks that are in place right now (found in the undo journal).
    pub attacks: Vec<AttackId>,
    /// What the host's owner allows here; `None`: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<AllowList>,
}

/// The session is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// Goes with every later request; a request of an older session is refused with 409.
    pub session: u64,
    /// The server's clock.
    pub at: Timestamp,
    /// Without a sign of the server for this long the agent takes out its attacks (design, rule 1), milliseconds.
    pub lease_ms: u64,
    /// Either side says something at least this often, milliseconds; more often than the usual 500 never.
    #[serde(default = "usual_beat")]
    pub beat_ms: u64,
    /// Among servers that share a store, since which take-over this one acts: an agent that has seen a greater number does
    /// nothing for it. 0 for a server with a store of its own.
    #[serde(default)]
    pub epoch: u64,
    /// From when on the agent's certificate is to be renewed, by the server's clock; `None`: the server does not renew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
}

/// What servers and agents kept to before they agreed on it.
const fn usual_beat() -> u64 {
    500
}

/// From the server to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "message")]
pub enum Downward {
    /// Sent every beat: keeps the lease and carries the server's clock.
    Ping {
        /// The server's clock.
        at: Timestamp,
    },
    /// Do something.
    Instruction(Box<Instruction>),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instruction {
    /// Repeating an id repeats the answer, not the effect.
    pub id: InstructionId,
    /// The cluster whose generation counts; `None`: no generation is checked.
    pub cluster: Option<ClusterName>,
    /// Refused when the agent has seen a newer one for `cluster`.
    pub generation: Generation,
    /// Not begun after this moment of the server's clock.
    pub deadline: Timestamp,
    /// What.
    pub order: Order,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// A command to a node or to the gateway.
    Node {
        /// Which.
        command: NodeCommand,
    },
    /// Put a fault in place; answered when its effect was measured (`Attack`).
    Inject {
        /// Which.
        attack: AttackSpec,
    },
    /// Take a fault out; answered when it is seen to be out (`Attack`).
    Undo {
        /// Which.
        attack: AttackId,
    },
    /// Take all faults out and accept none until [`Order::Resume`]. Answered with `Halted`.
    Halt {
        /// For the log.
        reason: String,
    },
    /// Accept faults again.
    Resume,
    /// Put a question on this host; nothing is changed. Answered with `Probe`, and not remembered: asked again, it is
    /// answered anew.
    Probe {
        /// Which.
        probe: HostProbe,
        /// Give it up after this long.
        within: Span,
    },
    /// Start the live load of a run.
    StartWorkload {
        /// What load.
        workload: Box<WorkloadSpec>,
    },
    /// Stop the writers, read every node a last time, write the history and send it with `PUT /link/v1/history`.
    StopWorkload {
        /// Of which run.
        run: RunId,
    },
    /// Stop it at once; nothing is sent.
    DropWorkload {
        /// Of which run.
        run: RunId,
    },
}

/// From the agent to the server: everything since the last report, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// At most [`REPORT_ITEMS_MAX`].
    pub items: Vec<Upward>,
}

/// Most items in one report; older samples are dropped first when the link was away.
pub const REPORT_ITEMS_MAX: usize = 500;

/// One item of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "item")]
pub enum Upward {
    /// A look at a node.
    Observation {
        /// What was seen.
        observation: Box<NodeObservation>,
    },
    /// A look at the host.
    Host {
        /// What was seen.
        observation: HostObservation,
    },
    /// An instruction came to an end.
    Answer {
        /// Which.
        id: InstructionId,
        /// How.
        result: Result<Answer, CommandFailure>,
    },
    /// An attack changed its state.
    Attack {
        /// Its new state.
        report: AttackReport,
    },
    /// An interval of the live load.
    Sample {
        /// Of which run.
        run: RunId,
        /// What was measured.
        sample: Sample,
    },
    /// The workload process changed its state.
    Workload {
        /// Of which run.
        run: RunId,
        /// Its state.
        state: WorkloadState,
    },
}

/// What came of an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// Of a [`NodeCommand`].
    Node {
        /// Its reply.
        result: NodeReply,
    },
    /// Of an inject or an undo.
    Attack {
        /// How it stands.
        report: AttackReport,
    },
    /// Of a probe.
    Probe {
        /// What was seen.
        seen: HostSeen,
    },
    /// Of a halt: what was taken out.
    Halted {
        /// How each stands.
        reports: Vec<AttackReport>,
    },
    /// Of everything else.
    Done,
}

/// A look at a host, once a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostObservation {
    /// 1-minute load average, hundredths.
    pub load_hundredths: u32,
    /// Memory in all, bytes.
    pub memory_total_bytes: u64,
    /// Memory that can be had without swapping, bytes.
    pub memory_available_bytes: u64,
    /// Free bytes where the node's data lives (or `/`).
    pub disk_free_bytes: u64,
    /// Of so many bytes.
    pub disk_total_bytes: u64,
}
