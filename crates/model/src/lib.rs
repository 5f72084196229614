//! The nouns of firedrill and their units: hosts, nodes, clusters, positions, observations, commands,
//! attacks, experiments, workloads, operations, timelines and verdicts.
//!
//! **What it never does**: I/O, clocks, randomness, threads. Everything here is a value, a parser or a pure
//! rule about values. Types derive `serde` because they travel between agent, server, store and report;
//! a field renamed here is a wire change.
//!
//! **Where to begin**: [`cluster`] (what a fleet is), then [`command`] (what can be asked of a node), then
//! [`experiment`] (what a user writes) and [`report`] (what they get back).

pub mod access;
pub mod allow;
pub mod attack;
pub mod cluster;
pub mod command;
pub mod evidence;
pub mod experiment;
pub mod foreseen;
pub mod gtid;
pub mod guard;
pub mod id;
pub mod message;
pub mod observation;
pub mod operation;
pub mod probe;
pub mod progress;
pub mod quantity;
pub mod report;
pub mod selector;
pub mod template;
pub mod time;
pub mod timeline;
pub mod view;
pub mod workload;

pub use allow::AllowList;
pub use attack::{AttackSpec, Fault};
pub use cluster::{ClusterSpec, Durability, Endpoint, NodeSpec, Policy, Role};
pub use command::{CommandFailure, NodeCommand, NodeReply};
pub use foreseen::Foreseen;
pub use gtid::{Gtid, GtidPos, GtidState};
pub use id::{
    AttackId, ClusterName, Generation, HostName, InstructionId, NodeName, OperationId, ReceiverName, RegionName,
    RuleName, RunId, ScheduleName, TeamName, UserName,
};
pub use observation::NodeObservation;
pub use operation::{Operation, OperationKind, OperationState, Step, StepState};
pub use quantity::{BitRate, Bytes, Network, Percent, Ports};
pub use report::Verdict;
pub use selector::{Selector, Target};
pub use time::{Span, Timestamp};
pub use timeline::{Severity, TimelineEvent};
pub use view::{ClusterView, Health, NodeView};
