//! The thread that serves a packet queue: it keeps packets until they are due.

use super::schedule::{Busy, Schedule, Treatment};
use firedrill_host::HostError;
use firedrill_host::queue::{Held, PacketId, PacketVerdict, Queue};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

/// What the shaper has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Packets that came, lost ones included. Segments that the kernel joined count once.
    pub(crate) arrived: u64,
    /// Packets that were dropped.
    pub(crate) lost: u64,
}

#[derive(Debug, Default)]
struct Shared {
    arrived: AtomicU64,
    lost: AtomicU64,
    failure: OnceLock<String>,
}

/// A running shaper. Dropping it lets all waiting packets go and ends the thread; whatever sends packets to its queue
/// must be gone before.
#[derive(Debug)]
pub(crate) struct Shaper {
    shared: Arc<Shared>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Shaper {
    pub(crate) fn start(queue: Queue, treatment: Treatment) -> Result<Self, HostError> {
        let failed = |action, source| HostError::System { action, object: "the shaper of packets".to_owned(), source };
        let (stopped, stop) = std::io::pipe().map_err(|problem| failed("make a pipe for", problem))?;
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("shaper".to_owned())
            .spawn(move || {
                if let Err(problem) = serve(queue, &treatment, &stopped, &seen) {
                    seen.failure.get_or_init(|| problem.full());
                }
            })
            .map_err(|problem| failed("start", problem))?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { arrived: self.shared.arrived.load(Ordering::Relaxed), lost: self.shared.lost.load(Ordering::Relaxed) }
    }

    /// Why it has stopped by itself, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.failure.get().cloned()
    }
}

impl Drop for Shaper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the shaper of packets panicked; its queue is closed and packets pass");
        }
    }
}

fn serve(mut queue: Queue, treatment: &Treatment, stopped: &PipeReader, seen: &Shared) -> Result<(), HostError> {
    // Without it, the kernel may serve the timer 50 µs late. Refused only where it does not exist: then it is late.
    let _best_effort = nix::sys::prctl::set_timerslack(1);
    let mut random = SmallRng::from_os_rng();
    let mut schedule: Schedule<PacketId> = Schedule::new();
    let mut busy = Busy::default();
    let mut arrived = Vec::new();
    let began = Instant::now();
    loop {
        let ended = wait(&queue, stopped, schedule.next_due())?;
        // Once more after the end: what arrived before the table went must be let go, too.
        while queue.receive(&mut arrived)? {}
        let now = Instant::now();
        let treatment = treatment.after(now - began);
        seen.arrived.fetch_add(arrived.len() as u64, Ordering::Relaxed);
        let mut lost = Vec::new();
        for Held { id, bytes } in arrived.drain(..) {
            match treatment.wait(bytes, now, &mut busy, &mut random) {
                Some(wait) => schedule.keep(id, now + wait),
                None => lost.push(id),
            }
        }
        seen.lost.fetch_add(lost.len() as u64, Ordering::Relaxed);
        queue.decide(&lost, PacketVerdict::Drop)?;
        let due = if ended { schedule.take_all() } else { schedule.take_due(now) };
        queue.decide(&due, PacketVerdict::Accept)?;
        if ended {
            return Ok(());
        }
    }
}

/// Waits for a packet, for the next one due, or for the end; true at the end.
pub(crate) fn wait(queue: &Queue, stopped: &PipeReader, due: Option<Instant>) -> Result<bool, HostError> {
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
