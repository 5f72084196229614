//! The halt flag.

use crate::{Store, StoreError};
use firedrill_model::Timestamp;
use sqlx::Row;

/// Starts are blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl Store {
    /// Blocks starts. A second halt changes nothing: the first reason stands until [`Store::clear_halt`].
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn set_halt(&self, reason: &str, since: Timestamp) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO halt (\"only\", reason, since) VALUES (1, $1, $2) ON CONFLICT DO NOTHING")
            .bind(reason)
            .bind(since.0)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("storing a halt"))?;
        Ok(())
    }

    /// Allows starts again. Nothing happens when they are allowed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn clear_halt(&self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM halt")
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("clearing a halt"))?;
        Ok(())
    }

    /// Whether starts are blocked, and why.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn halt(&self) -> Result<Option<Halt>, StoreError> {
        let row = sqlx::query("SELECT reason, since FROM halt")
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading the halt flag"))?;
        Ok(row.map(|row| Halt { reason: row.get("reason"), since: Timestamp(row.get("since")) }))
    }
}
