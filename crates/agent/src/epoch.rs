//! The newest epoch of servers that this agent has seen. Of several servers that share a store one acts, and each
//! take-over makes the epoch greater by one: a server of an older one does not act any more, whatever it believes. On
//! disk before anything is done for a server, so that a restarted agent does not fall for the older one.

use crate::error::AgentError;
use crate::storage;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a server is not listened to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    #[error("it acts in epoch {asked}, and another server in {known} since; it must not act any more")]
    Stale { asked: u64, known: u64 },
    #[error("epoch {asked} of the server cannot be kept in {}: {source}", path.display())]
    NotKept { asked: u64, path: PathBuf, source: io::Error },
}

/// The record: one number in a file, and in memory.
#[derive(Debug)]
pub(crate) struct Epochs {
    known: AtomicU64,
    path: PathBuf,
}

impl Epochs {
    /// Reads the file; none was seen when there is none.
    ///
    /// # Errors
    /// [`AgentError::Storage`]: acting without the record would mean trusting any server.
    pub(crate) fn open(path: PathBuf) -> Result<Self, AgentError> {
        let content = storage::read_if_there(&path).map_err(AgentError::storage("read", &path))?;
        let known = content.map_or(Some(0), |content| String::from_utf8(content).ok()?.trim().parse().ok());
        let nonsense = || io::Error::new(io::ErrorKind::InvalidData, "not a number");
        let known = known.ok_or_else(nonsense).map_err(AgentError::storage("understand", &path))?;
        Ok(Self { known: AtomicU64::new(known), path })
    }

    /// Takes note of the epoch of a server that has answered; it is on disk on return. Must not be called twice at once.
    ///
    /// # Errors
    /// A newer one was seen, or it cannot be kept: nothing that this server asks for may be done.
    pub(crate) fn admit(&self, asked: u64) -> Result<(), NotAdmitted> {
        let known = self.known.load(Ordering::Acquire);
        if asked < known {
            return Err(NotAdmitted::Stale { asked, known });
        }
        if asked > known {
            storage::replace(&self.path, format!("{asked}\n").as_bytes()).map_err(|source| NotAdmitted::NotKept {
                asked,
                path: self.path.clone(),
                source,
            })?;
            self.known.store(asked, Ordering::Release);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_one_is_refused_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("epoch");
        let epochs = Epochs::open(path.clone()).expect("opens");
        for epoch in [0, 3, 3, 7] {
            epochs.admit(epoch).expect("newer or equal");
        }
        assert!(matches!(epochs.admit(6), Err(NotAdmitted::Stale { asked: 6, known: 7 })));
        let epochs = Epochs::open(path.clone()).expect("opens again");
        assert!(epochs.admit(0).is_err() && epochs.admit(7).is_ok());
        std::fs::write(&path, "rubbish\n").expect("written");
        assert!(Epochs::open(path).is_err(), "a record that cannot be trusted is not guessed at");
    }
}
