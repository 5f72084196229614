//! Locks between `firedrill sandbox` commands, given back by the kernel when the holder dies.

use crate::error::SandboxError;
use crate::name::SandboxName;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// One file for all locks of the machine, whatever the home directories: names, networks and ports are the machine's.
/// On a file system that a reboot empties.
const LOCK_FILE: &str = "/run/firedrill-sandbox.lock";
/// The byte of the file that stands for choosing networks and ports.
const CHOOSING: i64 = 0;
/// Choosing takes a fraction of a second; who waits longer than this waits for something that hangs.
const CHOOSING_WITHIN: Duration = Duration::from_secs(30);
/// How often a held lock is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// For everything done to the sandbox of that name; never waits.
    ///
    /// # Errors
    /// [`SandboxError::Busy`], or [`SandboxError::File`].
    pub(crate) fn sandbox(name: &SandboxName) -> Result<Self, SandboxError> {
        let byte = name.as_str().bytes().fold(CHOOSING + 1, |sum, byte| (sum * 131 + i64::from(byte)) % (1 << 40) + 1);
        Self::take(byte)?.ok_or_else(|| SandboxError::Busy { what: format!("sandbox {name:?}", name = name.as_str()) })
    }

    /// For choosing a network and a port, until both can be seen to be in use.
    ///
    /// # Errors
    /// [`SandboxError::Busy`] when it is held for too long, or [`SandboxError::File`].
    pub(crate) async fn choosing() -> Result<Self, SandboxError> {
        let held = async {
            loop {
                if let Some(lock) = Self::take(CHOOSING)? {
                    return Ok(lock);
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
        };
        tokio::time::timeout(CHOOSING_WITHIN, held)
            .await
            .unwrap_or_else(|_| Err(SandboxError::Busy { what: "the choice of a network".to_owned() }))
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
