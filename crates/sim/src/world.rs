//! One simulated world: its parts, its queue of events and its loop. Everything random comes from one seed, and
//! events at the same moment happen in the order in which they were made, so a seed always tells the same story.

use crate::agent::{Agent, Instruction, Job};
use crate::check::Checker;
use crate::client::Clients;
use crate::control::Control;
use crate::faults::Plan;
use crate::mariadb::{Mariadb, Txn};
use crate::network::{HOSTS, MILLI, Micros, NODES, Network, SECOND};
use firedrill_keeper::CallId;
use firedrill_model::command::Route;
use firedrill_model::{CommandFailure, Generation, NodeObservation, NodeReply};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{Hash, Hasher};

/// The keeper is told the time this often.
pub(crate) const TICK: Micros = 50 * MILLI;

/// An agent looks at its node this often.
pub(crate) const OBSERVE: Micros = 200 * MILLI;

/// `master_heartbeat_period`.
const HEARTBEAT: Micros = 500 * MILLI;

/// What can happen.
#[derive(Debug)]
pub(crate) enum Happening {
    Tick,
    Observe(usize),
    Heartbeat(usize),
    /// From a primary to a replica: transactions, or nothing (a heartbeat).
    Stream {
        from: usize,
        to: usize,
        connection: u64,
        first: usize,
        txns: Vec<Txn>,
    },
    Ack {
        from: usize,
        to: usize,
        connection: u64,
        sequence: usize,
    },
    Connect(usize),
    Accepted {
        node: usize,
        source: usize,
        attempt: u64,
    },
    Apply {
        node: usize,
        pid: u32,
    },
    Up {
        host: usize,
        link: u64,
        message: Upward,
    },
    Down {
        host: usize,
        link: u64,
        instruction: Instruction,
    },
    Bound(CallId),
    Job(u64),
    LinkCheck,
    ServerBack(u64),
    AgentBack(usize, u64),
    Write(usize),
    AtGateway {
        session: u64,
    },
    AtServer {
        session: u64,
        node: usize,
    },
    Reply {
        session: u64,
        ok: bool,
    },
    GiveUp(u64),
    Fault(usize),
    FaultOver(usize),
    Judge,
    Kill(usize),
}

/// From an agent to the server.
#[derive(Debug)]
pub(crate) enum Upward {
    Observation(Box<NodeObservation>),
    Answer(CallId, Result<NodeReply, CommandFailure>),
}

struct Entry {
    at: Micros,
    number: u64,
    what: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The gateway, as told by its agent.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) route: Option<usize>,
    pub(crate) generation: Generation,
}

