//! Runs of experiments, and the rungs of the ladder that were passed.

use crate::{Page, ROWS_MAX, Store, StoreError, document};
use firedrill_model::evidence::RunFact;
use firedrill_model::report::{RunReport, RunState};
use firedrill_model::{ClusterName, RunId, Timestamp, Verdict};
use sqlx::Row;
use sqlx::any::AnyRow;

/// One run in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// Its id.
    pub run: RunId,
    /// The experiment's name.
    pub experiment: String,
    /// On which cluster.
    pub cluster: ClusterName,
    /// How far.
    pub state: RunState,
    /// When it began.
    pub began: Timestamp,
    /// What it came to.
    pub verdict: Option<Verdict>,
    /// The first reason.
    pub reason: Option<String>,
}

/// Which runs are wanted; `None`: all.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunFilter<'a> {
    /// On that cluster.
    pub cluster: Option<&'a str>,
    /// Of that experiment.
    pub experiment: Option<&'a str>,
    /// That came to that; `Some(None)`: those without a verdict yet.
    pub verdict: Option<Option<Verdict>>,
}

impl RunSummary {
    /// What a list shows of a report.
    #[must_use]
    pub fn of(report: &RunReport) -> Self {
        Self {
            run: report.run.clone(),
            experiment: report.experiment.name.clone(),
            cluster: report.cluster.clone(),
            state: report.state,
            began: report.began,
            verdict: report.verdict,
            reason: report.reasons.first().cloned(),
        }
    }

    pub(crate) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            run: RunId(row.get("id")),
            experiment: row.get("experiment"),
            cluster: document::from_word("cluster of a run", row.get("cluster"))?,
            state: document::from_word("state of a run", row.get("state"))?,
            began: Timestamp(row.get("began")),
            verdict: row
                .get::<Option<&str>, _>("verdict")
                .map(|word| document::from_word("verdict of a run", word))
                .transpose()?,
            reason: row.get("reason"),
        })
    }
}

