//! The cluster as the keeper sees it, for pages and probes.

use crate::core::Core;
use crate::health;
use crate::state::Standing;
use firedrill_model::{ClusterView, Health, NodeName, NodeView, OperationState, Role, Span, Timestamp};

pub(crate) fn view(core: &Core, now: Timestamp) -> ClusterView {
    let state = &core.journal;
    let changing = state.sagas.iter().any(|saga| saga.vacates_primary());
    let mut nodes: Vec<NodeView> =
        state.spec.nodes.iter().map(|node| node_view(core, &node.name)).collect::<Option<_>>().unwrap_or_default();
    let home = state.region_of(&state.primary).cloned();
    nodes.sort_by_key(|node| (Some(&node.region) != home.as_ref(), node.region.clone(), node.name.clone()));
    let problems = problems(core, &nodes);
    ClusterView {
        cluster: state.spec.name.clone(),
        generation: state.generation,
        primary: (!changing).then(|| state.primary.clone()),
        route: state.route.clone(),
        fully_redundant: state.sagas.is_empty() && problems.is_empty(),
        operations: state.sagas.iter().map(|saga| saga.operation.id.clone()).collect(),
        nodes,
        problems,
        policy: state.spec.policy.clone(),
        at: now,
    }
}

/// A replica further behind than this is no replacement for its primary yet.
const LAG_MAX: Span = Span::secs(5);

/// Why a node that works in its role is no full member of the cluster yet.
fn lacks(core: &Core, node: &NodeView) -> Option<String> {
    let status = node.observation.as_ref().and_then(|observation| observation.status.as_ref());
    let lag = status.and_then(|status| status.replication.as_ref()).and_then(|replication| replication.lag);
    let name = &node.name;
    match lag {
        _ if node.health != Health::Healthy => None,
        _ if node.role == Role::OutOfService => Some(format!("{name} is out of service")),
        Some(lag) if lag > LAG_MAX => Some(format!("{name} is {lag} behind, which is more than {LAG_MAX}")),
        _ if core.lossless() && node.role == Role::Replica && !node.acker => {
            Some(format!("{name} does not acknowledge writes of the primary yet"))
        }
        _ => None,
    }
}

fn node_view(core: &Core, name: &NodeName) -> Option<NodeView> {
    let spec = core.journal.node(name)?;
    let record = core.journal.nodes.get(name)?;
    let (health, reason) = health::health(core, name);
    let evidence = core.evidence.node(name);
    let primary = core.evidence.node(&core.journal.primary).and_then(|evidence| evidence.status());
    let behind = match (primary, evidence.and_then(|evidence| evidence.status())) {
        (Some(primary), Some(own)) => Some(own.position.missing_from(&primary.binlog_state.position())),
        _ => None,
    };
    Some(NodeView {
        name: name.clone(),
        host: spec.host.clone(),
        region: spec.region.clone(),
        endpoint: spec.endpoint,
        role: if record.standing == Standing::InService { record.role } else { Role::OutOfService },
        health,
        reason,
        acker: core.journal.ackers.get(name).is_some_and(|entry| entry.acks_for(&core.journal.primary)),
        behind,
        observation: evidence.map(|evidence| evidence.observation.clone()),
        observed_at: evidence.map(|evidence| evidence.observed_at),
    })
}

fn problems(core: &Core, nodes: &[NodeView]) -> Vec<String> {
    let waiting =
        core.journal.sagas.iter().filter(|saga| saga.operation.state == OperationState::NeedsPerson).filter_map(
            |saga| {
                saga.operation
                    .reason
                    .as_ref()
                    .map(|reason| format!("{} of {} waits: {reason}", saga.operation.kind, saga.operation.subject))
            },
        );
    let mut ailing: Vec<&NodeView> = nodes.iter().filter(|node| node.health != Health::Healthy).collect();
    ailing.sort_by_key(|node| node.role);
    let ailing =
        ailing.into_iter().map(|node| format!("{} ({}) is {}: {}", node.name, node.role, node.health, node.reason));
    let unproven = core.journal.ackers.iter().filter(|(_, entry)| entry.debt.is_some()).map(|(node, _)| {
        format!(
            "what {node} acknowledged before its last restart is not yet known to be on another acker; were the primary \
             lost now, its promotion could need a person"
        )
    });
    let lacking = nodes.iter().filter_map(|node| lacks(core, node));
    waiting.chain(ailing).chain(lacking).chain(unproven).collect()
}
