//! Operations, each a whole document.

use crate::{Page, ROWS_MAX, Store, StoreError, document};
use firedrill_model::{ClusterName, Operation, OperationId, Timestamp};
use sqlx::Row;
use sqlx::any::{Any, AnyArguments};
use sqlx::query::Query;

/// New, or whole again.
pub(crate) fn upsert(operation: &Operation) -> Result<Query<'_, Any, AnyArguments>, StoreError> {
    let text = document::write("operation", &operation.id.0, operation)?;
    Ok(sqlx::query(
        "INSERT INTO operations (id, cluster, began, document) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET document = excluded.document",
    )
    .bind(&operation.id.0)
    .bind(operation.cluster.as_str())
    .bind(operation.began.0)
    .bind(text))
}

impl Store {
    /// One operation.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn operation(&self, id: &OperationId) -> Result<Option<Operation>, StoreError> {
        let row = sqlx::query("SELECT document FROM operations WHERE id = $1")
            .bind(&id.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading an operation"))?;
        row.map(|row| document::read("operation", &id.0, row.get("document"))).transpose()
    }

    /// Operations that began before a moment, of one cluster or of all, newest first; at most `limit` and [`ROWS_MAX`].
    /// `before` names the last one of the page before, which is left out.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn operations_before(
        &self,
        cluster: Option<&ClusterName>,
        before: (Timestamp, &OperationId),
        limit: u32,
    ) -> Result<Vec<Operation>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, document FROM operations
             WHERE ($1 IS NULL OR cluster = $1) AND (began < $2 OR (began = $2 AND id < $3))
             ORDER BY began DESC, id DESC LIMIT $4",
        )
        .bind(cluster.map(ClusterName::as_str))
        .bind(before.0.0)
        .bind(&before.1.0)
        .bind(i64::from(limit.min(ROWS_MAX)))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the operations of a period"))?;
        rows.iter().map(|row| document::read("operation", row.get("id"), row.get("document"))).collect()
    }

    /// Operations, newest first, of one cluster or of all; at most `limit` and [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn operations(
        &self,
        cluster: Option<&ClusterName>,
        page: impl Into<Page<'_>>,
    ) -> Result<Vec<Operation>, StoreError> {
        let page = page.into();
        let rows = sqlx::query(
            "SELECT id, document FROM operations WHERE ($1 IS NULL OR cluster = $1)
             AND ($3 IS NULL OR (began, rowid) < (SELECT began, rowid FROM operations WHERE id = $3))
             ORDER BY began DESC, rowid DESC LIMIT $2",
        )
        .bind(cluster.map(ClusterName::as_str))
        .bind(page.rows())
        .bind(page.before)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the operations"))?;
        rows.iter().map(|row| document::read("operation", row.get("id"), row.get("document"))).collect()
    }
}
