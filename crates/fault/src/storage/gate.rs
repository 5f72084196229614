//! The gate that every operation passes: open, closed for all, or, during a power loss, closed for the living and
//! failing for those who are being killed.

use nix::errno::Errno;
use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Open,
    /// Everybody waits.
    Closed,
    /// These processes are being killed: what they wait for fails, so that they can end. Everybody else waits.
    Killing(HashSet<u32>),
}

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<(Phase, usize)>,
    changed: Condvar,
}

/// An operation that passed the gate; it counts as under way until this is dropped.
#[derive(Debug)]
pub(super) struct Passed<'a>(&'a Gate);

impl Gate {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new((Phase::Open, 0)), changed: Condvar::new() }
    }

    /// Waits until an operation of this thread may be done; `EIO` when its process is being killed. `belated` is for
    /// pages that the kernel writes on its own: in a power loss they can only be those of the killed.
    pub(super) fn enter(&self, thread: u32, belated: bool) -> Result<Passed<'_>, Errno> {
        let mut state = self.state();
        loop {
            match &state.0 {
                Phase::Open => {
                    state.1 += 1;
                    return Ok(Passed(self));
                }
                Phase::Closed => {}
                Phase::Killing(processes) => {
                    if belated || is_dying(thread, processes) {
                        return Err(Errno::EIO);
                    }
                }
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether a power loss is under way.
    pub(super) fn killing(&self) -> bool {
        matches!(self.state().0, Phase::Killing(_))
    }

    /// Lets nobody in and waits until nobody is inside; gives up, and opens again, after `within`.
    pub(super) fn close(&self, within: Duration) -> Result<(), Errno> {
        let until = Instant::now() + within;
        let mut state = self.state();
        if state.0 != Phase::Open {
            return Err(Errno::EBUSY);
        }
        state.0 = Phase::Closed;
        while state.1 > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.0 = Phase::Open;
                self.changed.notify_all();
                return Err(Errno::ETIMEDOUT);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// These processes are being killed. Only while it is closed.
    pub(super) fn kill(&self, processes: HashSet<u32>) {
        self.state().0 = Phase::Killing(processes);
        self.changed.notify_all();
    }

    pub(super) fn open(&self) {
        self.state().0 = Phase::Open;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, (Phase, usize)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.1 -= 1;
        if state.1 == 0 && state.0 != Phase::Open {
            self.0.changed.notify_all();
        }
    }
}

/// Whether a thread is about to end: it is gone, belongs to one of the processes, or has a SIGKILL waiting for it.
pub(super) fn is_dying(thread: u32, processes: &HashSet<u32>) -> bool {
    // The kernel itself, and threads that this process cannot see, have no number.
    if thread == 0 {
        return false;
    }
    let Ok(status) = std::fs::read_to_string(format!("/proc/{thread}/status")) else { return true };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let process = field("Tgid:").and_then(|text| text.parse().ok());
    let pending = |name| field(name).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    let killed = (pending("SigPnd:") | pending("ShdPnd:")) & 1 << (libc::SIGKILL - 1) != 0;
    killed || process.is_none_or(|process| processes.contains(&process))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_when_nobody_is_inside_and_gives_up_in_time() {
        let gate = Gate::new();
        let inside = gate.enter(0, false).expect("open");
        assert_eq!(gate.close(Duration::from_millis(20)), Err(Errno::ETIMEDOUT));
        drop(inside);
        drop(gate.enter(0, false).expect("open again"));
        gate.close(Duration::from_millis(20)).expect("nobody inside");
        assert_eq!(gate.close(Duration::from_millis(20)), Err(Errno::EBUSY));
        gate.kill(HashSet::from([std::process::id()]));
        assert_eq!(gate.enter(std::process::id(), false).err(), Some(Errno::EIO), "who is being killed gets an error");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(1, false).map(drop));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished(), "others wait");
            gate.open();
            waiting.join().expect("no panic").expect("passes");
        });
    }
}
