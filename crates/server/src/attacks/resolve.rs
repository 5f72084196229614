//! From an attack as written (roles, regions, tags) to exact faults on exact hosts. Pure.

use crate::problem::{ATTACK, EMPTY_TARGET, problem};
use firedrill_api::http::Problem;
use firedrill_model::attack::{Percent, ProcessSelector};
use firedrill_model::experiment::{AttackStep, FaultSpec};
use firedrill_model::{ClusterName, ClusterSpec, ClusterView, Fault, HostName, NodeName, Role, Selector, Span, Target};
use firedrill_store::HostRecord;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is known of the fleet at the moment of an attack.
#[derive(Debug)]
pub(super) struct Scene {
    /// On which cluster.
    pub(super) cluster: ClusterName,
    /// The hosts that an attack on the cluster may touch.
    pub(super) targets: Vec<Target>,
    /// The server, as agents reach it.
    pub(super) server: IpAddr,
    /// Added delay beyond this cuts agents off as surely as a partition.
    pub(super) lease: Span,
}

/// One fault on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aim {
    pub(super) host: HostName,
    pub(super) node: Option<NodeName>,
    pub(super) fault: Fault,
    pub(super) severs_server: bool,
}

/// The hosts that an attack on a cluster may touch: its own and those of no cluster, with the roles of now. A host
/// that serves only other clusters is never in reach, whatever the selector says.
pub(super) fn targets(view: &ClusterView, specs: &[ClusterSpec], hosts: &[HostRecord]) -> Vec<Target> {
    let mut targets = BTreeMap::new();
    let role =
        |host: &HostName| view.nodes.iter().find(|node| node.host == *host).map(|node| (node.name.clone(), node.role));
    for record in hosts {
        let serves = |spec: &&ClusterSpec| {
            spec.nodes.iter().any(|node| node.host == record.name)
                || spec.gateway_host.as_ref() == Some(&record.name)
                || spec.application_host.as_ref() == Some(&record.name)
        };
        let serves_another = specs.iter().filter(|spec| spec.name != view.cluster).any(|spec| serves(&spec));
        let serves_this = specs.iter().filter(|spec| spec.name == view.cluster).any(|spec| serves(&spec));
        if serves_another && !serves_this {
            continue;
        }
        let target = Target {
            host: record.name.clone(),
            address: record.address,
            region: record.region.clone(),
            tags: record.tags.clone(),
            node: role(&record.name),
        };
        targets.insert(record.name.clone(), target);
    }
    // Hosts whose agent has never been here can still be the other side of a partition.
    for node in &view.nodes {
        targets.entry(node.host.clone()).or_insert_with(|| Target {
            host: node.host.clone(),
            address: node.endpoint.address,
            region: Some(node.region.clone()),
            tags: BTreeMap::new(),
            node: Some((node.name.clone(), node.role)),
        });
    }
    targets.into_values().collect()
}

/// The faults that an attack means now, by host.
pub(super) fn aims(scene: &Scene, attack: &AttackStep) -> Result<Vec<Aim>, Problem> {
    let chosen = select(scene, &attack.target, "target")?;
    chosen.into_iter().map(|target| aim(scene, target, attack)).collect()
}

fn aim(scene: &Scene, target: &Target, attack: &AttackStep) -> Result<Aim, Problem> {
    let database = || match &target.node {
        Some((node, _)) => Ok(ProcessSelector::Database { node: node.clone() }),
        None => Err(problem(
            ATTACK,
            format!(
                "attack {}: host {} runs no database node of cluster {}, so there is nothing to {}; choose hosts of nodes",
                attack.label(),
                target.host,
                scene.cluster,
                attack.label()
            ),
        )),
    };
    let (fault, severs_server) = match &attack.fault {
        FaultSpec::Kill { signal } => (Fault::Kill { signal: signal.clone(), process: database()? }, false),
        FaultSpec::Pause => (Fault::Pause { process: database()? }, false),
        FaultSpec::Partition { peers, direction } => {
            let peers = addresses(scene, target, peers.as_ref())?;
            let severs = reaches_server(scene, &peers);
            (Fault::Partition { peers, direction: *direction }, severs)
        }
        FaultSpec::Latency { peers, delay, jitter, loss_percent } => {
            let peers = addresses(scene, target, peers.as_ref())?;
            let cuts = *loss_percent >= all_lost() || *delay >= scene.lease;
            let severs = cuts && reaches_server(scene, &peers);
            (Fault::Latency { peers, delay: *delay, jitter: *jitter, loss_percent: *loss_percent }, severs)
        }
    };
    let node = target.node.as_ref().map(|(node, _)| node.clone());
    Ok(Aim { host: target.host.clone(), node, fault, severs_server })
}

fn all_lost() -> Percent {
    Percent::try_from(100.0).unwrap_or_default()
}

/// No peers means everybody.
fn reaches_server(scene: &Scene, peers: &[IpAddr]) -> bool {
    peers.is_empty() || peers.contains(&scene.server)
}

/// The other side's addresses; none: everybody.
fn addresses(scene: &Scene, target: &Target, peers: Option<&Selector>) -> Result<Vec<IpAddr>, Problem> {
    let Some(selector) = peers else { return Ok(Vec::new()) };
    let hosts = Selector { server: false, ..selector.clone() };
    let mut addresses: Vec<IpAddr> = if selector.server && hosts.is_empty() {
        Vec::new()
    } else {
        select(scene, &hosts, "peers")?.into_iter().map(|peer| peer.address).collect()
    };
    if selector.server {
        addresses.push(scene.server);
    }
    addresses.retain(|address| *address != target.address);
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        // An empty list would mean everybody, the opposite of what was written.
        let message = format!(
            "the only peer that is selected ({}) is the target {} itself; choose other peers",
            describe(selector),
            target.host
        );
        return Err(problem(EMPTY_TARGET, message));
    }
    Ok(addresses)
}

fn select<'a>(scene: &'a Scene, selector: &Selector, what: &str) -> Result<Vec<&'a Target>, Problem> {
    let chosen = selector.select(&scene.targets);
    if chosen.is_empty() {
        let message = format!(
            "no host of cluster {} matches the {what} {}; `firedrill cluster show {}` lists nodes with their roles, `firedrill host list` hosts with their tags",
            scene.cluster,
            describe(selector),
            scene.cluster
        );
        return Err(problem(EMPTY_TARGET, message));
    }
    Ok(chosen)
}

/// A selector as a person would write it.
pub(super) fn describe(selector: &Selector) -> String {
    let mut parts = Vec::new();
    let list = |names: Vec<&str>| names.join(", ");
    if !selector.nodes.is_empty() {
        parts.push(format!("nodes: {}", list(selector.nodes.iter().map(NodeName::as_str).collect())));
    }
    if !selector.hosts.is_empty() {
        parts.push(format!("hosts: {}", list(selector.hosts.iter().map(HostName::as_str).collect())));
    }
    parts.extend(selector.role.map(|role: Role| format!("role: {role}")));
    parts.extend(selector.region.as_ref().map(|region| format!("region: {region}")));
    parts.extend(selector.tags.iter().map(|(key, value)| format!("tag {key}: {value}")));
    parts.extend(selector.server.then(|| "server: true".to_owned()));
    if parts.is_empty() { "(empty selector)".to_owned() } else { format!("({})", parts.join("; ")) }
}
