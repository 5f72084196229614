//! Runs: the list, one while it goes on and afterwards, some side by side, the game day.

mod doing;
mod watched;

use super::{PAGE_ROWS, frame};
use crate::access::Acting;
use crate::http::{RUNS_ARE_LISTED, Routes, find_run};
use crate::problem::{Failure, MALFORMED, not_found, problem};
use crate::server::{Server, run_entry};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use firedrill_console::Place;
use firedrill_console::run::list::{Runs, RunsQuery};
use firedrill_console::run::recap::{self, Recap};
use firedrill_console::run::{self, compare, game_day, list};
use firedrill_model::{RunId, Verdict};
use firedrill_store::{Page, RunFilter};
use std::sync::Arc;

pub(super) fn router() -> Routes {
    Routes::new()
        .route("/runs", get(runs))
        .route("/runs/compare", get(side_by_side))
        .route("/runs/{run}", get(one))
        .route("/runs/{run}/gameday", get(day))
        .route("/runs/{run}/recap", get(recap))
        .route("/runs/{run}/recap.md", get(markdown))
        .route("/runs/{run}/halt", post(doing::halt))
        .route("/runs/{run}/notes", post(doing::note))
        .route("/runs/{run}/parts", post(doing::take_part))
        .route("/runs/{run}/template", post(doing::keep_template))
}

/// `GET /runs`.
async fn runs(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(query): Query<RunsQuery>,
) -> Result<Html<String>, Failure> {
    let given = |text: &'_ String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let (cluster, experiment) = (given(&query.cluster), given(&query.experiment));
    let filter = RunFilter {
        cluster: cluster.as_deref(),
        experiment: experiment.as_deref(),
        verdict: verdict(query.verdict.trim())?,
    };
    let page = Page { limit: PAGE_ROWS, before: query.before.as_deref() };
    let found = server.store.runs_like(&filter, page).await?;
    let is_full = found.len() == PAGE_ROWS as usize;
    let next = found.last().filter(|_| is_full).map(|run| run.run.to_string());
    let runs = found.into_iter().map(run_entry).filter(|run| acting.sees(Some(&run.cluster))).collect();
    let frame = frame(&server, &acting, "Runs", Place::Runs);
    Ok(Html(list::page(&frame, &Runs { query, runs, next })))
}

fn verdict(text: &str) -> Result<Option<Option<Verdict>>, Failure> {
    Ok(Some(match text {
        "" => return Ok(None),
        "running" => None,
        "passed" => Some(Verdict::Passed),
        "failed" => Some(Verdict::Failed),
        "inconclusive" => Some(Verdict::Inconclusive),
        "error" => Some(Verdict::Error),
        other => {
            return Err(Failure(problem(
                MALFORMED,
                format!("{other:?} is no verdict; the list offers those that there are"),
            )));
        }
    }))
}

/// `GET /runs/compare`.
async fn side_by_side(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Html<String>, Failure> {
    let mut reports = Vec::new();
    for (_, run) in pairs.into_iter().filter(|(name, _)| name == "run").take(compare::RUNS_MAX) {
        let report = find_run(&server, &RunId(run)).await?;
        if !acting.sees(Some(&report.cluster)) {
            // One that they may not see is one that there is not.
            return Err(Failure(not_found("run", &report.run, RUNS_ARE_LISTED)));
        }
        reports.push(report);
    }
    let frame = frame(&server, &acting, "Runs side by side", Place::Runs);
    Ok(Html(compare::page(&frame, &reports)))
}

/// `GET /runs/{run}`.
async fn one(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Html<String>, Failure> {
    let mut watched = watched::watched(&server, &RunId(run)).await?;
    watched.fresh_only = headers.contains_key(super::FRESH_ONLY);
    let frame = frame(&server, &acting, &watched.report.experiment.title, Place::Runs);
    Ok(Html(run::page(&frame, &watched)))
}

/// `GET /runs/{run}/gameday`.
async fn day(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(run): Path<String>,
) -> Result<Html<String>, Failure> {
    let watched = watched::watched(&server, &RunId(run)).await?;
    let view = server.keepers.view(&watched.report.cluster).ok();
    let frame = frame(&server, &acting, &format!("Game day · {}", watched.report.experiment.title), Place::Runs);
    Ok(Html(game_day::page(&frame, &watched, view.as_ref())))
}

/// `GET /runs/{run}/recap`.
async fn recap(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(run): Path<String>,
) -> Result<Html<String>, Failure> {
    let report = watched::fresh(&server, &RunId(run)).await?;
    let frame = frame(&server, &acting, &format!("Recap · {}", report.experiment.title), Place::Runs);
    Ok(Html(recap::page(&frame, &Recap::of(&report))))
}

/// `GET /runs/{run}/recap.md`.
async fn markdown(State(server): State<Arc<Server>>, Path(run): Path<String>) -> Result<Response, Failure> {
    let report = watched::fresh(&server, &RunId(run)).await?;
    let name = format!("attachment; filename=\"recap-{}.md\"", report.run);
    let headers = [(CONTENT_TYPE, "text/markdown; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, Recap::of(&report).markdown()).into_response())
}
