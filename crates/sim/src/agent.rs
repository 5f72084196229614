//! The simulated agents: they look at their node, and carry out instructions, with time passing in between.

use crate::control::{endpoint, endpoint_index, name_of};
use crate::faults::Sabotage;
use crate::mariadb::{Io, Txn};
use crate::network::{GATEWAY, MILLI, Micros, NODES, SECOND, SERVER};
use crate::world::{Happening, Upward, World};
use firedrill_keeper::CallId;
use firedrill_model::command::{FailureKind, NodeCommand, NodeReply};
use firedrill_model::{CommandFailure, Generation, GtidPos, OperationId, Span};
use rand::Rng;
use std::collections::{BTreeMap, VecDeque};

/// A `Follow` whose source does not take the connection fails after this; the receiver goes on trying.
const FOLLOW_WITHIN: Micros = 5 * SECOND;

/// What a disk that forgets loses of the binary log's tail, in transactions.
const FORGOTTEN: usize = 5;

/// Waiting jobs look again this often.
const POLL: Micros = 5 * MILLI;

/// An instruction on its way.
#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    pub(crate) call: CallId,
    pub(crate) command: NodeCommand,
    pub(crate) generation: Generation,
    pub(crate) deadline: Micros,
}

/// A copy that was taken in beside the node's data.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    operation: OperationId,
    copy: Option<Vec<Txn>>,
    /// The data that was replaced, until the clone is finished.
    kept: Option<Vec<Txn>>,
    activated: bool,
}

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) alive: bool,
    pub(crate) life: u64,
    newest: Generation,
    seen: BTreeMap<CallId, Option<Result<NodeReply, CommandFailure>>>,
    queue: VecDeque<u64>,
    /// The process that it saw running.
    pub(crate) saw: Option<u32>,
    side: Option<Side>,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            alive: true,
            life: 0,
            newest: Generation(0),
            seen: BTreeMap::new(),
            queue: VecDeque::new(),
            saw: None,
            side: None,
        }
    }
}

/// A command that is being carried out.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    host: usize,
    life: u64,
    instruction: Instruction,
    step: u32,
    began: Micros,
    queued: bool,
    /// When the present step is over, for steps that take a known time.
    until: Micros,
}

/// What a step of a job comes to.
enum Progress {
    /// Look again after this long.
    Again(Micros),
    Done(NodeReply),
    Failed(FailureKind, &'static str),
}

/// Commands that change a node wait for each other.
fn queued(command: &NodeCommand) -> bool {
    !matches!(
        command,
        NodeCommand::Fence { .. }
            | NodeCommand::Drain { .. }
            | NodeCommand::AwaitPosition { .. }
            | NodeCommand::Fingerprint { .. }
            | NodeCommand::Capture { .. }
            | NodeCommand::ListTransactions { .. }
            | NodeCommand::CloneReceive { .. }
            | NodeCommand::CloneSend { .. }
            | NodeCommand::ClonePrepare { .. }
            | NodeCommand::CloneAbort { .. }
            | NodeCommand::Route { .. }
    )
}

impl World {
    pub(crate) fn report(&mut self, host: usize, link: u64, message: Upward) {
        let delay = self.network.delay(&mut self.random, host, SERVER);
        let arrival = (self.now + delay).max(self.control.links[host].up_arrival);
        self.control.links[host].up_arrival = arrival;
        self.after(arrival - self.now, Happening::Up { host, link, message });
    }

