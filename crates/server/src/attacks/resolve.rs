//! From an attack as written (roles, regions, tags) to exact faults on exact hosts. Pure.

use crate::problem::{ATTACK, EMPTY_TARGET, problem};
use firedrill_api::http::Problem;
use firedrill_fault::kinds::{self, Kind, Scope};
use firedrill_model::attack::Peers;
use firedrill_model::experiment::AttackStep;
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
    let wrong = |message: String| problem(ATTACK, format!("attack {}: {message}", attack.label()));
    firedrill_fault::check(&attack.fault).map_err(|problem| wrong(problem.to_string()))?;
    let kind = kinds::find(&attack.fault.kind).ok_or_else(|| wrong("there is no such kind".to_owned()))?;
    let chosen = if attack.target.hosts.is_empty() && needs_node(kind, &attack.fault) {
        // A region means its databases; a host that was named and has none is a mistake.
        let databases: Vec<Target> = scene.targets.iter().filter(|target| target.node.is_some()).cloned().collect();
        select_of(scene, &databases, &attack.target, "target")?.into_iter().cloned().collect()
    } else {
        select(scene, &attack.target, "target")?.into_iter().cloned().collect::<Vec<Target>>()
    };
    chosen.iter().map(|target| aim(scene, target, attack, kind)).collect()
}

/// It is done to a database server, not to its host.
fn needs_node(kind: &Kind, fault: &Fault) -> bool {
    match kind.scope {
        Scope::Host => false,
        Scope::Process => !fault.parameters.contains_key("process"),
        Scope::Node => true,
    }
}

fn aim(scene: &Scene, target: &Target, attack: &AttackStep, kind: &Kind) -> Result<Aim, Problem> {
    let node = target.node.as_ref().map(|(node, _)| node.clone());
    if needs_node(kind, &attack.fault) && node.is_none() {
        let (label, host, cluster) = (attack.label(), &target.host, &scene.cluster);
        let message = format!(
            "attack {label}: host {host} runs no database node of cluster {cluster}, so there is nothing to {label}; \
             choose hosts of nodes"
        );
        return Err(problem(ATTACK, message));
    }
    let mut fault = attack.fault.clone();
    for name in kind.shape.peer_parameters() {
        let Some(written) = fault.parameters.get_mut(&name) else { continue };
        let Ok(Peers::Selected(selector)) = serde_json::from_value(written.clone()) else { continue };
        let addresses = addresses(scene, target, &selector, &name)?;
        *written = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().into();
    }
    let severs_server = firedrill_fault::cuts_off(&fault, scene.lease) && reaches_server(scene, &fault);
    Ok(Aim { host: target.host.clone(), node, fault, severs_server })
}

/// No peers means everybody; what is excepted is not reached.
fn reaches_server(scene: &Scene, fault: &Fault) -> bool {
    let names = |parameter: &str| {
        let peers =
            fault.parameters.get(parameter).and_then(|value| serde_json::from_value::<Peers>(value.clone()).ok());
        peers.map(|peers| peers.networks().is_some_and(|all| all.iter().any(|one| one.contains(scene.server))))
    };
    names("peers").unwrap_or(true) && !names("except").unwrap_or(false)
}

/// The addresses of a selector, those of the target itself left out.
fn addresses(scene: &Scene, target: &Target, selector: &Selector, what: &str) -> Result<Vec<IpAddr>, Problem> {
    let hosts = Selector { server: false, ..selector.clone() };
    let mut addresses: Vec<IpAddr> = if selector.server && hosts.is_empty() {
        Vec::new()
    } else {
        select(scene, &hosts, what)?.into_iter().map(|peer| peer.address).collect()
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
            "the only host that `{what}` selects ({}) is the target {} itself; choose others",
            describe(selector),
            target.host
        );
        return Err(problem(EMPTY_TARGET, message));
    }
    Ok(addresses)
}

fn select<'a>(scene: &'a Scene, selector: &Selector, what: &str) -> Result<Vec<&'a Target>, Problem> {
    select_of(scene, &scene.targets, selector, what)
}

fn select_of<'a>(
    scene: &Scene,
    targets: &'a [Target],
    selector: &Selector,
    what: &str,
) -> Result<Vec<&'a Target>, Problem> {
    let chosen = selector.select(targets);
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
