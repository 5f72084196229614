//! Probes that are told from what the server knows already: the live load and the cluster's view.

use super::{Finding, Measure, RoleCount};
use crate::time::Span;
use crate::view::{ClusterView, Health, NodeView};
use serde_json::Value;

/// What is known at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// The cluster; `None` when it cannot be seen.
    pub view: Option<&'a ClusterView>,
    /// Acknowledged writes per second over the last second; `None` without a load.
    pub write_rate: Option<u32>,
    /// 99th percentile of the time to the acknowledgement over the last second; `None` when nothing was acknowledged.
    pub ack_latency: Option<Span>,
}

/// What a probe of the cluster's facts comes to.
#[must_use]
pub fn judge_facts(measure: &Measure, facts: &Facts<'_>) -> Finding {
    match (measure, facts.view) {
        (Measure::WritesPerSecondAtLeast(least), _) => match facts.write_rate {
            Some(rate) => Finding::of(rate >= *least, format!("{rate} writes acknowledged per second")),
            None => Finding::unknown("no write was measured"),
        },
        (Measure::AckLatencyAtMost(most), _) => match (facts.ack_latency, facts.write_rate) {
            (Some(p99), _) => Finding::of(p99 <= *most, format!("99 % of writes acknowledged within {p99}")),
            (None, Some(_)) => Finding::of(false, "no write was acknowledged".to_owned()),
            (None, None) => Finding::unknown("no write was measured"),
        },
        (_, None) => Finding::unknown("the cluster cannot be seen"),
        (Measure::LagAtMost(most), Some(view)) => lag_at_most(*most, view),
        (Measure::ClusterHealthy, Some(view)) => healthy(view),
        (Measure::OnePrimary, Some(view)) => one_primary(view),
        (Measure::RoleCount(wanted), Some(view)) => role_count(wanted, view),
        (
            Measure::Sql(_) | Measure::Http(_) | Measure::Tcp(_) | Measure::Prometheus(_) | Measure::Command(_),
            Some(_),
        ) => Finding::unknown("it was not asked"),
    }
}

fn healthy(view: &ClusterView) -> Finding {
    let ill: Vec<_> = view
        .nodes
        .iter()
        .filter(|node| node.health != Health::Healthy)
        .map(|node| format!("{} {} {}", node.name, node.health, node.reason))
        .collect();
    let observed = match (view.fully_redundant, ill.is_empty()) {
        (true, _) => "every node in service".to_owned(),
        (false, true) => view.problems.join("; "),
        (false, false) => ill.join("; "),
    };
    Finding::of(view.fully_redundant, observed)
}

fn one_primary(view: &ClusterView) -> Finding {
    let status = |node: &NodeView| node.observation.as_ref().and_then(|seen| seen.status.clone());
    let writable: Vec<_> = view
        .nodes
        .iter()
        .filter(|node| status(node).is_some_and(|status| !status.read_only))
        .map(|node| node.name.to_string())
        .collect();
    // A node that does not answer this moment may be the one: only two, or none of all, is a break.
    let unread = view.nodes.iter().any(|node| status(node).is_none());
    let held = writable.len() == 1 || (writable.is_empty() && unread);
    Finding::of(held, format!("writable: {}", writable.join(", ")))
}

fn role_count(wanted: &RoleCount, view: &ClusterView) -> Finding {
    let of_role = || view.nodes.iter().filter(|node| node.role == wanted.role);
    let healthy = of_role().filter(|node| node.health == Health::Healthy).count();
    let observed = format!("{healthy} of {} nodes in the role {} healthy", of_role().count(), wanted.role);
    Finding::of(wanted.count.holds(&Value::from(healthy)), observed)
}

