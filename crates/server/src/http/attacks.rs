//! Attacks by hand.

use super::LIST_ROWS;
use super::body::Body;
use crate::attacks as attacking;
use crate::problem::Failure;
use crate::server::Server;
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::http::StartAttack;
use firedrill_model::AttackId;
use firedrill_model::attack::AttackReport;
use std::sync::Arc;

/// `GET /attacks`.
pub(super) async fn list(State(server): State<Arc<Server>>) -> Result<Json<Vec<AttackReport>>, Failure> {
    let records = server.store.attacks(LIST_ROWS).await?;
    Ok(Json(records.into_iter().map(|record| record.report).collect()))
}

/// `POST /attacks`.
pub(super) async fn start(
    State(server): State<Arc<Server>>,
    Body(start): Body<StartAttack>,
) -> Result<Json<Vec<AttackReport>>, Failure> {
    Ok(Json(attacking::start(&server, None, &start.cluster, &start.attack).await?))
}

/// `POST /attacks/{attack}/undo`.
pub(super) async fn undo(
    State(server): State<Arc<Server>>,
    Path(attack): Path<String>,
) -> Result<Json<AttackReport>, Failure> {
    Ok(Json(attacking::undo(&server, &AttackId(attack)).await?))
}
