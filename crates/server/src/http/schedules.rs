//! Schedules, the calendar, black-outs, and who is there.

use super::body::{Body, Parameters};
use super::{Routes, name};
use crate::access::{self, Acting};
use crate::problem::{Failure, MALFORMED, problem};
use crate::schedules as scheduling;
use crate::server::Server;
use aide::axum::routing::{delete, get, post};
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::http::{Done, Problem, Reason};
use firedrill_api::schedules::{AddClosure, Calendar, SayPresence, ScheduleView, TodayMessage};
use firedrill_model::ScheduleName;
use firedrill_model::access::{Action, Object};
use firedrill_schedule::{Closure, Code, Presence, Schedule, Scope, Zone};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// All routes of this module.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/schedules", get(list))
        .route("/schedules/{schedule}", get(show).put(put).delete(remove))
        .route("/schedules/{schedule}/pause", post(pause))
        .route("/schedules/{schedule}/resume", post(resume))
        .route("/calendar", get(calendar))
        .route("/today", get(today))
        .route("/blackouts", get(blackouts).post(add_blackout))
        .route("/blackouts/{id}", delete(remove_blackout))
        .route("/presence", get(presences).post(say_presence))
}

async fn list(State(server): State<Arc<Server>>, acting: Acting) -> Result<Json<Vec<ScheduleView>>, Failure> {
    let mut views = scheduling::views(&server).await?;
    views.retain(|view| view.schedule.clusters().any(|cluster| acting.sees(Some(cluster))));
    Ok(Json(views))
}

async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    schedule: Path<String>,
) -> Result<Json<ScheduleView>, Failure> {
    let view = scheduling::view(&server, &name(schedule, "schedule")?).await?;
    on_its_clusters(&server, &acting, Action::View, &view.schedule).await?;
    Ok(Json(view))
}

/// Whether they may do that on every cluster of a schedule.
async fn on_its_clusters(server: &Server, acting: &Acting, action: Action, schedule: &Schedule) -> Result<(), Problem> {
    for cluster in schedule.clusters() {
        acting.may(server, action, &Object::Cluster(cluster.clone())).await?;
    }
    Ok(())
}

/// Whether they may start by hand what the schedule starts.
async fn as_by_hand(server: &Server, acting: &Acting, schedule: &Schedule) -> Result<(), Problem> {
    let experiments = scheduling::experiments(server, schedule).await?;
    for cluster in schedule.clusters() {
        for experiment in &experiments {
            access::may_run(server, acting, cluster, experiment).await?;
        }
    }
    access::note(&format!("{}: {}", schedule.name, schedule.subject()));
    Ok(())
}

async fn put(
    State(server): State<Arc<Server>>,
    acting: Acting,
    schedule: Path<String>,
    Body(body): Body<Value>,
) -> Result<Json<ScheduleView>, Failure> {
    let named: ScheduleName = name(schedule, "schedule")?;
    let schedule = read(body)?;
    if schedule.name != named {
        let message = format!("the address names schedule {named}, the body {}; they must agree", schedule.name);
        return Err(Failure(problem(MALFORMED, message)));
    }
    scheduling::refuse_broken(&schedule, crate::clock::now())?;
    if let Ok(before) = scheduling::view(&server, &named).await {
        // To change one is to take the old one away.
        on_its_clusters(&server, &acting, Action::Attack, &before.schedule).await?;
    }
    as_by_hand(&server, &acting, &schedule).await?;
    Ok(Json(scheduling::put(&server, schedule).await?))
}

/// A schedule out of JSON. An unknown zone is told from everything else that can be wrong: it has a code of its own.
fn read(body: Value) -> Result<Schedule, Problem> {
    if let Some(Err(unknown)) = body.get("zone").and_then(Value::as_str).map(str::parse::<Zone>) {
        return Err(problem(Code::Zone.as_str(), unknown.to_string()));
    }
    serde_json::from_value(body)
        .map_err(|error| problem(Code::Malformed.as_str(), format!("this is not a schedule: {error}")))
}

