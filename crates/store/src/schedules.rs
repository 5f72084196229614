//! Schedules, the plans of their weeks, what came of each due time, black-outs, and who is there.

use crate::{ROWS_MAX, RunSummary, Store, StoreError, document};
use firedrill_model::{ClusterName, RunId, ScheduleName, Timestamp};
use firedrill_schedule::{Closure, Occurrence, Outcome, Presence, Schedule, Week, WeekPlan};
use sqlx::Row;
use sqlx::any::AnyRow;

/// A schedule as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRecord {
    /// What a person has written.
    pub schedule: Schedule,
    /// All its lots are drawn from this.
    pub seed: u64,
    /// When it was added or changed.
    pub added: Timestamp,
    /// Due times up to here were dealt with.
    pub looked: Timestamp,
    /// Why nothing starts.
    pub paused: Option<String>,
}

/// Which occurrences are meant.
#[derive(Debug, Clone, Copy)]
pub struct OccurrenceFilter<'a> {
    /// Due at this moment or after.
    pub from: Timestamp,
    /// Due before this moment.
    pub until: Timestamp,
    /// Only of this schedule.
    pub schedule: Option<&'a ScheduleName>,
}

fn record(row: &AnyRow) -> Result<ScheduleRecord, StoreError> {
    Ok(ScheduleRecord {
        schedule: document::read("schedule", row.get("name"), row.get("document"))?,
        seed: row.get::<i64, _>("seed").cast_unsigned(),
        added: Timestamp(row.get("added")),
        looked: Timestamp(row.get("looked")),
        paused: row.get("paused"),
    })
}

fn documents<T: serde::de::DeserializeOwned>(what: &'static str, rows: &[AnyRow]) -> Result<Vec<T>, StoreError> {
    rows.iter().map(|row| document::read(what, "", row.get("document"))).collect()
}

