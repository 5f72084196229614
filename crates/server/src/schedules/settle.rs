//! What came of the runs that schedules have started, and of starts that a killed server left behind.

use super::{say, say_about};
use crate::Server;
use firedrill_model::message::Topic;
use firedrill_model::report::RunState;
use firedrill_model::{RunId, Severity, Timestamp, Verdict};
use firedrill_schedule::{Obstacle, Occurrence, Outcome, Schedule, pause_reason};
use firedrill_store::{RunSummary, StoreError};

/// Notes the ends of runs; a schedule pauses itself after the verdicts that it names.
pub(super) async fn settle(server: &Server, now: Timestamp) -> Result<(), StoreError> {
    for mut occurrence in server.store.open_occurrences().await? {
        let outcome = match &occurrence.outcome {
            Outcome::Running { run } => ended(run, server.store.run_summary(run).await?),
            Outcome::Starting => Some(found(server, &occurrence).await?),
            _ => None,
        };
        let Some(outcome) = outcome else { continue };
        occurrence.outcome = outcome;
        occurrence.at = now;
        // Paused first: a server that is killed in between comes here again.
        if let Some(record) = server.store.schedule(&occurrence.schedule).await? {
            pause_after(server, &record.schedule, &occurrence).await?;
        }
        server.store.save_occurrence(&occurrence).await?;
    }
    Ok(())
}

/// How a run has ended, when it has.
fn ended(run: &RunId, summary: Option<RunSummary>) -> Option<Outcome> {
    let run = run.clone();
    let Some(summary) = summary else {
        let reason = Some("the run is not in the store".to_owned());
        return Some(Outcome::Ended { run, verdict: Verdict::Error, stopped: false, reason });
    };
    if summary.state == RunState::Running {
        return None;
    }
    let verdict = summary.verdict.unwrap_or(Verdict::Error);
    let stopped = summary.state == RunState::Halted;
    Some(Outcome::Ended { run, verdict, stopped, reason: summary.reason })
}

/// A server was killed while it started something: either the run is there, or it has not begun. It is not started
/// again, for this cannot be told from a run whose beginning was lost.
async fn found(server: &Server, occurrence: &Occurrence) -> Result<Outcome, StoreError> {
    let runs = server.store.runs_on(&occurrence.cluster).await?;
    let of_start = |run: &&RunSummary| run.began >= occurrence.at && run.experiment == occurrence.experiment;
    if let Some(summary) = runs.iter().rev().find(of_start) {
        return Ok(Outcome::Running { run: summary.run.clone() });
    }
    let why = "the server was stopped while it started this; it is not started again".to_owned();
    let text = format!("schedule {}, {} on {}: {why}", occurrence.schedule, occurrence.experiment, occurrence.cluster);
    say(server, Severity::Warning, Some(occurrence.cluster.clone()), text).await;
    Ok(Outcome::Skipped { obstacle: Obstacle::Missed, why })
}

/// Pauses a schedule after what came of a due time, when it says so.
pub(super) async fn pause_after(
    server: &Server,
    schedule: &Schedule,
    occurrence: &Occurrence,
) -> Result<(), StoreError> {
    let Some(reason) = pause_reason(schedule, occurrence) else { return Ok(()) };
    if server.store.pause_schedule(&schedule.name, &reason).await? {
        let text = format!(
            "schedule {0} has paused itself: {reason}; look into it, then `firedrill schedule resume {0}`",
            schedule.name
        );
        let paused = Topic::SchedulePaused { schedule: schedule.name.clone() };
        say_about(server, Severity::Warning, Some(occurrence.cluster.clone()), text, Some(paused)).await;
    }
    Ok(())
}
