//! Threads: so many threads that no more can be started, nor processes, as each has a process id of its own.

use super::level::readable;
use super::memory;
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Mechanism, Pending, Refusal, Scope};
use crate::shape::{Parameters, Shape};
use crate::worker::{self, Held, Job, Life, Load, Tell, Work, Worker};
use firedrill_host::{observe, usage};
use firedrill_model::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

/// Most threads of one attack: a process may have 65,530 memory mappings, and each thread needs two.
const THREADS_MAX: u64 = 30_000;
/// Left on the host in any case: the agent, its rescue process and a person's shell must be able to start what they need.
const RESERVE_THREADS: u64 = 200;
/// A thread that only waits needs this much of its own stack …
const STACK_BYTES: usize = 16 << 10;
/// … and with the kernel's stack and bookkeeping about this much memory.
const THREAD_BYTES: u64 = 32 << 10;
/// How many are started between two words about it.
const TELL_EVERY: usize = 1000;
/// Ten thousand threads take about half a second.
const STARTED_WITHIN: Duration = Duration::from_secs(10);
/// Less than this part of what was asked is not the fault that was asked for, in percent.
const PART_MIN: u64 = 90;

/// No more threads or processes can be started on the host, by anybody: each takes a process id, and there are so many.
///
/// The host always keeps 200 of them, so that the agent and a person can act.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Threads {
    /// How many more may still be started, at least 200.
    #[serde(default = "reserve")]
    leave: u64,
    /// Starts so many threads, instead of all but `leave`.
    amount: Option<u64>,
    /// As this system user: they count against that user's own limit on processes, too.
    user: Option<String>,
}

const fn reserve() -> u64 {
    RESERVE_THREADS
}

impl Parameters for Threads {
    fn check(&self) -> Result<(), String> {
        if self.leave < RESERVE_THREADS {
            return Err(format!("the host keeps {RESERVE_THREADS} in any case; leave at least that"));
        }
        match self.amount {
            Some(amount) if amount == 0 || amount > THREADS_MAX => {
                Err(format!("an amount of {amount} threads is not from 1 to {THREADS_MAX}"))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "threads",
    summary: "No more threads or processes can be started: there are no process ids left.",
    family: Family::Resource,
    scope: Scope::Host,
    instant: false,
    shape: Shape::of::<Threads>(),
    needs: &[],
    mechanism: || Ok("worker process that holds threads".to_owned()),
    preflight,
    undo: worker::undo,
    verify_undone: worker::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let threads: Threads = asked.parameters()?;
        let host = Tasks::of_host()?;
        let count = allowed(threads.amount, threads.leave, host).map_err(Refusal)?;
        let available = observe::host(Path::new("/"))?.memory_available_bytes;
        if count * THREAD_BYTES + memory::RESERVE_BYTES > available {
            return Err(Refusal(format!(
                "{count} threads need {} of memory, which would leave the host less than {} of {}",
                readable(count * THREAD_BYTES),
                readable(memory::RESERVE_BYTES),
                readable(available)
            )));
        }
        let start = Start { count };
        let life = Life { user: threads.user.as_deref(), ..Life::default() };
        let worker = Worker::start(&asked.context, &Job::Threads(start.clone()), life).await?;
        Ok(Box::new(Held { worker, load: start }) as Box<dyn Mechanism>)
    })
}

/// Threads of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tasks {
    now: u64,
    most: u64,
}

impl Tasks {
    fn of_host() -> Result<Self, Refusal> {
        let number = |path: &str, part: fn(&str) -> Option<&str>| {
            let text = fs::read_to_string(path).map_err(|problem| Refusal(format!("cannot read {path}: {problem}")))?;
            let number = part(&text).and_then(|word| word.trim().parse::<u64>().ok());
            number.ok_or_else(|| Refusal(format!("{path} reads {text:?}, which is not understood")))
        };
        // `0.42 0.30 0.25 2/345 6789`: of 345 threads 2 run.
        let now = number("/proc/loadavg", |text| Some(text.split_whitespace().nth(3)?.split_once('/')?.1))?;
        let ids = number("/proc/sys/kernel/pid_max", |text| Some(text))?;
        let threads = number("/proc/sys/kernel/threads-max", |text| Some(text))?;
        Ok(Self { now, most: ids.min(threads) })
    }

