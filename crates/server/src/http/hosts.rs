//! Hosts and their enrolment.

use super::name;
use crate::link;
use crate::problem::Failure;
use crate::server::Server;
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::http::{HostView, Token};
use std::sync::Arc;

/// `GET /hosts`.
pub(super) async fn list(State(server): State<Arc<Server>>) -> Json<Vec<HostView>> {
    Json(server.fleet.views())
}

/// `POST /hosts/{host}/token`.
pub(super) async fn token(State(server): State<Arc<Server>>, host: Path<String>) -> Result<Json<Token>, Failure> {
    Ok(Json(link::token(&server, &name(host, "host")?).await?))
}
