//! Opening: an SQLite file, or a PostgreSQL database that several servers share.

use crate::place::Place;
use crate::{Epoch, PostgresUrl, Store, StoreError};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, ConnectOptions, Executor};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a statement waits for a lock. Writers stand in line ([`crate::turn`]), so this is for what a cancelled call
/// leaves behind until it is rolled back, and for a copy of the file that somebody takes.
const BUSY_WITHIN: Duration = Duration::from_secs(5);
/// Connections for reading: pages, the live stream and the command line rarely read at once.
const READERS: u32 = 4;
/// The ordinary writer moves the log into the database after so many pages (4 KiB each), SQLite's own default.
const CHECKPOINT_PAGES: u32 = 1000;
/// The durable writer does it only when the ordinary one has not for a long time: a checkpoint costs a promotion tens
/// of milliseconds.
const CHECKPOINT_PAGES_DURABLE: u32 = 16000;
/// PostgreSQL ends a session that stands still in the middle of a transaction for so long: the transaction of a server
/// that was frozen keeps the next one from acting, which must come within 5 s.
const IDLE_IN_TRANSACTION: Duration = Duration::from_millis(1500);

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

impl Store {
    /// Opens the file, makes it when it is missing (readable by the owner only), and brings it to this version.
    ///
    /// # Errors
    /// The disk is full, the directory is not writable, or the file was made by a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let created = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        created.map_err(|error| StoreError::of_opening(path, error))?;
        let place = Place::file(path);
        let url = SqliteConnectOptions::new().filename(path).to_url_lossy();
        let options = AnyConnectOptions::from_url(&url).map_err(|source| StoreError::of(&place, OPENING, source))?;
        let pragmas = |synchronous: &str, pages: u32| {
            let busy = BUSY_WITHIN.as_millis();
            format!(
                "PRAGMA busy_timeout = {busy}; PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; \
                 PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = {pages}"
            )
        };
        let durable = pool(&place, &options, 1, pragmas("FULL", CHECKPOINT_PAGES_DURABLE)).await?;
        migrate(&place, &SQLITE, &durable).await?;
        let ordinary = pool(&place, &options, 1, pragmas("NORMAL", CHECKPOINT_PAGES)).await?;
        let readers = pool(&place, &options, READERS, pragmas("NORMAL", CHECKPOINT_PAGES)).await?;
        Ok(Self { durable, ordinary, line: Arc::default(), readers, place })
    }

    /// Opens a database for the server that acts in this epoch, and brings it to this version. From the moment at which
    /// another server acts, everything that is written through this store is refused ([`StoreError::Deposed`]).
    ///
    /// # Errors
    /// It cannot be reached, or was made by a newer version.
    pub async fn open_shared(url: &PostgresUrl, epoch: Epoch) -> Result<Self, StoreError> {
        let place = Place::Postgres(url.clone());
        let options = postgres(url)?;
        let session = |synchronous: &str| {
            let (busy, idle) = (BUSY_WITHIN.as_millis(), IDLE_IN_TRANSACTION.as_millis());
            // The name is what the fence of the tables looks at; it is one of the few settings that a pool of connections
            // between here and there carries over.
            format!(
                "SET application_name = 'firedrill/{epoch}'; SET client_min_messages = warning; SET statement_timeout = {busy}; \
                 SET idle_in_transaction_session_timeout = {idle}; {synchronous}"
            )
        };
        let durable = pool(&place, &options, 1, session("")).await?;
        migrate(&place, &POSTGRES, &durable).await?;
        let ordinary = pool(&place, &options, 1, session("SET synchronous_commit = off")).await?;
        let readers = pool(&place, &options, READERS, session("SET default_transaction_read_only = on")).await?;
        Ok(Self { durable, ordinary, line: Arc::default(), readers, place })
    }
}

const OPENING: &str = "opening it";

/// The newest version of the schema that this program knows.
pub(crate) fn newest_version() -> i64 {
    POSTGRES.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// The same of a file.
pub(crate) fn newest_version_of_file() -> i64 {
    SQLITE.iter().map(|migration| migration.version).max().unwrap_or_default()
}

pub(crate) fn postgres(url: &PostgresUrl) -> Result<AnyConnectOptions, StoreError> {
    let options = url.whole().parse();
    options.map_err(|source| StoreError::of(&Place::Postgres(url.clone()), OPENING, source))
}

async fn migrate(place: &Place, migrator: &Migrator, pool: &AnyPool) -> Result<(), StoreError> {
    migrator.run(pool).await.map_err(|source| match source {
        MigrateError::Execute(source) => StoreError::of(place, "preparing the database", source),
        source => StoreError::OtherVersion { place: place.clone(), source },
    })
}

/// Each connection is set up with `session` before it is used.
pub(crate) async fn pool(
    place: &Place,
    options: &AnyConnectOptions,
    connections: u32,
    session: String,
) -> Result<AnyPool, StoreError> {
    sqlx::any::install_default_drivers();
    let session: Arc<str> = session.into();
    let remote = matches!(place, Place::Postgres(_));
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        // A local file does not go stale, and a ping before each use would cost the hot path.
        .test_before_acquire(remote)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(BUSY_WITHIN * 2)
        .after_connect(move |connection: &mut AnyConnection, _| {
            let session = Arc::clone(&session);
            Box::pin(async move { connection.execute(AssertSqlSafe(session.to_string())).await.map(drop) })
        });
    pool.connect_with(options.clone()).await.map_err(|source| StoreError::of(place, OPENING, source))
}
