//! The simulated server: it runs the real keeper, stores its state before it carries out what the keeper asks, loses
//! links, and can be killed between storing and acting.

use crate::agent::Instruction;
use crate::faults::Plan;
use crate::network::{GATEWAY, HOSTS, MILLI, Micros, NODES, SECOND, SERVER};
use crate::world::{Happening, TICK, Upward, World};
use firedrill_keeper::{Action, CallId, Event, Keeper, KeeperState};
use firedrill_model::cluster::{ClusterSpec, Endpoint, NodeSpec, Role};
use firedrill_model::command::FailureKind;
use firedrill_model::{CommandFailure, HostName, NodeCommand, NodeName, NodeReply, Operation, OperationId, Timestamp};
use rand::Rng;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// A link that is silent for this long is given up by both ends.
const LINK_BOUND: Micros = 1500 * MILLI;

/// How often links are looked at.
const LINK_CHECK: Micros = 100 * MILLI;

/// A repeated delivery of an instruction comes at most this much later.
const DUPLICATE_WITHIN: Micros = 3 * SECOND;

/// The start of every run on the server's clock.
const EPOCH: i64 = 1_700_000_000 * SECOND;

/// One agent's link, as the server sees it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    /// Its number while it is up.
    pub(crate) up: Option<u64>,
    /// When the path was last seen whole.
    whole_at: Micros,
    /// Messages keep their order.
    pub(crate) up_arrival: Micros,
    down_arrival: Micros,
}

#[derive(Debug, Clone)]
struct Pending {
    host: usize,
    kind: FailureKind,
}

pub(crate) struct Control {
    pub(crate) keeper: Option<Keeper>,
    stored: KeeperState,
    pub(crate) links: [Link; HOSTS],
    calls: BTreeMap<CallId, Pending>,
    life: u64,
    /// It is killed in the next turn that has something to do, after storing its state.
    pub(crate) dies_next: Option<Micros>,
    pub(crate) operations: BTreeMap<OperationId, Operation>,
    pub(crate) critical: Vec<String>,
}

pub(crate) fn name_of(node: usize) -> String {
    const NAMES: [&str; NODES] = ["east-1", "east-2", "east-3", "west-1", "west-2", "west-3"];
    NAMES.get(node).map_or_else(|| format!("host-{node}"), |name| (*name).to_owned())
}

pub(crate) fn index_of(node: &NodeName) -> Option<usize> {
    (0..NODES).find(|index| name_of(*index) == node.as_str())
}

fn host_index(host: &HostName) -> Option<usize> {
    (0..HOSTS).find(|index| name_of(*index) == host.as_str())
}

fn host_name(host: usize) -> HostName {
    name_of(host).parse().unwrap_or_else(|_| unreachable!("fixed names are names"))
}

pub(crate) fn node_name(node: usize) -> NodeName {
    name_of(node).parse().unwrap_or_else(|_| unreachable!("fixed names are names"))
}

pub(crate) fn endpoint(node: usize) -> Endpoint {
    let last = u8::try_from(node).unwrap_or(0) + 1;
    Endpoint { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), port: 3306 }
}

pub(crate) fn endpoint_index(endpoint: Endpoint) -> usize {
    match endpoint.address {
        IpAddr::V4(address) => usize::from(address.octets()[3]) - 1,
        IpAddr::V6(_) => unreachable!("the simulation uses IPv4"),
    }
}

pub(crate) fn timestamp(now: Micros) -> Timestamp {
    Timestamp(EPOCH + now)
}

fn spec(plan: &Plan) -> ClusterSpec {
    let role = |node: usize| match node {
        0 => Role::Primary,
        1 | 2 => Role::Replica,
        3 => Role::PseudoPrimary,
        _ => Role::PseudoReplica,
    };
    let region = |node: usize| if node < 3 { "east" } else { "west" };
    ClusterSpec {
        name: "sim".parse().unwrap_or_else(|_| unreachable!("a fixed name")),
        nodes: (0..NODES)
            .map(|node| NodeSpec {
                name: node_name(node),
                host: host_name(node),
                region: region(node).parse().unwrap_or_else(|_| unreachable!("a fixed name")),
                endpoint: endpoint(node),
                initial_role: role(node),
                server_id: u32::try_from(node).unwrap_or(0) + 1,
            })
            .collect(),
        gateway_host: Some(host_name(GATEWAY)),
        gateway: None,
        application_host: None,
        policy: plan.policy.clone(),
    }
}

