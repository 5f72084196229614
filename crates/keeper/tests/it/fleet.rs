//! Six well-behaved nodes, moved by hand.

use firedrill_keeper::{Action, CallId, Event, Keeper};
use firedrill_model::cluster::{ClusterSpec, Endpoint, NodeSpec, Policy, Role};
use firedrill_model::command::{NodeCommand, NodeReply};
use firedrill_model::observation::{NodeObservation, ProcessState, Receiver, Replication, SemiSync, ServerStatus};
use firedrill_model::{CommandFailure, GtidPos, HostName, NodeName, Span, Timestamp};

pub(crate) const EAST: [&str; 3] = ["east-1", "east-2", "east-3"];
pub(crate) const NODES: [&str; 6] = ["east-1", "east-2", "east-3", "west-1", "west-2", "west-3"];

/// A call that the keeper made.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) call: CallId,
    pub(crate) host: HostName,
    pub(crate) command: NodeCommand,
    pub(crate) generation: u64,
}

/// The keeper with its calls that are not answered yet, and everything else it has said.
pub(crate) struct Fleet {
    pub(crate) keeper: Keeper,
    pub(crate) now: Timestamp,
    pub(crate) open: Vec<Asked>,
    pub(crate) said: Vec<Action>,
}

pub(crate) fn node(name: &str) -> NodeName {
    name.parse().expect(name)
}

pub(crate) fn position(sequence: u64) -> GtidPos {
    format!("0-1-{sequence}").parse().expect("a position")
}

pub(crate) fn endpoint(name: &str) -> Endpoint {
    let number = NODES.iter().position(|one| *one == name).expect(name) + 1;
    Endpoint { address: format!("10.0.0.{number}").parse().expect("an address"), port: 3306 }
}

pub(crate) fn spec(policy: Policy) -> ClusterSpec {
    let role = |name: &str| match name {
        "east-1" => Role::Primary,
        "west-1" => Role::PseudoPrimary,
        name if name.starts_with("east") => Role::Replica,
        _ => Role::PseudoReplica,
    };
    let nodes = NODES.iter().enumerate().map(|(index, name)| NodeSpec {
        name: node(name),
        host: name.parse().expect("a host"),
        region: name[..4].parse().expect("a region"),
        endpoint: endpoint(name),
        initial_role: role(name),
        server_id: u32::try_from(index).expect("small") + 1,
    });
    ClusterSpec {
        name: "c".parse().expect("a name"),
        nodes: nodes.collect(),
        gateway_host: Some("gateway".parse().expect("a host")),
        gateway: None,
        application_host: None,
        policy,
    }
}

fn pid(name: &str) -> u32 {
    u32::from(endpoint(name).address.to_string().as_bytes()[7])
}

/// A node in its registered role that stands at `sequence`.
pub(crate) fn healthy(name: &str, sequence: u64) -> NodeObservation {
    let source = match name {
        "east-1" => None,
        "west-2" | "west-3" => Some("west-1"),
        _ => Some("east-1"),
    };
    let acker = EAST[1..].contains(&name);
    let position = position(sequence);
    let status = ServerStatus {
        server_id: pid(name),
        version: "10.11".to_owned(),
        read_only: name != "east-1",
        binlog_state: position.to_string().parse().expect("a state"),
        position: position.clone(),
        semi_sync: SemiSync {
            primary_enabled: name == "east-1",
            primary_active: name == "east-1",
            acker_enabled: acker,
            acker_active: acker,
            ackers_connected: if name == "east-1" { 2 } else { 0 },
            ..SemiSync::default()
        },
        replication: source.map(|source| Replication {
            source: endpoint(source),
            receiver: Receiver::Connected,
            applier_running: true,
            received: position.clone(),
            applied: position.clone(),
            last_heard: Some(Span::millis(20)),
            lag: Some(Span::ZERO),
            receiver_error: None,
            applier_error: None,
        }),
        write_heartbeat_age: None,
    };
    NodeObservation {
        node: node(name),
        process: ProcessState::Running { pid: pid(name), stopped: false },
        status: Some(status),
        unanswered_for: Span::ZERO,
        error: None,
        disk_trouble: None,
    }
}

