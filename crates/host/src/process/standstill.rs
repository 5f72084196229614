//! A process stands still for a moment: all its threads are held, looked at, and let go.
//!
//! Held by tracing (`PTRACE_SEIZE`, which itself disturbs nothing, and `PTRACE_INTERRUPT`): when the tracing thread ends,
//! with or without its process, the kernel lets go of whatever it held. Signals that come meanwhile are handed over, a
//! process that was stopped before stays so.

use super::Identity;
use crate::HostError;
use std::io;
use std::time::{Duration, Instant};

/// Most threads of a process that are held.
pub const THREADS_MAX: usize = 20_000;
/// Threads come and go while others are being held already; those that are held make no new ones.
const ROUNDS_MAX: u32 = 100;
/// A thread that is in no system call is held within microseconds.
const LOOK_EVERY: Duration = Duration::from_micros(50);

/// A thread that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its id.
    pub thread: u32,
    /// The address of the instruction that it will go on with.
    pub instruction: u64,
    /// The address of the top of its stack.
    pub stack: u64,
}

/// Holds all threads of a process while `work` looks at it. What `work` does is done by the thread that traces, so it
/// may do what only a tracer may. `within` bounds how long is waited until all are held: one that hangs in a device
/// is not, and then all are let go.
///
/// # Errors
/// The process is gone, is traced by somebody else, or did not stand still in time.
pub fn stand_still<T: Send>(
    process: Identity,
    within: Duration,
    work: impl FnOnce(&[Standing]) -> T + Send,
) -> Result<T, HostError> {
    in_a_thread(process, || {
        let mut hold = Hold { process, threads: Vec::new(), until: Instant::now() + within, within };
        hold.all()?;
        let standing = hold.look()?;
        Ok(work(&standing))
    })
}

/// Does something as the tracer of a process that runs on meanwhile.
///
/// # Errors
/// The process is gone, or is traced by somebody else.
pub fn as_tracer<T: Send>(process: Identity, work: impl FnOnce() -> T + Send) -> Result<T, HostError> {
    in_a_thread(process, || {
        let hold = Hold { process, threads: Vec::new(), until: Instant::now(), within: Duration::ZERO };
        let first = libc::pid_t::try_from(process.pid).map_err(|_| hold.gone())?;
        // One that has ended and is waited for by nobody yet is refused like one that somebody else traces.
        hold.attach(first).map_err(|problem| if exists(first) { problem } else { hold.gone() })?;
        // Looked at while it is traced: the id cannot come to mean another process any more.
        if process.alive() { Ok(work()) } else { Err(hold.gone()) }
    })
}

/// In a thread of its own: whatever it still holds when it ends, the kernel lets go.
fn in_a_thread<T: Send>(process: Identity, work: impl FnOnce() -> Result<T, HostError> + Send) -> Result<T, HostError> {
    std::thread::scope(|scope| {
        let tracer = std::thread::Builder::new().name("tracer".to_owned()).spawn_scoped(scope, work);
        let tracer = tracer.map_err(|problem| HostError::system("start", "a tracing thread", problem))?;
        tracer.join().unwrap_or_else(|_| {
            let problem = io::Error::other("the thread that traced it panicked");
            Err(HostError::system("hold", format!("process {}", process.pid), problem))
        })
    })
}

struct Held {
    thread: libc::pid_t,
    /// The signal that it was about to get, once it is held.
    stopped: Option<libc::c_int>,
}

struct Hold {
    process: Identity,
    threads: Vec<Held>,
    until: Instant,
    within: Duration,
}

impl Drop for Hold {
    fn drop(&mut self) {
        for Held { thread, stopped } in &self.threads {
            if let Some(signal) = stopped {
                // Refused only when it has been killed meanwhile.
                let _gone = trace(libc::PTRACE_DETACH, *thread, *signal);
            }
        }
    }
}

