//! Schedules, the calendar, black-outs, and who is there.

use super::body::{Body, Parameters};
use super::{Routes, name};
use crate::access::Acting;
use crate::problem::{Failure, MALFORMED, problem};
use crate::schedules::{self as scheduling, by_person};
use crate::server::Server;
use aide::axum::routing::{delete, get, post};
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::http::{Done, Problem, Reason};
use firedrill_api::schedules::{AddClosure, Calendar, SayPresence, ScheduleView, TodayMessage};
use firedrill_model::ScheduleName;
use firedrill_schedule::{Closure, Code, Presence, Schedule, Zone};
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
    Ok(Json(by_person::views(&server, &acting).await?))
}

async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    schedule: Path<String>,
) -> Result<Json<ScheduleView>, Failure> {
    Ok(Json(by_person::view(&server, &acting, &name(schedule, "schedule")?).await?))
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
    Ok(Json(by_person::put(&server, &acting, schedule).await?))
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
    Ok(Json(by_person::remove(&server, &acting, &name(schedule, "schedule")?).await?))
}

async fn pause(
    State(server): State<Arc<Server>>,
    acting: Acting,
    schedule: Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<ScheduleView>, Failure> {
    Ok(Json(by_person::pause(&server, &acting, &name(schedule, "schedule")?, &body.reason).await?))
}

async fn resume(
    State(server): State<Arc<Server>>,
    acting: Acting,
    schedule: Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<ScheduleView>, Failure> {
    Ok(Json(by_person::resume(&server, &acting, &name(schedule, "schedule")?, &body.reason).await?))
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
    Ok(Json(by_person::add_closure(&server, &acting, add).await?))
}

async fn remove_blackout(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(id): Path<String>,
) -> Result<Json<Done>, Failure> {
    Ok(Json(by_person::remove_closure(&server, &acting, &id).await?))
}

async fn presences(State(server): State<Arc<Server>>) -> Result<Json<Vec<Presence>>, Failure> {
    Ok(Json(server.store.presences(crate::clock::now()).await?))
}

async fn say_presence(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Body(presence): Body<SayPresence>,
) -> Result<Json<Presence>, Failure> {
    Ok(Json(by_person::say_presence(&server, &acting, presence).await?))
}