impl Control {
    pub(crate) fn new(plan: &Plan) -> anyhow::Result<Self> {
        let keeper = Keeper::new(spec(plan), timestamp(0))?;
        Ok(Self {
            stored: keeper.state().clone(),
            keeper: Some(keeper),
            links: [Link::default(); HOSTS],
            calls: BTreeMap::new(),
            life: 0,
            dies_next: None,
            operations: BTreeMap::new(),
            critical: Vec::new(),
        })
    }
}

impl World {
    pub(crate) fn tick(&mut self) {
        self.tell(Event::Tick);
    }

    /// Tells the keeper, stores its state if it changed, and carries out what it asks for.
    pub(crate) fn tell(&mut self, event: Event) {
        let at = timestamp(self.now);
        let Some(keeper) = &mut self.control.keeper else { return };
        let actions = keeper.on(at, event);
        self.carry_out(actions);
    }

    pub(crate) fn carry_out(&mut self, actions: Vec<Action>) {
        let Some(keeper) = &self.control.keeper else { return };
        if keeper.state().revision != self.control.stored.revision {
            self.control.stored = keeper.state().clone();
        }
        let mut allowed = actions.len();
        let dies = self.control.dies_next.filter(|_| !actions.is_empty());
        if dies.is_some() {
            allowed = self.random.random_range(0..=actions.len());
        }
        for action in actions.into_iter().take(allowed) {
            match action {
                Action::Perform { call, host, command, generation, within } => {
                    self.checker.asked(self.now, generation, &command);
                    let bound = i64::try_from(within.duration().as_micros()).unwrap_or(i64::MAX / 4);
                    let instruction = Instruction { call, command, generation, deadline: self.now + bound };
                    self.send(&host, instruction, bound);
                }
                Action::Operation(operation) => {
                    self.control.operations.insert(operation.id.clone(), operation);
                }
                Action::Note(note) => {
                    self.say(|| format!("note: {}", note.text));
                    if note.severity == firedrill_model::Severity::Critical {
                        self.control.critical.push(note.text);
                    }
                }
            }
        }
        if let Some(downtime) = dies {
            self.control.dies_next = None;
            self.kill_server(downtime);
        }
    }

    fn send(&mut self, host: &HostName, instruction: Instruction, bound: Micros) {
        let Some(host) = host_index(host) else { return };
        let call = instruction.call;
        let Some(link) = self.control.links[host].up else {
            self.control.calls.insert(call, Pending { host, kind: FailureKind::Unreachable });
            self.after(100, Happening::Bound(call));
            return;
        };
        self.say(|| format!("keeper -> {}: #{} {:?}", name_of(host), call.0, instruction.command));
        self.control.calls.insert(call, Pending { host, kind: FailureKind::TimedOut });
        self.after(bound, Happening::Bound(call));
        let delay = self.network.delay(&mut self.random, SERVER, host);
        let arrival = (self.now + delay).max(self.control.links[host].down_arrival);
        self.control.links[host].down_arrival = arrival;
        if self.random.random_bool(self.plan.duplicates) {
            let late = self.random.random_range(0..DUPLICATE_WITHIN);
            let again = instruction.clone();
            self.after(arrival - self.now + late, Happening::Down { host, link, instruction: again });
        }
        self.after(arrival - self.now, Happening::Down { host, link, instruction });
    }

    /// The runner's own bound: the keeper always gets an answer.
    pub(crate) fn bound_passed(&mut self, call: CallId) {
        let Some(pending) = self.control.calls.remove(&call) else { return };
        let message = format!("{}: {:?}", name_of(pending.host), pending.kind);
        let failure = CommandFailure { kind: pending.kind, message };
        self.tell(Event::Answered { call, result: Err(failure) });
    }

