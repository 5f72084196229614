//! What can go wrong with the store.

use std::path::PathBuf;

/// SQLite's primary result codes that mean something of their own to a person.
const SQLITE_READONLY: u32 = 8;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;

/// Why the store could not do what was asked. Nothing was changed, unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room for another page or for the write-ahead log.
    #[error(
        "the disk that holds {path} is full ({doing} was not stored); free some space there, nothing else needs to be done"
    )]
    DiskFull {
        /// The database file.
        path: PathBuf,
        /// What was being stored or read.
        doing: &'static str,
        /// SQLite's answer.
        source: sqlx::Error,
    },
    /// The file or its directory cannot be opened or written.
    #[error(
        "{path} cannot be opened for writing ({doing}); check that the directory exists and belongs to the user of the server"
    )]
    NotWritable {
        /// The database file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// SQLite's answer.
        source: sqlx::Error,
    },
    /// The file belongs to another version of firedrill.
    #[error(
        "{path} was made by another version of firedrill and cannot be brought to this one; run the newer version, or move the file away to start anew"
    )]
    OtherVersion {
        /// The database file.
        path: PathBuf,
        /// Which migration does not fit.
        source: sqlx::migrate::MigrateError,
    },
    /// A newer state of that keeper is stored already: somebody else acts on the cluster.
    #[error(
        "the state of cluster {cluster} at revision {revision} was not stored, because a newer one is there; another server must be using the same data directory"
    )]
    Superseded {
        /// Which cluster.
        cluster: String,
        /// The revision that came too late.
        revision: u64,
    },
    /// What was read is no such document.
    #[error("the stored {what} {name} cannot be read; it was written by another version or damaged")]
    Document {
        /// What kind of document.
        what: &'static str,
        /// Its key.
        name: String,
        /// Where it does not fit.
        source: serde_json::Error,
    },
    /// Everything else.
    #[error("the store {path} gave an error while {doing}")]
    Failed {
        /// The database file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// SQLite's answer.
        source: sqlx::Error,
    },
}

impl StoreError {
    pub(crate) fn of(path: &std::path::Path, doing: &'static str, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match result_code(&source) {
            Some(SQLITE_FULL) => Self::DiskFull { path, doing, source },
            Some(SQLITE_READONLY | SQLITE_CANTOPEN) => Self::NotWritable { path, doing, source },
            _ if out_of_space(&source) => Self::DiskFull { path, doing, source },
            _ => Self::Failed { path, doing, source },
        }
    }

    pub(crate) fn of_opening(path: &std::path::Path, error: std::io::Error) -> Self {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let (path, doing, source) = (path.to_owned(), "making the file", sqlx::Error::Io(error));
        if full { Self::DiskFull { path, doing, source } } else { Self::NotWritable { path, doing, source } }
    }

    /// True when waiting and trying again can help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Failed { .. })
    }
}

/// The primary result code: the low byte of the extended code that the driver reports.
fn result_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}

fn out_of_space(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull)
}
