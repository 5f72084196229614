//! Evidence of a period.

use super::body::Parameters;
use crate::problem::{Failure, problem};
use crate::server::Server;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use firedrill_model::ClusterName;
use firedrill_schedule::{Code, Zone};
use serde::Deserialize;
use std::sync::Arc;

/// All routes of this module.
pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route("/evidence", get(evidence))
}

#[derive(Debug, Deserialize)]
struct Query {
    from: String,
    to: String,
    cluster: Option<ClusterName>,
    zone: Option<String>,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    #[default]
    Json,
    Html,
    Csv,
}

async fn evidence(
    State(server): State<Arc<Server>>,
    Parameters(query): Parameters<Query>,
) -> Result<Response, Failure> {
    let zone = query.zone.map(|zone| zone.parse::<Zone>()).transpose();
    let zone = zone.map_err(|unknown| problem(Code::Zone.as_str(), unknown.to_string()))?.unwrap_or_default();
    let evidence = crate::evidence::evidence(&server, &query.from, &query.to, query.cluster, &zone).await?;
    let file = |name: &str| format!("attachment; filename=\"firedrill-evidence.{name}\"");
    Ok(match query.format {
        Format::Json => Json(evidence).into_response(),
        Format::Html => {
            let headers = [(CONTENT_TYPE, "text/html; charset=utf-8".to_owned())];
            (headers, firedrill_console::evidence::html(&evidence)).into_response()
        }
        Format::Csv => {
            let headers = [(CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, file("csv"))];
            (headers, firedrill_console::evidence::csv(&evidence)).into_response()
        }
    })
}
