//! The append-only line of what happened.

use crate::values::Statement;
use crate::{ROWS_MAX, Store, StoreError, document};
use firedrill_model::{ClusterName, RunId, TimelineEvent};
use sqlx::Row;
use sqlx::any::{Any, AnyArguments, AnyRow};
use sqlx::query::Query;

/// Which lines are meant; none of the conditions: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimelineFilter {
    /// Only of this cluster.
    pub cluster: Option<ClusterName>,
    /// Only of this run.
    pub run: Option<RunId>,
}

pub(crate) fn insert(event: &TimelineEvent) -> Result<Query<'_, Any, AnyArguments>, StoreError> {
    // The number is not in the document: the row has it.
    let text = document::write("timeline event", "", event)?;
    Ok(sqlx::query("INSERT INTO timeline (at, cluster, run, document) VALUES ($1, $2, $3, $4) RETURNING sequence")
        .bind(event.at.0)
        .bind(event.scope.cluster.as_ref().map(ClusterName::as_str))
        .bind(event.scope.run.as_ref().map(|run| run.0.as_str()))
        .bind(text))
}

/// All lines in one statement.
pub(crate) fn insert_all(events: &[TimelineEvent]) -> Result<Statement, StoreError> {
    let texts: Result<Vec<String>, StoreError> =
        events.iter().map(|event| document::write("timeline event", "", event)).collect();
    let mut rows = Statement::new("INSERT INTO timeline (at, cluster, run, document) VALUES ");
    rows.rows(events.iter().zip(texts?), |row, (event, text)| {
        row.bind(event.at.0)
            .bind(event.scope.cluster.as_ref().map(ClusterName::as_str))
            .bind(event.scope.run.as_ref().map(|run| run.0.as_str()))
            .bind(text);
    });
    rows.push(" RETURNING sequence");
    Ok(rows)
}

/// The lines of [`insert_all`] with their numbers. Rows of one statement are numbered in their order, but need not come
/// back in it.
pub(crate) fn all_numbered(events: &[TimelineEvent], rows: &[AnyRow]) -> Vec<TimelineEvent> {
    let mut numbers: Vec<i64> = rows.iter().map(|row| row.get("sequence")).collect();
    numbers.sort_unstable();
    let numbered =
        |(event, number): (&TimelineEvent, i64)| TimelineEvent { sequence: number.cast_unsigned(), ..event.clone() };
    events.iter().zip(numbers).map(numbered).collect()
}

pub(crate) fn numbered(event: &TimelineEvent, row: &AnyRow) -> TimelineEvent {
    TimelineEvent { sequence: row.get::<i64, _>("sequence").cast_unsigned(), ..event.clone() }
}

fn read(row: &AnyRow) -> Result<TimelineEvent, StoreError> {
    let sequence = row.get::<i64, _>("sequence");
    let event: TimelineEvent = document::read("timeline event", &sequence.to_string(), row.get("document"))?;
    Ok(TimelineEvent { sequence: sequence.cast_unsigned(), ..event })
}

impl Store {
    /// Adds a line and gives it back with its number. Numbers grow in the order of commits and are never reused, so a
    /// reader that asks for what is after the last number it saw misses nothing.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn append_event(&self, event: &TimelineEvent) -> Result<TimelineEvent, StoreError> {
        let row = insert(event)?
            .fetch_one(&mut *self.ordinary().await?)
            .await
            .map_err(self.failed("adding a line to the timeline"))?;
        Ok(numbered(event, &row))
    }

    /// Lines after that number, oldest first; at most `limit` and [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn events_after(
        &self,
        after: u64,
        filter: &TimelineFilter,
        limit: u32,
    ) -> Result<Vec<TimelineEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT sequence, document FROM timeline
             WHERE sequence > $1 AND ($2 IS NULL OR cluster = $2) AND ($3 IS NULL OR run = $3)
             ORDER BY sequence LIMIT $4",
        )
        .bind(after.cast_signed())
        .bind(filter.cluster.as_ref().map(ClusterName::as_str))
        .bind(filter.run.as_ref().map(|run| run.0.as_str()))
        .bind(i64::from(limit.min(ROWS_MAX)))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the timeline"))?;
        rows.iter().map(read).collect()
    }

    /// The newest lines, oldest of them first; at most `limit` and [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn newest_events(&self, filter: &TimelineFilter, limit: u32) -> Result<Vec<TimelineEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT sequence, document FROM timeline
             WHERE ($1 IS NULL OR cluster = $1) AND ($2 IS NULL OR run = $2)
             ORDER BY sequence DESC LIMIT $3",
        )
        .bind(filter.cluster.as_ref().map(ClusterName::as_str))
        .bind(filter.run.as_ref().map(|run| run.0.as_str()))
        .bind(i64::from(limit.min(ROWS_MAX)))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the timeline"))?;
        rows.iter().rev().map(read).collect()
    }

    /// The number of the newest line, 0 when there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn newest_sequence(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT COALESCE(MAX(sequence), 0) AS newest FROM timeline")
            .fetch_one(&self.readers)
            .await
            .map_err(self.failed("reading the timeline"))?;
        Ok(row.get::<i64, _>("newest").cast_unsigned())
    }
}
