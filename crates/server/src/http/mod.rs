//! The HTTP API (`firedrill_api::http` has the table) and the pages. One module per resource.

mod attacks;
mod body;
mod clusters;
mod events;
mod evidence;
mod guards;
mod headers;
mod health;
mod hosts;
mod listing;
mod messages;
mod once;
mod openapi;
mod operations;
mod origin;
mod people;
mod routes;
mod runs;
mod schedules;
mod series;
mod status;
mod templates;
mod timeline;

pub(crate) use attacks::{admitted as attack_admitted, take_out};
pub(crate) use clusters::{ask, fingerprints};
pub(crate) use hosts::{all as all_hosts, find as find_host, keep_out};
pub(crate) use messages::{channel, no_channel};
pub use openapi::openapi;
pub(crate) use routes::Routes;
pub(crate) use runs::{RUNS_ARE_LISTED, find as find_run, halt_run};

use crate::problem::{Failure, not_found};
use crate::server::Server;
use crate::{experiment, pages, traces};
use aide::axum::routing::{get, post, put};
use axum::extract::Path;
use axum::http::Uri;
use axum::{Json, Router, middleware};
use firedrill_api::http::ExperimentEntry;
use std::str::FromStr;
use std::sync::Arc;

/// Rows of a list when nothing else was asked for.
const LIST_ROWS: u32 = 200;

/// The API and the pages.
pub(crate) fn router(server: Arc<Server>) -> Router {
    routes()
        .gated(&server)
        .fallback(unknown)
        .layer(middleware::from_fn(pages::as_pages))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), origin::check))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), headers::strict))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), traces::call))
        .with_state(server)
}

/// The path of every call and page, as it is routed: for those who check that each has its entry in
/// [`RULES`](crate::access::RULES).
#[must_use]
pub fn paths() -> Vec<String> {
    routes().paths()
}

fn routes() -> Routes {
    let api = Routes::new()
        .route("/openapi.json", get(openapi::show))
        .route("/status", get(status::status))
        .route("/halt", post(status::halt))
        .route("/resume", post(status::resume))
        .route("/clusters", get(clusters::list))
        .route("/clusters/{cluster}", get(clusters::show).put(clusters::register))
        .route("/clusters/{cluster}/requests", post(clusters::request))
        .route("/clusters/{cluster}/requests/plan", post(clusters::plan))
        .route("/clusters/{cluster}/series", get(series::show))
        .route("/clusters/{cluster}/fingerprint", post(clusters::fingerprint))
        .route("/hosts", get(hosts::list))
        .route("/hosts/{host}", get(hosts::show))
        .route("/hosts/{host}/token", post(hosts::token))
        .route("/hosts/{host}/revoke", post(hosts::revoke))
        .route("/operations", get(operations::list))
        .route("/operations/{operation}", get(operations::show))
        .route("/experiments", get(experiments))
        .route("/runs", get(runs::list).post(runs::start))
        .route("/runs/{run}", get(runs::show))
        .route("/runs/{run}/report.html", get(runs::report))
        .route("/runs/{run}/history", get(runs::history))
        .route("/runs/{run}/halt", post(runs::halt))
        .route("/runs/{run}/notes", post(runs::note))
        .route("/runs/{run}/parts", post(runs::take_part))
        .route("/attacks", get(attacks::list).post(attacks::start))
        .route("/attacks/{attack}/undo", post(attacks::undo))
        .route("/templates", get(templates::list).post(templates::save))
        .route("/templates/{template}", get(templates::show).delete(templates::remove))
        .route("/templates/{template}/preview", post(templates::preview))
        .route("/templates/{template}/start", post(templates::start))
        .route("/imports/chaos-toolkit", post(templates::import))
        .route("/attacks/plan", post(guards::plan_attack))
        .route("/runs/plan", post(guards::plan_run))
        .route("/guards", get(guards::show).put(guards::set))
        .route("/guards/overrides", get(guards::overrides))
        .route("/approvals", get(guards::approvals))
        .route("/approvals/{id}", post(guards::approve))
        .route("/timeline", get(timeline::list))
        .route("/events", get(events::stream))
        .route("/login", post(people::log_in))
        .route("/logout", post(people::log_out))
        .route("/me", get(people::me))
        .route("/users", get(people::users).post(people::add_user))
        .route("/users/{user}/grants", post(people::set_grants))
        .route("/users/{user}/password", post(people::change_password))
        .route("/users/{user}/disable", post(people::disable))
        .route("/users/{user}/enable", post(people::enable))
        .route("/users/{user}/totp", post(people::make_totp))
        .route("/users/{user}/totp/confirm", post(people::confirm_totp))
        .route("/users/{user}/totp/remove", post(people::remove_totp))
        .route("/teams", get(people::teams))
        .route("/teams/{team}", put(people::set_team).delete(people::remove_team))
        .route("/tokens", get(people::tokens).post(people::create_token))
        .route("/tokens/{token}/revoke", post(people::revoke_token))
        .route("/audit", get(people::audit_entries))
        .route("/audit/verify", get(people::verify_audit))
        .merge(schedules::routes())
        .merge(messages::routes())
        .merge(evidence::routes());
    Routes::new()
        .nest("/api/v1", api)
        .route("/healthz", axum::routing::get(health::live))
        .route("/readyz", axum::routing::get(health::ready))
        .route("/metrics", axum::routing::get(health::metrics))
        .merge(pages::router())
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
