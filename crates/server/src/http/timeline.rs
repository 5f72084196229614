//! The timeline, as far as it is written.

use super::LIST_ROWS;
use super::body::Parameters;
use crate::access::Acting;
use crate::problem::Failure;
use crate::server::Server;
use axum::Json;
use axum::extract::State;
use firedrill_model::{ClusterName, RunId, TimelineEvent};
use firedrill_store::TimelineFilter;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Query {
    after: Option<u64>,
    cluster: Option<ClusterName>,
    run: Option<String>,
    limit: Option<u32>,
}

/// `GET /timeline`: what is after a line, oldest first; without `after` the newest lines.
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Parameters(query): Parameters<Query>,
) -> Result<Json<Vec<TimelineEvent>>, Failure> {
    let filter = TimelineFilter { cluster: query.cluster, run: query.run.map(RunId) };
    let limit = query.limit.unwrap_or(LIST_ROWS);
    let mut lines = match query.after {
        Some(after) => server.store.events_after(after, &filter, limit).await?,
        None => server.store.newest_events(&filter, limit).await?,
    };
    lines.retain(|line| acting.sees(line.scope.cluster.as_ref()));
    Ok(Json(lines))
}
