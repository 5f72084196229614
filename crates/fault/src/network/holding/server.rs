//! The thread that serves a packet queue: it asks what is to be done to each packet, does it, and keeps those that wait.

use super::schedule::Schedule;
use firedrill_host::HostError;
use firedrill_host::queue::{Packet, PacketId, PacketVerdict, Queue};
use firedrill_host::resend::Resender;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Contents of packets that wait here, bytes: what a gigabit brings in half a second. Those above wait in the kernel,
/// which makes their senders slow down.
const TAKEN_BYTES_MAX: usize = 64 << 20;

/// What is done to a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on, as it is.
    Pass,
    /// It goes on later.
    Wait(Duration),
    /// It goes on with other contents.
    Replace(Vec<u8>),
    /// It vanishes.
    Lose,
}

/// Decides on packets, in the order they come.
pub(crate) type Decide = Box<dyn FnMut(&Packet<'_>, Instant) -> Fate + Send>;

/// What a server has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Packets that came, lost ones included. Segments that the kernel joined count once.
    pub(crate) arrived: u64,
    /// Those that did not just pass.
    pub(crate) treated: u64,
    /// Those that were dropped.
    pub(crate) lost: u64,
}

#[derive(Debug, Default)]
struct Shared {
    arrived: AtomicU64,
    treated: AtomicU64,
    lost: AtomicU64,
    failure: OnceLock<String>,
}

impl Shared {
    fn count(&self, new: Counts) {
        self.arrived.fetch_add(new.arrived, Ordering::Relaxed);
        self.treated.fetch_add(new.treated, Ordering::Relaxed);
        self.lost.fetch_add(new.lost, Ordering::Relaxed);
    }
}

/// A running server. Dropping it lets all waiting packets go and ends the thread; whatever sends packets to its queue
/// must be gone before.
#[derive(Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// With a resender, packets that wait are taken off the kernel.
    pub(super) fn start(queue: Queue, resender: Option<Resender>, decide: Decide) -> Result<Self, HostError> {
        let failed = |action, source| HostError::System { action, object: "the holder of packets".to_owned(), source };
        let (stopped, stop) = std::io::pipe().map_err(|problem| failed("make a pipe for", problem))?;
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let mut work = Work { queue, resender, decide, schedule: Schedule::new(), taken_bytes: 0, shared: seen };
        let thread = std::thread::Builder::new()
            .name("packets".to_owned())
            .spawn(move || {
                if let Err(problem) = work.serve(&stopped) {
                    work.shared.failure.get_or_init(|| problem.full());
                }
            })
            .map_err(|problem| failed("start", problem))?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { arrived, treated, lost, .. } = &*self.shared;
        Counts { arrived: read(arrived), treated: read(treated), lost: read(lost) }
    }

    /// Why it has stopped by itself, if it has.
    pub(super) fn failure(&self) -> Option<&str> {
        self.shared.failure.get().map(String::as_str)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the holder of packets panicked; its queue is closed and packets pass");
        }
    }
}

/// A packet that waits.
enum Waiting {
    /// Where it was, for a verdict.
    InKernel(PacketId),
    /// Here: the kernel has dropped it, and it is sent again.
    Taken { contents: Vec<u8>, leaves_by: u32 },
}

struct Work {
    queue: Queue,
    resender: Option<Resender>,
    decide: Decide,
    schedule: Schedule<Waiting>,
    /// Of the packets in the schedule that were taken.
    taken_bytes: usize,
    shared: Arc<Shared>,
}

/// Verdicts on the packets that came together.
#[derive(Default)]
struct Round {
    accept: Vec<PacketId>,
    drop: Vec<PacketId>,
    replace: Vec<(PacketId, Vec<u8>)>,
    counts: Counts,
}

impl Work {
    fn serve(&mut self, stopped: &PipeReader) -> Result<(), HostError> {
        // Without it, the kernel may serve the timer 50 µs late. Refused only where it does not exist: then it is late.
        let _best_effort = nix::sys::prctl::set_timerslack(1);
        loop {
            let ended = wait(&self.queue, stopped, self.schedule.next_due())?;
            // Once more after the end: what arrived before the table went must be let go, too.
            let round = self.receive()?;
            // Before anybody can feel the verdicts.
            self.shared.count(round.counts);
            self.queue.decide(&round.drop, PacketVerdict::Drop)?;
            self.queue.decide(&round.accept, PacketVerdict::Accept)?;
            for (id, contents) in &round.replace {
                self.queue.replace(*id, contents)?;
            }
            let lost = self.let_go(ended)?;
            self.shared.lost.fetch_add(lost, Ordering::Relaxed);
            if ended {
                return Ok(());
            }
        }
    }

    /// Everything that has arrived, decided.
    fn receive(&mut self) -> Result<Round, HostError> {
        let Self { queue, resender, decide, schedule, taken_bytes, .. } = self;
        let mut round = Round::default();
        let now = Instant::now();
        let mut one = |packet: Packet<'_>| {
            let (id, size) = (packet.held.id, packet.contents.len());
            let fate = decide(&packet, now);
            round.counts.arrived += 1;
            round.counts.treated += u64::from(fate != Fate::Pass);
            match fate {
                Fate::Pass => round.accept.push(id),
                Fate::Replace(contents) => round.replace.push((id, contents)),
                Fate::Lose => {
                    round.drop.push(id);
                    round.counts.lost += 1;
                }
                Fate::Wait(delay) => {
                    let room = *taken_bytes + size <= TAKEN_BYTES_MAX;
                    let waiting = if room && resender.as_ref().is_some_and(|resender| resender.takes(&packet)) {
                        round.drop.push(id);
                        *taken_bytes += size;
                        Waiting::Taken { contents: packet.contents.to_vec(), leaves_by: packet.leaves_by }
                    } else {
                        Waiting::InKernel(id)
                    };
                    schedule.keep(waiting, now + delay);
                }
            }
        };
        while queue.each(&mut one)? {}
        Ok(round)
    }

    /// Lets what is due go on; at the end, everything. How many of those were lost.
    fn let_go(&mut self, ended: bool) -> Result<u64, HostError> {
        let due = if ended { self.schedule.take_all() } else { self.schedule.take_due(Instant::now()) };
        let (mut accept, mut lost) = (Vec::new(), 0);
        for waiting in due {
            match waiting {
                Waiting::InKernel(id) => accept.push(id),
                Waiting::Taken { contents, leaves_by } => {
                    self.taken_bytes = self.taken_bytes.saturating_sub(contents.len());
                    let sent = self.resender.as_ref().is_some_and(|resender| resender.send(&contents, leaves_by));
                    lost += u64::from(!sent);
                }
            }
        }
        self.queue.decide(&accept, PacketVerdict::Accept)?;
        Ok(lost)
    }
}

/// Waits for a packet, for the next one due, or for the end; true at the end.
fn wait(queue: &Queue, stopped: &PipeReader, due: Option<Instant>) -> Result<bool, HostError> {
    let mut watched = [PollFd::new(queue.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    let timeout = due.map(|due| TimeSpec::from(due.saturating_duration_since(Instant::now())));
    match ppoll(&mut watched, timeout, None) {
        Ok(_) => Ok(watched[1].revents().is_some_and(|events| !events.is_empty())),
        Err(nix::Error::EINTR) => Ok(false),
        Err(problem) => {
            Err(HostError::System { action: "wait for", object: "packets".to_owned(), source: problem.into() })
        }
    }
}
