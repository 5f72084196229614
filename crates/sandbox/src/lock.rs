//! Locks between `firedrill sandbox` commands, given back by the kernel when the holder dies.

use crate::error::SandboxError;
use crate::name::SandboxName;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// One file for all locks of the machine, whatever the home directories: names, networks and ports are the machine's.
/// On a file system that a reboot empties.
const LOCK_FILE: &str = "/run/firedrill-sandbox.lock";
/// The byte of the file that stands for choosing networks and ports.
const CHOOSING: i64 = 0;
/// Choosing takes a fraction of a second; who waits longer than this waits for something that hangs.
const CHOOSING_WITHIN: Duration = Duration::from_secs(30);
/// A killed command's lock lives on in a child that it was about to start, until that child runs its program: a
/// moment, on a busy machine a long one. Who holds it longer is a command at work.
const SANDBOX_WITHIN: Duration = Duration::from_secs(2);
/// How often a held lock is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// For everything done to the sandbox of that name.
    ///
    /// # Errors
    /// [`SandboxError::Busy`] when it is held for more than a moment, or [`SandboxError::File`].
    pub(crate) async fn sandbox(name: &SandboxName) -> Result<Self, SandboxError> {
        let byte = name.as_str().bytes().fold(CHOOSING + 1, |sum, byte| (sum * 131 + i64::from(byte)) % (1 << 40) + 1);
        Self::take_within(byte, SANDBOX_WITHIN, || format!("sandbox {:?}", name.as_str())).await
    }

    /// For choosing a network and a port, until both can be seen to be in use.
    ///
    /// # Errors
    /// [`SandboxError::Busy`] when it is held for too long, or [`SandboxError::File`].
    pub(crate) async fn choosing() -> Result<Self, SandboxError> {
        Self::take_within(CHOOSING, CHOOSING_WITHIN, || "the choice of a network".to_owned()).await
    }

    async fn take_within(byte: i64, within: Duration, what: impl Fn() -> String) -> Result<Self, SandboxError> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(lock) = Self::take(byte)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(SandboxError::Busy { what: what() });
            }
            sleep(RETRY_EVERY).await;
        }
    }

    fn take(byte: i64) -> Result<Option<Self>, SandboxError> {
        let path = Path::new(LOCK_FILE);
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(SandboxError::file("open", path))?;
        // SAFETY: a `flock` of zeroes is a valid value; the fields that matter are set below.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        range.l_type = libc::F_WRLCK as libc::c_short;
        range.l_whence = libc::SEEK_SET as libc::c_short;
        range.l_start = byte;
        range.l_len = 1;
        // An open-file-description lock: it belongs to `file`, not to the process, so that two tasks of one process
        // exclude each other too.
        match nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_OFD_SETLK(&range)) {
            Ok(_) => Ok(Some(Self { _file: file })),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(None),
            Err(problem) => Err(SandboxError::file("lock", path)(problem.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_command_at_a_time_on_one_sandbox() {
        let (one, other) = ("unit-lock-a".parse().expect("a name"), "unit-lock-b".parse().expect("a name"));
        let held = Lock::sandbox(&one).await.expect("free");
        let _unrelated = Lock::sandbox(&other).await.expect("another sandbox");
        let refused = Lock::sandbox(&one).await.expect_err("held").to_string();
        assert!(refused.contains("unit-lock-a"), "{refused}");
        drop(held);
        Lock::sandbox(&one).await.expect("free again");
    }
}
