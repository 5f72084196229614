//! Attacks by hand.

use super::LIST_ROWS;
use super::body::Body;
use super::person::Person;
use crate::attacks as attacking;
use crate::guards::approvals;
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
    Person(by): Person,
    Body(start): Body<StartAttack>,
) -> Result<Json<Vec<AttackReport>>, Failure> {
    Ok(Json(approvals::start_attack(&server, start, &by).await?))
}

/// `POST /attacks/{attack}/undo`.
pub(super) async fn undo(
    State(server): State<Arc<Server>>,
    Path(attack): Path<String>,
) -> Result<Json<AttackReport>, Failure> {
    Ok(Json(attacking::undo(&server, &AttackId(attack)).await?))
}