    /// An instruction reaches an agent.
    pub(crate) fn instructed(&mut self, host: usize, link: u64, instruction: Instruction) {
        if self.control.links[host].up != Some(link) || !self.agents[host].alive {
            return;
        }
        if !self.network.open(SERVER, host) {
            self.after(100 * MILLI, Happening::Down { host, link, instruction });
            return;
        }
        let call = instruction.call;
        if let Some(answer) = self.agents[host].seen.get(&call).cloned() {
            if let Some(answer) = answer {
                self.report(host, link, Upward::Answer(call, answer));
            }
            return;
        }
        if self.now > instruction.deadline {
            return;
        }
        self.agents[host].seen.insert(call, None);
        if instruction.generation < self.agents[host].newest {
            let failure =
                CommandFailure { kind: FailureKind::Stale, message: "a newer generation was seen".to_owned() };
            return self.answer(host, call, Err(failure));
        }
        self.agents[host].newest = instruction.generation;
        let id = self.fresh_id();
        let queued = queued(&instruction.command);
        let life = self.agents[host].life;
        let job = Job { host, life, instruction, step: 0, began: self.now, queued, until: 0 };
        self.jobs.insert(id, job);
        if queued {
            self.agents[host].queue.push_back(id);
            if self.agents[host].queue.front() != Some(&id) {
                return;
            }
        }
        self.after(500, Happening::Job(id));
    }

    fn answer(&mut self, host: usize, call: CallId, result: Result<NodeReply, CommandFailure>) {
        self.agents[host].seen.insert(call, Some(result.clone()));
        if let Some(link) = self.control.links[host].up {
            self.report(host, link, Upward::Answer(call, result));
        }
    }

    /// The next step of a job.
    pub(crate) fn work(&mut self, id: u64) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        if self.agents[job.host].life != job.life {
            return;
        }
        let progress = if self.now > job.instruction.deadline {
            Progress::Failed(FailureKind::TimedOut, "its bound has passed")
        } else {
            self.step(&mut job)
        };
        let result = match progress {
            Progress::Again(delay) => {
                job.step += 1;
                self.jobs.insert(id, job);
                return self.after(delay, Happening::Job(id));
            }
            Progress::Done(reply) => Ok(reply),
            Progress::Failed(kind, message) => {
                Err(CommandFailure { kind, message: format!("{}: {message}", name_of(job.host)) })
            }
        };
        let (host, call) = (job.host, job.instruction.call);
        if job.queued {
            self.agents[host].queue.pop_front();
            if let Some(next) = self.agents[host].queue.front().copied() {
                self.after(200, Happening::Job(next));
            }
        }
        self.answer(host, call, result);
    }

    fn step(&mut self, job: &mut Job) -> Progress {
        let node = job.host;
        let command = job.instruction.command.clone();
        match &command {
            NodeCommand::Route { route, .. } if node == GATEWAY => {
                let generation = job.instruction.generation;
                if generation >= self.gateway.generation {
                    self.set_route(generation, route);
                }
                return Progress::Done(NodeReply::Done);
            }
            NodeCommand::Fence { .. } if self.plan.sabotage == Sabotage::FenceLies => {
                return Progress::Done(NodeReply::Fenced { killed: true });
            }
            NodeCommand::Fence { .. } => {
                let killed = self.nodes[node].pid.is_some();
                self.kill(node);
                return Progress::Done(NodeReply::Fenced { killed });
            }
            NodeCommand::Start { .. } | NodeCommand::Recover { .. } => return self.start(job),
            NodeCommand::Capture { .. } => {
                let reply = NodeReply::Captured { directory: "captured".to_owned(), log_tail: Vec::new() };
                return after_a_while(job, self.now, 20 * MILLI, reply);
            }
            NodeCommand::ListTransactions { ranges, .. } => {
                let total = ranges.iter().map(|(first, last)| last.sequence - first.sequence + 1).sum();
                return Progress::Done(NodeReply::Transactions { listed: Vec::new(), total });
            }
            NodeCommand::CloneReceive { .. }
            | NodeCommand::CloneSend { .. }
            | NodeCommand::ClonePrepare { .. }
            | NodeCommand::CloneActivate { .. }
            | NodeCommand::CloneFinish { .. }
            | NodeCommand::CloneAbort { .. } => return self.copy(job),
            _ => {}
        }
        if self.nodes[node].pid.is_none() {
            return Progress::Failed(FailureKind::NotAnswering, "the server does not run");
        }
        if self.nodes[node].paused {
            job.step = 0;
            return Progress::Again(20 * MILLI);
        }
        if job.step == 0 {
            let statement = self.random.random_range(MILLI..4 * MILLI);
            return Progress::Again(statement);
        }
        self.statement(job, &command)
    }

