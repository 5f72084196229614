//! Whose turn it is to write.
//!
//! SQLite has one writer at a time, and a second one tries again in growing pauses: beside a first one that commits
//! without pause on a slow disk it may try in vain for seconds, and fail. Here writers wait in line instead.

use crate::{Store, StoreError};
use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqliteConnection, SqlitePool};
use std::ops::{Deref, DerefMut};
use tokio::sync::MutexGuard;

/// A connection that may write now; the next in line has its turn when this is dropped.
pub(crate) struct Turn<'s> {
    connection: PoolConnection<Sqlite>,
    _line: MutexGuard<'s, ()>,
}

impl Deref for Turn<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl Store {
    /// To write what must be on the disk before anything else happens.
    pub(crate) async fn durable(&self) -> Result<Turn<'_>, StoreError> {
        self.turn(&self.durable).await
    }

    /// To write what a power cut may take.
    pub(crate) async fn ordinary(&self) -> Result<Turn<'_>, StoreError> {
        self.turn(&self.ordinary).await
    }

    async fn turn(&self, pool: &SqlitePool) -> Result<Turn<'_>, StoreError> {
        // First come, first served: that is what this lock promises.
        let line = self.line.lock().await;
        let connection = pool.acquire().await.map_err(self.failed("waiting for the writer"))?;
        Ok(Turn { connection, _line: line })
    }
}
