//! File descriptors: a process may open no more files, or the whole host may not.
//!
//! For one process, its limit on open files is lowered to what it has open; that stays after the holder is gone, so the
//! undo record says what the limit was. For the host, a worker holds as many open files as the kernel still allows, in
//! threads with tables of their own, and they are gone with it.

use crate::FaultError;
use crate::claim::Claim;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use crate::target::{self, Target};
use crate::worker::{self, Held, Job, Life, Load, Tell, Work, Worker};
use firedrill_host::HostError;
use firedrill_host::process::{Identity, OpenFilesLimit, own_file_table};
use firedrill_model::Span;
use firedrill_model::attack::ProcessSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, thread};

/// Most files that are opened for a host. Each takes about 300 bytes of kernel memory: about 1.2 GiB.
const FILES_MAX: u64 = 4_000_000;
/// Most threads that hold them: each holds as many as the agent's limit on open files allows.
const THREADS_MAX: u64 = 1000;
/// Left to a thread for what it shared with the others when its table was copied.
const SPARE_FILES: u64 = 32;
/// How many are opened between two words about it.
const TELL_EVERY: u64 = 100_000;
/// A million files take about a second.
const OPENED_WITHIN: Duration = Duration::from_secs(10);
/// Less than this part of what was asked is not the fault that was asked for, in percent.
const PART_MIN: u64 = 90;

/// Files cannot be opened any more, and connections not accepted.
///
/// For a process, which gets EMFILE ("too many open files"): by default the database server of the node that is attacked.
/// Or, with `host: true`, for everybody on the host but root, who get ENFILE.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Descriptors {
    /// Which process, when it is not the database server.
    process: Option<ProcessSelector>,
    /// The whole host instead of a process.
    #[serde(default)]
    host: bool,
    /// How many more may still be opened.
    #[serde(default)]
    leave: u64,
    /// With `host`: opens so many files, instead of all but `leave`.
    amount: Option<u64>,
}

impl Parameters for Descriptors {
    fn check(&self) -> Result<(), String> {
        match (self.host, self.amount) {
            (true, _) if self.process.is_some() => Err("give `process` or `host: true`, not both".to_owned()),
            (false, Some(_)) => {
                Err("`amount` goes with `host: true`; a process is told how many to `leave`".to_owned())
            }
            (true, Some(amount)) if amount == 0 || amount > FILES_MAX => {
                Err(format!("an amount of {amount} files is not from 1 to {FILES_MAX}"))
            }
            (true, Some(_)) if self.leave > 0 => Err("give `amount` or `leave`, not both".to_owned()),
            _ => Ok(()),
        }
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "file-descriptors",
    summary: "A process, or everybody on the host, can open no more files.",
    family: Family::Resource,
    scope: Scope::Process,
    instant: false,
    shape: Shape::of::<Descriptors>(),
    needs: &[],
    mechanism: || Ok("limit on open files (prlimit); for a host, a worker process that holds open files".to_owned()),
    preflight,
    undo,
    verify_undone,
};

/// What is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "of")]
enum Undoing {
    Process { claim: String, process: Identity, before: OpenFilesLimit, during: OpenFilesLimit },
    Host { worker: Identity },
}

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let wanted: Descriptors = asked.parameters()?;
        if !wanted.host {
            let target = target::find(wanted.process.as_ref(), &asked)?;
            let claim = Claim::take(format!("the limit on open files of process {}", target.identity.pid), &asked)?;
            return Ok(Box::new(Lowered::of(target, claim, wanted.leave)?) as Box<dyn Mechanism>);
        }
        let (open, most) = host_files()?;
        let per_thread = OpenFilesLimit::of(Identity::current()?)?.hard.saturating_sub(SPARE_FILES).max(1);
        let files = match wanted.amount {
            Some(amount) => amount,
            None => remaining(open, most, wanted.leave).map_err(Refusal)?,
        };
        let threads = files.div_ceil(per_thread);
        if threads > THREADS_MAX {
            return Err(Refusal(format!(
                "{files} files would need {threads} tables of {per_thread}, more than {THREADS_MAX}; raise the hard limit \
                 on open files of the agent"
            )));
        }
        let open = Open { files, per_thread, before: open };
        let worker = Worker::start(&asked.context, &Job::Descriptors(open.clone()), Life::default()).await?;
        Ok(Box::new(HostWide(Held { worker, load: open })) as Box<dyn Mechanism>)
    })
}

/// Files that are open on the host, and the most that can be.
fn host_files() -> Result<(u64, u64), Refusal> {
    let path = "/proc/sys/fs/file-nr";
    let text = fs::read_to_string(path).map_err(|problem| Refusal(format!("cannot read {path}: {problem}")))?;
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [open, _, most] => Ok((open, most)),
        _ => Err(Refusal(format!("{path} reads {text:?}, which is not understood"))),
    }
}

