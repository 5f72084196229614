//! What watches the server asks: does it live, can it work, how does it stand.

use crate::metrics;
use crate::problem::{Failure, STORE, problem};
use crate::server::Server;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;

/// A store that does not answer a small question in this time cannot be worked with.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// `GET /healthz`: the process answers. Restart it when this fails.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: it can do its work, which needs the store. Send nobody here while this fails.
pub(super) async fn ready(State(server): State<Arc<Server>>) -> Result<&'static str, Failure> {
    match tokio::time::timeout(STORE_ANSWERS_WITHIN, server.store.halt()).await {
        Ok(answer) => answer.map(|_| "ready\n").map_err(Failure::from),
        Err(_) => {
            Err(Failure(problem(STORE, "the store has not answered for 2s; look at the disk of the data directory")))
        }
    }
}

/// `GET /metrics`, for Prometheus.
pub(super) async fn metrics(State(server): State<Arc<Server>>) -> Result<Response, Failure> {
    let text = metrics::text(&server).await?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