    /// What is done by SQL.
    fn statement(&mut self, job: &mut Job, command: &NodeCommand) -> Progress {
        let node = job.host;
        match command {
            NodeCommand::StopReceiving { .. } if self.plan.sabotage == Sabotage::StopLies => self.position(node),
            NodeCommand::Drain { until, .. } if self.plan.sabotage == Sabotage::DrainLies => {
                Progress::Done(NodeReply::Position { received: until.clone(), applied: until.clone() })
            }
            NodeCommand::StopReceiving { .. } => {
                self.disconnect(node);
                if let Some(replication) = &mut self.nodes[node].replication {
                    replication.io = Io::Stopped;
                }
                self.position(node)
            }
            NodeCommand::Drain { until, .. } | NodeCommand::AwaitPosition { until, .. } => {
                if self.nodes[node].log.len() as u64 >= sequence(until) {
                    self.position(node)
                } else {
                    Progress::Again(POLL)
                }
            }
            NodeCommand::CatchUp { source, until, .. } => self.catch_up(job, endpoint_index(*source), sequence(until)),
            NodeCommand::Open { semi_sync, .. } => {
                self.open(node, *semi_sync);
                self.position(node)
            }
            NodeCommand::CloseWrites { .. } => {
                self.nodes[node].read_only = true;
                self.drop_waiting(node);
                self.position(node)
            }
            NodeCommand::ReopenWrites { .. } => {
                self.nodes[node].read_only = false;
                self.opened(node);
                Progress::Done(NodeReply::Done)
            }
            NodeCommand::Follow { source, acker, .. } => {
                let source = endpoint_index(*source);
                if job.step == 1 {
                    self.follow(node, source, *acker);
                }
                self.await_connection(job)
            }
            NodeCommand::SetAcker { on, .. } => self.set_acker(node, *on),
            _ => Progress::Failed(FailureKind::Invalid, "not simulated"),
        }
    }

    fn position(&self, node: usize) -> Progress {
        let server = &self.nodes[node];
        Progress::Done(NodeReply::Position { received: server.received_position(), applied: server.applied_position() })
    }

    fn await_connection(&mut self, job: &Job) -> Progress {
        let Some(replication) = &self.nodes[job.host].replication else {
            return Progress::Failed(FailureKind::Failed, "it no longer replicates");
        };
        match replication.io {
            Io::Connected { .. } => self.position(job.host),
            Io::Stopped if replication.error.is_some() => Progress::Failed(FailureKind::Diverged, "1236: refused"),
            _ if self.now - job.began > FOLLOW_WITHIN => {
                Progress::Failed(FailureKind::Failed, "the source is not reached")
            }
            _ => Progress::Again(POLL),
        }
    }

    fn catch_up(&mut self, job: &Job, source: usize, until: u64) -> Progress {
        let node = job.host;
        if job.step == 1 {
            self.follow(node, source, false);
        }
        if self.nodes[node].log.len() as u64 >= until {
            self.disconnect(node);
            if let Some(replication) = &mut self.nodes[node].replication {
                replication.io = Io::Stopped;
            }
            return self.position(node);
        }
        match self.await_connection(job) {
            Progress::Done(_) => Progress::Again(POLL),
            other => other,
        }
    }

    fn open(&mut self, node: usize, semi_sync: bool) {
        self.disconnect(node);
        let server = &mut self.nodes[node];
        server.stop_replication();
        server.replication = None;
        server.acker_side = false;
        server.primary_side = semi_sync;
        let was_closed = server.read_only;
        server.read_only = false;
        if was_closed {
            self.opened(node);
        }
        self.pump(node);
    }

