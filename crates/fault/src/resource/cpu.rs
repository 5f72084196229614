//! CPU: cores are kept busy for a share of the time.
//!
//! A thread per core, pinned to it, works for a part of each period and sleeps for the rest. How long it works is fed
//! back from its own CPU clock, so that the share comes out exact even beside other work that takes turns with it. What
//! it did not get is caught up with for a moment, and then forgiven: the load never jumps to 100 % after a dry spell.

use super::level::ratio;
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Mechanism, Pending, Refusal, Scope};
use crate::shape::{Parameters, Shape};
use crate::worker::{self, Held, Job, Life, Load, Tell, Work, Worker};
use firedrill_host::process::default_priority;
use firedrill_host::{HostError, clock, usage};
use firedrill_model::{Percent, Span};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Work and sleep alternate so often: short enough that a second of load is even, long enough to sleep properly.
const PERIOD: Duration = Duration::from_millis(10);
/// Work that was not got, because others had the core, is caught up with up to this much.
const DEBT_MAX: Duration = Duration::from_millis(100);
/// Arithmetic between two looks at the clock: some microseconds.
const SPIN_STEPS: u32 = 2000;
/// The load is measured for so long.
const MEASURED_FOR: Duration = Duration::from_secs(1);
/// Further off than this is not the load that was asked for, in points of percent.
const POINTS_OFF_MAX: f64 = 5.0;
/// A core with less idle time than this has nothing left to give, in percent.
const IDLE_MIN: f64 = 5.0;
/// Longest ramp: beyond it, a drill should be written as several attacks.
const RAMP_MAX: Duration = Duration::from_secs(3600);

/// Cores are kept busy for a share of the time, as by a runaway query or a noisy neighbour.
///
/// The load is the share that the fault itself takes, beside whatever else runs there: on a core that is busy with other
/// work, the two take turns, and the fault gets at most its fair share.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Cpu {
    /// Share of each chosen core that is used up, in percent, above 0.
    load: Percent,
    /// Numbers of the cores, from 0; without any, all cores that the agent may run on.
    #[serde(default)]
    cores: BTreeSet<u32>,
    /// The load grows evenly from nothing for so long.
    #[serde(default)]
    ramp: Span,
}

impl Parameters for Cpu {
    fn check(&self) -> Result<(), String> {
        if self.load == Percent::default() {
            return Err("a load of 0 % is no fault".to_owned());
        }
        if self.ramp.duration() > RAMP_MAX {
            return Err(format!("a ramp of {} is longer than {}", self.ramp, Span(RAMP_MAX)));
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "cpu",
    summary: "Cores are kept busy for a share of the time.",
    family: Family::Resource,
    scope: Scope::Host,
    instant: false,
    shape: Shape::of::<Cpu>(),
    needs: &[],
    mechanism: || Ok("worker process with a thread pinned to each core".to_owned()),
    preflight,
    undo: worker::undo,
    verify_undone: worker::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let cpu: Cpu = asked.parameters()?;
        let burn = Burn {
            cores: choose(&cpu.cores, &allowed_cores()?).map_err(Refusal)?,
            plan: Plan { thousandths: cpu.load.thousandths(), ramp: cpu.ramp },
        };
        let worker = Worker::start(&asked.context, &Job::Cpu(burn.clone()), Life::default()).await?;
        Ok(Box::new(Held { worker, load: burn }) as Box<dyn Mechanism>)
    })
}

/// The cores that this process may run on.
fn allowed_cores() -> Result<BTreeSet<u32>, HostError> {
    let own = sched_getaffinity(Pid::from_raw(0)).map_err(|problem| HostError::System {
        action: "look at",
        object: "the cores that this process may use".to_owned(),
        source: problem.into(),
    })?;
    let number = |core: usize| own.is_set(core).ok().filter(|is_set| *is_set).and_then(|_| u32::try_from(core).ok());
    Ok((0..CpuSet::count()).filter_map(number).collect())
}

fn choose(asked: &BTreeSet<u32>, allowed: &BTreeSet<u32>) -> Result<Vec<u32>, String> {
    if let Some(missing) = asked.difference(allowed).next() {
        let there: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        return Err(format!("core {missing} is not there, or not for this agent; there are {}", there.join(", ")));
    }
    Ok(if asked.is_empty() { allowed } else { asked }.iter().copied().collect())
}

