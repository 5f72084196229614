//! From an attack as written (roles, regions, tags) to exact faults on exact hosts. Pure.

use crate::problem::{ATTACK, EMPTY_TARGET, SELECTOR, problem};
use firedrill_api::http::Problem;
use firedrill_fault::kinds::{self, Kind, Scope};
use firedrill_model::attack::Peers;
use firedrill_model::experiment::AttackStep;
use firedrill_model::guard::OperationFact;
use firedrill_model::selector::DatabaseFacts;
use firedrill_model::{
    ClusterName, ClusterSpec, ClusterView, Fault, HostName, NodeName, NodeView, OperationKind, Role, Selector, Span,
    Target,
};
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
pub(super) fn targets(
    view: &ClusterView,
    specs: &[ClusterSpec],
    hosts: &[HostRecord],
    operations: &[OperationFact],
) -> Vec<Target> {
    let mut targets = BTreeMap::new();
    let node = |host: &HostName| view.nodes.iter().find(|node| node.host == *host);
    let role = |host: &HostName| node(host).map(|node| (node.name.clone(), node.role));
    let database = |host: &HostName, serves: bool| DatabaseFacts {
        cluster: serves.then(|| view.cluster.clone()),
        behind: node(host).and_then(behind),
        donor: node(host).is_some_and(|node| is_donor(&node.name, operations)),
    };
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
            database: database(&record.name, serves_this),
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
            database: database(&node.host, true),
        });
    }
    targets.into_values().collect()
}

/// How far a node is behind; nothing for a primary, which is behind nobody.
fn behind(node: &NodeView) -> Option<(u64, u64)> {
    if node.role == Role::Primary {
        return None;
    }
    let status = node.observation.as_ref().and_then(|observation| observation.status.as_ref());
    let lag = status.and_then(|status| status.replication.as_ref()).and_then(|replication| replication.lag);
    let lag = lag.map(|lag| u64::try_from(lag.0.as_micros()).unwrap_or(u64::MAX));
    match (lag, node.behind) {
        (None, None) => None,
        (lag, behind) => Some((lag.unwrap_or(0), behind.unwrap_or(0))),
    }
}

/// Another node is being copied from it.
fn is_donor(node: &NodeName, operations: &[OperationFact]) -> bool {
    operations.iter().any(|one| one.kind == OperationKind::Clone && one.partner.as_ref() == Some(node))
}

/// The faults that an attack means now, by host; `draw` is the random number of the choice.
pub(super) fn aims(scene: &Scene, attack: &AttackStep, draw: u64) -> Result<Vec<Aim>, Problem> {
    let wrong = |message: String| problem(ATTACK, format!("attack {}: {message}", attack.label()));
    firedrill_fault::check(&attack.fault).map_err(|problem| wrong(problem.to_string()))?;
    let kind = kinds::find(&attack.fault.kind).ok_or_else(|| wrong("there is no such kind".to_owned()))?;
    let chosen = if attack.target.hosts.is_empty() && needs_node(kind, &attack.fault) {
        // A region means its databases; a host that was named and has none is a mistake.
        let databases: Vec<Target> = scene.targets.iter().filter(|target| target.node.is_some()).cloned().collect();
        select_of(scene, &databases, &attack.target, "target", draw)?.into_iter().cloned().collect()
    } else {
        select_of(scene, &scene.targets, &attack.target, "target", draw)?.into_iter().cloned().collect::<Vec<Target>>()
    };
    chosen.iter().map(|target| aim(scene, target, attack, kind, draw)).collect()
}

/// It is done to a database server, not to its host.
fn needs_node(kind: &Kind, fault: &Fault) -> bool {
    match kind.scope {
        Scope::Host => false,
        Scope::Process => !fault.parameters.contains_key("process"),
        Scope::Node => true,
    }
}

fn aim(scene: &Scene, target: &Target, attack: &AttackStep, kind: &Kind, draw: u64) -> Result<Aim, Problem> {
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
        let addresses = addresses(scene, target, &selector, &name, draw)?;
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
fn addresses(
    scene: &Scene,
    target: &Target,
    selector: &Selector,
    what: &str,
    draw: u64,
) -> Result<Vec<IpAddr>, Problem> {
    let hosts = Selector { server: false, ..selector.clone() };
    let mut addresses: Vec<IpAddr> = if selector.server && hosts.is_empty() {
        Vec::new()
    } else {
        select_of(scene, &scene.targets, &hosts, what, draw)?.into_iter().map(|peer| peer.address).collect()
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
            selector, target.host
        );
        return Err(problem(EMPTY_TARGET, message));
    }
    Ok(addresses)
}

fn select_of<'a>(
    scene: &Scene,
    targets: &'a [Target],
    selector: &Selector,
    what: &str,
    draw: u64,
) -> Result<Vec<&'a Target>, Problem> {
    let elsewhere = selector.cluster.as_ref().filter(|named| **named != scene.cluster);
    let contradiction = elsewhere.map_or_else(
        || selector.contradiction(),
        |named| Some(format!("it names cluster {named}, but the attack is on cluster {}", scene.cluster)),
    );
    if let Some(contradiction) = contradiction {
        return Err(problem(SELECTOR, format!("the {what} ({selector}) contradicts itself: {contradiction}")));
    }
    let chosen = selector.select(targets, draw);
    if chosen.is_empty() {
        let message = format!(
            "no host of cluster {} matches the {what} ({}); `firedrill cluster show {}` lists nodes with their roles, `firedrill host list` hosts with their tags",
            scene.cluster,
            if selector.is_empty() { "empty selector".to_owned() } else { selector.to_string() },
            scene.cluster
        );
        return Err(problem(EMPTY_TARGET, message));
    }
    Ok(chosen)
}
