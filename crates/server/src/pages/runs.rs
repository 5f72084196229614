//! Runs.

use super::frame;
use crate::access::{self, Acting};
use crate::experiment;
use crate::guards::approvals;
use crate::http::find_run;
use crate::problem::{Failure, MALFORMED, problem};
use crate::server::Server;
use axum::extract::{Form, Path, State};
use axum::response::{Html, Redirect};
use firedrill_api::http::StartRun;
use firedrill_console::{Place, pages};
use firedrill_model::{ClusterName, RunId};
use serde::Deserialize;
use std::sync::Arc;

/// `GET /runs/{run}`.
pub(super) async fn run(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(run): Path<String>,
) -> Result<Html<String>, Failure> {
    let report = find_run(&server, &RunId(run)).await?;
    let frame = frame(&server, &acting, &report.experiment.title, Place::Runs);
    Ok(Html(pages::run(&frame, &report)))
}

#[derive(Debug, Deserialize)]
pub(super) struct StartForm {
    experiment: String,
    cluster: ClusterName,
}

/// `POST /runs`.
pub(super) async fn start_run(
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
