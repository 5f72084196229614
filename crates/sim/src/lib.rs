//! Seeded simulation: the real keeper against simulated servers, agents, networks, clients and faults.
//!
//! One seed is one run: the same seed tells the same story to the last event. A run ends when the cluster is whole
//! again after its faults, when the keeper has refused with a reason and a person could not help either, or when a rule
//! is broken: two nodes that can acknowledge writes, two nodes opened in one generation, an acknowledged write
//! lost, or no settling in time.
//!
//! **What it never does**: real time, real I/O, threads inside a run.
//!
//! **Where to begin**: [`run`]; then the module `faults` for what goes wrong, `check` for what must hold.

mod agent;
mod check;
mod client;
mod control;
mod faults;
mod look;
mod mariadb;
mod network;
mod replication;
mod world;

pub use check::Ending;
pub use faults::{Fault, FaultKind, Plan, Sabotage, Victim};

use crate::control::Control;
use crate::world::{World, generator};
use firedrill_model::Operation;
use std::sync::atomic::{AtomicU64, Ordering};

/// What came of one run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// How it ended.
    pub ending: Ending,
    /// The same for two runs that were the same.
    pub fingerprint: u64,
    /// Simulated microseconds.
    pub simulated: i64,
    /// Events that happened.
    pub events: u64,
    /// Writes that clients got an OK for.
    pub oks: u64,
    /// A person had to accept the loss of writes; the keeper's reasons.
    pub refusals: Vec<String>,
    /// Operations, as last handed out.
    pub operations: Vec<Operation>,
    /// Critical notes.
    pub critical: Vec<String>,
    /// The story, when it was asked for.
    pub trace: Vec<String>,
}

impl Outcome {
    /// No rule was broken.
    #[must_use]
    pub fn held(&self) -> bool {
        !matches!(self.ending, Ending::Broken(_))
    }
}

/// Runs one seed, with faults drawn from it.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    story(seed, None, false)
}

/// Runs one seed, with its story told.
#[must_use]
pub fn traced(seed: u64) -> Outcome {
    story(seed, None, true)
}

/// Runs a given plan with the randomness of a seed.
#[must_use]
pub fn run_plan(seed: u64, plan: Plan, trace: bool) -> Outcome {
    story(seed, Some(plan), trace)
}

fn story(seed: u64, plan: Option<Plan>, trace: bool) -> Outcome {
    let mut random = generator(seed);
    let drawn = Plan::draw(&mut random);
    let plan = plan.unwrap_or(drawn);
    let control = match Control::new(&plan) {
        Ok(control) => control,
        Err(problem) => {
            return Outcome {
                seed,
                ending: Ending::Broken(vec![format!("the cluster is not accepted: {problem}")]),
                fingerprint: 0,
                simulated: 0,
                events: 0,
                oks: 0,
                refusals: Vec::new(),
                operations: Vec::new(),
                critical: Vec::new(),
                trace: Vec::new(),
            };
        }
    };
    let mut world = World::new(seed, plan, control, random, trace);
    world.run();
    Outcome {
        seed,
        fingerprint: world.fingerprint(),
        simulated: world.now,
        events: world.events,
        oks: world.clients.oks,
        refusals: world.checker.reasons,
        operations: world.control.operations.into_values().collect(),
        critical: world.control.critical,
        trace: world.trace.unwrap_or_default(),
        ending: world.checker.ending.unwrap_or_else(|| Ending::Broken(vec!["the run had no end".to_owned()])),
    }
}

/// What came of many runs.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How many.
    pub runs: u64,
    /// Whole again, nothing lost.
    pub settled: u64,
    /// Of those: a person had to accept a loss first.
    pub with_person: u64,
    /// Ended with a reason why nobody can go on.
    pub refused: u64,
    /// Seeds that broke a rule, with the rules; at most [`BROKEN_KEPT`].
    pub broken: Vec<(u64, Vec<String>)>,
    /// Seeds that broke a rule, all counted.
    pub broken_total: u64,
    /// Writes that clients got an OK for.
    pub oks: u64,
    /// Events.
    pub events: u64,
}

/// Most broken seeds that a summary lists.
pub const BROKEN_KEPT: usize = 20;

/// Runs the seeds `first .. first + count` on all cores (at most `threads`).
#[must_use]
pub fn run_many(first: u64, count: u64, threads: usize) -> Summary {
    let next = AtomicU64::new(first);
    let end = first + count;
    let parts: Vec<Summary> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(|| work(&next, end))).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    });
    let mut all = parts.into_iter().fold(Summary::default(), Summary::plus);
    all.broken.sort_unstable_by_key(|(seed, _)| *seed);
    // A thread that panicked has not counted its seed.
    all.broken_total += count.saturating_sub(all.runs);
    all
}

fn work(next: &AtomicU64, end: u64) -> Summary {
    let mut summary = Summary::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return summary;
        }
        summary.count(run(seed));
    }
}

impl Summary {
    fn count(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.oks += outcome.oks;
        self.events += outcome.events;
        match outcome.ending {
            Ending::Settled => {
                self.settled += 1;
                self.with_person += u64::from(!outcome.refusals.is_empty());
            }
            Ending::Refused(_) => self.refused += 1,
            Ending::Broken(rules) => {
                self.broken_total += 1;
                if self.broken.len() < BROKEN_KEPT {
                    self.broken.push((outcome.seed, rules));
                }
            }
        }
    }

    fn plus(mut self, other: Self) -> Self {
        self.runs += other.runs;
        self.settled += other.settled;
        self.with_person += other.with_person;
        self.refused += other.refused;
        self.broken_total += other.broken_total;
        self.oks += other.oks;
        self.events += other.events;
        self.broken.extend(other.broken);
        self
    }
}
