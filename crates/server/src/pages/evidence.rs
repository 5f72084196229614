//! Evidence of a period: what was tested, what was found, how long it takes.

use super::frame;
use super::schedules::{listed, zone_of};
use crate::access::Acting;
use crate::clock::now;
use crate::http::Routes;
use crate::problem::{Failure, MALFORMED, problem};
use crate::server::Server;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use firedrill_api::http::Problem;
use firedrill_console::Place;
use firedrill_console::evidence_page::{self, EvidencePage, Period};
use firedrill_model::access::{Action, Object};
use firedrill_model::evidence::Evidence;
use firedrill_model::{ClusterName, Span};
use std::sync::Arc;

/// What is looked at when nothing is said: the last four weeks.
const DAYS: u64 = 28;

/// The pages of this module.
pub(super) fn router() -> Routes {
    Routes::new().route("/evidence", get(show))
}

/// `GET /evidence`.
async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(mut period): Query<Period>,
) -> Result<Response, Failure> {
    let clusters = listed(&server, &acting);
    let everything = acting.may(&server, Action::View, &Object::Everything).await.is_ok();
    if period.from.trim().is_empty() && period.to.trim().is_empty() {
        let zone = zone_of(&period.zone).unwrap_or_default();
        period.from = zone.day(now() - Span::secs(DAYS * 24 * 3600)).to_string();
        period.to = zone.day(now()).to_string();
        // Who may see some clusters only begins with the first of them.
        if let (false, true, Some(first)) = (everything, period.cluster.is_empty(), clusters.first()) {
            period.cluster = first.to_string();
        }
    }
    let made = make(&server, &acting, &period).await;
    let status = if made.is_ok() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let (evidence, problem) = match made {
        Ok(evidence) => (Some(evidence), None),
        Err(why) => (None, Some(why)),
    };
    let page = EvidencePage { period, clusters, everything, evidence, problem };
    let frame = frame(&server, &acting, "Evidence", Place::Evidence);
    Ok((status, Html(evidence_page::page(&frame, &page))).into_response())
}

async fn make(server: &Server, acting: &Acting, period: &Period) -> Result<Evidence, Problem> {
    let cluster = period.cluster.trim();
    let cluster = if cluster.is_empty() { None } else { Some(cluster.parse::<ClusterName>()) };
    let cluster = cluster.transpose().map_err(|why| problem(MALFORMED, why.to_string()))?;
    acting.may(server, Action::View, &cluster.clone().map_or(Object::Everything, Object::Cluster)).await?;
    let zone = zone_of(&period.zone)?;
    crate::evidence::evidence(server, period.from.trim(), period.to.trim(), cluster, &zone).await
}
