//! What is due, and starting it.

use super::{Facts, Subject, attempts, of_rung, plan_of, rungs, say, say_about, services, settle, subject};
use crate::Server;
use crate::experiment;
use crate::guards::Asked;
use crate::problem::store_failed;
use firedrill_api::http::{Problem, StartRun};
use firedrill_model::message::Topic;
use firedrill_model::{Severity, Span, Timestamp};
use firedrill_schedule::programme::Choice;
use firedrill_schedule::{Circumstances, Obstacle, Occurrence, Outcome, Planned, Timing, Week, obstacle};
use firedrill_store::{ScheduleRecord, StoreError};
use std::sync::Arc;

/// Due times are whole minutes: between two minutes there is nothing to look for.
const MINUTE: i64 = 60_000_000;
/// After a longer time without a server, only what was missed in this much of it is noted one by one.
const NOTED_MISSES: Span = Span::secs(7 * 24 * 3600);

/// Deals with what is due of one schedule since it was last looked at.
pub(super) async fn look(server: &Arc<Server>, record: &ScheduleRecord, now: Timestamp) -> Result<(), StoreError> {
    let minute = |at: Timestamp| at.0.div_euclid(MINUTE);
    if record.paused.is_some() || minute(now) <= minute(record.looked) {
        return Ok(());
    }
    let facts = Facts::gather(server, now).await?;
    let due = due_between(server, record, record.looked.max(now - NOTED_MISSES), now, &facts).await?;
    let mut missed = Vec::new();
    for planned in &due {
        if server.store.schedule(&record.schedule.name).await?.is_none_or(|record| record.paused.is_some()) {
            // What was due a moment before has paused it.
            break;
        }
        if let Some(Obstacle::Missed) = deal_with(server, record, planned, now, &facts).await? {
            missed.push(planned);
        }
    }
    let name = &record.schedule.name;
    if let (Some(first), Some(last)) = (missed.first(), missed.last()) {
        let show = |planned: &Planned| record.schedule.zone.show(planned.due);
        let text = format!(
            "schedule {name} missed {} due times from {} to {}, for the server was not running; they are not made up for",
            missed.len(),
            show(first),
            show(last)
        );
        say(server, Severity::Warning, None, text).await;
    }
    server.store.looked_at_schedule(name, now).await
}

/// The due times after `after`, up to `until`.
async fn due_between(
    server: &Server,
    record: &ScheduleRecord,
    after: Timestamp,
    until: Timestamp,
    facts: &Facts,
) -> Result<Vec<Planned>, StoreError> {
    let zone = &record.schedule.zone;
    let (mut week, last) = (Week::of(zone, after), Week::of(zone, until));
    let mut due = Vec::new();
    while week <= last {
        let plan = plan_of(server, record, week, &facts.closures).await?;
        due.extend(plan.planned.into_iter().filter(|planned| after < planned.due && planned.due <= until));
        week = week.next();
    }
    Ok(due)
}

/// Starts what is due, or notes why not. Gives what was in the way, when it was noted here for the first time.
async fn deal_with(
    server: &Arc<Server>,
    record: &ScheduleRecord,
    planned: &Planned,
    now: Timestamp,
    facts: &Facts,
) -> Result<Option<Obstacle>, StoreError> {
    let schedule = &record.schedule;
    let Planned { due, cluster } = planned;
    let mut occurrence = Occurrence {
        schedule: schedule.name.clone(),
        cluster: cluster.clone(),
        due: *due,
        experiment: schedule.subject(),
        at: now,
        outcome: Outcome::Starting,
    };
    let halted = server.halted();
    let seen = Circumstances {
        now,
        due: *due,
        cluster,
        services: &services(server, cluster),
        halted: halted.as_deref(),
        closures: &facts.closures,
        presences: &facts.presences,
    };
    let chosen = match obstacle(schedule, &seen) {
        Some((obstacle, why)) => Err(Outcome::Skipped { obstacle, why }),
        None => choose(server, record, planned).await?,
    };
    match chosen {
        Err(outcome) => {
            let obstacle = if let Outcome::Skipped { obstacle, .. } = &outcome { Some(*obstacle) } else { None };
            occurrence.outcome = outcome;
            if !server.store.claim_occurrence(&occurrence).await? {
                return Ok(None);
            }
            announce(server, &occurrence).await;
            settle::pause_after(server, schedule, &occurrence).await?;
            Ok(obstacle)
        }
        Ok(subject) => {
            occurrence.experiment.clone_from(&subject.name);
            // From here on nobody else starts it, also after a SIGKILL between this line and the next.
            if server.store.claim_occurrence(&occurrence).await? {
                start(server, record, occurrence, subject).await?;
            }
            Ok(None)
        }
    }
}

