//! What goes wrong in a run, drawn from its seed.

use crate::control::{node_name, timestamp};
use crate::mariadb::Io;
use crate::network::{APPLICATION, GATEWAY, HOSTS, MILLI, Micros, NODES, SECOND, SERVER};
use crate::world::{Happening, World};
use firedrill_keeper::Request;
use firedrill_model::cluster::Policy;
use rand::Rng;
use rand::rngs::SmallRng;

/// Which node a fault hits, decided when it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// Whoever takes the writes.
    Primary,
    /// The n-th of the nodes that acknowledge.
    Acker(usize),
    /// The node that feeds the west.
    PseudoPrimary,
    /// This one.
    Node(usize),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// SIGKILL of the server process.
    Kill(Victim),
    /// SIGKILL of the primary and of every server of its region, at once.
    KillRegion,
    /// SIGSTOP, then SIGCONT.
    Pause(Victim),
    /// The host is cut off from everybody, both ways.
    Isolate(Victim),
    /// Packets to the host are dropped, packets from it pass.
    DeafHost(Victim),
    /// Only the keeper's server and the host do not hear each other.
    HideFromServer(Victim),
    /// The keeper's server hears nobody.
    IsolateServer,
    /// East and west do not hear each other.
    CutRegions,
    /// The first acker and the primary are cut off from all others, together.
    IsolatePair,
    /// The primary and the replicas of its region do not hear each other; everybody else does.
    CutAckers,
    /// The node that is opened next is killed within moments of that.
    KillNextOpened,
    /// Somebody opens a replica for writes behind the keeper's back.
    OpenByHand(Victim),
    /// The gateway's host is cut off from the keeper's server.
    HideGateway,
    /// The agent's process is killed, and started again at the end.
    KillAgent(Victim),
    /// The server (of the keeper) is killed, with the state it had stored.
    KillServer,
    /// The gateway starts anew and knows no route.
    RestartGateway,
    /// 200 ms and 5 % loss between the keeper's server and the host.
    SlowToServer(Victim),
    /// A slow link between the primary and one acker.
    SlowAcker,
    /// The applier falls behind.
    SlowApplier(Victim),
    /// A person moves the primary's role.
    AskSwitchover,
    /// A person asks for a promotion.
    AskPromotion,
    /// A person asks for a node to be made anew.
    AskClone(usize),
}

/// One fault.
#[derive(Debug, Clone)]
pub struct Fault {
    /// When it strikes.
    pub from: Micros,
    /// When it is over, where it ends.
    pub to: Micros,
    /// What.
    pub kind: FaultKind,
    hit: Option<usize>,
}

/// A deliberate defect of the simulated world, to show that the checks see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// `Drain` says that it is done without applying anything.
    DrainLies,
    /// `StopReceiving` says that it is done and lets the receiver acknowledge on.
    StopLies,
    /// `Fence` says that it is done and leaves the process.
    FenceLies,
    /// What a primary had written last is not on its disk when it is started again: power was lost under settings that
    /// do not write through.
    DisksForget,
}

/// Everything that differs between runs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The keeper's rules.
    pub policy: Policy,
    /// Where the keeper runs.
    pub server_in_west: bool,
    /// How many writers.
    pub clients: usize,
    /// How likely an instruction is delivered twice.
    pub duplicates: f64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// When the last fault is over.
    pub quiet_at: Micros,
    /// See there.
    pub sabotage: Sabotage,
    /// The node that is opened next is killed.
    pub trap: bool,
    /// The way between the regions, one way, in microseconds.
    pub far: Micros,
    /// Appliers that are slow all the time, in microseconds a transaction.
    pub apply_time: Option<Micros>,
}

impl Fault {
    /// A fault of this kind.
    #[must_use]
    pub fn new(kind: FaultKind, from: Micros, to: Micros) -> Self {
        Self { from, to, kind, hit: None }
    }
}

impl Plan {
    /// The quiet cluster with these faults.
    #[must_use]
    pub fn of(faults: Vec<Fault>) -> Self {
        let quiet_at = faults.iter().map(|fault| fault.to.max(fault.from)).max().unwrap_or(3 * SECOND) + 100 * MILLI;
        Self {
            policy: Policy::default(),
            server_in_west: false,
            clients: 3,
            duplicates: 0.0,
            faults,
            quiet_at,
            sabotage: Sabotage::None,
            trap: false,
            far: 8 * MILLI,
            apply_time: None,
        }
    }

