//! What can go wrong with the store.

use crate::place::{Kind, Place};

/// SQLite's primary result codes that mean something of their own to a person.
const SQLITE_READONLY: u32 = 8;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;

/// States of PostgreSQL that mean something of their own to a person (its manual, appendix A).
const DISK_FULL: &str = "53100";
const READ_ONLY: &str = "25006";
const NO_PRIVILEGE: &str = "42501";
/// A connection that broke; no room for another one or no memory; somebody has stopped the server or the statement, or a
/// time limit has; a lock that was not to be had.
const UNREACHABLE: [&str; 4] = ["08", "53", "57", "55P03"];
/// What the fence of the tables says (`migrations/postgres`).
const FENCED: &str = "FD001";

/// Why the store could not do what was asked. Nothing was changed, unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room for another page or for the write-ahead log.
    #[error(
        "the disk that holds {place} is full ({doing} was not stored); free some space there, nothing else needs to be done"
    )]
    DiskFull {
        /// Which database.
        place: Place,
        /// What was being stored or read.
        doing: &'static str,
        /// The database's answer.
        source: sqlx::Error,
    },
    /// The file or its directory cannot be opened or written.
    #[error(
        "{place} cannot be opened for writing ({doing}); check that the directory exists and belongs to the user of the server"
    )]
    NotWritable {
        /// Which database.
        place: Place,
        /// What was being done.
        doing: &'static str,
        /// The database's answer.
        source: sqlx::Error,
    },
    /// The file belongs to another version of firedrill.
    #[error(
        "{place} was made by another version of firedrill and cannot be brought to this one; run the newer version; nothing was changed"
    )]
    OtherVersion {
        /// Which database.
        place: Place,
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
    /// A copy is not whole.
    #[error("{place} is damaged ({seen}); take another copy; nothing was changed")]
    Damaged {
        /// Which file.
        place: Place,
        /// The first thing that the check found.
        seen: String,
    },
    /// PostgreSQL does not answer, or not in time.
    #[error(
        "{place} cannot be reached ({doing}); see whether PostgreSQL runs there and lets this server in; it is tried again"
    )]
    Unreachable {
        /// Which database.
        place: Place,
        /// What was being done.
        doing: &'static str,
        /// The driver's answer.
        source: sqlx::Error,
    },
    /// Another server acts.
    #[error("{doing} was refused by {place}: another server has taken over, and this one must not act any more")]
    Deposed {
        /// Which database.
        place: Place,
        /// What was not stored.
        doing: &'static str,
    },
    /// Everything else.
    #[error("the store {place} gave an error while {doing}")]
    Failed {
        /// Which database.
        place: Place,
        /// What was being done.
        doing: &'static str,
        /// The database's answer.
        source: sqlx::Error,
    },
}

impl StoreError {
    pub(crate) fn of(place: &Place, doing: &'static str, source: sqlx::Error) -> Self {
        let place = place.clone();
        match place.kind() {
            Kind::Sqlite => match result_code(&source) {
                Some(SQLITE_FULL) => Self::DiskFull { place, doing, source },
                Some(SQLITE_READONLY | SQLITE_CANTOPEN) => Self::NotWritable { place, doing, source },
                _ if out_of_space(&source) => Self::DiskFull { place, doing, source },
                _ => Self::Failed { place, doing, source },
            },
            Kind::Postgres => match source.as_database_error().and_then(|error| error.code()).as_deref() {
                Some(FENCED) => Self::Deposed { place, doing },
                Some(DISK_FULL) => Self::DiskFull { place, doing, source },
                Some(READ_ONLY | NO_PRIVILEGE) => Self::NotWritable { place, doing, source },
                Some(state) if UNREACHABLE.iter().any(|class| state.starts_with(class)) => {
                    Self::Unreachable { place, doing, source }
                }
                None if !matches!(source, sqlx::Error::ColumnDecode { .. } | sqlx::Error::RowNotFound) => {
                    Self::Unreachable { place, doing, source }
                }
                _ => Self::Failed { place, doing, source },
            },
        }
    }

    pub(crate) fn of_opening(path: &std::path::Path, error: std::io::Error) -> Self {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let (place, doing, source) = (Place::file(path), "making the file", sqlx::Error::Io(error));
        if full { Self::DiskFull { place, doing, source } } else { Self::NotWritable { place, doing, source } }
    }

    /// True when waiting and trying again can help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Failed { .. } | Self::Unreachable { .. })
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
