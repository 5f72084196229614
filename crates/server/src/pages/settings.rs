//! Settings: the server itself, and the limits of the guards. Messages have a module of their own.

use super::{PAGE_ROWS, frame, messages, refused};
use crate::access::{self, Acting};
use crate::clock::now;
use crate::guards::settings;
use crate::http::Routes;
use crate::problem::{Failure, LIMITS, problem};
use crate::server::Server;
use axum::extract::{Form, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::http::Problem;
use firedrill_console::guard_limits::{self, GuardLimits};
use firedrill_console::settings::{self as shown, Flag, Settings};
use firedrill_console::{Place, Typed};
use firedrill_model::guard::GuardPolicy;
use serde::Deserialize;
use std::sync::Arc;

/// Where a form of the guards leads when it was taken.
const GUARDS_ARE_SET: &str = "/settings/guards?set=true";

/// The pages of settings, those of messages among them.
pub(super) fn router() -> Routes {
    Routes::new()
        .route("/settings", get(show))
        .route("/settings/guards", get(guards).post(set))
        .route("/settings/guards/default", post(set_default))
        .merge(messages::router())
}

/// `GET /settings`.
async fn show(State(server): State<Arc<Server>>, acting: Acting) -> Result<Html<String>, Failure> {
    let config = &server.config;
    let page = Settings {
        status: server.status(),
        now: now(),
        halted_since: server.store.halt().await?.map(|halt| halt.since),
        http: config.http_advertised.clone().unwrap_or_else(|| config.http.to_string()),
        link: config.link_advertised.unwrap_or_else(|| server.link_address()).to_string(),
        shared: config.shared.is_some(),
        flags: flags(&server),
    };
    Ok(Html(shown::page(&frame(&server, &acting, "Settings", Place::Settings), &page)))
}

/// What was said when the server was started. The address of a store is shown without its password.
fn flags(server: &Server) -> Vec<Flag> {
    let config = &server.config;
    let flag = |name, value: String, about| Flag { name, value, about };
    let or = |value: Option<String>, none: &str| value.unwrap_or_else(|| none.to_owned());
    vec![
        flag("--data-dir", config.data_dir.display().to_string(), "Where state, keys and histories live."),
        flag(
            "--store",
            or(config.shared.as_ref().map(ToString::to_string), "a file in the data directory"),
            "The database, when several servers share one.",
        ),
        flag("--http", config.http.to_string(), "Where people, scripts and pages connect."),
        flag(
            "--http-advertised",
            or(config.http_advertised.clone(), "as --http"),
            "What people and scripts of other servers are led to.",
        ),
        flag("--link", server.link_address().to_string(), "Where agents connect."),
        flag(
            "--link-advertised",
            or(config.link_advertised.map(|address| address.to_string()), "as --link"),
            "What agents are told to connect to.",
        ),
        flag(
            "--behind-tls-proxy",
            if config.behind_tls_proxy { "yes" } else { "no" }.to_owned(),
            "A proxy in front ends TLS, so cookies are for TLS alone.",
        ),
        flag("--otlp", or(config.otlp.as_ref().map(ToString::to_string), "nowhere"), "Where traces are sent."),
    ]
}

/// Whether the limits have just been set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    set: String,
}

/// `GET /settings/guards`.
async fn guards(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Failure> {
    let is_set = asked.set == "true";
    Ok(Html(guards_page(&server, &acting, GuardLimits { is_set, ..GuardLimits::default() }).await?))
}

/// The page, with the limits in force and the newest overrides.
async fn guards_page(server: &Server, acting: &Acting, page: GuardLimits) -> Result<String, Failure> {
    let mut overrides = server.store.overrides(PAGE_ROWS + 1).await?;
    let rows = usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX);
    let more = overrides.len() > rows;
    overrides.truncate(rows);
    overrides.retain(|one| acting.sees(Some(&one.cluster)));
    let page = GuardLimits { policy: settings::policy(server).await?, overrides, more, ..page };
    Ok(guard_limits::page(&frame(server, acting, "Guards", Place::Settings), &page))
}

/// `POST /settings/guards`.
async fn set(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let typed = Typed::of(pairs);
    let is_set = match guard_limits::read(&typed) {
        Ok(limits) => set_limits(&server, limits).await,
        Err(why) => Err(problem(LIMITS, format!("the limits are not taken: {why}"))),
    };
    match is_set {
        Ok(()) => Ok(Redirect::to(GUARDS_ARE_SET).into_response()),
        Err(why) => {
            let page = GuardLimits { typed: Some(typed), problem: Some(why), ..GuardLimits::default() };
            Ok(refused(guards_page(&server, &acting, page).await?))
        }
    }
}

/// `POST /settings/guards/default`: as they are when nobody has set any.
async fn set_default(State(server): State<Arc<Server>>) -> Result<Redirect, Failure> {
    set_limits(&server, GuardPolicy::default()).await?;
    Ok(Redirect::to(GUARDS_ARE_SET))
}

async fn set_limits(server: &Server, limits: GuardPolicy) -> Result<(), Problem> {
    settings::set(server, limits, &access::by()).await?;
    Ok(())
}