fn remaining(open: u64, most: u64, leave: u64) -> Result<u64, String> {
    let files = most.saturating_sub(open).saturating_sub(leave);
    match files {
        0 => Err(format!("{open} of {most} files are open on this host already")),
        1..=FILES_MAX => Ok(files),
        _ => Err(format!(
            "this host allows {most} open files (fs.file-max), more than {FILES_MAX} from being used up: that limit is \
             never reached. Attack a `process`, or say an `amount`"
        )),
    }
}

/// The limit of one process, lowered.
struct Lowered {
    target: Target,
    claim: Claim,
    before: OpenFilesLimit,
    during: OpenFilesLimit,
}

impl Lowered {
    fn of(target: Target, claim: Claim, leave: u64) -> Result<Self, Refusal> {
        let before = OpenFilesLimit::of(target.identity)?;
        let open = open_files(target.identity.pid)?;
        let during = OpenFilesLimit { soft: open.highest + leave, ..before };
        if during.soft >= before.soft {
            let (name, soft) = (&target.name, before.soft);
            return Err(Refusal(format!("{name} may open {soft} files and has {} open already", open.count)));
        }
        // Nothing changes by this; it says whether it could be changed.
        before.set(target.identity).map_err(|problem| {
            Refusal(format!(
                "the limit of {} cannot be changed: {}; for a process of another user that needs CAP_SYS_RESOURCE",
                target.name,
                problem.full()
            ))
        })?;
        Ok(Self { target, claim, before, during })
    }
}

struct OpenFiles {
    count: u64,
    /// One more than the highest number in use: new files get the lowest free number, and the limit is on numbers.
    highest: u64,
}

fn open_files(pid: u32) -> Result<OpenFiles, Refusal> {
    let dir = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&dir).map_err(|problem| Refusal(format!("cannot list {dir}: {problem}")))?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    Ok(numbers.fold(OpenFiles { count: 0, highest: 0 }, |seen, number| OpenFiles {
        count: seen.count + 1,
        highest: seen.highest.max(number + 1),
    }))
}

impl Mechanism for Lowered {
    fn describe(&self) -> String {
        format!("limit on open files of {} lowered from {} to {}", self.target.name, self.before.soft, self.during.soft)
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        let (process, before, during) = (self.target.identity, self.before, self.during);
        Undo::by(&Undoing::Process { claim: self.claim.object().to_owned(), process, before, during })
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async { Ok(self.during.set(self.target.identity).map(drop)?) })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let name = &self.target.name;
            let seen = OpenFilesLimit::of(self.target.identity).map_err(Refusal::from);
            match seen.and_then(|limit| Ok((limit, open_files(self.target.identity.pid)?))) {
                Ok((limit, open)) if limit == self.during => {
                    let room = limit.soft.saturating_sub(open.count);
                    Effect::Seen(format!(
                        "{name} has {} files open and may open {room} more; before it might open {}",
                        open.count,
                        self.before.soft.saturating_sub(open.count)
                    ))
                }
                Ok((limit, _)) => Effect::NotSeen(format!("{name} may open {} files", limit.soft)),
                Err(problem) => Effect::NotSeen(problem.0),
            }
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        if self.target.identity.alive() { Ok(()) } else { Err(format!("{} has ended", self.target.name)) }
    }
}

/// The worker's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Open {
    files: u64,
    per_thread: u64,
    /// Open on the host before.
    before: u64,
}

impl Open {
    pub(crate) fn prepare(self) -> Result<Work, String> {
        let own = Identity::current().map_err(|problem| problem.full())?;
        let limit = OpenFilesLimit::of(own).map_err(|problem| problem.full())?;
        OpenFilesLimit { soft: limit.hard, ..limit }.set(own).map_err(|problem| problem.full())?;
        Ok(Box::new(move |tell: &Tell| {
            let opened = Arc::new(AtomicU64::new(0));
            let (mut left, mut threads) = (self.files, Vec::new());
            while left > 0 {
                let (share, opened) = (left.min(self.per_thread), Arc::clone(&opened));
                left -= share;
                threads.push(thread::Builder::new().stack_size(64 << 10).spawn(move || open(share, &opened)));
            }
            let working = threads.iter().flatten().count();
            let mut told = 0;
            // Each thread adds its failures, too, so that the sum comes to an end.
            loop {
                let (done, now) = (opened.load(Ordering::Acquire), opened.load(Ordering::Acquire) % FAILED);
                let settled = done / FAILED >= working as u64;
                if settled || now >= told + TELL_EVERY {
                    told = now;
                    tell.at(now, settled, "");
                }
                if settled {
                    return worker::hold(threads);
                }
                thread::sleep(Duration::from_millis(5));
            }
        }))
    }
}