async fn remove(
    State(server): State<Arc<Server>>,
    acting: Acting,
    schedule: Path<String>,
) -> Result<Json<Done>, Failure> {
    let schedule = name(schedule, "schedule")?;
    let view = scheduling::view(&server, &schedule).await?;
    on_its_clusters(&server, &acting, Action::Attack, &view.schedule).await?;
    Ok(Json(scheduling::remove(&server, &schedule).await?))
}

async fn pause(
    State(server): State<Arc<Server>>,
    acting: Acting,
    schedule: Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<ScheduleView>, Failure> {
    let schedule = name(schedule, "schedule")?;
    let view = scheduling::view(&server, &schedule).await?;
    on_its_clusters(&server, &acting, Action::Stop, &view.schedule).await?;
    Ok(Json(scheduling::pause(&server, &schedule, &body.reason).await?))
}

async fn resume(
    State(server): State<Arc<Server>>,
    acting: Acting,
    schedule: Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<ScheduleView>, Failure> {
    let schedule = name(schedule, "schedule")?;
    as_by_hand(&server, &acting, &scheduling::view(&server, &schedule).await?.schedule).await?;
    Ok(Json(scheduling::resume(&server, &schedule, &body.reason).await?))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct CalendarQuery {
    days: Option<u32>,
    back: Option<u32>,
    schedule: Option<ScheduleName>,
}

async fn calendar(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Parameters(query): Parameters<CalendarQuery>,
) -> Result<Json<Calendar>, Failure> {
    let mut calendar = scheduling::calendar(&server, query.days, query.back, query.schedule.as_ref()).await?;
    calendar.entries.retain(|entry| acting.sees(Some(&entry.cluster)));
    Ok(Json(calendar))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct TodayQuery {
    zone: Option<String>,
}

async fn today(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Parameters(query): Parameters<TodayQuery>,
) -> Result<Json<TodayMessage>, Failure> {
    let zone = query.zone.map(|zone| zone.parse::<Zone>()).transpose();
    let zone = zone.map_err(|unknown| problem(Code::Zone.as_str(), unknown.to_string()))?;
    Ok(Json(scheduling::today(&server, zone, |cluster| acting.sees(Some(cluster))).await?))
}

async fn blackouts(State(server): State<Arc<Server>>) -> Result<Json<Vec<Closure>>, Failure> {
    Ok(Json(server.store.closures(crate::clock::now()).await?))
}

async fn add_blackout(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Body(add): Body<AddClosure>,
) -> Result<Json<Closure>, Failure> {
    acting.may(&server, Action::Operate, &reach(&add.scope)).await?;
    Ok(Json(scheduling::add_closure(&server, add).await?))
}

/// What a black-out closes. A service has no grants of its own: its hosts may be of any cluster.
fn reach(scope: &Scope) -> Object {
    match scope {
        Scope::Cluster(cluster) => Object::Cluster(cluster.clone()),
        Scope::All | Scope::Service(_) => Object::Everything,
    }
}

async fn remove_blackout(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(id): Path<String>,
) -> Result<Json<Done>, Failure> {
    let known = server.store.closures(crate::clock::now()).await?;
    if let Some(closure) = known.iter().find(|closure| closure.id == id) {
        acting.may(&server, Action::Operate, &reach(&closure.scope)).await?;
    }
    Ok(Json(scheduling::remove_closure(&server, &id).await?))
}

async fn presences(State(server): State<Arc<Server>>) -> Result<Json<Vec<Presence>>, Failure> {
    Ok(Json(server.store.presences(crate::clock::now()).await?))
}

async fn say_presence(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Body(presence): Body<SayPresence>,
) -> Result<Json<Presence>, Failure> {
    // For themselves; for others, as a roster does it, with the right to set things up.
    let own = presence.person == access::by();
    let action = if own { Action::Operate } else { Action::Configure };
    let object = presence.cluster.clone().map_or(Object::Everything, Object::Cluster);
    acting.may(&server, action, &object).await?;
    Ok(Json(scheduling::say_presence(&server, presence).await?))
}
