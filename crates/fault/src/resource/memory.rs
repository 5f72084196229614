//! Memory: a worker process takes memory, writes to every page of it, and holds it.
//!
//! It never takes what the host needs to go on: before each piece it looks at what is available, and gives memory back
//! while less than a reserve is left, whoever took it.

use super::level::{Level, readable};
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Mechanism, Pending, Refusal, Scope};
use crate::shape::{Parameters, Shape};
use crate::worker::{self, Held, Job, Life, Load, Tell, Work, Worker};
use firedrill_host::{observe, usage};
use firedrill_model::{Bytes, Percent, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Left to the host in any case: enough for the agent, its rescue process, a shell and the kernel's own needs.
pub(crate) const RESERVE_BYTES: u64 = 256 << 20;
/// Memory is taken and given back in pieces. They are larger than what the allocator ever keeps for itself (32 MiB), so
/// that each is given back to the host at once.
const PIECE_BYTES: usize = 64 << 20;
/// Each page is written to, or it would not be there.
const PAGE_BYTES: usize = 4096;
/// How often what is held is compared with what may be held.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Taking memory goes at about 0.5 GiB/s on a small machine; what takes longer is told as far as it came.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// Less than this part of what was asked is not the fault that was asked for, in percent.
const PART_MIN: u64 = 90;
const RAMP_MAX: Duration = Duration::from_secs(3600);

/// Memory is taken and held, as by a leak or by a neighbour.
///
/// Give one of `amount`, `to` and `leave`. The host always keeps 256 MiB available: what would leave less is refused, and
/// when others take memory meanwhile the fault gives back its own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Memory {
    /// Takes so much.
    amount: Option<Bytes>,
    /// Takes until this percentage of all memory is in use.
    to: Option<Percent>,
    /// Takes until so much is left available.
    leave: Option<Bytes>,
    /// Takes it evenly over so long, instead of at once.
    #[serde(default)]
    ramp: Span,
    /// What the kernel's out-of-memory killer is told about it.
    #[serde(default)]
    oom: Oom,
}

/// What the kernel's out-of-memory killer is told about the process that holds the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Oom {
    /// To be killed first: the fault ends before anybody else is hurt.
    #[default]
    Offered,
    /// To be judged as any other process of its size.
    Equal,
    /// Never to be killed: somebody else is.
    Spared,
}

impl Oom {
    /// For `/proc/self/oom_score_adj`; nothing where it stays what it is.
    const fn score(self) -> Option<&'static str> {
        match self {
            Self::Offered => Some("1000"),
            Self::Equal => None,
            Self::Spared => Some("-1000"),
        }
    }
}

impl Memory {
    fn level(&self) -> Result<Level, String> {
        Level::of(self.amount, self.to, self.leave)
    }
}

impl Parameters for Memory {
    fn check(&self) -> Result<(), String> {
        if let Level::Leave(leave) = self.level()?
            && leave < RESERVE_BYTES
        {
            return Err(format!("the host keeps {} in any case; leave at least that", readable(RESERVE_BYTES)));
        }
        if self.ramp.duration() > RAMP_MAX {
            return Err(format!("a ramp of {} is longer than {}", self.ramp, Span(RAMP_MAX)));
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "memory",
    summary: "Memory is taken and held.",
    family: Family::Resource,
    scope: Scope::Host,
    instant: false,
    shape: Shape::of::<Memory>(),
    needs: &[],
    mechanism: || Ok("worker process that holds written memory".to_owned()),
    preflight,
    undo: worker::undo,
    verify_undone: worker::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let memory: Memory = asked.parameters()?;
        let seen = observe::host(Path::new("/"))?;
        let level = memory.level().map_err(Refusal)?;
        let bytes = allowed(level, seen.memory_total_bytes, seen.memory_available_bytes).map_err(Refusal)?;
        let take = Take { bytes, ramp: memory.ramp, oom: memory.oom };
        let worker = Worker::start(&asked.context, &Job::Memory(take.clone()), Life::default()).await?;
        let base = usage::resident_bytes(worker.identity().pid)?;
        Ok(Box::new(Held { worker, load: Taking { take, base } }) as Box<dyn Mechanism>)
    })
}

