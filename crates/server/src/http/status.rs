//! The server itself; halt and resume.

use super::body::Body;
use crate::halt as halting;
use crate::problem::Failure;
use crate::server::Server;
use axum::Json;
use axum::extract::State;
use firedrill_api::http::{Done, Halted, Reason, Status};
use std::sync::Arc;

/// `GET /status`.
pub(super) async fn status(State(server): State<Arc<Server>>) -> Json<Status> {
    Json(server.status())
}

/// `POST /halt`.
pub(super) async fn halt(State(server): State<Arc<Server>>, body: Body<Reason>) -> Result<Json<Halted>, Failure> {
    Ok(Json(halting::halt(&server, &body.0.reason).await?))
}

/// `POST /resume`.
pub(super) async fn resume(State(server): State<Arc<Server>>, body: Body<Reason>) -> Result<Json<Done>, Failure> {
    Ok(Json(halting::resume(&server, &body.0.reason).await?))
}
