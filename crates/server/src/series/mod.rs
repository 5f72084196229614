//! Rate, latency and lag of every cluster, one value a second for the last day: for charts, in memory only.
//!
//! **What is kept.** Of each cluster three columns (transactions of the primary per second, median and 99th percentile of
//! the write latency of a workload that runs) and of each node two (lag, transactions behind). A column takes 3 kB when
//! nothing changes and 174 kB at most, so a cluster of six nodes at most 2.6 MB, and a thousand quiet ones 45 MB.
//!
//! **Where to begin**: [`follow`], which takes a look each second; [`Series::read`].

mod column;

use crate::clock::now;
use crate::server::Server;
use crate::workload_feed::{WorkloadItem, WorkloadNews};
use column::{Column, SECONDS};
use firedrill_api::http::{ClusterSeries, NodeSeries, Point};
use firedrill_console::cluster::Latest;
use firedrill_model::{ClusterName, ClusterView, NodeName, NodeView, Span, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Given when no period is asked for: what fits the eye.
const SHOWN: i64 = 3600;

/// The series of all clusters.
#[derive(Debug, Default)]
pub(crate) struct Series(Mutex<BTreeMap<ClusterName, OfCluster>>);

/// The latency of the writes of a workload in the last second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Latency {
    p50: Option<Span>,
    p99: Option<Span>,
}

/// How far the primary had come when it was last looked at.
#[derive(Debug, Clone, PartialEq)]
struct Progress {
    primary: NodeName,
    transactions: u64,
    at: Timestamp,
}

#[derive(Debug)]
struct OfNode {
    lag: Column,
    behind: Column,
}

#[derive(Debug)]
struct OfCluster {
    first: i64,
    last: i64,
    progress: Option<Progress>,
    rate: Column,
    p50: Column,
    p99: Column,
    nodes: BTreeMap<NodeName, OfNode>,
}

