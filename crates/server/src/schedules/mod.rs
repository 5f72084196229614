//! Schedules: experiments that start by themselves.
//!
//! [`follow`] looks once a second; [`tick`] is one look: runs that have ended are noted, and what is due is started
//! through the same guards as by a person. `edit` is what people change, `show` what they read, `by_person`
//! both with what they need for it. Every decision is made in `firedrill_schedule`, from facts that are gathered here.

pub(crate) mod by_person;
mod edit;
mod settle;
mod show;
mod start;

pub(crate) use edit::refuse_broken;
pub use edit::{add_closure, pause, put, remove, remove_closure, resume, say_presence};
pub(crate) use show::{DAYS_MAX, Preview, between, gather_today, preview};
pub use show::{calendar, today, view, views};

use crate::Server;
use crate::clock::now;
use crate::experiment;
use crate::problem::{chain, not_found};
use crate::templates;
use firedrill_api::http::{Problem, StartRun};
use firedrill_model::experiment::Experiment;
use firedrill_model::message::Topic;
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{ClusterName, Severity, Timestamp};
use firedrill_schedule::programme::Attempt;
use firedrill_schedule::{Closure, Presence, Schedule, TemplateUse, Timing, Week, WeekPlan};
use firedrill_store::{RunSummary, ScheduleRecord, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked for what is due. Due times are whole minutes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks for what is due until the server stops.
pub(crate) async fn follow(server: Arc<Server>, shutdown: CancellationToken) {
    let mut beat = tokio::time::interval(LOOK_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
        tick(&server, now()).await;
    }
}

/// One look at what is due up to a moment. Looking twice starts nothing twice, in this process or in another.
pub async fn tick(server: &Arc<Server>, now: Timestamp) {
    let _one_at_a_time = server.schedule_looks.lock().await;
    if let Err(error) = settle::settle(server, now).await {
        tracing::error!(error = %chain(&error), "what came of scheduled runs was not noted; tried again");
    }
    let records = match server.store.schedules().await {
        Ok(records) => records,
        Err(error) => {
            tracing::error!(error = %chain(&error), "schedules cannot be read; tried again");
            return;
        }
    };
    for record in records {
        if let Err(error) = start::look(server, &record, now).await {
            let schedule = &record.schedule.name;
            tracing::error!(%schedule, error = %chain(&error), "a schedule was not looked at; tried again");
        }
    }
}

/// What decisions need to know beside the schedule itself.
struct Facts {
    closures: Vec<Closure>,
    presences: Vec<Presence>,
}

impl Facts {
    async fn gather(server: &Server, now: Timestamp) -> Result<Self, StoreError> {
        Ok(Self { closures: server.store.closures(now).await?, presences: server.store.presences(now).await? })
    }
}

/// The plan of a week: the stored one, or a new one, which is stored before anybody sees it.
async fn plan_of(
    server: &Server,
    record: &ScheduleRecord,
    week: Week,
    closures: &[Closure],
) -> Result<WeekPlan, StoreError> {
    let name = &record.schedule.name;
    if let Some(plan) = server.store.week_plan(name, week).await? {
        return Ok(plan);
    }
    let plan = firedrill_schedule::plan(&record.schedule, week, record.seed, closures);
    server.store.keep_week_plan(name, record.seed, plan).await
}

/// An experiment that a schedule can start.
#[derive(Clone)]
struct Subject {
    name: String,
    title: String,
    hypothesis: String,
    yaml: String,
}

/// Reads an experiment; the library may have changed since the schedule was added.
fn read(yaml: &str) -> Result<Subject, Problem> {
    let experiment = experiment::read(&StartRun { yaml: yaml.to_owned(), ..StartRun::default() })?;
    let Experiment { name, title, hypothesis, .. } = experiment;
    Ok(Subject { name, title, hypothesis, yaml: yaml.to_owned() })
}

/// What a schedule starts, unless it is a programme.
async fn subject(server: &Server, schedule: &Schedule) -> Result<Subject, Problem> {
    if let Some(yaml) = &schedule.file {
        return read(yaml);
    }
    if let Some(TemplateUse { name, values }) = &schedule.template {
        return read(&templates::filled(server, name, values).await?);
    }
    let name = schedule.experiment.as_deref().unwrap_or_default();
    let entry = experiment::library().into_iter().find(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| not_found("experiment", name, "`firedrill experiment list` shows the library"))?;
    read(&entry.yaml)
}

/// The experiment of a rung.
fn of_rung(rung: u32) -> Result<Subject, Problem> {
    let entry = experiment::library().into_iter().find(|entry| entry.rung == Some(rung));
    let entry = entry.ok_or_else(|| not_found("rung", rung, "`firedrill experiment list` shows the ladder"))?;
    read(&entry.yaml)
}

/// All experiments that a schedule may start.
///
/// # Errors
/// The experiment is not known, or not well-formed.
pub(crate) async fn experiments(server: &Server, schedule: &Schedule) -> Result<Vec<Experiment>, Problem> {
    let yamls = match &schedule.when {
        Timing::Programme(_) => {
            experiment::library().into_iter().filter(|entry| entry.rung.is_some()).map(|entry| entry.yaml).collect()
        }
        _ => vec![subject(server, schedule).await?.yaml],
    };
    yamls.into_iter().map(|yaml| experiment::read(&StartRun { yaml, ..StartRun::default() })).collect()
}

/// How many rungs the ladder has.
fn rungs() -> u32 {
    experiment::library().iter().filter_map(|entry| entry.rung).max().unwrap_or(0)
}

/// What a programme goes by: every run of a rung on the cluster that has ended, whoever started it.
async fn attempts(server: &Server, cluster: &ClusterName) -> Result<Vec<Attempt>, StoreError> {
    let library = experiment::library();
    let rung_of = |name: &str| library.iter().find(|entry| entry.name == name).and_then(|entry| entry.rung);
    let runs = server.store.runs_on(cluster).await?;
    let attempt =
        |run: &RunSummary| Some(Attempt { rung: rung_of(&run.experiment)?, at: run.began, verdict: run.verdict? });
    Ok(runs.iter().filter_map(attempt).collect())
}

/// The values of the tag `service` on the hosts of a cluster.
fn services(server: &Server, cluster: &ClusterName) -> BTreeSet<String> {
    let hosts = server
        .fleet
        .records()
        .into_iter()
        .filter(|host| host.gateway_of.as_ref() == Some(cluster) || host.nodes.iter().any(|(of, _)| of == cluster));
    hosts.filter_map(|host| host.tags.get("service").cloned()).collect()
}

/// A line for the timeline.
async fn say(server: &Server, severity: Severity, cluster: Option<ClusterName>, text: String) {
    say_about(server, severity, cluster, text, None).await;
}

/// A line that people are sent messages about.
async fn say_about(
    server: &Server,
    severity: Severity,
    cluster: Option<ClusterName>,
    text: String,
    about: Option<Topic>,
) {
    server.timeline.append(severity, EventKind::Schedule, text, Scope { cluster, about, ..Scope::default() }).await;
}
