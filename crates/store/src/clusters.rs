//! Clusters, and what their keepers must not forget.

use crate::{Store, StoreError, document, operations, timeline};
use firedrill_model::workload::Login;
use firedrill_model::{ClusterName, ClusterSpec, Operation, TimelineEvent, Timestamp};
use sqlx::Row;

/// A cluster as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRecord {
    /// What it is made of.
    pub spec: ClusterSpec,
    /// How workloads log in.
    pub login: Option<Login>,
}

/// What one decision of a keeper changed; stored whole or not at all.
#[derive(Debug, Clone, Copy)]
pub struct KeeperCommit<'a> {
    /// Whose keeper.
    pub cluster: &'a ClusterName,
    /// The keeper's state as JSON with its revision; `None` when it has not changed.
    pub state: Option<(u64, &'a str)>,
    /// Operations that are new or have changed.
    pub operations: &'a [Operation],
    /// Lines for the timeline.
    pub notes: &'a [TimelineEvent],
}

impl Store {
    /// Registers a cluster, or changes one.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_cluster(&self, cluster: &ClusterRecord, now: Timestamp) -> Result<(), StoreError> {
        let name = cluster.spec.name.as_str();
        let spec = document::write("cluster", name, &cluster.spec)?;
        let login = cluster.login.as_ref().map(|login| document::write("login of cluster", name, login)).transpose()?;
        sqlx::query(
            "INSERT INTO clusters (name, registered, spec, login) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, login = excluded.login",
        )
        .bind(name)
        .bind(now.0)
        .bind(spec)
        .bind(login)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("storing a cluster"))?;
        Ok(())
    }

    /// All clusters by name; at most [`crate::ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn clusters(&self) -> Result<Vec<ClusterRecord>, StoreError> {
        let rows = sqlx::query("SELECT name, spec, login FROM clusters ORDER BY name LIMIT $1")
            .bind(i64::from(crate::ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading the clusters"))?;
        rows.iter()
            .map(|row| {
                let (name, login) = (row.get("name"), row.get::<Option<&str>, _>("login"));
                Ok(ClusterRecord {
                    spec: document::read("cluster", name, row.get("spec"))?,
                    login: login.map(|text| document::read("login of cluster", name, text)).transpose()?,
                })
            })
            .collect()
    }

    /// The stored state of a cluster's keeper, as JSON.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn keeper_state(&self, cluster: &ClusterName) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT state FROM keepers WHERE cluster = $1")
            .bind(cluster.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading the state of a keeper"))?;
        Ok(row.map(|row| row.get("state")))
    }

    /// Stores a decision: on return it is on the disk when it carries a state (an fsync, some milliseconds), and safe
    /// against the death of the process when it only carries operations and notes. Gives the notes with their
    /// sequence numbers. Storing the same revision again is allowed: a commit whose answer was lost is repeated.
    ///
    /// # Errors
    /// The store cannot be written, or has a newer revision.
    pub async fn commit_keeper(&self, commit: KeeperCommit<'_>) -> Result<Vec<TimelineEvent>, StoreError> {
        let doing = "storing a decision of a keeper";
        let mut writer = if commit.state.is_some() { self.durable().await? } else { self.ordinary().await? };
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        if let Some((revision, state)) = commit.state {
            let stored = sqlx::query(
                "INSERT INTO keepers (cluster, revision, state) VALUES ($1, $2, $3)
                 ON CONFLICT (cluster) DO UPDATE SET revision = excluded.revision, state = excluded.state
                 WHERE keepers.revision <= excluded.revision",
            )
            .bind(commit.cluster.as_str())
            .bind(revision.cast_signed())
            .bind(state)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
            if stored.rows_affected() == 0 {
                return Err(StoreError::Superseded { cluster: commit.cluster.to_string(), revision });
            }
        }
        for operation in commit.operations {
            operations::upsert(operation)?.execute(&mut *transaction).await.map_err(self.failed(doing))?;
        }
        let mut notes = Vec::with_capacity(commit.notes.len());
        for note in commit.notes {
            let row = timeline::insert(note)?.fetch_one(&mut *transaction).await.map_err(self.failed(doing))?;
            notes.push(timeline::numbered(note, &row));
        }
        transaction.commit().await.map_err(self.failed(doing))?;
        Ok(notes)
    }
}
