//! What people change.

use super::{say, say_about, subject, view};
use crate::Server;
use crate::clock::now;
use crate::problem::{MALFORMED, not_found, problem, refusal, store_failed};
use firedrill_api::http::{Done, Problem};
use firedrill_api::schedules::{AddClosure, SayPresence, ScheduleView};
use firedrill_model::message::Topic;
use firedrill_model::{ScheduleName, Severity, Timestamp};
use firedrill_schedule::{Closure, Code, Presence, Schedule, Timing, check};
use firedrill_store::ScheduleRecord;

/// The schedule is not in the state that the request is about.
const STATE: &str = "S084";
/// Most schedules: each is looked at once a minute.
const SCHEDULES_MAX: usize = 500;
/// Longest name of a person and longest reason, characters.
const TEXT_MAX: usize = 1000;

const NEXT: &str = "`firedrill schedule list` shows those that are there";

/// Adds a schedule, or replaces the one of its name: the plan of each week is made anew, from the seed of the first,
/// and nothing that is due before now counts.
///
/// # Errors
/// It breaks a rule; a cluster or the experiment is not known; there are too many.
pub async fn put(server: &Server, schedule: Schedule) -> Result<ScheduleView, Problem> {
    let now = now();
    refuse_broken(&schedule, now)?;
    for cluster in schedule.clusters() {
        server.keepers.record(cluster)?;
    }
    if !matches!(schedule.when, Timing::Programme(_)) {
        subject(server, &schedule).await?;
    }
    let looks = server.schedule_looks.lock().await;
    let known = server.store.schedules().await.map_err(|error| store_failed(&error))?;
    let before = known.iter().find(|record| record.schedule.name == schedule.name);
    if before.is_none() && known.len() >= SCHEDULES_MAX {
        let message = format!("there are {SCHEDULES_MAX} schedules, and no more fit; remove one that is not needed");
        return Err(refusal(Code::Malformed.as_str(), message));
    }
    let word = if before.is_some() { "changed" } else { "added" };
    let record = ScheduleRecord {
        seed: before.map_or_else(new_seed, |record| record.seed),
        paused: before.and_then(|record| record.paused.clone()),
        added: now,
        looked: now,
        schedule,
    };
    server.store.save_schedule(&record).await.map_err(|error| store_failed(&error))?;
    drop(looks);
    let text = format!("schedule {} was {word}: {}", record.schedule.name, record.schedule.subject());
    say(server, Severity::Info, None, text).await;
    view(server, &record.schedule.name).await
}

/// What is wrong with a schedule.
///
/// # Errors
/// It breaks a rule.
pub(crate) fn refuse_broken(schedule: &Schedule, now: Timestamp) -> Result<(), Problem> {
    let problems = check(schedule, now);
    let Some(first) = problems.first() else { return Ok(()) };
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(problem(first.code.as_str(), format!("schedule {}: {}", schedule.name, lines.join("; "))))
}

/// Nobody gains from guessing it: the plan is shown.
fn new_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

/// Removes a schedule. A run that it has started goes on.
///
/// # Errors
/// There is none of that name.
pub async fn remove(server: &Server, name: &ScheduleName) -> Result<Done, Problem> {
    let _looks = server.schedule_looks.lock().await;
    if !server.store.remove_schedule(name).await.map_err(|error| store_failed(&error))? {
        return Err(not_found("schedule", name, NEXT));
    }
    say(server, Severity::Info, None, format!("schedule {name} was removed")).await;
    Ok(Done {})
}

/// Lets a schedule start nothing any more. A run that it has started goes on.
///
/// # Errors
/// There is none of that name, or it is paused already.
pub async fn pause(server: &Server, name: &ScheduleName, reason: &str) -> Result<ScheduleView, Problem> {
    let looks = server.schedule_looks.lock().await;
    let before = view(server, name).await?;
    if !server.store.pause_schedule(name, reason).await.map_err(|error| store_failed(&error))? {
        let why = before.paused.unwrap_or_default();
        return Err(refusal(STATE, format!("schedule {name} is paused already ({why}); nothing was changed")));
    }
    drop(looks);
    say(server, Severity::Info, None, format!("schedule {name} was paused: {reason}")).await;
    view(server, name).await
}

/// Lets a schedule start again, from now on.
///
/// # Errors
/// There is none of that name, or it is not paused.
pub async fn resume(server: &Server, name: &ScheduleName, reason: &str) -> Result<ScheduleView, Problem> {
    let looks = server.schedule_looks.lock().await;
    view(server, name).await?;
    if !server.store.resume_schedule(name, now()).await.map_err(|error| store_failed(&error))? {
        return Err(refusal(STATE, format!("schedule {name} is not paused; nothing was changed")));
    }
    drop(looks);
    let resumed = Some(Topic::ScheduleResumed { schedule: name.clone() });
    say_about(server, Severity::Info, None, format!("schedule {name} goes on: {reason}"), resumed).await;
    view(server, name).await
}

/// Closes something for schedules: a black-out, or, without an end, an opting-out.
///
/// # Errors
/// It ends before it begins, or is over already.
pub async fn add_closure(server: &Server, add: AddClosure) -> Result<Closure, Problem> {
    let AddClosure { scope, from, until, reason } = add;
    refuse_text("reason", &reason)?;
    let from = from.unwrap_or_else(now);
    if until.is_some_and(|until| until <= from || until <= now()) {
        let message = "the black-out ends before it begins, or is over already; give an end after its beginning";
        return Err(problem(Code::Contradiction.as_str(), message));
    }
    let id = uuid::Uuid::now_v7().to_string();
    let closure = Closure { id, scope, from: Some(from), until, reason };
    server.store.save_closure(&closure).await.map_err(|error| store_failed(&error))?;
    let word = if until.is_some() { "black-out" } else { "opting-out" };
    let scope = serde_json::to_string(&closure.scope).unwrap_or_default();
    say(server, Severity::Info, None, format!("{word} of {scope} for schedules: {}", closure.reason)).await;
    Ok(closure)
}

/// Opens it again.
///
/// # Errors
/// There is no such black-out.
pub async fn remove_closure(server: &Server, id: &str) -> Result<Done, Problem> {
    if !server.store.remove_closure(id).await.map_err(|error| store_failed(&error))? {
        return Err(not_found("black-out", format!("{id:?}"), "`firedrill schedule blackout list` shows them"));
    }
    say(server, Severity::Info, None, format!("black-out {id} was removed")).await;
    Ok(Done {})
}

/// Somebody is there, or leaves.
///
/// # Errors
/// The name is empty or endless.
pub async fn say_presence(server: &Server, presence: SayPresence) -> Result<Presence, Problem> {
    let SayPresence { person, cluster, until } = presence;
    refuse_text("person", &person)?;
    if let Some(cluster) = &cluster {
        server.keepers.record(cluster)?;
    }
    let since = now();
    let presence = Presence { person, cluster, since, until };
    server.store.save_presence(&presence).await.map_err(|error| store_failed(&error))?;
    let word = if until <= since { "leaves".to_owned() } else { format!("is there for {}", until.since(since)) };
    say(server, Severity::Info, presence.cluster.clone(), format!("{} {word}", presence.person)).await;
    Ok(presence)
}

fn refuse_text(what: &str, text: &str) -> Result<(), Problem> {
    let length = text.chars().count();
    if text.trim().is_empty() || length > TEXT_MAX {
        return Err(problem(MALFORMED, format!("{what} has {length} characters; give 1 to {TEXT_MAX}")));
    }
    Ok(())
}
