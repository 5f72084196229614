//! The pages, rendered by `firedrill_console` from what the API gives too.

mod log_in;
mod openid;

use crate::access::{self, Acting};
use crate::error_pages;
use crate::guards::approvals;
use crate::http::{Routes, find_run};
use crate::problem::{Failure, MALFORMED, not_found, problem};
use crate::server::{Server, run_entry};
use crate::{experiment, halt};
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::http::StartRun;
use firedrill_console::pages::FleetQuery;
use firedrill_console::{assets, pages};
use firedrill_model::report::RunState;
use firedrill_model::{ClusterName, OperationId, RunId};
use firedrill_store::TimelineFilter;
use serde::Deserialize;
use std::sync::Arc;

/// Rows of each list on a page.
const PAGE_ROWS: u32 = 50;
/// Operations under way that the first page tells the progress of: a region with fifty clusters is lost at once.
const UNDER_WAY_MAX: usize = 200;
/// What a person who presses the button means.
const BY_BUTTON: &str = "the button on the web page";

/// The pages and what they are made of.
pub(crate) fn router() -> Routes {
    Routes::new()
        .route("/", get(overview))
        .route("/clusters/{cluster}", get(cluster))
        .route("/runs", post(start_run))
        .route("/runs/{run}", get(run))
        .route("/operations/{operation}", get(operation))
        .route("/halt", post(halt_everything))
        .route("/halt/resume", post(resume))
        .route("/assets/{name}", get(asset))
        .route("/errors/{code}", get(error_page))
        .route("/who", get(log_in::who))
        .route("/login", get(log_in::page).post(log_in::log_in))
        .route("/login/openid", get(openid::begin))
        .route("/login/openid/return", get(openid::come_back))
        .route("/logout", post(log_in::log_out))
}

/// What an error code means, and what to do.
async fn error_page(Path(code): Path<String>) -> Result<Response, Failure> {
    let page = error_pages::page(&code);
    let page = page.ok_or_else(|| not_found("error code", format!("{code:?}"), "each problem names its own"))?;
    Ok(([(CONTENT_TYPE, "text/markdown; charset=utf-8")], page).into_response())
}

async fn overview(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(query): Query<FleetQuery>,
) -> Result<Html<String>, Failure> {
    let store = &server.store;
    let (views, operations) = (server.keepers.views(), store.operations(None, PAGE_ROWS).await?);
    let runs_under_way = store.runs_in(RunState::Running).await?.into_iter().map(run_entry);
    let mut operations_under_way = Vec::new();
    for id in views.iter().flat_map(|view| &view.operations).take(UNDER_WAY_MAX) {
        operations_under_way.extend(store.operation(id).await?);
    }
    let runs = store.runs(PAGE_ROWS).await?.into_iter().map(run_entry);
    let mut timeline = store.newest_events(&TimelineFilter::default(), PAGE_ROWS).await?;
    timeline.retain(|line| acting.sees(line.scope.cluster.as_ref()));
    Ok(Html(pages::overview(&pages::Overview {
        status: server.status(),
        query,
        operations_under_way,
        runs_under_way: runs_under_way.collect(),
        clusters: views.into_iter().filter(|view| acting.sees(Some(&view.cluster))).collect(),
        operations: operations.into_iter().filter(|operation| acting.sees(Some(&operation.cluster))).collect(),
        runs: runs.filter(|run| acting.sees(Some(&run.cluster))).collect(),
        hosts: server.fleet.views(),
        library: experiment::library(),
        timeline,
    })))
}

async fn cluster(State(server): State<Arc<Server>>, Path(name): Path<String>) -> Result<Html<String>, Failure> {
    let unknown = |_| not_found("cluster", &name, "the first page names those that are registered");
    let name: ClusterName = name.parse().map_err(unknown)?;
    let view = server.keepers.view(&name)?;
    let operations = server.store.operations(Some(&name), PAGE_ROWS).await?;
    let filter = TimelineFilter { cluster: Some(name), run: None };
    let timeline = server.store.newest_events(&filter, PAGE_ROWS).await?;
    Ok(Html(pages::cluster(server.halted().as_deref(), &view, &operations, &timeline)))
}

async fn run(State(server): State<Arc<Server>>, Path(run): Path<String>) -> Result<Html<String>, Failure> {
    let report = find_run(&server, &RunId(run)).await?;
    Ok(Html(pages::run(server.halted().as_deref(), &report)))
}

async fn operation(State(server): State<Arc<Server>>, Path(id): Path<String>) -> Result<Html<String>, Failure> {
    let id = OperationId(id);
    let found = server.store.operation(&id).await?;
    let found = found.ok_or_else(|| not_found("operation", &id, "the first page shows the newest"))?;
    Ok(Html(pages::operation(server.halted().as_deref(), &found)))
}

#[derive(Debug, Deserialize)]
struct StartForm {
    experiment: String,
    cluster: ClusterName,
}

async fn start_run(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(form): Form<StartForm>,
) -> Result<Redirect, Failure> {
    let entry = experiment::library().into_iter().find(|entry| entry.name == form.experiment);
    let entry = entry.ok_or_else(|| problem(MALFORMED, format!("there is no experiment {:?}", form.experiment)))?;
    let start = StartRun { yaml: entry.yaml, cluster: Some(form.cluster), ..StartRun::default() };
    access::may_start_run(&server, &acting, &start).await?;
    let started = approvals::start_run(server, start, &access::by()).await?;
    Ok(Redirect::to(&format!("/runs/{}", started.run)))
}

/// Tells the page to fetch itself again; a script in the page could not, for pages hold none.
const FETCH_AGAIN: [(&str, &str); 1] = [("hx-refresh", "true")];

async fn halt_everything(State(server): State<Arc<Server>>) -> Result<impl IntoResponse, Failure> {
    halt::halt(&server, BY_BUTTON).await?;
    Ok((StatusCode::NO_CONTENT, FETCH_AGAIN))
}

async fn resume(State(server): State<Arc<Server>>) -> Result<impl IntoResponse, Failure> {
    halt::resume(&server, BY_BUTTON).await?;
    Ok((StatusCode::NO_CONTENT, FETCH_AGAIN))
}

async fn asset(Path(name): Path<String>) -> Result<Response, Failure> {
    let asset = assets::get(&name).ok_or_else(|| not_found("file", &name, "the pages name those that there are"))?;
    // They change with the version of the server only, and are small.
    let headers = [(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, "max-age=60")];
    Ok((headers, asset.bytes).into_response())
}
