//! Operations.

use super::body::Parameters;
use super::listing::{Listed, Listing};
use crate::access::Acting;
use crate::problem::{Failure, not_found};
use crate::server::Server;
use axum::Json;
use axum::extract::{Path, State};
use firedrill_model::{ClusterName, Operation, OperationId};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Filter {
    cluster: Option<ClusterName>,
}

/// `GET /operations`.
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Parameters(filter): Parameters<Filter>,
    listing: Listing,
) -> Result<Listed<Operation>, Failure> {
    let operations = server.store.operations(filter.cluster.as_ref(), listing.page()).await?;
    let shown = |operation: Operation| acting.sees(Some(&operation.cluster)).then_some(operation);
    Ok(listing.answer(operations, |operation| operation.id.to_string(), shown))
}

/// `GET /operations/{operation}`.
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    Path(operation): Path<String>,
) -> Result<Json<Operation>, Failure> {
    let id = OperationId(operation);
    let found = server.store.operation(&id).await?;
    let found =
        found.ok_or_else(|| not_found("operation", &id, "`firedrill operation list` shows those that are known"))?;
    Ok(Json(found))
}
