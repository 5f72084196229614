//! What the keeper has done to a cluster, and how long it took.

use super::cluster::named;
use super::{PAGE_ROWS, Part, frame};
use crate::access::Acting;
use crate::clock::now;
use crate::evidence;
use crate::problem::Failure;
use crate::server::Server;
use axum::extract::{Path, Query, State};
use axum::response::Html;
use firedrill_console::Place;
use firedrill_console::durations::{self, Durations, List};
use firedrill_model::{ClusterName, Span};
use firedrill_schedule::Zone;
use firedrill_store::Page;
use serde::Deserialize;
use std::sync::Arc;

/// What is looked at when nothing is said: a quarter, enough for each hour of the week to come about a dozen times.
const DAYS: u32 = 90;
/// As long as evidence reaches.
const DAYS_MAX: u32 = 366;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    days: Option<u32>,
    #[serde(default)]
    zone: String,
}

/// `GET /clusters/{cluster}/durations`.
pub(super) async fn durations(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(cluster): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, Failure> {
    let cluster = named(&cluster)?;
    server.keepers.view(&cluster)?;
    let days = wanted.days.unwrap_or(DAYS).clamp(1, DAYS_MAX);
    let zone = wanted.zone.trim();
    let named = if zone.is_empty() { Ok(Zone::utc()) } else { zone.parse::<Zone>() };
    let zone = named.as_ref().map_or_else(|_| zone.to_owned(), |zone| zone.name().to_owned());
    let mut shown = Durations { cluster: cluster.clone(), days, zone, problem: None, measured: Vec::new() };
    match named {
        Ok(zone) => measure(&server, &cluster, &zone, &mut shown).await?,
        Err(_) => {
            let text = "There is no clock of that name. Give one such as UTC, Europe/Berlin or America/New_York.";
            shown.problem = Some(text.to_owned());
        }
    }
    let frame = frame(&server, &acting, &format!("How long it takes · {cluster}"), Place::Fleet);
    Ok(Html(durations::page(&frame, &shown)))
}

async fn measure(server: &Server, cluster: &ClusterName, zone: &Zone, shown: &mut Durations) -> Result<(), Failure> {
    let from = now() - Span::secs(u64::from(shown.days) * 24 * 3600);
    match evidence::operations(server, Some(cluster), from).await? {
        Some(mut operations) => {
            operations.retain(|operation| operation.began >= from);
            shown.measured = durations::measure(&operations, &|at| zone.weekday_and_hour(at));
        }
        None => {
            let text = "There are more operations in that time than are looked through at once; look less far back.";
            shown.problem = Some(text.to_owned());
        }
    }
    Ok(())
}

/// `GET /clusters/{cluster}/operations`.
pub(super) async fn operations(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(cluster): Path<String>,
    Query(part): Query<Part>,
) -> Result<Html<String>, Failure> {
    let cluster = named(&cluster)?;
    server.keepers.view(&cluster)?;
    let page = Page { limit: PAGE_ROWS, before: part.before.as_deref() };
    let operations = server.store.operations(Some(&cluster), page).await?;
    let is_full = operations.len() == PAGE_ROWS as usize;
    let next = operations.last().filter(|_| is_full).map(|operation| operation.id.to_string());
    let frame = frame(&server, &acting, &format!("Operations · {cluster}"), Place::Fleet);
    let listed = List { cluster, operations, later: part.before.is_some(), next };
    Ok(Html(durations::list(&frame, &listed)))
}