    pub(crate) fn draw(random: &mut SmallRng) -> Self {
        let count = *pick(random, &[1, 1, 2, 2, 2, 3, 3, 4]);
        let mut from = random.random_range(2500 * MILLI..5 * SECOND);
        let mut faults = Vec::new();
        for _ in 0..count {
            let lasts = random.random_range(200 * MILLI..9 * SECOND);
            faults.push(Fault::new(draw_kind(random), from, from + lasts));
            // Often close together: the second strikes while the first is being dealt with.
            let gap = *pick(random, &[80 * MILLI, 80 * MILLI, 600 * MILLI, 600 * MILLI, 6 * SECOND]);
            from += random.random_range(0..gap);
        }
        let mut plan = Self::of(faults);
        plan.server_in_west = random.random_bool(0.4);
        plan.far = *pick(random, &[200, 200, 8 * MILLI, 40 * MILLI]);
        plan.duplicates = if random.random_bool(0.3) { 0.1 } else { 0.0 };
        plan.apply_time = random.random_bool(0.15).then(|| random.random_range(2 * MILLI..14 * MILLI));
        plan
    }
}

fn pick<'a, T>(random: &mut SmallRng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}

fn draw_victim(random: &mut SmallRng) -> Victim {
    match random.random_range(0..10) {
        0..=3 => Victim::Primary,
        4..=6 => Victim::Acker(random.random_range(0..2)),
        7 => Victim::PseudoPrimary,
        _ => Victim::Node(random.random_range(0..NODES)),
    }
}

fn draw_kind(random: &mut SmallRng) -> FaultKind {
    let victim = draw_victim(random);
    match random.random_range(0..36) {
        0..=5 => FaultKind::Kill(victim),
        6..=8 => FaultKind::Pause(victim),
        9..=11 => FaultKind::Isolate(victim),
        12 => FaultKind::DeafHost(victim),
        13 => FaultKind::HideFromServer(victim),
        14 => FaultKind::IsolateServer,
        15 => FaultKind::CutRegions,
        16 => FaultKind::IsolatePair,
        17 => FaultKind::HideGateway,
        18 | 19 => FaultKind::KillAgent(victim),
        20..=22 => FaultKind::KillServer,
        23 => FaultKind::RestartGateway,
        24 => FaultKind::SlowToServer(victim),
        25 => FaultKind::SlowAcker,
        26 => FaultKind::SlowApplier(victim),
        27 => FaultKind::AskSwitchover,
        28 => FaultKind::AskPromotion,
        29 | 30 => FaultKind::CutAckers,
        31 | 32 => FaultKind::KillNextOpened,
        33 | 34 => FaultKind::KillRegion,
        _ => FaultKind::AskClone(random.random_range(0..NODES)),
    }
}

impl World {
    fn victim(&self, victim: Victim) -> usize {
        let primary = self.writer();
        match victim {
            Victim::Primary => primary,
            Victim::Acker(number) => {
                let ackers: Vec<usize> = (0..NODES)
                    .filter(|node| {
                        let one = self.nodes[*node].replication.as_ref();
                        one.is_some_and(|one| {
                            one.source == primary && one.acks && matches!(one.io, Io::Connected { .. })
                        })
                    })
                    .collect();
                ackers.get(number).or(ackers.first()).copied().unwrap_or((primary + 1) % 3)
            }
            Victim::PseudoPrimary => {
                let far = |node: &usize| self.network.west(*node) != self.network.west(primary);
                let feeds =
                    |node: &usize| self.nodes[*node].replication.as_ref().is_some_and(|one| one.source == primary);
                (0..NODES).filter(far).find(feeds).unwrap_or(3)
            }
            Victim::Node(node) => node,
        }
    }

    fn writer(&self) -> usize {
        let open = |node: &usize| self.nodes[*node].pid.is_some() && !self.nodes[*node].read_only;
        self.gateway.route.filter(open).or_else(|| (0..NODES).find(open)).unwrap_or(0)
    }