/// How much is to be taken, or why not.
fn allowed(level: Level, total: u64, available: u64) -> Result<u64, String> {
    let missing = level.missing(total, available);
    let most = available.saturating_sub(RESERVE_BYTES);
    if missing == 0 {
        return Err(format!("{} of {} are available already", readable(available), readable(total)));
    }
    if missing > most {
        return Err(format!(
            "taking {} would leave the host less than {}; {} are available, so take at most {}",
            readable(missing),
            readable(RESERVE_BYTES),
            readable(available),
            readable(most)
        ));
    }
    Ok(missing)
}

/// The worker's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Take {
    bytes: u64,
    ramp: Span,
    oom: Oom,
}

impl Take {
    /// So much, as fast as it goes, by a process that offers itself to the killer.
    pub(super) const fn at_once(bytes: u64) -> Self {
        Self { bytes, ramp: Span::ZERO, oom: Oom::Offered }
    }

    pub(crate) fn prepare(self) -> Result<Work, String> {
        if let Some(score) = self.oom.score() {
            std::fs::write("/proc/self/oom_score_adj", score).map_err(|problem| match self.oom {
                Oom::Spared => format!(
                    "a process can be spared from the out-of-memory killer only with CAP_SYS_RESOURCE ({problem}); run \
                     the agent with it, or leave `oom` out"
                ),
                _ => format!("the score for the out-of-memory killer cannot be set: {problem}"),
            })?;
        }
        Ok(Box::new(move |tell: &Tell| self.take(tell)))
    }

    /// How much is to be held by then.
    fn due(&self, elapsed: Duration) -> u64 {
        let ramp = self.ramp.duration().as_millis();
        let elapsed = elapsed.as_millis().min(ramp);
        let part = u128::from(self.bytes) * elapsed.max(1) / ramp.max(1);
        u64::try_from(part).unwrap_or(self.bytes).min(self.bytes)
    }

    fn take(&self, tell: &Tell) -> Infallible {
        let began = Instant::now();
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        let mut told = (u64::MAX, false);
        loop {
            let held = sum(&pieces);
            let spare = observe::host(Path::new("/")).map_or(0, |seen| seen.memory_available_bytes);
            let due = self.due(began.elapsed());
            match next(due, due == self.bytes, held, spare) {
                Next::Take(bytes) => pieces.push(piece(bytes)),
                Next::GiveBack => drop(pieces.pop()),
                Next::Wait => thread::sleep(LOOK_EVERY),
            }
            let held = sum(&pieces);
            let short = spare < RESERVE_BYTES + PAGE_BYTES as u64 && held < self.bytes;
            let now = (held, held >= self.bytes || short);
            if now != told {
                told = now;
                tell.at(now.0, now.1, if short { "the rest is the host's reserve" } else { "" });
            }
        }
    }
}

/// What to do about the memory that is held.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Take(usize),
    GiveBack,
    Wait,
}

/// `last`: nothing more is due later, so that a piece may be smaller than others.
fn next(due: u64, last: bool, held: u64, spare: u64) -> Next {
    if spare < RESERVE_BYTES && held > 0 {
        return Next::GiveBack;
    }
    let room = spare.saturating_sub(RESERVE_BYTES);
    let wanted = due.saturating_sub(held).min(room);
    match usize::try_from(wanted) {
        Ok(wanted) if wanted < if last { PAGE_BYTES } else { PIECE_BYTES } => Next::Wait,
        Ok(wanted) => Next::Take(wanted.min(PIECE_BYTES)),
        Err(_) => Next::Take(PIECE_BYTES),
    }
}

fn piece(bytes: usize) -> Vec<u8> {
    let mut piece = vec![0; bytes];
    for (number, page) in piece.chunks_mut(PAGE_BYTES).enumerate() {
        // Pages that are all alike could be merged by the kernel.
        for (byte, mark) in page.iter_mut().zip(number.wrapping_add(1).to_ne_bytes()) {
            *byte = mark;
        }
    }
    std::hint::black_box(piece)
}

