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
}

/// One cluster: its topology, its nodes, what is under way and what was.
#[must_use]
pub fn page(frame: &Frame, page: &Cluster) -> String {
    let Cluster { view, gateway, attacks, under_way, .. } = page;
    let members = topology::members(view, attacks, under_way);
    let gateway = topology::gateway(view, gateway.as_ref(), attacks);
    let topology = Topology::of(&members, gateway.as_ref());
    finish(Page { frame, page, cluster: view, members, gateway, topology }.render())
}
