//! Evidence of a period.

use super::Routes;
use super::body::Parameters;
use crate::access::Acting;
use crate::problem::{Failure, problem};
use crate::server::Server;
use aide::axum::routing::get;
use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use firedrill_model::ClusterName;
use firedrill_model::access::{Action, Object};
use firedrill_schedule::{Code, Zone};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// All routes of this module.
pub(super) fn routes() -> Routes {
    Routes::new().route("/evidence", get(evidence))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Query {
    from: String,
    to: String,
    cluster: Option<ClusterName>,
    zone: Option<String>,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Format {
    #[default]
    Json,
    Html,
    Csv,
}

async fn evidence(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Parameters(query): Parameters<Query>,
) -> Result<Response, Failure> {
    let of = query.cluster.clone().map_or(Object::Everything, Object::Cluster);
    acting.may(&server, Action::View, &of).await?;
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
