//! What can be done on the page of a run.

use super::watched::watched;
use crate::access::{self, Acting};
use crate::http;
use crate::pages::{frame, refused};
use crate::problem::Failure;
use crate::server::Server;
use crate::{game_day, templates};
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use firedrill_api::http::{Problem, SaveTemplate, TakePart};
use firedrill_console::{Place, run};
use firedrill_model::RunId;
use serde::Deserialize;
use std::sync::Arc;

/// `POST /runs/{run}/halt`.
pub(super) async fn halt(State(server): State<Arc<Server>>, Path(run): Path<String>) -> Result<Redirect, Failure> {
    let run = RunId(run);
    http::halt_run(&server, &run, "the button on its page").await?;
    Ok(Redirect::to(&format!("/runs/{run}")))
}

#[derive(Debug, Deserialize)]
pub(super) struct NoteForm {
    text: String,
    #[serde(default)]
    who: String,
    #[serde(default)]
    back: String,
}

/// `POST /runs/{run}/notes`.
pub(super) async fn note(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(run): Path<String>,
    Form(form): Form<NoteForm>,
) -> Result<Response, Failure> {
    let run = RunId(run);
    // As long as nobody logs in, people say themselves who they are.
    let named = Some(form.who.trim()).filter(|who| server.access.is_open() && !who.is_empty());
    let who = named.map_or_else(access::by, str::to_owned);
    let back = if form.back == "gameday" { format!("/runs/{run}/gameday") } else { format!("/runs/{run}#timeline") };
    match game_day::note(&server, &run, &who, &form.text).await {
        Ok(()) => Ok(Redirect::to(&back).into_response()),
        Err(problem) => again(&server, &acting, &run, problem, String::new()).await,
    }
}

/// `POST /runs/{run}/parts`.
pub(super) async fn take_part(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(run): Path<String>,
    Form(taken): Form<TakePart>,
) -> Result<Response, Failure> {
    let run = RunId(run);
    match game_day::take_part(&server, &run, &taken).await {
        Ok(()) => Ok(Redirect::to(&format!("/runs/{run}/gameday")).into_response()),
        Err(problem) => again(&server, &acting, &run, problem, String::new()).await,
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct TemplateForm {
    name: String,
}

/// `POST /runs/{run}/template`.
pub(super) async fn keep_template(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(run): Path<String>,
    Form(form): Form<TemplateForm>,
) -> Result<Response, Failure> {
    let run = RunId(run);
    let name = form.name.trim().to_owned();
    match templates::save(&server, &SaveTemplate::Run { run: run.clone(), name: name.clone(), title: None }).await {
        Ok(kept) => Ok(Redirect::to(&format!("/templates/{}", kept.template.name)).into_response()),
        Err(problem) => again(&server, &acting, &run, problem, name).await,
    }
}

/// The page again, with what was wrong and what was typed.
async fn again(
    server: &Server,
    acting: &Acting,
    run: &RunId,
    problem: Problem,
    template: String,
) -> Result<Response, Failure> {
    let mut watched = watched(server, run).await?;
    (watched.problem, watched.template) = (Some(problem), template);
    let frame = frame(server, acting, &watched.report.experiment.title, Place::Runs);
    Ok(refused(run::page(&frame, &watched)))
}
