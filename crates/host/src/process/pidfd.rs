//! A handle on a process: it cannot come to mean another one, and it becomes readable when the process ends.

use crate::HostError;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A handle on one process (pidfd, Linux 5.3).
#[derive(Debug)]
pub struct Pidfd {
    pid: u32,
    fd: OwnedFd,
}

/// How a process ended. A process that is no child of ours does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this status.
    Code(i32),
    /// This signal ended it.
    Signal(Signal),
    /// It is gone; its status went to its parent.
    Unknown,
}

impl Exit {
    /// Whether it returned 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "status {code}"),
            Self::Signal(signal) => write!(f, "{signal}"),
            Self::Unknown => f.write_str("an unknown status"),
        }
    }
}

impl Pidfd {
    /// Takes a handle on the process that has this id now.
    pub fn open(pid: u32) -> Result<Self, HostError> {
        let id = libc::pid_t::try_from(pid).map_err(|_| HostError::NoProcess { pid })?;
        // SAFETY: pidfd_open takes two integers and returns a new descriptor (close-on-exec) or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
        match i32::try_from(fd) {
            // SAFETY: the kernel just handed out this descriptor to us alone.
            Ok(fd) if fd >= 0 => Ok(Self { pid, fd: unsafe { OwnedFd::from_raw_fd(fd) } }),
            _ => {
                let problem = io::Error::last_os_error();
                match problem.raw_os_error() {
                    Some(libc::ESRCH | libc::EINVAL) => Err(HostError::NoProcess { pid }),
                    _ => Err(HostError::system("open", format!("process {pid}"), problem)),
                }
            }
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A second handle on the same process.
    pub fn try_clone(&self) -> Result<Self, HostError> {
        let fd = self.fd.try_clone().map_err(|problem| HostError::system("copy", self.describe(), problem))?;
        Ok(Self { pid: self.pid, fd })
    }

    /// Sends a signal to exactly this process.
    pub fn signal(&self, signal: Signal) -> Result<(), HostError> {
        // SAFETY: the descriptor is a live pidfd; a null siginfo asks for the default one; flags are 0.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal as libc::c_int,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if answer == 0 {
            return Ok(());
        }
        let problem = io::Error::last_os_error();
        match problem.raw_os_error() {
            Some(libc::ESRCH) => Err(HostError::NoProcess { pid: self.pid }),
            _ => Err(HostError::system("signal", self.describe(), problem)),
        }
    }

    /// Waits for the end, at no cost meanwhile. Cancel-safe, and several may wait. A child of ours is collected.
    pub async fn exited(&self) -> Result<Exit, HostError> {
        self.ended().await?;
        Ok(self.collect().unwrap_or(Exit::Unknown))
    }

    /// Waits for the end as [`Pidfd::exited`] does and leaves a child of ours to whoever wants its status.
    pub async fn ended(&self) -> Result<(), HostError> {
        let fd = self.fd.try_clone().map_err(|problem| HostError::system("copy", self.describe(), problem))?;
        // SAFETY: the descriptor is owned by the registration itself, so it stays open as long as it is registered.
        let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }
            .map_err(|problem| HostError::system("watch", self.describe(), io::Error::from(problem)))?;
        let _ready =
            watched.readable().await.map_err(|problem| HostError::system("watch", self.describe(), problem))?;
        Ok(())
    }

    /// Collects a child of ours that has ended; `None` while it runs, and for processes that are not ours to collect.
    pub(crate) fn collect(&self) -> Option<Exit> {
        match waitid(Id::PIDFd(self.fd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(_, code)) => Some(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signal(signal)),
            _ => None,
        }
    }

    fn describe(&self) -> String {
        format!("process {}", self.pid)
    }
}