/// The experiment to start, or what comes of the due time without one.
async fn choose(
    server: &Server,
    record: &ScheduleRecord,
    planned: &Planned,
) -> Result<Result<Subject, Outcome>, StoreError> {
    let broken = |problem: Problem| Outcome::Broken { code: problem.code, why: problem.message };
    let Timing::Programme(programme) = &record.schedule.when else {
        return Ok(subject(server, &record.schedule).await.map_err(broken));
    };
    let zone = &record.schedule.zone;
    let history = attempts(server, &planned.cluster).await?;
    let week = Week::of(zone, planned.due).start(zone);
    let day = zone.start_of(zone.day(planned.due));
    Ok(match programme.choose(rungs(), &history, week, day) {
        Choice::Run { rung, .. } => of_rung(rung).map_err(broken),
        Choice::Rest { why } => Err(Outcome::Skipped { obstacle: Obstacle::Rest, why }),
    })
}

/// Starts an experiment as a person would, and keeps what came of it.
async fn start(
    server: &Arc<Server>,
    record: &ScheduleRecord,
    mut occurrence: Occurrence,
    subject: Subject,
) -> Result<(), StoreError> {
    let request = StartRun {
        yaml: subject.yaml,
        cluster: Some(occurrence.cluster.clone()),
        force: record.schedule.force,
        ..StartRun::default()
    };
    let asked = Asked::by(&format!("schedule {}", occurrence.schedule));
    occurrence.outcome = match experiment::start_for(Arc::clone(server), request, asked).await {
        Ok(started) => Outcome::Running { run: started.run },
        Err(Problem { code, message, refused: true }) => Outcome::Refused { code, why: message },
        Err(Problem { code, message, .. }) => Outcome::Broken { code, why: message },
    };
    occurrence.at = crate::clock::now().max(occurrence.at);
    let kept = server.store.save_occurrence(&occurrence).await;
    announce(server, &occurrence).await;
    kept.inspect_err(|error| drop(store_failed(error)))?;
    settle::pause_after(server, &record.schedule, &occurrence).await
}

/// Tells of what came of a due time, as far as the run itself does not.
async fn announce(server: &Server, occurrence: &Occurrence) {
    let Occurrence { schedule, cluster, experiment, outcome, .. } = occurrence;
    let severity = match outcome {
        // What was missed is told of once, in one line.
        Outcome::Skipped { obstacle: Obstacle::Missed, .. } => return,
        Outcome::Skipped { obstacle: Obstacle::NobodyThere, .. } | Outcome::Refused { .. } | Outcome::Broken { .. } => {
            Severity::Warning
        }
        _ => Severity::Info,
    };
    let text = match outcome {
        Outcome::Running { run } => format!("schedule {schedule} has started {experiment}: run {run}"),
        outcome => format!("schedule {schedule}, {experiment} on {cluster}: {}", outcome.words()),
    };
    let refused = matches!(outcome, Outcome::Refused { .. }).then_some(Topic::Refused);
    say_about(server, severity, Some(cluster.clone()), text, refused).await;
}