impl Store {
    /// How many runs came to each verdict.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn runs_by_verdict(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = sqlx::query("SELECT verdict, COUNT(*) AS runs FROM runs WHERE verdict IS NOT NULL GROUP BY verdict")
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("counting the runs"))?;
        Ok(rows.iter().map(|row| (row.get("verdict"), row.get("runs"))).collect())
    }

    /// Keeps a run's report, whole.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_run(&self, report: &RunReport) -> Result<(), StoreError> {
        let text = document::write("report of run", &report.run.0, report)?;
        let summary = RunSummary::of(report);
        sqlx::query(
            "INSERT INTO runs (id, experiment, cluster, state, began, verdict, reason, report)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, verdict = excluded.verdict,
                 reason = excluded.reason, report = excluded.report",
        )
        .bind(&report.run.0)
        .bind(summary.experiment)
        .bind(summary.cluster.as_str())
        .bind(document::word("state of a run", &summary.state)?)
        .bind(summary.began.0)
        .bind(summary.verdict.map(|verdict| document::word("verdict of a run", &verdict)).transpose()?)
        .bind(summary.reason)
        .bind(text)
        .execute(&mut *self.ordinary().await?)
        .await
        .map_err(self.failed("storing the report of a run"))?;
        Ok(())
    }

    /// A run's report.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn run(&self, run: &RunId) -> Result<Option<RunReport>, StoreError> {
        let row = sqlx::query("SELECT report FROM runs WHERE id = $1")
            .bind(&run.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading the report of a run"))?;
        row.map(|row| document::read("report of run", &run.0, row.get("report"))).transpose()
    }

    /// The cluster of a run; `None`: there is no such run.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn cluster_of_run(&self, run: &RunId) -> Result<Option<ClusterName>, StoreError> {
        let row = sqlx::query("SELECT cluster FROM runs WHERE id = $1")
            .bind(&run.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("looking the cluster of a run up"))?;
        row.map(|row| document::from_word("cluster of a run", row.get("cluster"))).transpose()
    }

    /// Runs, newest first; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn runs(&self, page: impl Into<Page<'_>>) -> Result<Vec<RunSummary>, StoreError> {
        self.runs_like(&RunFilter::default(), page).await
    }

    /// Those of the runs that are like that, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn runs_like(
        &self,
        filter: &RunFilter<'_>,
        page: impl Into<Page<'_>>,
    ) -> Result<Vec<RunSummary>, StoreError> {
        let page = page.into();
        let word = |verdict: Option<Verdict>| match verdict {
            Some(verdict) => document::word("verdict of a run", &verdict),
            None => Ok(String::new()),
        };
        let verdict = filter.verdict.map(word).transpose()?;
        let rows = sqlx::query(
            "SELECT id, experiment, cluster, state, began, verdict, reason FROM runs
             WHERE ($2 IS NULL OR (began, rowid) < (SELECT began, rowid FROM runs WHERE id = $2))
                AND ($3 IS NULL OR cluster = $3) AND ($4 IS NULL OR experiment = $4)
                AND ($5 IS NULL OR COALESCE(verdict, '') = $5)
             ORDER BY began DESC, rowid DESC LIMIT $1",
        )
        .bind(page.rows())
        .bind(page.before)
        .bind(filter.cluster)
        .bind(filter.experiment)
        .bind(verdict)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the runs"))?;
        rows.iter().map(RunSummary::read).collect()
    }

    /// What evidence needs of runs that began before a moment, on one cluster or on all, newest first; at most `limit`
    /// and [`ROWS_MAX`]. `before` names the last one of the page before, which is left out.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn run_facts(
        &self,
        cluster: Option<&ClusterName>,
        before: (Timestamp, &RunId),
        limit: u32,
    ) -> Result<Vec<RunFact>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, report FROM runs
             WHERE ($1 IS NULL OR cluster = $1) AND (began < $2 OR (began = $2 AND id < $3))
             ORDER BY began DESC, id DESC LIMIT $4",
        )
        .bind(cluster.map(ClusterName::as_str))
        .bind(before.0.0)
        .bind(&before.1.0)
        .bind(i64::from(limit.min(ROWS_MAX)))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the runs of a period"))?;
        rows.iter().map(|row| document::read("report of run", row.get("id"), row.get("report"))).collect()
    }

    /// Runs that are in that state, newest first; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn runs_in(&self, state: RunState) -> Result<Vec<RunSummary>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, experiment, cluster, state, began, verdict, reason FROM runs
             WHERE state = $1 ORDER BY began DESC, rowid DESC LIMIT $2",
        )
        .bind(document::word("state of a run", &state)?)
        .bind(i64::from(ROWS_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the runs"))?;
        rows.iter().map(RunSummary::read).collect()
    }

    /// Remembers that a rung of the ladder was passed on a cluster.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn pass_rung(
        &self,
        cluster: &ClusterName,
        rung: u32,
        run: &RunId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO ladder_passes (cluster, rung, run, at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (cluster, rung) DO UPDATE SET run = excluded.run, at = excluded.at",
        )
        .bind(cluster.as_str())
        .bind(i64::from(rung))
        .bind(&run.0)
        .bind(at.0)
        .execute(&mut *self.ordinary().await?)
        .await
        .map_err(self.failed("storing a passed rung"))?;
        Ok(())
    }

    /// Forgets that a rung was passed: it has failed since.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn fail_rung(&self, cluster: &ClusterName, rung: u32) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM ladder_passes WHERE cluster = $1 AND rung = $2")
            .bind(cluster.as_str())
            .bind(i64::from(rung))
            .execute(&mut *self.ordinary().await?)
            .await
            .map_err(self.failed("storing a failed rung"))?;
        Ok(())
    }

    /// The rungs that were passed on a cluster, lowest first, with the run that did.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn passed_rungs(&self, cluster: &ClusterName) -> Result<Vec<(u32, RunId)>, StoreError> {
        let rows = sqlx::query("SELECT rung, run FROM ladder_passes WHERE cluster = $1 ORDER BY rung LIMIT $2")
            .bind(cluster.as_str())
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading the passed rungs"))?;
        let rung = |row: &AnyRow| u32::try_from(row.get::<i64, _>("rung")).unwrap_or(u32::MAX);
        Ok(rows.iter().map(|row| (rung(row), RunId(row.get("run")))).collect())
    }
}
