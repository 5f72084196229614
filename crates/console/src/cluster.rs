//! The page of one cluster.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use crate::topology::{self, Gateway, Member, Topology};
use askama::Template;
use firedrill_model::attack::AttackReport;
use firedrill_model::{ClusterView, HostName, Operation, TimelineEvent};

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// As its keeper sees it.
    pub view: ClusterView,
    /// The host of its gateway, when it has one.
    pub gateway: Option<HostName>,
    /// What is, or may be, in place on its hosts.
    pub attacks: Vec<AttackReport>,
    /// Operations under way.
    pub under_way: Vec<Operation>,
    /// Newest first.
    pub operations: Vec<Operation>,
    /// Newest first.
    pub timeline: Vec<TimelineEvent>,
    /// The last values of its charts.
    pub latest: Option<Latest>,
}

/// The last values of the charts of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Latest {
    /// Transactions of the primary; `None`: they are not known.
    pub transactions_per_second: Option<f64>,
    /// The median latency of the writes of a workload; `None`: none runs.
    pub write_p50_ms: Option<f64>,
    /// The 99th percentile of the same.
    pub write_p99_ms: Option<f64>,
}

#[derive(Template)]
#[template(path = "cluster.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Cluster,
    cluster: &'a ClusterView,
    members: Vec<Member<'a>>,
    gateway: Option<Gateway<'a>>,
    topology: Topology,
    latest: Latest,
}

/// With one digit after the point; a dash: it is not known.
pub(crate) fn figure(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1} {unit}"))
}

/// One cluster: its topology, its nodes, what is under way and what was.
#[must_use]
pub fn page(frame: &Frame, page: &Cluster) -> String {
    let Cluster { view, gateway, attacks, under_way, .. } = page;
    let members = topology::members(view, attacks, under_way);
    let gateway = topology::gateway(view, gateway.as_ref(), attacks);
    let topology = Topology::of(&members, gateway.as_ref());
    finish(
        Page { frame, page, cluster: view, members, gateway, topology, latest: page.latest.unwrap_or_default() }
            .render(),
    )
}