    const fn left(self) -> u64 {
        self.most.saturating_sub(self.now)
    }
}

fn allowed(amount: Option<u64>, leave: u64, host: Tasks) -> Result<u64, String> {
    let most = host.left().saturating_sub(leave);
    let count = amount.unwrap_or(most);
    if most == 0 {
        return Err(format!("this host has {} threads and can have {} already", host.now, host.most));
    }
    if count > most {
        return Err(format!("{count} more threads would leave the host less than {leave}; it has {most} to give"));
    }
    if count > THREADS_MAX {
        return Err(format!(
            "this host can have {} threads (pid_max, threads-max) and has {}: more than {THREADS_MAX} would be needed to \
             use them up. Say an `amount`, or lower kernel.pid_max for the drill",
            host.most, host.now
        ));
    }
    Ok(count)
}

/// The worker's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Start {
    count: u64,
}

impl Start {
    /// So many threads, wherever the worker lives.
    pub(super) const fn of(count: u64) -> Self {
        Self { count }
    }

    pub(crate) fn prepare(self) -> Result<Work, String> {
        Ok(Box::new(move |tell: &Tell| self.start(tell)))
    }

    fn start(&self, tell: &Tell) -> Infallible {
        let mut threads = Vec::new();
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        let note = loop {
            if threads.len() >= count {
                break String::new();
            }
            match thread::Builder::new().stack_size(STACK_BYTES).spawn(|| worker::hold(())) {
                Ok(thread) => threads.push(thread),
                Err(problem) => break problem.to_string(),
            }
            if threads.len().is_multiple_of(TELL_EVERY) {
                tell.at(threads.len() as u64, false, "");
            }
        };
        tell.at(threads.len() as u64, true, &note);
        worker::hold(threads)
    }
}

impl Load for Start {
    fn describe(&self) -> String {
        format!("{} threads that wait", self.count)
    }

    fn verify<'a>(&'a mut self, worker: &'a mut Worker) -> Pending<'a, Effect> {
        Box::pin(async {
            let Some(last) = worker.settled(STARTED_WITHIN).await else {
                return Effect::NotSeen("the worker ended before it had started them".to_owned());
            };
            match (usage::threads(worker.identity().pid), Tasks::of_host()) {
                (Ok(measured), Ok(host)) => self.judge(measured, host, &last.note),
                (Err(problem), _) => Effect::NotSeen(problem.full()),
                (_, Err(problem)) => Effect::NotSeen(problem.0),
            }
        })
    }
}

impl Start {
    /// Being refused more is the effect itself.
    fn judge(&self, measured: u64, host: Tasks, note: &str) -> Effect {
        let asked = self.count;
        let refused = if note.is_empty() { String::new() } else { format!("; the next was refused: {note}") };
        let figures =
            format!("asked {asked} threads, measured {measured}; the host has {} of {}{refused}", host.now, host.most);
        if measured.saturating_mul(100) >= asked.saturating_mul(PART_MIN) || !refused.is_empty() {
            Effect::Seen(figures)
        } else {
            Effect::NotSeen(format!("{figures} after {}", Span(STARTED_WITHIN)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_keeps_some() {
        let host = Tasks { now: 1000, most: 5000 };
        assert_eq!(allowed(None, 200, host), Ok(3800));
        assert_eq!(allowed(Some(10), 200, host), Ok(10));
        assert!(allowed(Some(3801), 200, host).is_err_and(|why| why.contains("3800 to give")));
        assert!(allowed(None, 200, Tasks { now: 1000, most: 4_194_304 }).is_err_and(|why| why.contains("pid_max")));
        assert!(allowed(None, 200, Tasks { now: 1000, most: 1100 }).is_err());
    }

    #[test]
    fn this_host_has_threads() {
        let host = Tasks::of_host().expect("Linux");
        assert!(host.now > 1 && host.left() > 0, "{host:?}");
    }
}
