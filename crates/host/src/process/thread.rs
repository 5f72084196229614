//! Signals to one thread of another process.

use super::{Identity, Signal};
use crate::HostError;
use std::io;

/// Sends a signal to one thread of a process: it interrupts the system call that this thread waits in, when the
/// process has a handler for it. The identity is checked just before; thread ids of one process are not reused within
/// the moment between.
pub fn signal_thread(process: Identity, thread: u32, signal: Signal) -> Result<(), HostError> {
    let gone = || HostError::NoProcess { pid: process.pid };
    if !process.alive() {
        return Err(gone());
    }
    let (group, thread) =
        (libc::pid_t::try_from(process.pid).map_err(|_| gone())?, libc::pid_t::try_from(thread).map_err(|_| gone())?);
    // SAFETY: tgkill takes three integers.
    let answer = unsafe { libc::syscall(libc::SYS_tgkill, group, thread, signal as libc::c_int) };
    if answer == 0 {
        return Ok(());
    }
    let problem = io::Error::last_os_error();
    match problem.raw_os_error() {
        Some(libc::ESRCH) => Err(gone()),
        _ => Err(HostError::system("signal", format!("thread {thread} of process {group}"), problem)),
    }
}

/// Gives the calling thread the priority that programs have by default, whatever it has inherited.
///
/// # Errors
/// A thread with less than that needs `CAP_SYS_NICE`.
pub fn default_priority() -> Result<(), HostError> {
    // SAFETY: setpriority takes three integers; 0 is the calling thread.
    let answer = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    if answer == 0 {
        return Ok(());
    }
    Err(HostError::system("set the priority of", "a thread", io::Error::last_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_not_there_is_no_process() {
        let me = Identity::current().expect("exists");
        assert!(matches!(signal_thread(me, 1, Signal::SIGUSR1), Err(HostError::NoProcess { .. })));
    }
}
