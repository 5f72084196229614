//! Attacks with their last known state.

use crate::values::Statement;
use crate::{Page, ROWS_MAX, Store, StoreError, document, timeline};
use firedrill_api::guards::Chosen;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackId, ClusterName, HostName, RunId, TimelineEvent, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use std::collections::BTreeMap;

/// Rows of one statement: SQLite takes 32766 values in one, PostgreSQL 65535, and a row here has up to seven.
const ROWS_AT_ONCE: usize = 500;
/// Open attacks that are read at once: several on each host of the largest fleet that one server holds.
const OPEN_MAX: u32 = 50_000;

/// One attack on one host, and on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackRecord {
    /// The last state that is known.
    pub report: AttackReport,
    /// The cluster that it was aimed at.
    pub cluster: Option<ClusterName>,
    /// The run that began it; `None`: a person did, or the agent reported one that the server does not know.
    pub run: Option<RunId>,
    /// When its deadline takes it out; `None`: it is over at once, or the agent reported one that the server does not
    /// know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl AttackRecord {
    /// Nothing of it is left on the host.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self.report.state, AttackState::Undone | AttackState::Refused)
    }
}

fn read(row: &AnyRow) -> Result<AttackRecord, StoreError> {
    document::read("attack", row.get("id"), row.get("document"))
}

impl Store {
    /// Keeps an attack as it is now.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_attack(&self, attack: &AttackRecord) -> Result<(), StoreError> {
        self.change_attacks(std::slice::from_ref(attack), &[]).await.map(drop)
    }

    /// Keeps attacks as they are now, together with what the timeline says of them: all of it or nothing. Gives the
    /// lines with their numbers. Of several states of one attack the last is kept.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn change_attacks(
        &self,
        attacks: &[AttackRecord],
        lines: &[TimelineEvent],
    ) -> Result<Vec<TimelineEvent>, StoreError> {
        let doing = "storing changes of attacks";
        let mut writer = self.ordinary().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        self.upsert(&mut transaction, attacks).await?;
        let mut numbered = Vec::with_capacity(lines.len());
        for some in lines.chunks(ROWS_AT_ONCE) {
            let rows = timeline::insert_all(some)?;
            let rows = rows.query().map_err(self.failed(doing))?;
            let rows = rows.fetch_all(&mut *transaction).await.map_err(self.failed(doing))?;
            numbered.extend(timeline::all_numbered(some, &rows));
        }
        transaction.commit().await.map_err(self.failed(doing))?;
        Ok(numbered)
    }

    /// Keeps attacks that are about to begin, and how their hosts were chosen: all of it or nothing.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn begin_attacks(&self, attacks: &[AttackRecord], chosen: &Chosen) -> Result<(), StoreError> {
        let doing = "storing attacks that begin";
        let choice = document::write("choice", "", chosen)?;
        let mut writer = self.ordinary().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        self.upsert(&mut transaction, attacks).await?;
        for some in attacks.chunks(ROWS_AT_ONCE) {
            let mut rows = Statement::new("INSERT INTO attack_choices (attack, document) VALUES ");
            rows.rows(some, |row, attack| {
                row.bind(attack.report.id.0.as_str()).bind(choice.as_str());
            });
            rows.query().map_err(self.failed(doing))?.execute(&mut *transaction).await.map_err(self.failed(doing))?;
        }
        transaction.commit().await.map_err(self.failed(doing))
    }

    async fn upsert(&self, connection: &mut AnyConnection, attacks: &[AttackRecord]) -> Result<(), StoreError> {
        // The last state of each: one statement must not write a row twice.
        let last: BTreeMap<&AttackId, &AttackRecord> = attacks.iter().map(|one| (&one.report.id, one)).collect();
        let last: Vec<&AttackRecord> = last.into_values().collect();
        for some in last.chunks(ROWS_AT_ONCE) {
            let texts: Result<Vec<String>, StoreError> =
                some.iter().map(|attack| document::write("attack", &attack.report.id.0, attack)).collect();
            let mut rows = Statement::new("INSERT INTO attacks (id, host, cluster, run, ended, at, document) VALUES ");
            rows.rows(some.iter().zip(texts?), |row, (attack, text)| {
                row.bind(attack.report.id.0.as_str())
                    .bind(attack.report.host.as_str())
                    .bind(attack.cluster.as_ref().map(ClusterName::as_str))
                    .bind(attack.run.as_ref().map(|run| run.0.as_str()))
                    .bind(attack.ended())
                    .bind(attack.report.at.0)
                    .bind(text);
            });
            rows.push(
                " ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, at = excluded.at, document = excluded.document",
            );
            let doing = "storing attacks";
            rows.query().map_err(self.failed(doing))?.execute(&mut *connection).await.map_err(self.failed(doing))?;
        }
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

    /// Those of these attacks that are known.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn attacks_named<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a AttackId>,
    ) -> Result<BTreeMap<AttackId, AttackRecord>, StoreError> {
        let ids: Vec<&AttackId> = ids.into_iter().collect();
        let mut known = BTreeMap::new();
        for some in ids.chunks(ROWS_AT_ONCE) {
            let doing = "reading some attacks";
            let mut query = Statement::new("SELECT id, document FROM attacks WHERE id IN (");
            query.rows(some, |one, id| {
                one.bind(id.0.as_str());
            });
            query.push(")");
            let query = query.query().map_err(self.failed(doing))?;
            let rows = query.fetch_all(&self.readers).await.map_err(self.failed(doing))?;
            for row in &rows {
                let record = read(row)?;
                known.insert(record.report.id.clone(), record);
            }
        }
        Ok(known)
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
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading the attacks of a run"))?;
        rows.iter().map(read).collect()
    }

    /// Attacks of which something may still be in place, newest first; at most 50,000.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open_attacks(&self) -> Result<Vec<AttackRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT id, document FROM attacks WHERE NOT ended ORDER BY at DESC, rowid DESC LIMIT $1")
                .bind(i64::from(OPEN_MAX))
                .fetch_all(&self.readers)
                .await
                .map_err(self.failed("reading the open attacks"))?;
        rows.iter().map(read).collect()
    }

    /// Attacks of which something may still be in place on one host, newest first; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open_attacks_on(&self, host: &HostName) -> Result<Vec<AttackRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, document FROM attacks WHERE host = $1 AND NOT ended ORDER BY at DESC, rowid DESC LIMIT $2",
        )
        .bind(host.as_str())
        .bind(i64::from(ROWS_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the open attacks of a host"))?;
        rows.iter().map(read).collect()
    }

    /// Attacks of which something may still be in place on some hosts, newest first; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open_attacks_on_any<'a>(
        &self,
        hosts: impl IntoIterator<Item = &'a HostName>,
    ) -> Result<Vec<AttackRecord>, StoreError> {
        let doing = "reading the open attacks of some hosts";
        let hosts: Vec<&HostName> = hosts.into_iter().collect();
        let mut open = Vec::new();
        for some in hosts.chunks(ROWS_AT_ONCE) {
            let mut query = Statement::new("SELECT id, document FROM attacks WHERE NOT ended AND host IN (");
            query.rows(some, |one, host| {
                one.bind(host.as_str());
            });
            // As many as ROWS_MAX.
            query.push(") ORDER BY at DESC, rowid DESC LIMIT 1000");
            let query = query.query().map_err(self.failed(doing))?;
            let rows = query.fetch_all(&self.readers).await.map_err(self.failed(doing))?;
            for row in &rows {
                open.push(read(row)?);
            }
        }
        Ok(open)
    }
}