/// Added by each thread that is done, beside the files that it counts one by one.
const FAILED: u64 = 1 << 40;

fn open(files: u64, opened: &AtomicU64) -> Infallible {
    let mut held = Vec::new();
    if own_file_table().is_ok() {
        for _ in 0..files {
            match File::open("/dev/null") {
                Ok(file) => held.push(file),
                // The host's limit, or this table's: all that can be had.
                Err(_) => break,
            }
            opened.fetch_add(1, Ordering::Release);
        }
    }
    opened.fetch_add(FAILED, Ordering::Release);
    worker::hold(held)
}

impl Load for Open {
    fn describe(&self) -> String {
        format!("{} open files in tables of {}", self.files, self.per_thread)
    }

    fn verify<'a>(&'a mut self, worker: &'a mut Worker) -> Pending<'a, Effect> {
        Box::pin(async {
            let Some(last) = worker.settled(OPENED_WITHIN).await else {
                return Effect::NotSeen("the worker ended before it had opened them".to_owned());
            };
            match host_files() {
                Ok((now, most)) => self.judge(last.amount, last.settled, now, most),
                Err(problem) => Effect::NotSeen(problem.0),
            }
        })
    }
}

impl Open {
    fn judge(&self, opened: u64, settled: bool, now: u64, most: u64) -> Effect {
        let (asked, before) = (self.files, self.before);
        let figures =
            format!("asked {asked} open files, opened {opened}; the host has {now} of {most}, {before} before");
        if opened.saturating_mul(100) >= asked.saturating_mul(PART_MIN) || now >= most {
            Effect::Seen(figures)
        } else if settled {
            Effect::NotSeen(format!("{figures}; the agent may not open more"))
        } else {
            Effect::NotSeen(format!("{figures} after {}", Span(OPENED_WITHIN)))
        }
    }
}

/// A [`Held`] whose record says that it is for the host.
struct HostWide(Held<Open>);

impl Mechanism for HostWide {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Undo::by(&Undoing::Host { worker: self.0.worker.identity() })
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        self.0.inject(lease)
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        self.0.verify()
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        self.0.renew(lease)
    }
}

fn undo(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        match undo.read::<Undoing>()? {
            None => Ok(()),
            Some(Undoing::Host { worker }) => Ok(worker::end(worker).await?),
            Some(Undoing::Process { process, before, during, .. }) => put_back(process, before, during),
        }
    })
}

/// Puts the limit back, unless somebody else has set it to something else meanwhile.
fn put_back(process: Identity, before: OpenFilesLimit, during: OpenFilesLimit) -> Result<(), Failure> {
    let back =
        OpenFilesLimit::of(process).and_then(|now| if now == during { before.set(process).map(drop) } else { Ok(()) });
    match back {
        Ok(()) | Err(HostError::NoProcess { .. }) => Ok(()),
        Err(problem) => Err(problem.into()),
    }
}

fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        match undo.read::<Undoing>()? {
            None => Ok("no limit was changed".to_owned()),
            Some(Undoing::Host { worker }) => worker::gone(worker),
            Some(Undoing::Process { process, during, .. }) => match OpenFilesLimit::of(process) {
                Err(HostError::NoProcess { pid }) => Ok(format!("process {pid} has ended meanwhile")),
                Err(problem) => Err(problem.into()),
                Ok(now) if now == during => {
                    Err(StillThere(format!("process {} may still open only {} files", process.pid, now.soft)))
                }
                Ok(now) => Ok(format!("process {} may open {} files again", process.pid, now.soft)),
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_never_reached_is_refused() {
        assert_eq!(remaining(100, 1000, 10), Ok(890));
        assert!(remaining(100, 100, 0).is_err());
        assert!(remaining(100, i64::MAX as u64, 0).is_err_and(|why| why.contains("never reached")));
    }

    #[test]
    fn a_process_or_the_host() {
        let check = |text: &str| serde_json::from_str::<Descriptors>(text).expect("reads").check();
        assert!(check("{}").is_ok());
        assert!(check(r#"{"amount": 5}"#).is_err());
        assert!(check(r#"{"host": true, "amount": 5, "leave": 1}"#).is_err());
        assert!(check(r#"{"host": true, "process": {"select": "pid", "pid": 7}}"#).is_err());
    }

    #[test]
    fn what_the_agent_may_not_open_is_no_effect() {
        let open = Open { files: 1000, per_thread: 500, before: 50 };
        assert!(matches!(open.judge(1000, true, 1050, 9000), Effect::Seen(_)));
        assert!(matches!(open.judge(500, true, 1050, 1050), Effect::Seen(_)), "there are no more");
        assert!(matches!(open.judge(500, true, 550, 9000), Effect::NotSeen(_)));
    }
}
