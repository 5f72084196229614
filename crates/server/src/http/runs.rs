//! Runs of experiments.

use super::body::Body;
use super::listing::{Listed, Listing};
use crate::access::{self, Acting};
use crate::guards::approvals;
use crate::problem::{Failure, not_found};
use crate::server::{Server, run_entry};
use crate::{experiment, game_day};
use axum::Json;
use axum::body::Body as RawBody;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use firedrill_api::http::{Done, Problem, Reason, RunEntry, RunNote, RunStarted, StartRun, TakePart};
use firedrill_model::RunId;
use firedrill_model::report::RunReport;
use firedrill_model::timeline::Scope;
use firedrill_store::RunSummary;
use std::sync::Arc;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

/// `GET /runs`.
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    acting: Acting,
    listing: Listing,
) -> Result<Listed<RunEntry>, Failure> {
    let runs = server.store.runs(listing.page()).await?;
    let shown = |run: RunSummary| acting.sees(Some(&run.cluster)).then(|| run_entry(run));
    Ok(listing.answer(runs, |run| run.run.to_string(), shown))
}

/// `POST /runs`.
pub(super) async fn start(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Body(start): Body<StartRun>,
) -> Result<Json<RunStarted>, Failure> {
    access::may_start_run(&server, &acting, &start).await?;
    Ok(Json(approvals::start_run(server, start, &access::by()).await?))
}

/// `GET /runs/{run}`.
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    Path(run): Path<String>,
) -> Result<Json<RunReport>, Failure> {
    Ok(Json(find(&server, &RunId(run)).await?))
}

/// `GET /runs/{run}/report.html`.
pub(super) async fn report(
    State(server): State<Arc<Server>>,
    Path(run): Path<String>,
) -> Result<Html<String>, Failure> {
    let report = find(&server, &RunId(run)).await?;
    Ok(Html(firedrill_console::report::html(&report)))
}

/// `GET /runs/{run}/history`.
pub(super) async fn history(State(server): State<Arc<Server>>, Path(run): Path<String>) -> Result<Response, Failure> {
    let run = RunId(run);
    let path = server.history_path(&run)?;
    let missing = |_| not_found("history of run", &run, "a run has one after its load was stopped");
    let file = File::open(&path).await.map_err(missing)?;
    let bytes = file.metadata().await.map_err(missing)?.len();
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, bytes.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{run}.fdh\"")),
    ];
    Ok((headers, RawBody::from_stream(ReaderStream::with_capacity(file, 256 << 10))).into_response())
}

/// `POST /runs/{run}/halt`.
pub(super) async fn halt(
    State(server): State<Arc<Server>>,
    Path(run): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<Done>, Failure> {
    halt_run(&server, &RunId(run), &body.reason).await?;
    Ok(Json(Done {}))
}

/// Halts a run, and tells who does.
///
/// # Errors
/// There is no such run under way.
pub(crate) async fn halt_run(server: &Server, run: &RunId, reason: &str) -> Result<(), Problem> {
    experiment::halt(server, run, reason).await?;
    let scope = Scope { run: Some(run.clone()), ..Scope::default() };
    access::tell(server, &format!("halts the run: {reason}"), scope).await;
    Ok(())
}

/// `POST /runs/{run}/notes`.
pub(super) async fn note(
    State(server): State<Arc<Server>>,
    Path(run): Path<String>,
    Body(note): Body<RunNote>,
) -> Result<Json<Done>, Failure> {
    game_day::note(&server, &RunId(run), &access::by(), &note.text).await?;
    Ok(Json(Done {}))
}

/// `POST /runs/{run}/parts`.
pub(super) async fn take_part(
    State(server): State<Arc<Server>>,
    Path(run): Path<String>,
    Body(taken): Body<TakePart>,
) -> Result<Json<Done>, Failure> {
    game_day::take_part(&server, &RunId(run), &taken).await?;
    Ok(Json(Done {}))
}

/// What helps who names a run that there is not.
pub(crate) const RUNS_ARE_LISTED: &str = "`firedrill experiment list` names those that are known";

/// The report of a run.
pub(crate) async fn find(server: &Server, run: &RunId) -> Result<RunReport, Failure> {
    let found = server.store.run(run).await?;
    Ok(found.ok_or_else(|| not_found("run", run, RUNS_ARE_LISTED))?)
}