/// The node's process has ended.
pub(crate) fn exited(name: &str) -> NodeObservation {
    NodeObservation {
        node: node(name),
        process: ProcessState::Exited { pid: pid(name) },
        status: None,
        unanswered_for: Span::ZERO,
        error: Some("gone".to_owned()),
        disk_trouble: None,
    }
}

impl Fleet {
    /// A registered cluster that is whole and at peace.
    pub(crate) fn at_peace(policy: Policy) -> Self {
        let fleet = Self::registered(policy);
        assert!(fleet.keeper.view(fleet.now).fully_redundant, "{:?}", fleet.keeper.view(fleet.now).problems);
        fleet
    }

    /// A registered cluster whose agents are connected and have not said anything yet.
    pub(crate) fn connected(policy: Policy) -> Self {
        let now = Timestamp(1_000_000_000);
        let keeper = Keeper::new(spec(policy), now).expect("a valid cluster");
        let mut fleet = Self { keeper, now, open: Vec::new(), said: Vec::new() };
        for host in NODES.iter().chain(&["gateway"]) {
            fleet.tell(Event::HostConnected(host.parse().expect("a host")));
        }
        fleet
    }

    /// A registered cluster whose nodes have all reported.
    pub(crate) fn registered(policy: Policy) -> Self {
        let mut fleet = Self::connected(policy);
        for _ in 0..30 {
            fleet.look(100);
            fleet.answer_all(100);
        }
        fleet.open.clear();
        fleet.said.clear();
        fleet
    }

    /// All agents report.
    pub(crate) fn look(&mut self, sequence: u64) {
        for name in NODES {
            self.tell(Event::Observed(healthy(name, sequence)));
        }
        self.now = self.now + Span::millis(100);
        self.tell(Event::Tick);
    }

    pub(crate) fn tell(&mut self, event: Event) {
        let actions = self.keeper.on(self.now, event);
        self.take(actions);
    }

    pub(crate) fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Perform { call, host, command, generation, .. } => {
                    self.open.push(Asked { call, host, command, generation: generation.0 });
                }
                other => self.said.push(other),
            }
        }
    }

    /// Answers the open calls for which `reply` has one, all of this moment's together.
    pub(crate) fn answer(&mut self, reply: impl Fn(&NodeCommand) -> Option<Result<NodeReply, CommandFailure>>) {
        let (answered, open): (Vec<Asked>, Vec<Asked>) =
            std::mem::take(&mut self.open).into_iter().partition(|asked| reply(&asked.command).is_some());
        self.open = open;
        for asked in answered {
            if let Some(result) = reply(&asked.command) {
                self.tell(Event::Answered { call: asked.call, result });
            }
        }
    }

    /// Everything succeeds, at this position.
    pub(crate) fn answer_all(&mut self, sequence: u64) {
        self.answer(|command| Some(Ok(done(command, sequence))));
    }

    /// The commands that are not answered yet, as text.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.open.iter().map(|asked| name_of(&asked.command)).collect()
    }
}

/// How a command is answered when all is well.
pub(crate) fn done(command: &NodeCommand, sequence: u64) -> NodeReply {
    match command {
        NodeCommand::Fence { .. } => NodeReply::Fenced { killed: false },
        NodeCommand::Route { .. } | NodeCommand::SetAcker { .. } | NodeCommand::CloneFinish { .. } => NodeReply::Done,
        _ => NodeReply::Position { received: position(sequence), applied: position(sequence) },
    }
}

/// `Fence east-1`, `Route`: what and where.
pub(crate) fn name_of(command: &NodeCommand) -> String {
    let text = format!("{command:?}");
    let what: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    command.node().map_or(what.clone(), |node| format!("{what} {node}"))
}