impl Hold {
    /// Holds threads until there are no others.
    fn all(&mut self) -> Result<(), HostError> {
        for _ in 0..ROUNDS_MAX {
            let known = self.threads.len();
            for thread in self.listed()? {
                if !self.threads.iter().any(|held| held.thread == thread) {
                    self.seize(thread)?;
                }
            }
            if self.threads.len() == known {
                return if known == 0 { Err(self.gone()) } else { Ok(()) };
            }
            for held in &mut self.threads[known..] {
                held.stopped = stop_of(held.thread, self.until)?;
                if held.stopped.is_none() && exists(held.thread) {
                    return Err(self.late());
                }
            }
        }
        Err(self.late())
    }

    fn listed(&self) -> Result<Vec<libc::pid_t>, HostError> {
        let tasks = format!("/proc/{}/task", self.process.pid);
        let entries = std::fs::read_dir(&tasks).map_err(|problem| match problem.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => self.gone(),
            _ => HostError::system("list", tasks.clone(), problem),
        })?;
        let threads: Vec<_> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        if threads.len() > THREADS_MAX {
            let problem = io::Error::other(format!("it has {} threads, more than {THREADS_MAX}", threads.len()));
            return Err(HostError::system("hold", format!("process {}", self.process.pid), problem));
        }
        if self.process.alive() { Ok(threads) } else { Err(self.gone()) }
    }

    fn seize(&mut self, thread: libc::pid_t) -> Result<(), HostError> {
        match self.attach(thread).and_then(|()| self.interrupt(thread)) {
            Ok(()) => {}
            // Ended meanwhile, or ended already and waited for by nobody yet.
            Err(_) if !exists(thread) => return Ok(()),
            Err(problem) => return Err(problem),
        }
        self.threads.push(Held { thread, stopped: None });
        Ok(())
    }

    fn attach(&self, thread: libc::pid_t) -> Result<(), HostError> {
        trace(libc::PTRACE_SEIZE, thread, 0).map_err(|problem| self.refused(thread, problem))
    }

    fn interrupt(&self, thread: libc::pid_t) -> Result<(), HostError> {
        trace(libc::PTRACE_INTERRUPT, thread, 0).map_err(|problem| self.refused(thread, problem))
    }

    fn refused(&self, thread: libc::pid_t, problem: io::Error) -> HostError {
        match problem.raw_os_error() {
            Some(libc::ESRCH) => self.gone(),
            _ => HostError::system("hold", format!("thread {thread} of process {}", self.process.pid), problem),
        }
    }

    /// Where they stand. Those that have ended meanwhile are left out.
    fn look(&self) -> Result<Vec<Standing>, HostError> {
        let mut all = Vec::with_capacity(self.threads.len());
        for held in self.threads.iter().filter(|held| held.stopped.is_some()) {
            match registers(held.thread) {
                Ok((instruction, stack)) => {
                    all.push(Standing { thread: held.thread.unsigned_abs(), instruction, stack });
                }
                Err(problem) if problem.raw_os_error() == Some(libc::ESRCH) => {}
                Err(problem) => {
                    return Err(HostError::system("read the registers of", format!("thread {}", held.thread), problem));
                }
            }
        }
        if all.is_empty() { Err(self.gone()) } else { Ok(all) }
    }

    fn gone(&self) -> HostError {
        HostError::NoProcess { pid: self.process.pid }
    }

    fn late(&self) -> HostError {
        HostError::TimedOut { what: format!("the holding of process {}", self.process.pid), within: self.within }
    }
}

fn trace(request: libc::c_uint, thread: libc::pid_t, data: libc::c_int) -> io::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the requests made here take no pointer: the address is ignored, the data is a number.
    let answer = unsafe { libc::ptrace(request, thread, none, libc::c_long::from(data)) };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until a thread is held, and answers the signal that it is about to get, 0 for none. `None`: it was not held in