/// Looks at every cluster each second, until the shutdown.
pub(crate) async fn follow(server: Arc<Server>, shutdown: CancellationToken) {
    let mut workloads = server.workloads.subscribe();
    let mut latencies: BTreeMap<ClusterName, Latency> = BTreeMap::new();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {
                let second = now().millis().div_euclid(1000);
                let mut series = server.series.lock();
                server.keepers.each_view(|view| record(&mut series, second, view, latencies.remove(&view.cluster)));
                latencies.clear();
            }
            item = workloads.recv() => match item {
                Ok(WorkloadItem { run, news: WorkloadNews::Sample(sample), .. }) => {
                    if let Some(cluster) = server.runs.cluster_of(&run) {
                        let latency = Latency { p50: sample.write_p50, p99: sample.write_p99 };
                        latencies.entry(cluster).and_modify(|known| known.add(latency)).or_insert(latency);
                    }
                }
                // A second without a latency is drawn as a gap.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

impl Latency {
    /// Several samples of one second: the slower one is told.
    fn add(&mut self, other: Self) {
        *self = Self { p50: self.p50.max(other.p50), p99: self.p99.max(other.p99) };
    }
}

fn record(series: &mut BTreeMap<ClusterName, OfCluster>, second: i64, view: &ClusterView, latency: Option<Latency>) {
    if !series.contains_key(&view.cluster) {
        series.insert(view.cluster.clone(), OfCluster::new(second));
    }
    if let Some(one) = series.get_mut(&view.cluster) {
        one.record(second, view, latency);
    }
}

impl OfCluster {
    fn new(second: i64) -> Self {
        Self {
            first: second,
            last: second - 1,
            progress: None,
            // Tenths of a transaction per second, hundredths of a millisecond.
            rate: Column::new(10.0),
            p50: Column::new(100.0),
            p99: Column::new(100.0),
            nodes: BTreeMap::new(),
        }
    }

    fn record(&mut self, second: i64, view: &ClusterView, latency: Option<Latency>) {
        if second <= self.last {
            return;
        }
        for node in &view.nodes {
            let new = || OfNode { lag: Column::new(10.0), behind: Column::new(1.0) };
            self.nodes.entry(node.name.clone()).or_insert_with(new);
        }
        // Seconds in which nobody looked have no values; more than a day of them is a new beginning.
        if second - self.last > SECONDS {
            self.first = second;
            self.last = second - 1;
        }
        let rate = self.rate(view);
        for gap in self.last + 1..second {
            self.put(gap, None, None, &[]);
        }
        self.put(second, rate, latency, &view.nodes);
        self.last = second;
    }

    fn put(&mut self, second: i64, rate: Option<f64>, latency: Option<Latency>, nodes: &[NodeView]) {
        let millis = |span: Option<Span>| span.map(Span::as_millis_f64);
        self.rate.put(second, rate);
        self.p50.put(second, millis(latency.and_then(|latency| latency.p50)));
        self.p99.put(second, millis(latency.and_then(|latency| latency.p99)));
        for (name, columns) in &mut self.nodes {
            let node = nodes.iter().find(|node| node.name == *name);
            let status = node.and_then(|node| node.observation.as_ref()?.status.as_ref());
            let replication = status.and_then(|status| status.replication.as_ref());
            let lag = replication.and_then(|replication| replication.lag).map(|lag| lag.duration().as_secs_f64());
            #[allow(clippy::cast_precision_loss, reason = "a backlog is far below 2^52 transactions")]
            let behind = replication.and(node).and_then(|node| node.behind).map(|behind| behind as f64);
            columns.lag.put(second, lag);
            columns.behind.put(second, behind);
        }
    }

    /// Transactions of the primary per second since it was last looked at; its agent's own heartbeats are among them.
    fn rate(&mut self, view: &ClusterView) -> Option<f64> {
        let node = view.primary.as_ref().and_then(|name| view.nodes.iter().find(|node| node.name == *name));
        let status = node.and_then(|node| node.observation.as_ref()?.status.as_ref());
        let (Some(node), Some(status)) = (node, status) else {
            self.progress = None;
            return None;
        };
        let transactions = status.binlog_state.position().iter().map(|gtid| gtid.sequence).sum();
        let now = Progress { primary: node.name.clone(), transactions, at: node.observed_at? };
        let before = self.progress.replace(now.clone())?;
        let passed = now.at.since(before.at).duration().as_secs_f64();
        let grown = now.transactions.checked_sub(before.transactions)?;
        #[allow(clippy::cast_precision_loss, reason = "the transactions of a second are few")]
        (before.primary == now.primary && passed > 0.0).then(|| grown as f64 / passed)
    }
}

/// Equal values in a row become one point.
fn packed(column: &Column, seconds: std::ops::Range<i64>) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for second in seconds {
        let value = column.get(second);
        match points.last_mut() {
            Some(Point::Run(same, times)) if *same == value => *times += 1,
            Some(last @ Point::One(_)) if *last == Point::One(value) => *last = Point::Run(value, 2),
            _ => points.push(Point::One(value)),
        }
    }
    points
}

impl Series {
    /// The values of a cluster from one second to another, both included, as far as they are kept.
    pub(crate) fn read(&self, cluster: &ClusterName, from: Option<i64>, to: Option<i64>) -> ClusterSeries {
        let series = self.lock();
        let Some(one) = series.get(cluster) else { return ClusterSeries::default() };
        let until = to.unwrap_or(one.last).min(one.last).saturating_add(1);
        let oldest = one.first.max(one.last - SECONDS + 1);
        let from = from.unwrap_or(until.saturating_sub(SHOWN)).max(oldest).min(until.max(oldest));
        // A period that lies before all that is kept is empty.
        let until = until.max(from);
        let seconds = || from..until;
        let node = |(name, columns): (&NodeName, &OfNode)| {
            let lag_seconds = packed(&columns.lag, seconds());
            (name.clone(), NodeSeries { lag_seconds, behind: packed(&columns.behind, seconds()) })
        };
        ClusterSeries {
            from,
            length: u32::try_from(until - from).unwrap_or(0),
            transactions_per_second: packed(&one.rate, seconds()),
            write_p50_ms: packed(&one.p50, seconds()),
            write_p99_ms: packed(&one.p99, seconds()),
            nodes: one.nodes.iter().map(node).collect(),
            faults: Vec::new(),
        }
    }

    /// The last values of a cluster.
    pub(crate) fn latest(&self, cluster: &ClusterName) -> Option<Latest> {
        let series = self.lock();
        let one = series.get(cluster)?;
        let at = one.last;
        Some(Latest {
            transactions_per_second: one.rate.get(at),
            write_p50_ms: one.p50.get(at),
            write_p99_ms: one.p99.get(at),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, OfCluster>> {
        // Values are put in one by one; a panic elsewhere leaves at worst a second half told.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