    /// Something from an agent has reached the server.
    pub(crate) fn arrived(&mut self, host: usize, link: u64, message: Upward) {
        if self.control.links[host].up != Some(link) {
            return;
        }
        if !self.network.open(host, SERVER) {
            self.after(LINK_CHECK, Happening::Up { host, link, message });
            return;
        }
        match message {
            Upward::Observation(observation) => self.tell(Event::Observed(*observation)),
            Upward::Answer(call, result) => {
                if self.control.calls.remove(&call).is_some() {
                    self.say(|| format!("{} -> keeper: #{} {}", name_of(host), call.0, short(&result)));
                    self.tell(Event::Answered { call, result });
                }
            }
        }
    }

    /// Links break when their path is broken for too long, and come back when it is whole.
    pub(crate) fn check_links(&mut self) {
        self.after(LINK_CHECK, Happening::LinkCheck);
        for host in 0..=GATEWAY {
            let path = self.network.both(host, SERVER);
            let ends = self.control.keeper.is_some() && self.agents[host].alive;
            if path && ends {
                self.control.links[host].whole_at = self.now;
            }
            let dead = self.now - self.control.links[host].whole_at > LINK_BOUND || path && !self.agents[host].alive;
            match self.control.links[host].up {
                Some(_) if dead => self.link_lost(host),
                None if path && ends => self.link_up(host),
                _ => {}
            }
        }
    }

    fn link_up(&mut self, host: usize) {
        let id = self.fresh_id();
        let now = self.now;
        self.control.links[host] = Link { up: Some(id), whole_at: now, up_arrival: now, down_arrival: now };
        self.tell(Event::HostConnected(host_name(host)));
        if host < NODES {
            self.observe(host);
        }
    }

    fn link_lost(&mut self, host: usize) {
        self.control.links[host].up = None;
        self.tell(Event::HostLost(host_name(host)));
        let broken: Vec<CallId> =
            self.control.calls.iter().filter(|(_, pending)| pending.host == host).map(|(call, _)| *call).collect();
        for call in broken {
            self.control.calls.remove(&call);
            let failure =
                CommandFailure { kind: FailureKind::Unreachable, message: format!("{}: link lost", name_of(host)) };
            self.tell(Event::Answered { call, result: Err(failure) });
        }
    }

    /// SIGKILL of the server; it comes back after `downtime` with what was stored.
    pub(crate) fn kill_server(&mut self, downtime: Micros) {
        let Some(keeper) = self.control.keeper.take() else { return };
        if keeper.state().revision == self.control.stored.revision && *keeper.state() != self.control.stored {
            self.checker.broken(self.now, "the keeper's state changed without a new revision".to_owned());
        }
        self.say(|| "server: killed".to_owned());
        self.control.life += 1;
        self.control.calls.clear();
        for link in &mut self.control.links {
            link.up = None;
        }
        let life = self.control.life;
        self.after(downtime, Happening::ServerBack(life));
    }

    pub(crate) fn server_back(&mut self, life: u64) {
        if life != self.control.life {
            return;
        }
        self.say(|| "server: back".to_owned());
        let state =
            serde_json::to_string(&self.control.stored).and_then(|text| serde_json::from_str::<KeeperState>(&text));
        match state {
            Ok(state) => {
                if state != self.control.stored {
                    self.checker.broken(self.now, "the stored state does not read back as it was".to_owned());
                }
                let (keeper, actions) = Keeper::restore(state, timestamp(self.now));
                self.control.keeper = Some(keeper);
                self.carry_out(actions);
                self.after(TICK, Happening::LinkCheck);
            }
            Err(problem) => self.checker.broken(self.now, format!("the stored state cannot be read: {problem}")),
        }
    }
}

fn short(result: &Result<NodeReply, CommandFailure>) -> String {
    match result {
        Ok(reply) => format!("{reply:?}"),
        Err(failure) => format!("{:?}: {}", failure.kind, failure.message),
    }
}

/// The node that a command opens for writes.
pub(crate) fn opens(command: &NodeCommand) -> Option<&NodeName> {
    match command {
        NodeCommand::Open { node, .. } | NodeCommand::ReopenWrites { node } => Some(node),
        _ => None,
    }
}
