//! Operations, each a whole document.

use crate::{Page, Store, StoreError, document};
use firedrill_model::{ClusterName, Operation, OperationId};
use sqlx::Row;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};

/// New, or whole again.
pub(crate) fn upsert(operation: &Operation) -> Result<Query<'_, Sqlite, SqliteArguments>, StoreError> {
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