pub(crate) struct World {
    pub(crate) now: Micros,
    pub(crate) random: SmallRng,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    pub(crate) nodes: Vec<Mariadb>,
    pub(crate) network: Network,
    pub(crate) agents: Vec<Agent>,
    pub(crate) jobs: BTreeMap<u64, Job>,
    pub(crate) next_id: u64,
    pub(crate) control: Control,
    pub(crate) gateway: Gateway,
    pub(crate) clients: Clients,
    pub(crate) plan: Plan,
    pub(crate) checker: Checker,
    /// Each node's time to apply one transaction.
    pub(crate) apply_time: [Micros; NODES],
    pub(crate) over: bool,
    pub(crate) trace: Option<Vec<String>>,
    hash: DefaultHasher,
    pub(crate) events: u64,
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan, control: Control, random: SmallRng, trace: bool) -> Self {
        let network = Network::new(plan.server_in_west, plan.far);
        let mut hash = DefaultHasher::new();
        seed.hash(&mut hash);
        let nodes = (0..NODES).map(|id| Mariadb::new(id, 100 + u32::try_from(id).unwrap_or(0))).collect();
        let mut world = Self {
            now: 0,
            random,
            queue: BinaryHeap::new(),
            number: 0,
            nodes,
            network,
            agents: (0..HOSTS).map(|_| Agent::default()).collect(),
            jobs: BTreeMap::new(),
            next_id: 1000,
            control,
            gateway: Gateway { route: None, generation: Generation(0) },
            clients: Clients::default(),
            checker: Checker::default(),
            apply_time: [plan.apply_time.unwrap_or(MILLI); NODES],
            plan,
            over: false,
            trace: trace.then(Vec::new),
            hash,
            events: 0,
        };
        world.prime();
        world
    }

    fn prime(&mut self) {
        self.after(0, Happening::Tick);
        for node in 0..NODES {
            let offset = self.random.random_range(0..OBSERVE);
            self.after(offset, Happening::Observe(node));
            let offset = self.random.random_range(0..HEARTBEAT);
            self.after(offset, Happening::Heartbeat(node));
        }
        self.after(MILLI, Happening::LinkCheck);
        for client in 0..self.plan.clients {
            self.after(2 * SECOND, Happening::Write(client));
        }
        for fault in 0..self.plan.faults.len() {
            let (from, to) = (self.plan.faults[fault].from, self.plan.faults[fault].to);
            self.after(from, Happening::Fault(fault));
            self.after(to, Happening::FaultOver(fault));
        }
        self.after(SECOND, Happening::Judge);
    }

    pub(crate) fn after(&mut self, delay: Micros, what: Happening) {
        self.number += 1;
        self.queue.push(Reverse(Entry { at: self.now + delay, number: self.number, what }));
    }

    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A line of the story; the hash of all lines tells whether two runs were the same.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let at = self.now;
            trace.push(format!("{:>9.3} ms  {}", at as f64 / 1000.0, line()));
        }
    }

    /// The fingerprint of everything that has happened.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.hash.finish()
    }

    pub(crate) fn run(&mut self) {
        while !self.over {
            let Some(Reverse(entry)) = self.queue.pop() else { break };
            self.now = entry.at;
            self.events += 1;
            entry.at.hash(&mut self.hash);
            std::mem::discriminant(&entry.what).hash(&mut self.hash);
            self.happen(entry.what);
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Tick => {
                self.after(TICK, Happening::Tick);
                self.tick();
            }
            Happening::Observe(node) => {
                let jitter = self.random.random_range(0..20 * MILLI);
                self.after(OBSERVE + jitter, Happening::Observe(node));
                self.observe(node);
            }
            Happening::Heartbeat(node) => {
                self.after(HEARTBEAT, Happening::Heartbeat(node));
                self.heartbeat(node);
            }
            Happening::Stream { from, to, connection, first, txns } => self.streamed(from, to, connection, first, txns),
            Happening::Ack { from, to, connection, sequence } => self.acked(from, to, connection, sequence),
            Happening::Connect(node) => self.connect(node),
            Happening::Accepted { node, source, attempt } => self.accepted(node, source, attempt),
            Happening::Apply { node, pid } => self.apply(node, pid),
            Happening::Up { host, link, message } => self.arrived(host, link, message),
            Happening::Down { host, link, instruction } => self.instructed(host, link, instruction),
            Happening::Bound(call) => self.bound_passed(call),
            Happening::Job(job) => self.work(job),
            Happening::LinkCheck => self.check_links(),
            Happening::ServerBack(life) => self.server_back(life),
            Happening::AgentBack(host, life) => self.agent_back(host, life),
            Happening::Write(client) => self.write(client),
            Happening::AtGateway { session } => self.at_gateway(session),
            Happening::AtServer { session, node } => self.at_server(session, node),
            Happening::Reply { session, ok } => self.replied(session, ok),
            Happening::GiveUp(session) => self.give_up(session),
            Happening::Fault(index) => self.fault(index),
            Happening::FaultOver(index) => self.fault_over(index),
            Happening::Judge => self.judge(),
            Happening::Kill(node) => self.kill(node),
        }
    }

    /// What the gateway's agent was told.
    pub(crate) fn set_route(&mut self, generation: Generation, route: &Route) {
        let target = match route {
            Route::Hold => None,
            Route::Primary { node, .. } => crate::control::index_of(node),
        };
        self.gateway.generation = generation;
        if self.gateway.route != target {
            self.gateway.route = target;
            self.say(|| format!("gateway: route to {target:?}"));
            self.cut_sessions(target);
        }
    }
}

/// The generator of a seed.
pub(crate) fn generator(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}
