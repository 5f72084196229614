//! Whose turn it is to write.
//!
//! SQLite has one writer at a time, and a second one tries again in growing pauses: beside a first one that commits
//! without pause on a slow disk it may try in vain for seconds, and fail. Here writers wait in line instead. On PostgreSQL
//! they do too: what holds of one holds of the other, because nothing that this server writes happens at once.

use crate::place::Kind;
use crate::{Store, StoreError};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Transaction};
use std::ops::{Deref, DerefMut};
use tokio::sync::MutexGuard;

/// A connection that may write now; the next in line has its turn when this is dropped.
pub(crate) struct Turn<'s> {
    connection: PoolConnection<Any>,
    kind: Kind,
    _line: MutexGuard<'s, ()>,
}

impl Turn<'_> {
    /// To write several things or nothing.
    pub(crate) async fn transaction(&mut self) -> Result<Transaction<'_, Any>, sqlx::Error> {
        match self.kind {
            // One that reads first and asks for the right to write later is refused at once when somebody else writes.
            Kind::Sqlite => self.connection.begin_with("BEGIN IMMEDIATE").await,
            Kind::Postgres => self.connection.begin().await,
        }
    }
}

impl Deref for Turn<'_> {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut AnyConnection {
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

    async fn turn(&self, pool: &AnyPool) -> Result<Turn<'_>, StoreError> {
        // First come, first served: that is what this lock promises.
        let line = self.line.lock().await;
        let connection = pool.acquire().await.map_err(self.failed("waiting for the writer"))?;
        Ok(Turn { connection, kind: self.place.kind(), _line: line })
    }
}
