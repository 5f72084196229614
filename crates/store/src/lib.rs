//! What the server remembers, in one SQLite file.
//!
//! # What do we store?
//!
//! *Durable before anything is done* (`synchronous=FULL`, an fsync per commit): the state of each keeper together with
//! the operations and timeline lines of the same decision; clusters; enrolment tokens and certificates; the halt flag;
//! schedules, the plans of their weeks, and each due time that something is about to be started at; the limits of guards,
//! overrides and requests for approval; users, teams, API tokens, sessions and the audit log; answers to calls that carry a
//! key; receivers, rules, and the queue of messages with the line of the timeline that it has come to.
//! A server that is killed at any point, or whose machine loses power, continues from these.
//!
//! *Durable against a killed process* (`synchronous=NORMAL`; a power cut may take the last second): hosts as they
//! introduced themselves, timeline lines of other origin, run reports, attacks, passed rungs.
//!
//! *Not stored, rebuilt*: links and sessions, observations, views, the route of the gateway (the keeper asks and tells
//! anew), live samples of a run until its report is written. Histories of runs are files beside the database.
//!
//! **What it never does**: decide. No rule of the product is in here; only what must be unique or grow is enforced.
//!
//! **Where to begin**: [`Store::open`], then [`Store::commit_keeper`], the one hot call.

mod access;
mod answers;
mod attacks;
mod certificates;
mod clusters;
mod document;
mod error;
mod guards;
mod halt;
mod hosts;
mod messages;
mod operations;
mod page;
mod runs;
mod schedules;
mod templates;
mod timeline;
mod turn;

pub use access::{AuditRow, SessionRecord, TeamRecord, TokenRecord, UserRecord};
pub use answers::{ANSWERS_KEPT, KeptAnswer, KeyUse, KeyedCall};
pub use attacks::AttackRecord;
pub use certificates::{CertificateRecord, NewCertificate, Revocation};
pub use clusters::{ClusterRecord, KeeperCommit};
pub use error::StoreError;
pub use halt::Halt;
pub use hosts::{HostRecord, TokenUse};
pub use messages::{NewMessage, QueuedMessage, ReceiverRecord};
pub use page::Page;
pub use runs::RunSummary;
pub use schedules::{OccurrenceFilter, ScheduleRecord};
pub use timeline::TimelineFilter;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Most rows of one answer, whatever was asked for; callers page on.
pub const ROWS_MAX: u32 = 1000;

/// How long a statement waits for a lock. Writers stand in line ([`turn`]), so this is for what a cancelled call leaves
/// behind until it is rolled back, and for a copy of the file that somebody takes.
const BUSY_WITHIN: Duration = Duration::from_secs(5);
/// Connections for reading: pages, the live stream and the command line rarely read at once.
const READERS: u32 = 4;
/// The ordinary writer moves the log into the database after so many pages (4 KiB each), SQLite's own default.
const CHECKPOINT_PAGES: &str = "1000";
/// The durable writer does it only when the ordinary one has not for a long time: a checkpoint costs a promotion tens
/// of milliseconds.
const CHECKPOINT_PAGES_DURABLE: &str = "16000";

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    /// One connection, an fsync per commit.
    durable: SqlitePool,
    /// One connection, no fsync per commit.
    ordinary: SqlitePool,
    /// The writers wait in this line.
    line: Arc<tokio::sync::Mutex<()>>,
    readers: SqlitePool,
    path: PathBuf,
}

impl Store {
    /// Opens the file, makes it when it is missing (readable by the owner only), and brings it to this version.
    ///
    /// # Errors
    /// The disk is full, the directory is not writable, or the file was made by a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let created = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        created.map_err(|error| StoreError::of_opening(path, error))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(BUSY_WITHIN)
            .foreign_keys(true);
        let durable =
            options.clone().synchronous(SqliteSynchronous::Full).pragma("wal_autocheckpoint", CHECKPOINT_PAGES_DURABLE);
        let ordinary =
            options.clone().synchronous(SqliteSynchronous::Normal).pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
        let durable = pool(path, durable, 1).await?;
        sqlx::migrate!().run(&durable).await.map_err(|source| match source {
            sqlx::migrate::MigrateError::Execute(source) => StoreError::of(path, "preparing the database", source),
            source => StoreError::OtherVersion { path: path.to_owned(), source },
        })?;
        let ordinary = pool(path, ordinary, 1).await?;
        let readers = pool(path, options.synchronous(SqliteSynchronous::Normal), READERS).await?;
        Ok(Self { durable, ordinary, line: Arc::default(), readers, path: path.to_owned() })
    }

    /// Waits for running statements and closes the file; the write-ahead log is folded in.
    pub async fn close(&self) {
        self.readers.close().await;
        self.ordinary.close().await;
        self.durable.close().await;
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names what was being done when SQLite gave an error.
    fn failed(&self, doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError + '_ {
        move |source| StoreError::of(&self.path, doing, source)
    }
}

async fn pool(path: &Path, options: SqliteConnectOptions, connections: u32) -> Result<SqlitePool, StoreError> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        // The file is local: a connection does not go stale, and a ping before each use would cost the hot path.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(BUSY_WITHIN * 2)
        .connect_with(options)
        .await
        .map_err(|source| StoreError::of(path, "opening it", source))
}
