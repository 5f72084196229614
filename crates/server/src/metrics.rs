//! What a Prometheus server is told. Everything is read when it asks: there is nothing that could be out of date, and
//! nothing is counted twice after a restart.

use crate::server::Server;
use firedrill_model::attack::AttackState;
use firedrill_model::{ClusterView, Health};
use firedrill_store::StoreError;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCluster {
    cluster: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNode {
    cluster: String,
    node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHealth {
    cluster: String,
    health: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVerdict {
    verdict: String,
}

/// All metrics of this moment in the OpenMetrics text format.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn text(server: &Server) -> Result<String, StoreError> {
    let mut registry = Registry::with_prefix("firedrill");
    of_server(server, &mut registry);
    of_certificates(server, &mut registry).await?;
    of_clusters(&server.keepers.views(), &mut registry);
    of_lags(server, &mut registry);
    let attacks = Family::<OfState, Gauge>::default();
    for record in server.store.open_attacks().await? {
        attacks.get_or_create(&OfState { state: state_of(record.report.state).to_owned() }).inc();
    }
    registry.register("attacks_open", "Attacks that are, or may be, in place, by state", attacks);
    let runs = Family::<OfVerdict, Gauge>::default();
    for (verdict, count) in server.store.runs_by_verdict().await? {
        runs.get_or_create(&OfVerdict { verdict }).set(count);
    }
    registry.register("runs", "Runs that have ended, by verdict", runs);
    let messages = Family::<OfState, Gauge>::default();
    for (state, count) in server.store.messages_by_state().await? {
        messages.get_or_create(&OfState { state }).set(count);
    }
    registry.register("messages", "Messages in the queue, by state; dead ones wait for a person", messages);
    let mut out = String::new();
    // Writing into a string does not fail.
    let _written = text::encode(&mut out, &registry);
    Ok(out)
}

fn gauge(value: impl TryInto<i64>) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value.try_into().unwrap_or(i64::MAX));
    gauge
}

fn of_server(server: &Server, registry: &mut Registry) {
    let status = server.status();
    let build = Family::<Version, Gauge>::default();
    build.get_or_create(&Version { version: status.version }).set(1);
    registry.register("build", "The version that runs; always 1", build);
    let uptime = Seconds::default();
    uptime.set(crate::clock::now().since(status.started).duration().as_secs_f64());
    registry.register("uptime_seconds", "Since the server was started", uptime);
    registry.register("halted", "1 while starts are blocked by a halt", gauge(u8::from(status.halted.is_some())));
    registry.register("runs_running", "Runs under way", gauge(status.running.len()));
    let (known, connected) = (server.fleet.records().len(), server.fleet.connected().len());
    if let Some(lost) = server.traces.lost() {
        registry.register("trace_spans_lost", "Spans that did not reach the collector", gauge(lost));
    }
    registry.register("hosts", "Hosts that have enrolled", gauge(known));
    registry.register("hosts_connected", "Hosts whose agent has a live link", gauge(connected));
}

async fn of_certificates(server: &Server, registry: &mut Registry) -> Result<(), StoreError> {
    let (standings, now) = (crate::link::standings(server).await?, crate::clock::now());
    let revoked = standings.values().filter(|standing| standing.revoked.is_some()).count();
    registry.register("hosts_revoked", "Hosts that are kept out until they are enrolled anew", gauge(revoked));
    if let Some(first) = standings.values().filter_map(|standing| standing.until).min() {
        let left = Seconds::default();
        // Negative: a host has been away for so long that it needs a new token.
        left.set((first.0 - now.0) as f64 / 1e6);
        let help =
            "Until the first certificate of a host expires; falls below half of their life when a host does not renew";
        registry.register("host_certificate_left_seconds", help, left);
    }
    Ok(())
}

fn of_clusters(views: &[ClusterView], registry: &mut Registry) {
    let redundant = Family::<OfCluster, Gauge>::default();
    let generation = Family::<OfCluster, Gauge>::default();
    let operations = Family::<OfCluster, Gauge>::default();
    let nodes = Family::<OfHealth, Gauge>::default();
    for view in views {
        let cluster = || view.cluster.to_string();
        redundant.get_or_create(&OfCluster { cluster: cluster() }).set(i64::from(view.fully_redundant));
        let grown = i64::try_from(view.generation.0).unwrap_or(i64::MAX);
        generation.get_or_create(&OfCluster { cluster: cluster() }).set(grown);
        let running = i64::try_from(view.operations.len()).unwrap_or(i64::MAX);
        operations.get_or_create(&OfCluster { cluster: cluster() }).set(running);
        for node in &view.nodes {
            let health: Health = node.health;
            nodes.get_or_create(&OfHealth { cluster: cluster(), health: health.to_string() }).inc();
        }
    }
    registry.register("cluster_redundant", "1 when every node is in service and has caught up", redundant);
    registry.register("cluster_generation", "Grows with each change of primary", generation);
    registry.register("cluster_operations", "Operations that run or wait for a person", operations);
    registry.register("cluster_nodes", "Nodes by health", nodes);
}

fn of_lags(server: &Server, registry: &mut Registry) {
    let lags = Family::<OfNode, Seconds>::default();
    for view in server.keepers.views() {
        // A cluster that was removed meanwhile has none.
        for sample in server.keepers.lags(&view.cluster).unwrap_or_default() {
            let Some(lag) = sample.lag else { continue };
            let of_node = OfNode { cluster: view.cluster.to_string(), node: sample.node.to_string() };
            lags.get_or_create(&of_node).set(lag.duration().as_secs_f64());
        }
    }
    registry.register("replica_lag_seconds", "How far each replica is behind, where it is known", lags);
}

const fn state_of(state: AttackState) -> &'static str {
    match state {
        AttackState::Preparing => "preparing",
        AttackState::Active => "active",
        AttackState::NoEffect => "no-effect",
        AttackState::Undone => "undone",
        AttackState::UndoFailed => "undo-failed",
        AttackState::Refused => "refused",
    }
}
