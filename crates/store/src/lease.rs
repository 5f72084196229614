//! Which of several servers acts.
//!
//! One row says it, until a moment by the database's own clock, and with an *epoch* that grows each time another server
//! takes over. Everything that is written carries its epoch (the name of the session), and the database refuses what
//! comes from an epoch that is over: a server that was frozen and wakes up can change nothing any more. Agents refuse it
//! by the same number.

use crate::open::{newest_version, pool, postgres};
use crate::place::Place;
use crate::{PostgresUrl, StoreError};
use sqlx::{AnyPool, Row};
use std::time::Duration;

/// How often a server has taken over so far, from 1: of two servers that believe to act, the one with the higher number
/// does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A server that may act, as the others and their users are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// Of this process: no two have the same.
    pub id: String,
    /// Where people and scripts reach it.
    pub http: String,
    /// A hash of what all servers of one store have in common beside it; one that has another may not act.
    pub identity: String,
}

/// Who acts now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acting {
    /// Which server.
    pub server: Contender,
    /// Since its take-over.
    pub epoch: Epoch,
    /// For how long, unless it says so again; zero when that is over.
    pub remaining: Duration,
}

/// The row, and the way to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lease {
    pool: AnyPool,
    place: Place,
}

/// A session of this kind waits no longer: who acts must know in time that it cannot say so.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);

/// Not a migration: it must be there, and be understood by every version, before anybody may change the rest.
const SCHEMA: &str = r#"
    CREATE TABLE IF NOT EXISTS acting (
        "only"      BIGINT      NOT NULL PRIMARY KEY CHECK ("only" = 1),
        epoch       BIGINT      NOT NULL,
        holder      TEXT        NOT NULL,
        http        TEXT        NOT NULL,
        identity    TEXT        NOT NULL,
        until       TIMESTAMPTZ NOT NULL,
        -- With the epoch in a key, a change of it waits for writes that have looked at it, and saying "still" does not.
        UNIQUE ("only", epoch)
    )"#;

impl Lease {
    /// Reaches the database; the row's table is made when it is missing.
    ///
    /// # Errors
    /// It cannot be reached or written, or a newer version has changed it.
    pub async fn connect(url: &PostgresUrl) -> Result<Self, StoreError> {
        let place = Place::Postgres(url.clone());
        let wait = ANSWER_WITHIN.as_millis();
        let session = format!(
            "SET application_name = 'firedrill lease'; SET statement_timeout = {wait}; SET lock_timeout = {wait}; \
             SET client_min_messages = warning"
        );
        let pool = pool(&place, &postgres(url)?, 1, session).await?;
        let lease = Self { pool, place };
        // Two that make it at the same moment: the second is told so, and it is there.
        let made = sqlx::query(SCHEMA).execute(&lease.pool).await;
        if let Err(problem) = made
            && lease.acting().await.is_err()
        {
            return Err(lease.failed("preparing the database")(problem));
        }
        lease.version().await?;
        Ok(lease)
    }

    /// Whether this program may write into the database: a newer version has not changed it.
    ///
    /// # Errors
    /// A newer version has, or it cannot be read.
    pub async fn version(&self) -> Result<(), StoreError> {
        let there = sqlx::query("SELECT CAST(to_regclass('_sqlx_migrations') IS NOT NULL AS INTEGER) AS there");
        let there = there.fetch_one(&self.pool).await.map_err(self.failed("reading its version"))?;
        if there.get::<i32, _>("there") == 0 {
            return Ok(());
        }
        let newest = sqlx::query("SELECT COALESCE(MAX(version), 0) AS newest FROM _sqlx_migrations")
            .fetch_one(&self.pool)
            .await
            .map_err(self.failed("reading its version"))?;
        let (found, known) = (newest.get::<i64, _>("newest"), newest_version());
        if found > known {
            let source = sqlx::migrate::MigrateError::VersionMissing(found);
            return Err(StoreError::OtherVersion { place: self.place.clone(), source });
        }
        Ok(())
    }

    /// Takes over when nobody acts: from now on, and for so long unless it is said again.
    ///
    /// # Errors
    /// The database cannot be reached in time.
    pub async fn take(&self, server: &Contender, lasting: Duration) -> Result<Option<Epoch>, StoreError> {
        let row = sqlx::query(
            r#"INSERT INTO acting ("only", epoch, holder, http, identity, until)
               VALUES (1, 1, $1, $2, $3, clock_timestamp() + $4 * INTERVAL '1 millisecond')
               ON CONFLICT ("only") DO UPDATE SET epoch = acting.epoch + 1, holder = excluded.holder,
                   http = excluded.http, until = excluded.until
               WHERE acting.until < clock_timestamp() AND acting.identity = excluded.identity RETURNING epoch"#,
        )
        .bind(&server.id)
        .bind(&server.http)
        .bind(&server.identity)
        .bind(millis(lasting))
        .fetch_optional(&self.pool)
        .await
        .map_err(self.failed("asking to act"))?;
        Ok(row.map(|row| Epoch(row.get::<i64, _>("epoch").cast_unsigned())))
    }

    /// Says that a server still acts. False: another one does, or may.
    ///
    /// # Errors
    /// The database cannot be reached in time.
    pub async fn renew(&self, epoch: Epoch, lasting: Duration) -> Result<bool, StoreError> {
        // Once over, it is over: somebody may be about to take it.
        let done = sqlx::query(
            r#"UPDATE acting SET until = clock_timestamp() + $2 * INTERVAL '1 millisecond'
               WHERE "only" = 1 AND epoch = $1 AND until > clock_timestamp()"#,
        )
        .bind(epoch.0.cast_signed())
        .bind(millis(lasting))
        .execute(&self.pool)
        .await
        .map_err(self.failed("saying that this server still acts"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Lets another server act at once. Nothing happens when one does already.
    ///
    /// # Errors
    /// The database cannot be reached in time; then another one waits until the time is over.
    pub async fn release(&self, epoch: Epoch) -> Result<(), StoreError> {
        sqlx::query(r#"UPDATE acting SET until = '-infinity' WHERE "only" = 1 AND epoch = $1"#)
            .bind(epoch.0.cast_signed())
            .execute(&self.pool)
            .await
            .map_err(self.failed("letting another server act"))?;
        Ok(())
    }

    /// Who acts, or did so last; `None`: nobody ever has.
    ///
    /// # Errors
    /// The database cannot be reached in time.
    pub async fn acting(&self) -> Result<Option<Acting>, StoreError> {
        let row = sqlx::query(
            "SELECT epoch, holder, http, identity, CAST(GREATEST(0, CASE WHEN until = '-infinity' THEN 0
                 ELSE EXTRACT(EPOCH FROM until - clock_timestamp()) * 1000 END) AS BIGINT) AS remaining FROM acting",
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(self.failed("asking who acts"))?;
        Ok(row.map(|row| Acting {
            server: Contender { id: row.get("holder"), http: row.get("http"), identity: row.get("identity") },
            epoch: Epoch(row.get::<i64, _>("epoch").cast_unsigned()),
            remaining: Duration::from_millis(row.get::<i64, _>("remaining").cast_unsigned()),
        }))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError + '_ {
        move |source| StoreError::of(&self.place, doing, source)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