/// time, or has ended. Never collects the end of a process: that is for its parent.
fn stop_of(thread: libc::pid_t, until: Instant) -> Result<Option<libc::c_int>, HostError> {
    /// What the status of a thread says in its upper byte that was interrupted.
    const INTERRUPTED: libc::c_int = libc::PTRACE_EVENT_STOP;
    let options = libc::WSTOPPED | libc::WNOHANG | libc::__WALL;
    loop {
        // SAFETY: a siginfo of zeros is a valid value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a siginfo that lives until the call returns.
        let answer = unsafe { libc::waitid(libc::P_PID, thread.unsigned_abs(), &raw mut info, options) };
        if answer == -1 {
            let problem = io::Error::last_os_error();
            return match problem.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::ECHILD) => Ok(None),
                _ => Err(HostError::system("wait for", format!("thread {thread}"), problem)),
            };
        }
        // SAFETY: both fields are numbers in every siginfo that waitid fills, and 0 when there is no news.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        if pid != 0 {
            return Ok(Some(if status >> 8 == INTERRUPTED { 0 } else { status & 0x7f }));
        }
        if Instant::now() > until || !exists(thread) {
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Whether a thread has not ended; a zombie has.
fn exists(thread: libc::pid_t) -> bool {
    super::state(thread.unsigned_abs()).is_some_and(|state| !matches!(state, super::State::Zombie | super::State::Dead))
}

/// The instruction pointer and the stack pointer.
#[cfg(target_arch = "x86_64")]
fn registers(thread: libc::pid_t) -> io::Result<(u64, u64)> {
    // SAFETY: registers of zeros are a valid value.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the kernel fills the struct, which lives until the call returns.
    let answer = unsafe { libc::ptrace(libc::PTRACE_GETREGS, thread, none, &raw mut registers) };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok((registers.rip, registers.rsp)) }
}

/// Not known how.
#[cfg(not(target_arch = "x86_64"))]
fn registers(_thread: libc::pid_t) -> io::Result<(u64, u64)> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::process::{Pidfd, Signal, Spawn, State, state, thread_states};

    const WITHIN: Duration = Duration::from_secs(5);

    #[tokio::test(flavor = "current_thread")]
    async fn a_process_stands_still_and_goes_on_with_the_signals_it_got_meanwhile() {
        let child = Spawn::new("sleep").arg("600").spawn().expect("starts");
        let process = child.identity();
        let seen = stand_still(process, WITHIN, |standing| (standing.to_vec(), state(process.pid))).expect("stands");
        assert_eq!(seen.1, Some(State::Traced));
        assert!(seen.0.iter().all(|one| one.instruction != 0 && one.stack != 0) && seen.0.len() == 1, "{seen:?}");
        assert!(thread_states(process.pid).expect("lives").iter().all(|state| *state != State::Traced));
        assert_ne!(as_tracer(process, || state(process.pid)).expect("is traced"), Some(State::Traced), "it runs on");
        stand_still(process, WITHIN, |_| child.signal(Signal::SIGTERM).expect("is sent")).expect("stands");
        let handle = Pidfd::open(process.pid);
        if let Ok(handle) = handle {
            tokio::time::timeout(WITHIN, handle.ended()).await.expect("in time").expect("the signal was not lost");
        }
        assert!(matches!(as_tracer(process, || ()), Err(HostError::NoProcess { .. })));
        assert!(matches!(stand_still(process, WITHIN, |_| ()), Err(HostError::NoProcess { .. })));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_was_stopped_stays_stopped() {
        let child = Spawn::new("sleep").arg("600").spawn().expect("starts");
        child.signal(Signal::SIGSTOP).expect("is sent");
        let began = Instant::now();
        while state(child.pid()) != Some(State::Stopped) {
            assert!(began.elapsed() < WITHIN, "stops");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stand_still(child.identity(), WITHIN, |_| ()).expect("stands");
        // It is let go, and stops again at once by itself.
        while state(child.pid()) != Some(State::Stopped) {
            assert!(began.elapsed() < WITHIN, "stays stopped");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        child.signal(Signal::SIGKILL).expect("is sent");
    }
}
