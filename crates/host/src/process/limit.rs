//! Limits of processes on what they may open, and tables of open files.

use super::Identity;
use crate::HostError;
use serde::{Deserialize, Serialize};
use std::io;

/// How many files a process may have open: the soft limit is in force, the hard one is how far the process itself may
/// raise it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFilesLimit {
    /// In force.
    pub soft: u64,
    /// The most that `soft` can be raised to without privileges.
    pub hard: u64,
}

impl OpenFilesLimit {
    /// That of a process.
    pub fn of(process: Identity) -> Result<Self, HostError> {
        exchange(process, None)
    }

    /// Sets it; answers what it was before. For a process of another user this needs `CAP_SYS_RESOURCE`.
    pub fn set(self, process: Identity) -> Result<Self, HostError> {
        exchange(process, Some(self))
    }
}

fn exchange(process: Identity, new: Option<OpenFilesLimit>) -> Result<OpenFilesLimit, HostError> {
    let gone = || HostError::NoProcess { pid: process.pid };
    let pid = libc::pid_t::try_from(process.pid).map_err(|_| gone())?;
    // The handle keeps the id from being used again between the look and the change.
    let _handle = process.open()?.ok_or_else(gone)?;
    let new = new.map(|limit| libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard });
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let new_pointer = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both pointers are null or point to a struct that lives until the call returns.
    let answer = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, new_pointer, &raw mut old) };
    if answer == 0 {
        return Ok(OpenFilesLimit { soft: old.rlim_cur, hard: old.rlim_max });
    }
    let problem = io::Error::last_os_error();
    match problem.raw_os_error() {
        Some(libc::ESRCH) => Err(gone()),
        _ => Err(HostError::system("change the open files limit of", format!("process {pid}"), problem)),
    }
}

/// Gives the calling thread a table of open files of its own, a copy of the one that it shared: the limit on open files
/// then counts for it alone.
pub fn own_file_table() -> Result<(), HostError> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES)
        .map_err(|problem| HostError::system("give a table of open files of its own to", "a thread", problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_set_and_put_back() {
        let me = Identity::current().expect("exists");
        let before = OpenFilesLimit::of(me).expect("reads");
        let lower = OpenFilesLimit { soft: before.soft - 1, ..before };
        assert_eq!(lower.set(me).expect("sets"), before);
        assert_eq!(before.set(me).expect("puts back"), lower);
        let other = Identity { start_time: me.start_time + 1, ..me };
        assert!(matches!(OpenFilesLimit::of(other), Err(HostError::NoProcess { .. })));
    }
}
