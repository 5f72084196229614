//! Charts of a cluster.

use super::body::Parameters;
use super::name;
use crate::clock::now;
use crate::guards;
use crate::problem::{Failure, store_failed};
use crate::server::Server;
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::http::{ClusterSeries, Problem, SeriesFault};
use firedrill_model::attack::AttackState;
use firedrill_model::{ClusterName, HostName, Span, Timestamp};
use firedrill_store::AttackRecord;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Attacks that are looked at: more in a day would hide the chart.
const FAULTS_MAX: u32 = 200;
/// How far back faults are given, as the series themselves.
const FAULTS_WITHIN: Span = Span::secs(24 * 3600);

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Query {
    /// The first second, since 1970.
    from: Option<i64>,
    /// The last second.
    to: Option<i64>,
    /// `false`: without the faults.
    faults: Option<bool>,
}

/// `GET /clusters/{cluster}/series`.
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    cluster: Path<String>,
    Parameters(query): Parameters<Query>,
) -> Result<Json<ClusterSeries>, Failure> {
    let cluster: ClusterName = name(cluster, "cluster")?;
    server.keepers.view(&cluster)?;
    let mut series = server.series.read(&cluster, query.from, query.to);
    if query.faults.unwrap_or(true) {
        series.faults = faults(&server, &cluster).await?;
    }
    Ok(Json(series))
}

async fn faults(server: &Server, cluster: &ClusterName) -> Result<Vec<SeriesFault>, Problem> {
    let spec = server.keepers.record(cluster)?.spec;
    let hosts: BTreeSet<HostName> = spec.nodes.into_iter().map(|node| node.host).chain(spec.gateway_host).collect();
    let attacks = server.store.attacks(FAULTS_MAX).await.map_err(|error| store_failed(&error))?;
    let at = now();
    let recent = |record: &AttackRecord| at.since(record.report.at) <= FAULTS_WITHIN || !record.ended();
    let mine = attacks.iter().filter(|record| hosts.contains(&record.report.host) && recent(record));
    Ok(mine.filter_map(|record| fault(record, at)).collect())
}

/// `None`: it was never in place.
fn fault(record: &AttackRecord, now: Timestamp) -> Option<SeriesFault> {
    let report = &record.report;
    let is_there = matches!(report.state, AttackState::Active | AttackState::NoEffect | AttackState::UndoFailed);
    let from = report.in_place.or(is_there.then_some(report.at))?;
    let to = match report.state {
        AttackState::Undone | AttackState::Refused => Some(report.at),
        _ if guards::stays(record, now) => None,
        // What is over at once is a moment.
        _ => Some(from),
    };
    #[allow(clippy::cast_precision_loss, reason = "microseconds of this millennium fit f64 well enough for a chart")]
    let seconds = |at: Timestamp| at.0 as f64 / 1e6;
    let label = format!("{} on {}", report.fault.kind, report.host);
    Some(SeriesFault { from: seconds(from), to: to.map(seconds), label })
}