    fn set_acker(&mut self, node: usize, on: bool) -> Progress {
        self.disconnect(node);
        let server = &mut self.nodes[node];
        server.acker_side = on;
        let Some(replication) = &mut server.replication else {
            return Progress::Failed(FailureKind::Failed, "it does not replicate");
        };
        replication.acks = on;
        replication.io = Io::Connecting;
        server.relay.clear();
        self.after(MILLI, Happening::Connect(node));
        Progress::Done(NodeReply::Done)
    }

    fn start(&mut self, job: &mut Job) -> Progress {
        let node = job.host;
        if self.nodes[node].pid.is_none() {
            if job.step == 0 {
                job.until = self.now + self.random.random_range(200 * MILLI..900 * MILLI);
            }
            if self.now < job.until {
                return Progress::Again(20 * MILLI);
            }
            let pid = u32::try_from(self.fresh_id()).unwrap_or(u32::MAX);
            let keep_tail = matches!(job.instruction.command, NodeCommand::Recover { .. });
            if keep_tail && self.plan.sabotage == Sabotage::DisksForget {
                let length = self.nodes[node].log.len();
                self.nodes[node].truncate(length.saturating_sub(FORGOTTEN));
            }
            self.nodes[node].start(pid, !keep_tail);
            let length = self.nodes[node].log.len();
            self.say(|| format!("node {node}: started at {length}"));
        }
        if self.nodes[node].paused {
            return Progress::Again(20 * MILLI);
        }
        self.started(node)
    }

    fn started(&self, node: usize) -> Progress {
        let server = &self.nodes[node];
        Progress::Done(NodeReply::Started { binlog_state: server.binlog_state(), position: server.applied_position() })
    }

    /// The commands of a clone.
    fn copy(&mut self, job: &mut Job) -> Progress {
        let node = job.host;
        match job.instruction.command.clone() {
            NodeCommand::CloneReceive { operation, .. } => {
                let kept =
                    self.agents[node].side.take().filter(|side| side.operation == operation).and_then(|side| side.kept);
                let token = operation.0.clone();
                self.agents[node].side = Some(Side { operation, copy: None, kept, activated: false });
                Progress::Done(NodeReply::Listening { at: endpoint(node), token })
            }
            NodeCommand::CloneSend { operation, to, .. } => self.send_copy(job, &operation, endpoint_index(to)),
            NodeCommand::ClonePrepare { operation, .. } => match self.side(node, &operation) {
                Some(Side { copy: Some(copy), .. }) => {
                    let reply = NodeReply::Prepared { position: end_of(copy) };
                    after_a_while(job, self.now, 100 * MILLI, reply)
                }
                _ => Progress::Failed(FailureKind::Invalid, "there is no copy"),
            },
            NodeCommand::CloneActivate { operation, .. } => self.activate(job, &operation),
            NodeCommand::CloneFinish { operation, .. } => {
                if self.side(node, &operation).is_some() {
                    self.agents[node].side = None;
                }
                Progress::Done(NodeReply::Done)
            }
            NodeCommand::CloneAbort { operation, .. } => {
                self.abort(node, &operation);
                Progress::Done(NodeReply::Done)
            }
            _ => Progress::Failed(FailureKind::Invalid, "not simulated"),
        }
    }

    fn side(&self, node: usize, operation: &OperationId) -> Option<&Side> {
        self.agents[node].side.as_ref().filter(|side| side.operation == *operation)
    }

