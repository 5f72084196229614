//! The pages, rendered by `firedrill_console` from what the API gives too. One module per part of the console.

mod account;
mod act;
mod approvals;
mod attacks;
mod audit;
mod calendar;
mod cluster;
mod editor;
mod evidence;
mod experiments;
mod fleet;
mod history;
mod hosts;
mod log_in;
mod messages;
mod openid;
mod palette;
mod people;
mod problems;
mod register;
mod runs;
mod schedules;
mod settings;
mod templates;

pub(crate) use problems::as_pages;

use crate::access::{self, Acting};
use crate::http::Routes;
use crate::problem::{Failure, not_found};
use crate::server::Server;
use crate::{error_pages, halt};
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, REFERER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_console::{Frame, Place, assets, pages};
use firedrill_model::ClusterName;
use serde::Deserialize;
use std::sync::Arc;

/// Rows of each list on a page.
const PAGE_ROWS: u32 = 50;
/// A page that is open already sends this header when it fetches itself again: what it has drawn itself is left out.
const FRESH_ONLY: &str = "firedrill-fresh-only";
/// What a person who presses the button means.
const BY_BUTTON: &str = "the button on the web page";

/// The pages and what they are made of.
pub(crate) fn router() -> Routes {
    Routes::new()
        .route("/", get(fleet::overview))
        .route("/clusters/{cluster}", get(cluster::cluster))
        .route("/clusters/{cluster}/act/{kind}", get(act::show).post(act::carry_out))
        .route("/clusters/{cluster}/operations", get(history::operations))
        .route("/clusters/{cluster}/durations", get(history::durations))
        .route("/operations/{operation}", get(cluster::operation))
        .route("/palette", get(palette::palette))
        .route("/halt", post(halt_everything))
        .route("/halt/resume", post(resume))
        .route("/assets/{name}", get(asset))
        .route("/errors/{code}", get(error_page))
        .route("/login", get(log_in::page).post(log_in::log_in))
        .route("/login/openid", get(openid::begin))
        .route("/login/openid/return", get(openid::come_back))
        .route("/logout", post(log_in::log_out))
        .merge(account::router())
        .merge(audit::router())
        .merge(calendar::router())
        .merge(evidence::router())
        .merge(hosts::router())
        .merge(people::router())
        .merge(register::router())
        .merge(runs::router())
        .merge(settings::router())
        .merge(schedules::router())
        .merge(experiments::router())
        .merge(attacks::router())
        .merge(approvals::router())
        .merge(templates::router())
        .merge(editor::router())
}

/// Which part of a list that is cut into pages: what is older than this.
#[derive(Debug, Default, Deserialize)]
struct Part {
    before: Option<String>,
}

/// A form that was refused: its page again, with what is wrong.
fn refused(page: String) -> Response {
    (StatusCode::CONFLICT, Html(page)).into_response()
}

/// The clusters that whoever looks may see, by name.
fn clusters(server: &Server, acting: &Acting) -> Vec<ClusterName> {
    let names = server.keepers.records().into_iter().map(|record| record.spec.name);
    names.filter(|name| acting.sees(Some(name))).collect()
}

/// What is around a page for whoever looks at it.
fn frame(server: &Server, acting: &Acting, title: &str, place: Place) -> Frame {
    Frame { title: title.to_owned(), place, me: access::me(server, acting), halted: server.halted() }
}

/// What an error code means, and what to do.
async fn error_page(Path(code): Path<String>) -> Result<Html<String>, Failure> {
    let page = error_pages::page(&code);
    let page = page.ok_or_else(|| not_found("error code", format!("{code:?}"), "each problem names its own"))?;
    Ok(Html(pages::explained(page)))
}

async fn halt_everything(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<Redirect, Failure> {
    halt::halt(&server, BY_BUTTON).await?;
    Ok(back(&headers))
}

async fn resume(State(server): State<Arc<Server>>, headers: HeaderMap) -> Result<Redirect, Failure> {
    halt::resume(&server, BY_BUTTON).await?;
    Ok(back(&headers))
}

/// To the page with the button, never to another site.
fn back(headers: &HeaderMap) -> Redirect {
    let from = headers.get(REFERER).and_then(|from| from.to_str().ok());
    let path = from.and_then(|from| from.split_once("://")?.1.split_once('/')).map(|(_, path)| format!("/{path}"));
    // What is asked of a page is given up: it may be anything.
    let path = path.map(|path| path.split(['?', '#']).next().unwrap_or_default().to_owned());
    Redirect::to(log_in::own_page(path.as_deref().unwrap_or("/")))
}

async fn asset(Path(name): Path<String>) -> Result<Response, Failure> {
    let asset = assets::get(&name).ok_or_else(|| not_found("file", &name, "the pages name those that there are"))?;
    // They change with the version of the server only, and are small.
    let headers = [(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, "max-age=60")];
    Ok((headers, asset.bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::LOCATION;

    #[test]
    fn a_button_leads_back_to_its_page_and_to_no_other_site() {
        for (from, to) in [
            ("http://127.0.0.1:7070/hosts?q=a%20b&page=2", "/hosts"),
            ("http://127.0.0.1:7070/runs/018f-1#timeline", "/runs/018f-1"),
            ("http://127.0.0.1:7070", "/"),
            ("http://127.0.0.1:7070//evil.example", "/"),
            ("nonsense", "/"),
        ] {
            let headers = HeaderMap::from_iter([(REFERER, from.parse().expect("a header"))]);
            let response = back(&headers).into_response();
            assert_eq!(response.headers()[LOCATION], to, "{from}");
        }
    }
}
