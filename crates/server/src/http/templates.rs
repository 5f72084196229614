//! Templates.

use super::body::Body;
use crate::access::{self, Acting};
use crate::problem::Failure;
use crate::server::Server;
use crate::templates;
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::chaos_toolkit::Import;
use firedrill_api::http::{
    Done, FillTemplate, ImportExperiment, RunStarted, SaveTemplate, TemplateEntry, TemplatePreview,
};
use std::sync::Arc;

/// `GET /templates`.
pub(super) async fn list(State(server): State<Arc<Server>>) -> Result<Json<Vec<TemplateEntry>>, Failure> {
    Ok(Json(templates::list(&server).await?))
}

/// `POST /templates`.
pub(super) async fn save(
    State(server): State<Arc<Server>>,
    Body(save): Body<SaveTemplate>,
) -> Result<Json<TemplateEntry>, Failure> {
    Ok(Json(templates::save(&server, &save).await?))
}

/// `POST /imports/chaos-toolkit`.
pub(super) async fn import(
    State(server): State<Arc<Server>>,
    Body(import): Body<ImportExperiment>,
) -> Result<Json<Import>, Failure> {
    Ok(Json(templates::import(&server, &import).await?))
}

/// `GET /templates/{template}`.
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
) -> Result<Json<TemplateEntry>, Failure> {
    Ok(Json(templates::find(&server, &name).await?))
}

/// `DELETE /templates/{template}`.
pub(super) async fn remove(State(server): State<Arc<Server>>, Path(name): Path<String>) -> Result<Json<Done>, Failure> {
    templates::remove(&server, &name).await?;
    Ok(Json(Done {}))
}

/// `POST /templates/{template}/preview`.
pub(super) async fn preview(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    acting: Acting,
    Body(fill): Body<FillTemplate>,
) -> Result<Json<TemplatePreview>, Failure> {
    let preview = templates::preview(&server, &name, &fill).await?;
    access::may_start_run(&server, &acting, &templates::start_of(preview.yaml.clone(), &fill)).await?;
    Ok(Json(preview))
}

/// `POST /templates/{template}/start`.
pub(super) async fn start(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    acting: Acting,
    Body(fill): Body<FillTemplate>,
) -> Result<Json<RunStarted>, Failure> {
    Ok(Json(templates::start(server, &name, &fill, &acting).await?))
}
