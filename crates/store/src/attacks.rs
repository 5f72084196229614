//! Attacks with their last known state.

use crate::{Page, ROWS_MAX, Store, StoreError, document};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackId, ClusterName, RunId};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// One attack on one host, and on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackRecord {
    /// The last state that is known.
    pub report: AttackReport,
    /// The cluster that it was aimed at.
    pub cluster: Option<ClusterName>,
    /// The run that began it; `None`: a person did, or the agent reported one that the server does not know.
    pub run: Option<RunId>,
}

impl AttackRecord {
    /// Nothing of it is left on the host.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self.report.state, AttackState::Undone | AttackState::Refused)
    }
}

fn read(row: &SqliteRow) -> Result<AttackRecord, StoreError> {
    document::read("attack", row.get("id"), row.get("document"))
}

impl Store {
    /// Keeps an attack as it is now.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_attack(&self, attack: &AttackRecord) -> Result<(), StoreError> {
        let text = document::write("attack", &attack.report.id.0, attack)?;
        sqlx::query(
            "INSERT INTO attacks (id, host, cluster, run, ended, at, document) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, at = excluded.at, document = excluded.document",
        )
        .bind(&attack.report.id.0)
        .bind(attack.report.host.as_str())
        .bind(attack.cluster.as_ref().map(ClusterName::as_str))
        .bind(attack.run.as_ref().map(|run| run.0.as_str()))
        .bind(attack.ended())
        .bind(attack.report.at.0)
        .bind(text)
        .execute(&mut *self.ordinary().await?)
        .await
        .map_err(self.failed("storing an attack"))?;
        Ok(())
    }

    /// One attack.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn attack(&self, id: &AttackId) -> Result<Option<AttackRecord>, StoreError> {
        let row = sqlx::query("SELECT id, document FROM attacks WHERE id = $1")
            .bind(&id.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading an attack"))?;
        row.as_ref().map(read).transpose()
    }

    /// Attacks, newest change first; at most `limit` and [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn attacks(&self, page: impl Into<Page<'_>>) -> Result<Vec<AttackRecord>, StoreError> {
        let page = page.into();
        let rows = sqlx::query(
            "SELECT id, document FROM attacks
             WHERE $2 IS NULL OR (at, rowid) < (SELECT at, rowid FROM attacks WHERE id = $2)
             ORDER BY at DESC, rowid DESC LIMIT $1",
        )
        .bind(page.rows())
        .bind(page.before)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the attacks"))?;
        rows.iter().map(read).collect()
    }

    /// Attacks of a run in the order of their last change.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn attacks_of(&self, run: &RunId) -> Result<Vec<AttackRecord>, StoreError> {
        let rows = sqlx::query("SELECT id, document FROM attacks WHERE run = $1 ORDER BY at, rowid LIMIT $2")
            .bind(&run.0)
            .bind(ROWS_MAX)
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading the attacks of a run"))?;
        rows.iter().map(read).collect()
    }

    /// Attacks of which something may still be in place, newest first; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open_attacks(&self) -> Result<Vec<AttackRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT id, document FROM attacks WHERE NOT ended ORDER BY at DESC, rowid DESC LIMIT $1")
                .bind(ROWS_MAX)
                .fetch_all(&self.readers)
                .await
                .map_err(self.failed("reading the open attacks"))?;
        rows.iter().map(read).collect()
    }
}
