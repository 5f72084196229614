//! The database servers of a small cluster, played: they do as they are told, and everything is replicated at once.

use crate::agent::{Script, willing};
use firedrill_api::link::{Answer, Order};
use firedrill_model::cluster::Endpoint;
use firedrill_model::command::FailureKind;
use firedrill_model::gtid::{GtidPos, GtidState};
use firedrill_model::observation::{ProcessState, Receiver, Replication, SemiSync, ServerStatus};
use firedrill_model::probe::{HostProbe, HostSeen};
use firedrill_model::{CommandFailure, HostName, NodeCommand, NodeName, NodeObservation, NodeReply, Span};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything that was ever written, on every node.
const POSITION: &str = "0-1-10";

/// One database server.
#[derive(Debug, Clone, Default)]
struct Database {
    gone: bool,
    writable: bool,
    semi_sync: bool,
    acker: bool,
    source: Option<Endpoint>,
}

/// The cluster's servers. Cheap to clone; all clones are the same servers.
#[derive(Debug, Clone, Default)]
pub struct Databases {
    servers: Arc<Mutex<BTreeMap<NodeName, Database>>>,
    hanging: Arc<AtomicBool>,
}

impl Databases {
    /// How the agent of one of their hosts answers: commands are carried out, faults go in and out at once.
    #[must_use]
    pub fn script(&self, host: HostName) -> Script {
        let (databases, mut faults) = (self.clone(), willing(host, |_| {}));
        Box::new(move |order| match order {
            Order::Node { command } => Some(Ok(Answer::Node { result: databases.carry_out(command) })),
            Order::Probe { probe, .. } => Some(databases.probe(probe)),
            Order::Inject { .. } if databases.hanging.load(Ordering::SeqCst) => None,
            order => faults(order),
        })
    }

    /// Carries a command out.
    #[must_use]
    pub fn carry_out(&self, command: &NodeCommand) -> NodeReply {
        let mut databases = self.lock();
        let Some(node) = command.node() else { return NodeReply::Done };
        let database = databases.entry(node.clone()).or_default();
        let here = NodeReply::Position { received: position(), applied: position() };
        match command {
            NodeCommand::Fence { .. } => NodeReply::Fenced { killed: !std::mem::replace(&mut database.gone, true) },
            NodeCommand::Open { semi_sync, .. } => {
                *database = Database { writable: true, semi_sync: *semi_sync, ..Database::default() };
                here
            }
            NodeCommand::Follow { source, acker, .. } => {
                *database = Database { acker: *acker, source: Some(*source), ..Database::default() };
                here
            }
            NodeCommand::SetAcker { on, .. } => {
                database.acker = *on;
                NodeReply::Done
            }
            NodeCommand::Start { .. } | NodeCommand::Recover { .. } => {
                database.gone = false;
                NodeReply::Started { binlog_state: binlog_state(), position: position() }
            }
            NodeCommand::Capture { .. } => {
                NodeReply::Captured { directory: "/captured".to_owned(), log_tail: Vec::new() }
            }
            NodeCommand::StopReceiving { .. }
            | NodeCommand::Drain { .. }
            | NodeCommand::CatchUp { .. }
            | NodeCommand::CloseWrites { .. }
            | NodeCommand::AwaitPosition { .. } => here,
            _ => NodeReply::Done,
        }
    }

    /// They know whether they are read-only; hosts run `/bin/true` and `/bin/false`.
    fn probe(&self, probe: &HostProbe) -> Result<Answer, CommandFailure> {
        let seen = match probe {
            HostProbe::Sql { node, query, .. } if query == "SELECT @@read_only" => {
                let writable = self.lock().get(node).is_some_and(|database| database.writable);
                HostSeen::Cell { value: Some(u8::from(!writable).to_string()) }
            }
            HostProbe::Command { program, args } if args.is_empty() && program.starts_with("/bin/") => {
                HostSeen::Ended { exit: Some(i32::from(program != "/bin/true")), output: "said\n".to_owned() }
            }
            HostProbe::Sql { query: what, .. } | HostProbe::Command { program: what, .. } => {
                let message = format!("`{what}` is not run here");
                return Err(CommandFailure { kind: FailureKind::Invalid, message });
            }
        };
        Ok(Answer::Probe { seen })
    }

    /// From now on faults hang on their way in, or no longer.
    pub fn hang_faults(&self, hanging: bool) {
        self.hanging.store(hanging, Ordering::SeqCst);
    }

    /// Ends one.
    pub fn kill(&self, node: &NodeName) {
        self.lock().entry(node.clone()).or_default().gone = true;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Database>> {
        // Changed by single assignments only; a panic elsewhere leaves it whole.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is seen of one of them now.
#[must_use]
pub fn look(databases: &Databases, node: &NodeName) -> NodeObservation {
    let databases = databases.lock();
    let database = databases.get(node).cloned().unwrap_or_default();
    let ackers = databases.values().filter(|other| other.acker && other.source.is_some()).count();
    let (process, status) = if database.gone {
        (ProcessState::Exited { pid: 7 }, None)
    } else {
        (ProcessState::Running { pid: 7, stopped: false }, Some(status(&database, ackers)))
    };
    NodeObservation { node: node.clone(), process, status, unanswered_for: Span::ZERO, error: None, disk_trouble: None }
}

fn status(database: &Database, ackers: usize) -> ServerStatus {
    let semi_sync = SemiSync {
        primary_enabled: database.semi_sync,
        primary_active: database.semi_sync,
        acker_enabled: database.acker,
        acker_active: database.acker,
        ackers_connected: if database.semi_sync { u32::try_from(ackers).unwrap_or(u32::MAX) } else { 0 },
        ..SemiSync::default()
    };
    let replication = database.source.map(|source| Replication {
        source,
        receiver: Receiver::Connected,
        applier_running: true,
        received: position(),
        applied: position(),
        last_heard: Some(Span::ZERO),
        lag: Some(Span::ZERO),
        receiver_error: None,
        applier_error: None,
    });
    ServerStatus {
        server_id: 1,
        version: "10.11".to_owned(),
        read_only: !database.writable,
        binlog_state: binlog_state(),
        position: position(),
        semi_sync,
        replication,
        write_heartbeat_age: None,
    }
}

/// The constant is well formed, which a test of every caller would notice.
fn position() -> GtidPos {
    POSITION.parse().unwrap_or_default()
}

fn binlog_state() -> GtidState {
    POSITION.parse().unwrap_or_default()
}
