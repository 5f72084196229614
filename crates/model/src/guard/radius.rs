//! The blast radius: how much an attack touches, and what redundancy would be left.

use super::Facts;
use crate::cluster::Role;
use crate::id::{HostName, NodeName, RegionName};
use crate::view::{Health, NodeView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What an attack would touch, and what would be left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlastRadius {
    /// Of the cluster's nodes.
    pub cluster: Part,
    /// Of the nodes in each region that is touched.
    pub regions: BTreeMap<String, Part>,
    /// Of the hosts of each service that is touched.
    pub services: BTreeMap<String, Part>,
    /// The primary is among the nodes that would be hit.
    pub primary: bool,
    /// Healthy replicas that neither this attack nor a fault in place touches.
    pub replicas_left: Vec<NodeName>,
    /// Those of them on the list of ackers.
    pub ackers_left: Vec<NodeName>,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Hit by this attack.
    pub hit: usize,
    /// Hit by this attack, or under attack already.
    pub under_attack: usize,
    /// In all.
    pub of: usize,
}

impl Part {
    fn count<'a>(
        all: impl Iterator<Item = &'a HostName>,
        hit: &BTreeSet<HostName>,
        under: &BTreeSet<&HostName>,
    ) -> Self {
        all.fold(Self::default(), |part, host| Self {
            hit: part.hit + usize::from(hit.contains(host)),
            under_attack: part.under_attack + usize::from(under.contains(host)),
            of: part.of + 1,
        })
    }
}

/// What an attack on `hosts` would touch; `service_tag` says to which service a host belongs.
#[must_use]
pub fn radius(facts: &Facts, hosts: &BTreeSet<HostName>, service_tag: &str) -> BlastRadius {
    let under = facts.under_attack(hosts);
    let nodes = &facts.view.nodes;
    let hit = |node: &&NodeView| hosts.contains(&node.host);
    let regions = nodes.iter().filter(hit).map(|node| &node.region).collect::<BTreeSet<_>>().into_iter();
    let region = |region: &RegionName| {
        let there = nodes.iter().filter(|node| node.region == *region).map(|node| &node.host);
        (region.to_string(), Part::count(there, hosts, &under))
    };
    let services = hosts.iter().filter_map(|host| facts.tag(host, service_tag)).collect::<BTreeSet<_>>().into_iter();
    let service = |service: &str| (service.to_owned(), service_part(facts, service_tag, service, hosts, &under));
    let left = |node: &&NodeView| copies(node.role) && node.health == Health::Healthy && !under.contains(&node.host);
    BlastRadius {
        cluster: Part::count(nodes.iter().map(|node| &node.host), hosts, &under),
        regions: regions.map(region).collect(),
        services: services.map(service).collect(),
        primary: nodes.iter().filter(hit).any(|node| node.role == Role::Primary),
        replicas_left: nodes.iter().filter(left).map(|node| node.name.clone()).collect(),
        ackers_left: nodes.iter().filter(left).filter(|node| node.acker).map(|node| node.name.clone()).collect(),
    }
}

fn service_part(
    facts: &Facts,
    tag: &str,
    service: &str,
    hit: &BTreeSet<HostName>,
    under: &BTreeSet<&HostName>,
) -> Part {
    let serves = |host: &&super::HostFact| host.tags.get(tag).is_some_and(|value| value == service);
    Part::count(facts.hosts.iter().filter(serves).map(|host| &host.host), hit, under)
}

/// Holds a copy of the data that can replace the primary's.
const fn copies(role: Role) -> bool {
    matches!(role, Role::Replica | Role::PseudoPrimary | Role::PseudoReplica)
}