/// How much of a core is used at which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    thousandths: u32,
    ramp: Span,
}

impl Plan {
    /// CPU time that is to be used until then, since the beginning.
    fn due(&self, elapsed: Duration) -> Duration {
        let ramp = self.ramp.duration().as_secs_f64();
        let elapsed = elapsed.as_secs_f64();
        let full = if elapsed < ramp { elapsed * elapsed / (2.0 * ramp) } else { elapsed - ramp / 2.0 };
        Duration::from_secs_f64(full * f64::from(self.thousandths) / 100_000.0)
    }
}

/// The worker's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Burn {
    cores: Vec<u32>,
    plan: Plan,
}

impl Burn {
    /// All that there is, of all cores that this agent may use.
    pub(super) fn everything() -> Result<Self, String> {
        let cores = allowed_cores().map_err(|problem| problem.full())?.into_iter().collect();
        Ok(Self { cores, plan: Plan { thousandths: 100_000, ramp: Span::ZERO } })
    }

    pub(crate) fn prepare(self) -> Result<Work, String> {
        let (begin, plan) = (Arc::new(std::sync::Barrier::new(self.cores.len() + 1)), self.plan);
        for core in self.cores {
            let (pinned, is_pinned) = mpsc::sync_channel(1);
            let begin = Arc::clone(&begin);
            let start = thread::Builder::new().spawn(move || {
                // Nobody listens only when the process ends anyway.
                let _ended = pinned.send(pin(core));
                begin.wait();
                burn(plan)
            });
            start.map_err(|problem| format!("no thread for core {core} can be started: {problem}"))?;
            is_pinned.recv().map_err(|_| format!("the thread for core {core} ended"))??;
        }
        Ok(Box::new(move |_: &Tell| {
            begin.wait();
            worker::hold(())
        }))
    }
}

fn pin(core: u32) -> Result<(), String> {
    // An agent that gives way to others must not have its load give way, too. Without the right to it: it does.
    let _gives_way = default_priority();
    let mut only = CpuSet::new();
    only.set(core as usize)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &only))
        .map_err(|problem| format!("no thread can be pinned to core {core}: {problem}"))
}

/// Works and sleeps until the process ends.
fn burn(plan: Plan) -> Infallible {
    let began = Instant::now();
    let mut forgiven = Duration::ZERO;
    loop {
        let end = began.elapsed() + PERIOD;
        let due = plan.due(end);
        while used() + forgiven < due && began.elapsed() < end {
            spin();
        }
        let owed = plan.due(began.elapsed()).saturating_sub(used() + forgiven);
        forgiven += owed.saturating_sub(DEBT_MAX);
        thread::sleep(end.saturating_sub(began.elapsed()));
    }
}

/// CPU time of this thread. Without the clock nothing would be in place: then it stands still, which is measured.
fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::MAX / 4, Duration::from)
}

fn spin() {
    let mut value = 1_u64;
    for step in 0..SPIN_STEPS {
        value = std::hint::black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(u64::from(step)));
    }
}

impl Load for Burn {
    fn describe(&self) -> String {
        format!("a thread pinned to each of {} cores, fed back on its own CPU clock", self.cores.len())
    }

    fn verify<'a>(&'a mut self, worker: &'a mut Worker) -> Pending<'a, Effect> {
        Box::pin(async {
            match self.measure(worker).await {
                Ok(measured) => self.judge(measured),
                Err(problem) => Effect::NotSeen(format!("the load could not be measured: {}", problem.full())),
            }
        })
    }
}

/// What was seen of a load, each in percent of the chosen cores.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measured {
    asked: f64,
    used: f64,
    idle: f64,
}

