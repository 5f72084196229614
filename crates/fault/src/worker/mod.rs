//! Worker processes: a load is made by a process of its own, so that it is gone when that process is.
//!
//! A worker is this program, started again ([`crate::Context::worker`]) with its job as an argument and its standard
//! input and output as pipes to the holder of the attack. It prepares itself, says that it is ready, and waits. The
//! first lease that it is given tells it to begin; then it goes on as long as leases come. It ends
//!
//! - by SIGKILL from its holder, which is how an attack is taken out;
//! - by SIGKILL from the kernel, when its holder dies (`PR_SET_PDEATHSIG`);
//! - by itself, when the holder closes the pipe or does not renew the lease: a holder that hangs keeps no load in place.
//!
//! As it is started, idle, before the undo record is written, the record says exactly which process must be gone.

mod held;

pub(crate) use held::{Held, Life, Load, Worker, end, gone, undo, verify_undone};

use crate::resource::{cpu, descriptors, disk_fill, disk_io, inodes, memory, threads};
use firedrill_host::clock;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// Most lines that a worker says. They must fit into a pipe (64 KiB) that nobody reads, so that it never waits there.
const LINES_MAX: u32 = 300;
/// Longest note in a line, bytes.
const NOTE_BYTES_MAX: usize = 120;
/// A lease is one line of digits.
const LEASE_BYTES_MAX: usize = 64;
/// How often a worker that has nothing to do looks whether its work has failed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a worker is told to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "job")]
pub(crate) enum Job {
    Cpu(cpu::Burn),
    Memory(memory::Take),
    DiskFill(disk_fill::Fill),
    DiskIo(disk_io::Drive),
    Inodes(inodes::Make),
    Descriptors(descriptors::Open),
    Threads(threads::Start),
}

/// What a worker does once it is told to begin. It never comes to an end by itself: what it holds it holds until the
/// process ends.
pub(crate) type Work = Box<dyn FnOnce(&Tell) -> Infallible + Send>;

impl Job {
    /// Everything that can fail and that nobody notices.
    fn prepare(self) -> Result<Work, String> {
        match self {
            Self::Cpu(job) => job.prepare(),
            Self::Memory(job) => job.prepare(),
            Self::DiskFill(job) => job.prepare(),
            Self::DiskIo(job) => job.prepare(),
            Self::Inodes(job) => job.prepare(),
            Self::Descriptors(job) => job.prepare(),
            Self::Threads(job) => job.prepare(),
        }
    }
}

/// What a worker says, one line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "told")]
enum Told {
    /// It can begin.
    Ready,
    /// It cannot do this job, and why.
    Refused { why: String },
    /// How far it has come.
    At(Progress),
}

/// How far a worker has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// What it holds, in the unit of its job.
    pub(crate) amount: u64,
    /// Nothing more is going to be done: all that was asked for is there, or all that can be had.
    pub(crate) settled: bool,
    /// Why it is less than asked, when it is.
    pub(crate) note: String,
}

/// The worker's way to say how far it has come.
pub(crate) struct Tell {
    left: AtomicU32,
}

impl Tell {
    /// Says it; after [`LINES_MAX`] lines only what settles the matter is still said.
    pub(crate) fn at(&self, amount: u64, settled: bool, note: &str) {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() || settled {
            let note = note.chars().take(NOTE_BYTES_MAX).collect();
            say(&Told::At(Progress { amount, settled, note }));
        }
    }
}

fn say(told: &Told) {
    let line = serde_json::to_string(told).unwrap_or_default();
    // A holder that does not listen any more is gone, which the other pipe tells.
    let _gone = writeln!(io::stdout().lock(), "{line}");
}

/// Holds something until the process ends.
pub(crate) fn hold<T>(held: T) -> Infallible {
    loop {
        thread::park();
        // Parking may end without a reason.
        std::hint::black_box(&held);
    }
}

/// Runs as a worker with this job (JSON) until its holder lets go of it. Standard input and output are pipes to the
/// holder; the caller must end the process when this returns.
pub fn work(job: &str) {
    let prepared = serde_json::from_str::<Job>(job).map_err(|problem| format!("the job is not understood: {problem}"));
    let work = match prepared.and_then(Job::prepare) {
        Ok(work) => work,
        Err(why) => return say(&Told::Refused { why }),
    };
    say(&Told::Ready);
    let mut leases = Leases::new(io::stdin());
    if !leases.begin() {
        return;
    }
    let tell = Tell { left: AtomicU32::new(LINES_MAX) };
    let Ok(working) = thread::Builder::new().spawn(move || work(&tell)) else { return };
    while leases.wait() && !working.is_finished() {}
}

/// The leases that come out of the holder's pipe.
struct Leases<F> {
    pipe: F,
    /// Since boot.
    until: Duration,
}

impl<F: AsFd> Leases<F> {
    fn new(pipe: F) -> Self {
        Self { pipe, until: Duration::ZERO }
    }

    /// Waits for the first one; false when the holder lets go instead. As long as nothing is in place there is no hurry.
    fn begin(&mut self) -> bool {
        while self.until.is_zero() {
            if !self.read(PollTimeout::NONE) {
                return false;
            }
        }
        true
    }

    /// Waits for some time or for the next one; false when the holder has let go or the last one has run out.
    fn wait(&mut self) -> bool {
        let left = self.until.saturating_sub(clock::since_boot()).min(LOOK_EVERY);
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
        self.read(timeout) && clock::since_boot() < self.until
    }

    /// False when the pipe is closed.
    fn read(&mut self, timeout: PollTimeout) -> bool {
        let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
        let mut bytes = [0; LEASE_BYTES_MAX];
        match nix::unistd::read(&self.pipe, &mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                if let Some(lease) = latest_lease(&bytes[..count]) {
                    self.until = clock::since_boot() + lease;
                }
                true
            }
            Err(problem) => problem == Errno::EINTR,
        }
    }
}

/// The last whole line, in milliseconds. Each line is written at once, and so short that it comes in one piece.
fn latest_lease(bytes: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(bytes).ok()?;
    let line = text.strip_suffix('\n')?.rsplit('\n').next()?;
    line.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_latest_lease_counts() {
        assert_eq!(latest_lease(b"20000\n5000\n"), Some(Duration::from_secs(5)));
        assert_eq!(latest_lease(b"50"), None, "not whole");
        assert_eq!(latest_lease(b"\n"), None);
    }

    #[test]
    fn a_worker_waits_for_its_first_lease_and_not_beyond_its_last() {
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        let mut leases = Leases::new(reader);
        nix::unistd::write(&writer, b"50\n").expect("writes");
        assert!(leases.begin());
        let began = Instant::now();
        while leases.wait() {}
        assert!(began.elapsed() >= Duration::from_millis(40), "{:?}", began.elapsed());
        nix::unistd::write(&writer, b"60000\n").expect("writes");
        drop(writer);
        assert!(leases.wait(), "renewed");
        assert!(!leases.wait(), "let go");
    }

    #[test]
    fn a_holder_that_lets_go_before_the_beginning_is_noticed() {
        let (reader, writer) = nix::unistd::pipe().expect("pipe");
        drop(writer);
        assert!(!Leases::new(reader).begin());
    }
}