    pub(crate) fn fault(&mut self, index: usize) {
        let fault = self.plan.faults[index].clone();
        self.say(|| format!("fault: {:?}", fault.kind));
        let hit = match fault.kind {
            FaultKind::Kill(victim)
            | FaultKind::Pause(victim)
            | FaultKind::Isolate(victim)
            | FaultKind::DeafHost(victim)
            | FaultKind::HideFromServer(victim)
            | FaultKind::KillAgent(victim)
            | FaultKind::SlowToServer(victim)
            | FaultKind::OpenByHand(victim)
            | FaultKind::SlowApplier(victim) => self.victim(victim),
            FaultKind::IsolatePair | FaultKind::SlowAcker => self.victim(Victim::Acker(0)),
            _ => 0,
        };
        let pair = self.writer();
        self.plan.faults[index].hit = Some(hit * NODES + pair);
        self.strike(fault.kind, hit, pair, true);
        match fault.kind {
            FaultKind::Kill(_) => self.kill(hit),
            FaultKind::KillRegion => {
                let west = self.network.west(pair);
                let region: Vec<usize> = (0..NODES).filter(|node| self.network.west(*node) == west).collect();
                region.into_iter().for_each(|node| self.kill(node));
            }
            FaultKind::KillNextOpened => self.plan.trap = true,
            FaultKind::OpenByHand(_) => self.nodes[hit].read_only = false,
            FaultKind::KillServer => {
                let downtime = (fault.to - fault.from).min(3 * SECOND);
                if self.random.random_bool(0.5) {
                    self.control.dies_next = Some(downtime);
                } else {
                    self.kill_server(downtime);
                }
            }
            FaultKind::RestartGateway => {
                self.gateway.route = None;
                self.cut_sessions(None);
            }
            FaultKind::AskSwitchover => self.person_asks(Request::Switchover { to: None }),
            FaultKind::AskPromotion => self.person_asks(Request::Promote { to: None, without_proof: false }),
            FaultKind::AskClone(node) => self.person_asks(Request::Clone { node: node_name(node), donor: None }),
            _ => {}
        }
    }

    pub(crate) fn fault_over(&mut self, index: usize) {
        let fault = self.plan.faults[index].clone();
        let Some(hit) = fault.hit else { return };
        self.say(|| format!("over: {:?}", fault.kind));
        self.strike(fault.kind, hit / NODES, hit % NODES, false);
    }

    fn strike(&mut self, kind: FaultKind, hit: usize, pair: usize, on: bool) {
        match kind {
            FaultKind::Pause(_) => {
                self.nodes[hit].paused = on && self.nodes[hit].pid.is_some();
            }
            FaultKind::Isolate(_) => {
                (0..HOSTS).filter(|other| *other != hit).for_each(|other| self.cut_both(hit, other, on));
            }
            FaultKind::DeafHost(_) => {
                (0..HOSTS).filter(|other| *other != hit).for_each(|other| self.network.cut(other, hit, on));
            }
            FaultKind::HideFromServer(_) => self.cut_both(hit, SERVER, on),
            FaultKind::IsolateServer => (0..SERVER).for_each(|host| self.cut_both(host, SERVER, on)),
            FaultKind::CutRegions => {
                for one in 0..HOSTS {
                    for other in one + 1..HOSTS {
                        if self.network.west(one) != self.network.west(other) {
                            self.cut_both(one, other, on);
                        }
                    }
                }
            }
            FaultKind::IsolatePair => {
                for other in (0..HOSTS).filter(|other| *other != hit && *other != pair && *other != APPLICATION) {
                    self.cut_both(hit, other, on);
                    if hit != pair {
                        self.cut_both(pair, other, on);
                    }
                }
            }
            FaultKind::CutAckers => {
                let near = |one: usize| self.network.west(one) == self.network.west(pair);
                let others: Vec<usize> = (0..NODES).filter(|one| *one != pair && near(*one)).collect();
                others.into_iter().for_each(|other| self.cut_both(other, pair, on));
            }
            FaultKind::HideGateway => self.cut_both(GATEWAY, SERVER, on),
            FaultKind::KillAgent(_) => {
                if on {
                    self.kill_agent(hit);
                } else {
                    let life = self.agents[hit].life;
                    self.after(0, Happening::AgentBack(hit, life));
                }
            }
            FaultKind::SlowToServer(_) => {
                self.slow(hit, SERVER, if on { 200 * MILLI } else { 0 }, if on { 5 } else { 0 })
            }
            FaultKind::SlowAcker => self.slow(hit, pair, if on { 150 * MILLI } else { 0 }, if on { 10 } else { 0 }),
            FaultKind::SlowApplier(_) => {
                self.apply_time[hit] = if on { 120 * MILLI } else { self.plan.apply_time.unwrap_or(MILLI) }
            }
            _ => {}
        }
    }

    fn cut_both(&mut self, one: usize, other: usize, on: bool) {
        self.network.cut(one, other, on);
        self.network.cut(other, one, on);
    }

    fn slow(&mut self, one: usize, other: usize, extra: Micros, loss: u8) {
        self.network.slow(one, other, extra, loss);
        self.network.slow(other, one, extra, loss);
    }

    fn person_asks(&mut self, request: Request) {
        let at = timestamp(self.now);
        let Some(keeper) = &mut self.control.keeper else { return };
        match keeper.ask(at, request) {
            Ok((_, actions)) => self.carry_out(actions),
            Err(refusal) => self.say(|| format!("refused: {} {}", refusal.code, refusal.message)),
        }
    }
}
