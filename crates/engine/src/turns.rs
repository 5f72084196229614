//! Whose a server's state is. Each command that may change the server's role or replication is counted in a file before
//! it does anything. Who changed the server otherwise (a fault) and wants to take that back looks whether the count is
//! as it was: if it is not, the keeper has decided since what the server is to be, and a put-back `read_only=0` or
//! restarted receiver could open a fenced primary or feed a struck acker.
//!
//! What is durable: nothing across a crash of the machine, after which no such change is left either.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// Digits of the count; always so many, so that a write is never seen in part.
const DIGITS: usize = 20;

/// Who holds the turn sends a few statements that do not wait. A command does not wait longer than this for one who
/// hangs: a failover is under way.
const LOCK_TRIES: u32 = 50;
const LOCK_EVERY: Duration = Duration::from_millis(2);

/// The count of one server's commands.
#[derive(Debug)]
pub(crate) struct Turns {
    path: PathBuf,
}

/// While this lives, commands wait before they change the server (for a tenth of a second at most).
#[derive(Debug)]
pub struct TurnHeld {
    _locked: File,
}

impl Turns {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn count(&self) -> u64 {
        File::open(&self.path).ok().map_or(0, |file| read(&file))
    }

    /// Counts one more, also when somebody hangs who holds the count. A command must go on without a disk, so a failure
    /// is only logged.
    pub(crate) async fn take(&self) {
        let counted = async {
            let file = self.open()?;
            let locked = lock(&file).await;
            file.write_all_at(format!("{:0DIGITS$}", read(&file).wrapping_add(1)).as_bytes(), 0)?;
            locked
        };
        if let Err(problem) = counted.await {
            tracing::warn!(path = %self.path.display(), %problem,
                "a command is not counted as it should; a fault that is taken back now may undo what the command does");
        }
    }

    pub(crate) async fn hold(&self, turn: u64) -> Option<TurnHeld> {
        // A file that cannot be locked says nothing: to leave the server alone is the safer mistake.
        let file = self.open().ok()?;
        lock(&file).await.ok()?;
        (read(&file) == turn).then_some(TurnHeld { _locked: file })
    }

    fn open(&self) -> io::Result<File> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)
    }
}

/// Until the file is closed.
async fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_EVERY).await,
            Err(std::fs::TryLockError::Error(problem)) => return Err(problem),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "somebody holds it for too long"))
}

/// An empty file: no command yet.
fn read(file: &File) -> u64 {
    let mut text = [0; DIGITS];
    match file.read_exact_at(&mut text, 0) {
        Ok(()) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_turn_is_held_only_when_nobody_took_the_next() {
        let dir = tempfile::tempdir().expect("temp dir");
        let turns = Turns::new(dir.path().join("work/turns"));
        assert_eq!(turns.count(), 0, "no file is no command");
        let held = turns.hold(0).await.expect("nobody took one");
        assert!(turns.hold(0).await.is_none(), "one at a time");
        drop(held);
        turns.take().await;
        turns.take().await;
        assert_eq!(turns.count(), 2);
        assert!(turns.hold(0).await.is_none() && turns.hold(2).await.is_some());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_command_does_not_wait_long_for_one_who_hangs() {
        let dir = tempfile::tempdir().expect("temp dir");
        let turns = Turns::new(dir.path().join("turns"));
        let _hangs = turns.hold(0).await.expect("nobody took one");
        tokio::time::timeout(Duration::from_secs(5), turns.take()).await.expect("goes on");
        assert_eq!(turns.count(), 1, "and is counted");
    }
}