fn sum(pieces: &[Vec<u8>]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// The holder's part.
struct Taking {
    take: Take,
    /// What the worker needs for itself.
    base: u64,
}

impl Load for Taking {
    fn describe(&self) -> String {
        format!("{} of written memory", readable(self.take.bytes))
    }

    fn verify<'a>(&'a mut self, worker: &'a mut Worker) -> Pending<'a, Effect> {
        Box::pin(async {
            let Some(last) = worker.settled(TAKEN_WITHIN).await else {
                let why = "the worker ended: by the out-of-memory killer, or at a limit of its cgroup";
                return Effect::NotSeen(why.to_owned());
            };
            let seen = usage::resident_bytes(worker.identity().pid)
                .and_then(|resident| Ok((resident, observe::host(Path::new("/"))?.memory_available_bytes)));
            match seen {
                Ok((resident, left)) => self.take.judge(resident.saturating_sub(self.base), left, &last.note),
                Err(problem) => Effect::NotSeen(format!("it could not be measured: {}", problem.full())),
            }
        })
    }
}

impl Take {
    fn judge(&self, resident: u64, left: u64, note: &str) -> Effect {
        let note = if note.is_empty() { String::new() } else { format!(": {note}") };
        let figures = format!(
            "asked {}, measured {} in memory; {} are left available{note}",
            readable(self.bytes),
            readable(resident),
            readable(left)
        );
        let ramping = !self.ramp.duration().is_zero() && resident > 0;
        if resident.saturating_mul(100) >= self.bytes.saturating_mul(PART_MIN) || !note.is_empty() {
            Effect::Seen(figures)
        } else if ramping {
            Effect::Seen(format!("{figures}; it grows over {}", self.ramp))
        } else {
            Effect::NotSeen(figures)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_host_keeps_its_reserve() {
        assert_eq!(allowed(Level::Amount(GIB), 8 * GIB, 4 * GIB), Ok(GIB));
        assert_eq!(allowed(Level::Leave(GIB), 8 * GIB, 4 * GIB), Ok(3 * GIB));
        assert_eq!(allowed(Level::To(75_000), 8 * GIB, 4 * GIB), Ok(2 * GIB));
        assert!(allowed(Level::Amount(4 * GIB), 8 * GIB, 4 * GIB).is_err_and(|why| why.contains("at most 3.8 GiB")));
        assert!(allowed(Level::Leave(5 * GIB), 8 * GIB, 4 * GIB).is_err_and(|why| why.contains("already")));
    }

    #[test]
    fn memory_is_given_back_while_others_have_too_little() {
        let last = |held, spare| next(GIB, true, held, spare);
        assert_eq!(last(0, 4 * GIB), Next::Take(PIECE_BYTES));
        assert_eq!(last(GIB - 8192, 4 * GIB), Next::Take(8192));
        assert_eq!(next(GIB, false, GIB - 8192, 4 * GIB), Next::Wait, "more is due soon");
        assert_eq!(last(GIB, 4 * GIB), Next::Wait);
        assert_eq!(last(0, RESERVE_BYTES), Next::Wait);
        assert_eq!(last(GIB / 2, RESERVE_BYTES - 1), Next::GiveBack);
        assert_eq!(last(0, RESERVE_BYTES - 1), Next::Wait);
    }

    #[test]
    fn a_ramp_is_even() {
        let take = Take { bytes: 1000, ramp: Span::secs(10), oom: Oom::Equal };
        assert_eq!([1, 5000, 10_000, 20_000].map(|ms| take.due(Duration::from_millis(ms))), [0, 500, 1000, 1000]);
        assert_eq!(Take { ramp: Span::ZERO, ..take }.due(Duration::ZERO), 1000);
    }

    #[test]
    fn much_less_than_asked_is_no_effect() {
        let take = Take { bytes: 1000 << 20, ramp: Span::ZERO, oom: Oom::Equal };
        assert!(matches!(take.judge(995 << 20, GIB, ""), Effect::Seen(_)));
        assert!(matches!(take.judge(500 << 20, GIB, ""), Effect::NotSeen(_)));
        assert!(matches!(take.judge(500 << 20, GIB, "the rest is the host's reserve"), Effect::Seen(_)));
        let slow = Take { ramp: Span::secs(60), ..take };
        assert!(matches!(slow.judge(100 << 20, GIB, ""), Effect::Seen(_)));
    }
}