impl Store {
    /// Adds a schedule, or replaces the one of its name, with all plans that were made of it; the seed of the first
    /// stays.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_schedule(&self, record: &ScheduleRecord) -> Result<(), StoreError> {
        let doing = "storing a schedule";
        let name = record.schedule.name.as_str();
        let text = document::write("schedule", name, &record.schedule)?;
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        sqlx::query(
            "INSERT INTO schedules (name, added, seed, looked, paused, document) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (name) DO UPDATE SET added = excluded.added, looked = excluded.looked,
                 paused = excluded.paused, document = excluded.document",
        )
        .bind(name)
        .bind(record.added.0)
        .bind(record.seed.cast_signed())
        .bind(record.looked.0)
        .bind(&record.paused)
        .bind(text)
        .execute(&mut *transaction)
        .await
        .map_err(self.failed(doing))?;
        sqlx::query("DELETE FROM schedule_weeks WHERE schedule = $1")
            .bind(name)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))
    }

    /// All schedules by name; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn schedules(&self) -> Result<Vec<ScheduleRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT name, added, seed, looked, paused, document FROM schedules ORDER BY name LIMIT $1")
                .bind(i64::from(ROWS_MAX))
                .fetch_all(&self.readers)
                .await
                .map_err(self.failed("reading the schedules"))?;
        rows.iter().map(record).collect()
    }

    /// One schedule.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn schedule(&self, name: &ScheduleName) -> Result<Option<ScheduleRecord>, StoreError> {
        let row = sqlx::query("SELECT name, added, seed, looked, paused, document FROM schedules WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading a schedule"))?;
        row.as_ref().map(record).transpose()
    }

    /// Forgets a schedule and its plans; what came of its due times stays. False when there is none of that name.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn remove_schedule(&self, name: &ScheduleName) -> Result<bool, StoreError> {
        let doing = "removing a schedule";
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        sqlx::query("DELETE FROM schedule_weeks WHERE schedule = $1")
            .bind(name.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        let removed = sqlx::query("DELETE FROM schedules WHERE name = $1")
            .bind(name.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))?;
        Ok(removed.rows_affected() > 0)
    }

    /// Lets nothing start any more; the first reason stands. False when it is not there or paused already.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn pause_schedule(&self, name: &ScheduleName, reason: &str) -> Result<bool, StoreError> {
        let paused = sqlx::query("UPDATE schedules SET paused = $2 WHERE name = $1 AND paused IS NULL")
            .bind(name.as_str())
            .bind(reason)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("pausing a schedule"))?;
        Ok(paused.rows_affected() > 0)
    }

    /// Lets it start again, from `now` on: what was due meanwhile is over. False when it is not there or not paused.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn resume_schedule(&self, name: &ScheduleName, now: Timestamp) -> Result<bool, StoreError> {
        let resumed =
            sqlx::query("UPDATE schedules SET paused = NULL, looked = $2 WHERE name = $1 AND paused IS NOT NULL")
                .bind(name.as_str())
                .bind(now.0)
                .execute(&mut *self.durable().await?)
                .await
                .map_err(self.failed("resuming a schedule"))?;
        Ok(resumed.rows_affected() > 0)
    }

    /// Remembers that due times up to a moment were dealt with; never goes back. Losing it does no harm: each due time
    /// that was dealt with is there by itself.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn looked_at_schedule(&self, name: &ScheduleName, looked: Timestamp) -> Result<(), StoreError> {
        sqlx::query("UPDATE schedules SET looked = $2 WHERE name = $1 AND looked < $2")
            .bind(name.as_str())
            .bind(looked.0)
            .execute(&mut *self.ordinary().await?)
            .await
            .map_err(self.failed("looking at a schedule"))?;
        Ok(())
    }

    /// The plan of a week, when it was made.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn week_plan(&self, name: &ScheduleName, week: Week) -> Result<Option<WeekPlan>, StoreError> {
        let row = sqlx::query("SELECT document FROM schedule_weeks WHERE schedule = $1 AND week = $2")
            .bind(name.as_str())
            .bind(week.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading the plan of a week"))?;
        row.map(|row| document::read("plan of a week", name.as_str(), row.get("document"))).transpose()
    }

    /// Keeps the plan of a week with the seed that it was drawn from, unless one is there; gives the one that stands.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn keep_week_plan(&self, name: &ScheduleName, seed: u64, plan: WeekPlan) -> Result<WeekPlan, StoreError> {
        let text = document::write("plan of a week", name.as_str(), &plan)?;
        let kept = sqlx::query(
            "INSERT INTO schedule_weeks (schedule, week, seed, document) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(name.as_str())
        .bind(plan.week.to_string())
        .bind(seed.cast_signed())
        .bind(text)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("storing the plan of a week"))?;
        if kept.rows_affected() > 0 {
            return Ok(plan);
        }
        Ok(self.week_plan(name, plan.week).await?.unwrap_or(plan))
    }

    /// Takes a due time: true for the one caller that may act on it, ever. One that is about to be started is on the
    /// disk on return.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn claim_occurrence(&self, occurrence: &Occurrence) -> Result<bool, StoreError> {
        let starting = occurrence.outcome == Outcome::Starting;
        let mut writer = if starting { self.durable().await? } else { self.ordinary().await? };
        let claimed = sqlx::query(
            "INSERT INTO occurrences (schedule, cluster, due, final, document) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
        )
        .bind(occurrence.schedule.as_str())
        .bind(occurrence.cluster.as_str())
        .bind(occurrence.due.0)
        .bind(occurrence.outcome.is_final())
        .bind(document::write("occurrence", occurrence.schedule.as_str(), occurrence)?)
        .execute(&mut *writer)
        .await
        .map_err(self.failed("storing a due time"))?;
        Ok(claimed.rows_affected() > 0)
    }

    /// Keeps what came of a due time that was taken.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_occurrence(&self, occurrence: &Occurrence) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE occurrences SET final = $4, document = $5 WHERE schedule = $1 AND cluster = $2 AND due = $3",
        )
        .bind(occurrence.schedule.as_str())
        .bind(occurrence.cluster.as_str())
        .bind(occurrence.due.0)
        .bind(occurrence.outcome.is_final())
        .bind(document::write("occurrence", occurrence.schedule.as_str(), occurrence)?)
        .execute(&mut *self.ordinary().await?)
        .await
        .map_err(self.failed("storing what came of a due time"))?;
        Ok(())
    }

    /// Due times of which more will come, oldest first; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open_occurrences(&self) -> Result<Vec<Occurrence>, StoreError> {
        let rows = sqlx::query("SELECT document FROM occurrences WHERE final = FALSE ORDER BY due LIMIT $1")
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading the due times under way"))?;
        documents("occurrence", &rows)
    }

    /// What came of due times, newest first; at most `limit` and [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn occurrences(&self, filter: OccurrenceFilter<'_>, limit: u32) -> Result<Vec<Occurrence>, StoreError> {
        let rows = sqlx::query(
            "SELECT document FROM occurrences WHERE due >= $1 AND due < $2 AND ($3 IS NULL OR schedule = $3)
             ORDER BY due DESC, schedule, cluster LIMIT $4",
        )
        .bind(filter.from.0)
        .bind(filter.until.0)
        .bind(filter.schedule.map(ScheduleName::as_str))
        .bind(i64::from(limit.min(ROWS_MAX)))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading what came of due times"))?;
        documents("occurrence", &rows)
    }

    /// One run in a list.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn run_summary(&self, run: &RunId) -> Result<Option<RunSummary>, StoreError> {
        let row = sqlx::query("SELECT id, experiment, cluster, state, began, verdict, reason FROM runs WHERE id = $1")
            .bind(&run.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading how a run stands"))?;
        row.as_ref().map(RunSummary::read).transpose()
    }

    /// Runs on a cluster, newest first; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn runs_on(&self, cluster: &ClusterName) -> Result<Vec<RunSummary>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, experiment, cluster, state, began, verdict, reason FROM runs WHERE cluster = $1
             ORDER BY began DESC, rowid DESC LIMIT $2",
        )
        .bind(cluster.as_str())
        .bind(i64::from(ROWS_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the runs on a cluster"))?;
        rows.iter().map(RunSummary::read).collect()
    }

    /// Closes something for schedules.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_closure(&self, closure: &Closure) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO closures (id, until, document) VALUES ($1, $2, $3)")
            .bind(&closure.id)
            .bind(closure.until.map(|until| until.0))
            .bind(document::write("black-out", &closure.id, closure)?)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("storing a black-out"))?;
        Ok(())
    }

    /// Opens it again. False when it is not there.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn remove_closure(&self, id: &str) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM closures WHERE id = $1")
            .bind(id)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("removing a black-out"))?;
        Ok(removed.rows_affected() > 0)
    }

    /// What is closed at `now` or later; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn closures(&self, now: Timestamp) -> Result<Vec<Closure>, StoreError> {
        let rows = sqlx::query(
            "SELECT document FROM closures WHERE until IS NULL OR until > $1 ORDER BY until NULLS FIRST, id LIMIT $2",
        )
        .bind(now.0)
        .bind(i64::from(ROWS_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the black-outs"))?;
        documents("black-out", &rows)
    }

    /// Somebody is there, or leaves: what the same person has said before for the same clusters is replaced.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_presence(&self, presence: &Presence) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO presences (person, cluster, until, document) VALUES ($1, $2, $3, $4)
             ON CONFLICT (person, cluster) DO UPDATE SET until = excluded.until, document = excluded.document",
        )
        .bind(&presence.person)
        .bind(presence.cluster.as_ref().map_or("", ClusterName::as_str))
        .bind(presence.until.0)
        .bind(document::write("presence", &presence.person, presence)?)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("storing a presence"))?;
        Ok(())
    }

    /// Who is there at `now` or later; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn presences(&self, now: Timestamp) -> Result<Vec<Presence>, StoreError> {
        let rows = sqlx::query("SELECT document FROM presences WHERE until > $1 ORDER BY until, person LIMIT $2")
            .bind(now.0)
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading who is there"))?;
        documents("presence", &rows)
    }
}