impl Burn {
    async fn measure(&self, worker: &Worker) -> Result<Measured, HostError> {
        let began = worker.began();
        let (before, cores_before) = (worker.cpu_time()?, usage::cores()?);
        let from = clock::since_boot();
        sleep(MEASURED_FOR).await;
        let (after, cores_after) = (worker.cpu_time()?, usage::cores()?);
        let until = clock::since_boot();
        let cores = f64::from(u32::try_from(self.cores.len()).unwrap_or(u32::MAX));
        let time = (until - from).as_secs_f64();
        let due = self.plan.due(until - began).saturating_sub(self.plan.due(from.saturating_sub(began)));
        Ok(Measured {
            asked: due.as_secs_f64() / time * 100.0,
            used: after.saturating_sub(before).as_secs_f64() / time / cores * 100.0,
            idle: idle(&self.cores, &cores_before, &cores_after),
        })
    }

    /// In place when it is as asked, or when there is nothing left to be had on these cores.
    fn judge(&self, measured: Measured) -> Effect {
        let Measured { asked, used, idle } = measured;
        let cores = self.cores.len();
        let figures = format!(
            "asked {asked:.1} % of {cores} cores, measured {used:.1} % over {}; {idle:.1} % of their time was left idle",
            Span(MEASURED_FOR)
        );
        let reached = (used - asked).abs() <= POINTS_OFF_MAX;
        if reached && used > 0.0 {
            Effect::Seen(figures)
        } else if used > 0.0 && idle < IDLE_MIN {
            Effect::Seen(format!("{figures}: other work has the rest"))
        } else {
            Effect::NotSeen(format!(
                "{figures}: something limits the worker, such as a CPU quota of the agent's cgroup"
            ))
        }
    }
}

/// Share of time in which the chosen cores had nothing to do, in percent.
fn idle(chosen: &[u32], before: &[usage::CoreTime], after: &[usage::CoreTime]) -> f64 {
    let sums = |times: &[usage::CoreTime]| {
        let chosen = times.iter().filter(|time| chosen.contains(&time.core));
        chosen.fold((0, 0), |(busy, idle), time| (busy + time.busy, idle + time.idle))
    };
    let ((busy_before, idle_before), (busy_after, idle_after)) = (sums(before), sums(after));
    let idle = idle_after.saturating_sub(idle_before);
    ratio(idle, idle + busy_after.saturating_sub(busy_before)) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_uses_half_as_much_while_it_lasts() {
        let plan = Plan { thousandths: 50_000, ramp: Span::secs(10) };
        let due = |secs: u64| plan.due(Duration::from_secs(secs)).as_millis();
        assert_eq!((due(0), due(10), due(20)), (0, 2500, 7500));
        let even = Plan { thousandths: 50_000, ramp: Span::ZERO };
        assert_eq!(even.due(Duration::from_secs(1)).as_millis(), 500);
    }

    #[test]
    fn only_cores_that_are_there_are_chosen() {
        let allowed = BTreeSet::from([0, 1, 5]);
        assert_eq!(choose(&BTreeSet::new(), &allowed), Ok(vec![0, 1, 5]));
        assert_eq!(choose(&BTreeSet::from([5]), &allowed), Ok(vec![5]));
        assert!(choose(&BTreeSet::from([2]), &allowed).is_err_and(|why| why.contains("core 2")));
    }

    #[test]
    fn a_load_is_seen_as_asked_or_as_all_that_there_is() {
        let burn = Burn { cores: vec![0], plan: Plan { thousandths: 60_000, ramp: Span::ZERO } };
        let judged = |used, idle| burn.judge(Measured { asked: 60.0, used, idle });
        assert!(matches!(judged(59.0, 40.0), Effect::Seen(_)));
        assert!(matches!(judged(48.0, 0.0), Effect::Seen(_)));
        assert!(matches!(judged(48.0, 40.0), Effect::NotSeen(_)));
        assert!(matches!(judged(0.0, 0.0), Effect::NotSeen(_)));
    }

    #[test]
    fn idle_time_is_of_the_chosen_cores() {
        let time = |core, busy, idle| usage::CoreTime { core, busy, idle };
        let before = [time(0, 0, 0), time(1, 0, 0)];
        let after = [time(0, 30, 70), time(1, 100, 0)];
        assert!((idle(&[0], &before, &after) - 70.0).abs() < 0.01);
        assert!((idle(&[0, 1], &before, &after) - 35.0).abs() < 0.01);
    }
}
