//! The HTTP API (`firedrill_api::http` has the table) and the pages. One module per resource.

mod attacks;
mod body;
mod clusters;
mod events;
mod evidence;
mod guards;
mod health;
mod hosts;
mod messages;
mod operations;
mod origin;
mod person;
mod runs;
mod schedules;
mod status;
mod templates;
mod timeline;

pub(crate) use runs::find as find_run;

use crate::problem::{Failure, not_found};
use crate::server::Server;
use crate::{experiment, pages};
use axum::extract::Path;
use axum::http::Uri;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use firedrill_api::http::ExperimentEntry;
use std::str::FromStr;
use std::sync::Arc;

/// Rows of a list when nothing else was asked for.
const LIST_ROWS: u32 = 200;

/// The API and the pages.
pub(crate) fn router(server: Arc<Server>) -> Router {
    let api = Router::new()
        .route("/status", get(status::status))
        .route("/halt", post(status::halt))
        .route("/resume", post(status::resume))
        .route("/clusters", get(clusters::list))
        .route("/clusters/{cluster}", get(clusters::show).put(clusters::register))
        .route("/clusters/{cluster}/requests", post(clusters::request))
        .route("/clusters/{cluster}/fingerprint", post(clusters::fingerprint))
        .route("/hosts", get(hosts::list))
        .route("/hosts/{host}/token", post(hosts::token))
        .route("/operations", get(operations::list))
        .route("/operations/{operation}", get(operations::show))
        .route("/experiments", get(experiments))
        .route("/runs", get(runs::list).post(runs::start))
        .route("/runs/{run}", get(runs::show))
        .route("/runs/{run}/report.html", get(runs::report))
        .route("/runs/{run}/history", get(runs::history))
        .route("/runs/{run}/halt", post(runs::halt))
        .route("/attacks", get(attacks::list).post(attacks::start))
        .route("/attacks/{attack}/undo", post(attacks::undo))
        .route("/templates", get(templates::list).post(templates::save))
        .route("/templates/{template}", get(templates::show).delete(templates::remove))
        .route("/templates/{template}/preview", post(templates::preview))
        .route("/templates/{template}/start", post(templates::start))
        .route("/attacks/plan", post(guards::plan_attack))
        .route("/runs/plan", post(guards::plan_run))
        .route("/guards", get(guards::show).put(guards::set))
        .route("/guards/overrides", get(guards::overrides))
        .route("/approvals", get(guards::approvals))
        .route("/approvals/{id}", post(guards::approve))
        .route("/timeline", get(timeline::list))
        .route("/events", get(events::stream))
        .merge(schedules::routes())
        .merge(messages::routes())
        .merge(evidence::routes());
    Router::new()
        .nest("/api/v1", api)
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .merge(pages::router())
        .fallback(unknown)
        .layer(middleware::from_fn(origin::check))
        .with_state(server)
}

async fn experiments() -> Json<Vec<ExperimentEntry>> {
    Json(experiment::library())
}

async fn unknown(uri: Uri) -> Failure {
    Failure(not_found("page or call", uri.path(), "the pages begin at /, the calls at /api/v1/status"))
}

/// A name in a path: refused with a problem, not with the framework's own words.
fn name<N>(Path(text): Path<String>, what: &str) -> Result<N, Failure>
where
    N: FromStr,
    N::Err: std::fmt::Display,
{
    text.parse().map_err(|error: N::Err| Failure(not_found(what, format!("{text:?}"), &error.to_string())))
}
