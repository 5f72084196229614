//! The audit log. There is no call that changes or removes an entry, and the database refuses both.

use crate::{ROWS_MAX, Store, StoreError};
use sqlx::Row;
use sqlx::any::AnyRow;

/// One entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// What it says, byte for byte as it was hashed.
    pub entry: String,
    /// The hash over the one before it and what it says.
    pub hash: String,
}

impl AuditRow {
    fn read(row: &AnyRow) -> Self {
        // Numbers begin at 1; a negative one was never written by us and shows as 0, which breaks the chain.
        let sequence = u64::try_from(row.get::<i64, _>("sequence")).unwrap_or_default();
        Self { sequence, entry: row.get("entry"), hash: row.get("hash") }
    }
}

impl Store {
    /// Adds one entry, made from the newest one while nobody else can add; gives what was added.
    ///
    /// # Errors
    /// The store cannot be written; nothing was added.
    pub async fn append_audit(
        &self,
        make: impl FnOnce(Option<&AuditRow>) -> AuditRow + Send,
    ) -> Result<AuditRow, StoreError> {
        let doing = "writing the audit log";
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        let newest = sqlx::query("SELECT sequence, entry, hash FROM audit ORDER BY sequence DESC LIMIT 1")
            .fetch_optional(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        let row = make(newest.as_ref().map(AuditRow::read).as_ref());
        sqlx::query("INSERT INTO audit (sequence, entry, hash) VALUES ($1, $2, $3)")
            .bind(i64::try_from(row.sequence).unwrap_or(i64::MAX))
            .bind(&row.entry)
            .bind(&row.hash)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))?;
        Ok(row)
    }

    /// Entries after a number, oldest first; at most `limit` and [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn audit_after(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows =
            sqlx::query("SELECT sequence, entry, hash FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2")
                .bind(i64::try_from(after).unwrap_or(i64::MAX))
                .bind(i64::from(limit.min(ROWS_MAX)))
                .fetch_all(&self.readers)
                .await
                .map_err(self.failed("reading the audit log"))?;
        Ok(rows.iter().map(AuditRow::read).collect())
    }

    /// The newest entries, oldest of them first; at most `limit` and [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn newest_audit(&self, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query("SELECT sequence, entry, hash FROM audit ORDER BY sequence DESC LIMIT $1")
            .bind(i64::from(limit.min(ROWS_MAX)))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading the audit log"))?;
        Ok(rows.iter().rev().map(AuditRow::read).collect())
    }
}