    fn send_copy(&mut self, job: &mut Job, operation: &OperationId, to: usize) -> Progress {
        let donor = job.host;
        if job.step == 0 {
            job.until = self.now + self.random.random_range(300 * MILLI..2500 * MILLI);
        }
        if !self.nodes[donor].answers() || !self.network.both(donor, to) || !self.agents[to].alive {
            return Progress::Failed(FailureKind::Failed, "the stream broke");
        }
        if self.now < job.until {
            return Progress::Again(50 * MILLI);
        }
        // What still waits for an acknowledgement is not committed, so it is not in the copy.
        let committed = self.nodes[donor].waiting.front().map_or(usize::MAX, |waiting| waiting.sequence - 1);
        let mut log = self.nodes[donor].log.clone();
        log.truncate(committed);
        match self.agents[to].side.as_mut().filter(|side| side.operation == *operation && !side.activated) {
            Some(side) => {
                side.copy = Some(log);
                Progress::Done(NodeReply::Copied { bytes: 1 << 20, took: Span::millis(500) })
            }
            None => Progress::Failed(FailureKind::Failed, "the recipient does not listen"),
        }
    }

    fn activate(&mut self, job: &mut Job, operation: &OperationId) -> Progress {
        let node = job.host;
        let Some(side) = self.side(node, operation).cloned() else {
            return Progress::Failed(FailureKind::Invalid, "there is no copy");
        };
        if side.activated && self.nodes[node].pid.is_some() {
            return self.started(node);
        }
        if job.step == 0 {
            self.kill(node);
            job.until = self.now + self.random.random_range(200 * MILLI..600 * MILLI);
        }
        if self.now < job.until {
            return Progress::Again(50 * MILLI);
        }
        let Some(copy) = side.copy else { return Progress::Failed(FailureKind::Invalid, "there is no copy") };
        let kept = side.kept.unwrap_or_else(|| self.nodes[node].log.clone());
        let pid = u32::try_from(self.fresh_id()).unwrap_or(u32::MAX);
        self.nodes[node].replace(copy);
        self.nodes[node].start(pid, false);
        self.agents[node].side =
            Some(Side { operation: operation.clone(), copy: None, kept: Some(kept), activated: true });
        self.started(node)
    }

    fn abort(&mut self, node: usize, operation: &OperationId) {
        let sends: Vec<u64> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.host == node)
            .filter(|(_, job)| matches!(&job.instruction.command, NodeCommand::CloneSend { operation: its, .. } if its == operation))
            .map(|(id, _)| *id)
            .collect();
        for id in sends {
            if let Some(job) = self.jobs.remove(&id) {
                let failure = CommandFailure { kind: FailureKind::Failed, message: "aborted".to_owned() };
                self.answer(node, job.instruction.call, Err(failure));
            }
        }
        if self.side(node, operation).is_none() {
            return;
        }
        let side = self.agents[node].side.take();
        if let Some(Side { activated: true, kept: Some(kept), .. }) = side {
            self.kill(node);
            self.nodes[node].replace(kept);
        }
    }

    /// The agent's process ends, and with it what it was doing.
    pub(crate) fn kill_agent(&mut self, host: usize) {
        let agent = &mut self.agents[host];
        agent.alive = false;
        agent.life += 1;
        agent.seen.clear();
        agent.queue.clear();
        agent.saw = None;
        self.jobs.retain(|_, job| job.host != host);
    }

    pub(crate) fn agent_back(&mut self, host: usize, life: u64) {
        if self.agents[host].life == life {
            self.agents[host].alive = true;
            if host < NODES {
                self.agents[host].saw = self.nodes[host].pid;
            }
        }
    }
}

fn after_a_while(job: &mut Job, now: Micros, duration: Micros, reply: NodeReply) -> Progress {
    if job.step == 0 {
        job.until = now + duration;
    }
    if now < job.until { Progress::Again(duration.min(POLL * 4)) } else { Progress::Done(reply) }
}

fn sequence(position: &GtidPos) -> u64 {
    position.get(0).map_or(0, |gtid| gtid.sequence)
}

fn end_of(copy: &[Txn]) -> GtidPos {
    copy.last()
        .map(|txn| firedrill_model::Gtid { domain: 0, server: txn.origin, sequence: copy.len() as u64 })
        .into_iter()
        .collect()
}