fn lag_at_most(most: Span, view: &ClusterView) -> Finding {
    let worst = view
        .nodes
        .iter()
        .filter(|node| view.primary.as_ref() != Some(&node.name))
        .map(|node| {
            let status = node.observation.as_ref().and_then(|seen| seen.status.as_ref());
            let lag = status.and_then(|status| status.replication.as_ref()).and_then(|replication| replication.lag);
            (lag, node.name.to_string())
        })
        .max_by_key(|(lag, _)| lag.map_or(u128::MAX, |lag| lag.duration().as_micros()));
    match worst {
        None => Finding::of(true, "there is no replica".to_owned()),
        Some((None, node)) => Finding::of(false, format!("{node} does not know its lag")),
        Some((Some(lag), node)) => Finding::of(lag <= most, format!("{node} is {lag} behind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Policy, Role};
    use crate::probe::{Comparison, ProbeState};
    use crate::time::Timestamp;

    fn view(healths: &[(Role, Health)]) -> ClusterView {
        let node = |(index, (role, health)): (usize, &(Role, Health))| NodeView {
            name: format!("east-{index}").parse().expect("a name"),
            host: format!("east-{index}").parse().expect("a name"),
            region: "east".parse().expect("a name"),
            endpoint: crate::Endpoint { address: "10.0.0.1".parse().expect("an address"), port: 3306 },
            role: *role,
            health: *health,
            reason: String::new(),
            acker: false,
            behind: None,
            observation: None,
            observed_at: None,
        };
        ClusterView {
            cluster: "shop".parse().expect("a name"),
            generation: crate::Generation::default(),
            primary: None,
            route: None,
            nodes: healths.iter().enumerate().map(node).collect(),
            operations: vec![],
            fully_redundant: false,
            problems: vec!["short of a replica".to_owned()],
            policy: Policy::default(),
            at: Timestamp(0),
        }
    }

    #[test]
    fn nothing_seen_holds_no_probe() {
        let count = RoleCount { role: Role::Replica, count: Comparison::AtLeast(0.into()) };
        let measures = [
            Measure::WritesPerSecondAtLeast(0),
            Measure::AckLatencyAtMost(Span::secs(60)),
            Measure::ClusterHealthy,
            Measure::OnePrimary,
            Measure::LagAtMost(Span::secs(60)),
            Measure::RoleCount(count),
        ];
        for measure in measures {
            let finding = judge_facts(&measure, &Facts::default());
            assert_eq!(finding.state, ProbeState::Unknown, "{measure:?}");
            assert!(measure.is_fact() && !finding.observed.is_empty());
        }
    }

    #[test]
    fn only_healthy_nodes_count_in_a_role() {
        let view =
            view(&[(Role::Primary, Health::Healthy), (Role::Replica, Health::Healthy), (Role::Replica, Health::Dead)]);
        let facts = Facts { view: Some(&view), ..Facts::default() };
        let count = |count| Measure::RoleCount(RoleCount { role: Role::Replica, count });
        let finding = judge_facts(&count(Comparison::AtLeast(1.into())), &facts);
        assert_eq!(finding.state, ProbeState::Held, "{finding:?}");
        assert!(finding.observed.contains("1 of 2"), "{finding:?}");
        assert_eq!(judge_facts(&count(Comparison::AtLeast(2.into())), &facts).state, ProbeState::Broken);
        assert_eq!(judge_facts(&Measure::ClusterHealthy, &facts).state, ProbeState::Broken);
        assert_eq!(judge_facts(&Measure::LagAtMost(Span::secs(9)), &facts).state, ProbeState::Broken);
    }

    #[test]
    fn writes_that_nobody_acknowledges_break_the_latency() {
        let measure = Measure::AckLatencyAtMost(Span::millis(50));
        let facts = |write_rate, ack_latency| Facts { view: None, write_rate, ack_latency };
        let state = |facts| judge_facts(&measure, &facts).state;
        assert_eq!(state(facts(Some(0), None)), ProbeState::Broken);
        assert_eq!(state(facts(Some(9), Some(Span::millis(51)))), ProbeState::Broken);
        assert_eq!(state(facts(Some(9), Some(Span::millis(50)))), ProbeState::Held);
    }
}
