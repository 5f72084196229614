//! What a run or an attack would do now: targets, blast radius, guards, and what stands in the way.

use crate::frame::Frame;
use firedrill_api::guards::{AttackPlan, RunPlan};
use firedrill_model::access::Action;
use firedrill_model::guard::{Answer, Authority, Guard, Part, Refusal};

/// What stands in the way of a start as things are now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// What refuses, and cannot be passed over by whoever looks.
    pub(crate) blocks: Vec<String>,
    /// Guards that refuse and that whoever looks may pass over, with a reason.
    pub(crate) overridable: Vec<Refusal>,
    /// The rung below has not passed; one may go on in spite of it.
    pub(crate) rung: Option<String>,
    /// Somebody else has to approve it.
    pub(crate) second_person: bool,
}

impl Outlook {
    /// `needs_force`: that the rung below has not passed is what the plan is refused for.
    pub(crate) fn of_run(frame: &Frame, plan: &RunPlan, needs_force: bool) -> Self {
        let mut outlook = Self::default();
        if let Some(refused) = plan.refused.clone() {
            if needs_force {
                outlook.rung = Some(refused);
            } else {
                outlook.blocks.push(refused);
            }
        }
        for (index, attack) in plan.attacks.iter().enumerate() {
            match (&attack.plan, &attack.problem) {
                (Some(plan), _) => outlook.take(frame, plan, index == 0),
                // What comes later may come to be during the run: a donor, say.
                (None, Some(problem)) if index == 0 => outlook.blocks.push(problem.clone()),
                (None, _) => {}
            }
        }
        outlook
    }

    pub(crate) fn of_attack(frame: &Frame, plan: &AttackPlan) -> Self {
        let mut outlook = Self::default();
        outlook.take(frame, plan, true);
        outlook
    }

    /// Takes one attack in. Of a later one of a run only those guards count whose answer does not change meanwhile.
    fn take(&mut self, frame: &Frame, plan: &AttackPlan, is_first: bool) {
        for host in plan.hosts.iter().filter(|host| is_first && !host.connected) {
            let text = "is not connected, so the fault could not be taken out either; start its agent";
            self.blocks.push(format!("The agent of host {} {text}.", host.host));
        }
        let counts = |answer: &&Answer| is_first || answer.guard.is_lasting();
        for refusal in plan.guards.iter().filter(counts).filter_map(|answer| answer.refusal.as_ref()) {
            let may = match refusal.authority {
                Authority::Operator => true,
                Authority::Admin => frame.may_on(Action::Configure, &plan.cluster),
                Authority::SecondPerson => {
                    self.second_person = true;
                    continue;
                }
                Authority::HostOwner => false,
            };
            if !may {
                self.blocks.push(refusal.to_string());
            } else if !self.overridable.iter().any(|known| known.guard == refusal.guard) {
                self.overridable.push(refusal.clone());
            }
        }
    }

    /// A class and a sentence.
    pub(crate) fn verdict(&self) -> (&'static str, &'static str) {
        let passed_over = !self.overridable.is_empty() || self.rung.is_some();
        match (self.blocks.is_empty(), passed_over, self.second_person) {
            (false, ..) => ("critical", "✖ It would be refused now."),
            (true, true, _) => ("critical", "✖ It would be refused now, unless you say below that it is meant so."),
            (true, false, true) => ("warning", "▲ It would wait for a second person, who approves it."),
            (true, false, false) => ("passed", "✔ Nothing speaks against it."),
        }
    }
}

/// What a guard says: a class, words, and why.
pub(crate) fn said(answer: &Answer) -> (&'static str, &'static str, String) {
    match (&answer.refusal, &answer.overridden) {
        (None, _) if answer.off => ("", "– off", String::new()),
        (None, _) => ("passed", "✔ yes", String::new()),
        (Some(refusal), Some(reason)) => {
            ("warning", "▲ overridden", format!("{} (limit: {}): {reason}", refusal.figure, refusal.limit))
        }
        (Some(refusal), None) if refusal.authority == Authority::SecondPerson => {
            ("warning", "▲ asks", format!("{}; a second person approves", refusal.figure))
        }
        (Some(refusal), None) => {
            let Refusal { figure, limit, authority, .. } = refusal;
            ("critical", "✖ no", format!("{figure}; the limit: {limit}; {authority} may override it"))
        }
    }
}

/// What each guard is for, one line for the choice of overrides.
pub(crate) const fn about(guard: Guard) -> &'static str {
    match guard {
        Guard::LastReplica => "so many healthy replicas stay untouched",
        Guard::Degraded => "the cluster is whole",
        Guard::Operation => "no promotion, clone or other operation runs",
        Guard::Overlap => "nothing else is tried on the cluster at the same time",
        Guard::ClusterShare => "a share of the cluster's nodes at most",
        Guard::ServiceShare => "a share of a service's hosts at most",
        Guard::ConcurrentCluster => "so many faults on a cluster at most",
        Guard::ConcurrentService => "so many faults on a service's hosts at most",
        Guard::ConcurrentAll => "so many faults in all at most",
        Guard::Protected => "protected hosts stay untouched",
        Guard::Window => "attacks happen within certain hours",
        Guard::Approval => "a second person has approved it",
        Guard::HostOwner => "the owners of the hosts allow it",
    }
}

/// The blast radius in sentences.
pub(crate) fn radius(plan: &AttackPlan) -> Vec<String> {
    let radius = &plan.radius;
    let part = |part: &Part| {
        let share = (part.hit * 100).checked_div(part.of).unwrap_or(0);
        format!("{} of {} ({share} %)", part.hit, part.of)
    };
    let primary = if radius.primary { ", the primary among them" } else { "" };
    let mut lines = vec![format!("Hit: {} nodes of cluster {}{primary}.", part(&radius.cluster), plan.cluster)];
    lines.extend(radius.regions.iter().map(|(region, hit)| format!("Region {region}: {} nodes.", part(hit))));
    lines.extend(radius.services.iter().map(|(service, hit)| format!("Service {service}: {} hosts.", part(hit))));
    let listed = |names: Vec<String>| if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    let names = |nodes: &[firedrill_model::NodeName]| listed(nodes.iter().map(ToString::to_string).collect());
    lines.push(format!(
        "Left untouched: {} healthy replicas{}, {} of them acknowledge writes{}.",
        radius.replicas_left.len(),
        names(&radius.replicas_left),
        radius.ackers_left.len(),
        names(&radius.ackers_left)
    ));
    lines
}

/// The node on a host, the role that it plays now.
pub(crate) fn node(host: &firedrill_api::guards::PlannedHost) -> String {
    host.node.as_ref().map_or_else(|| "no node".to_owned(), |(node, role)| format!("{node}, {role}"))
}

/// What there is to say of a host beside the fault.
pub(crate) fn notes(host: &firedrill_api::guards::PlannedHost) -> String {
    let mut notes: Vec<String> = Vec::new();
    if !host.connected {
        notes.push("✖ its agent is not connected".to_owned());
    }
    if host.severs_server {
        notes.push("its agent is cut off from this server meanwhile".to_owned());
    }
    if !host.mechanism.is_empty() {
        notes.push(format!("needs {}", host.mechanism.join(", ")));
    }
    notes.join("; ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use firedrill_model::access::Role;
    use serde_json::{Value, json};

    pub(crate) const HOSTILE: &str = "<script>alert(1)</script>\"'&";

    /// A plan in which these guards refuse.
    pub(crate) fn attack_plan(refusing: &[(&str, &str)]) -> AttackPlan {
        let answer = |(guard, authority): &(&str, &str)| {
            let refusal = json!({"guard": guard, "figure": HOSTILE, "limit": HOSTILE, "authority": authority});
            json!({"guard": guard, "refusal": refusal, "off": false})
        };
        let guards: Vec<Value> = refusing.iter().map(answer).collect();
        serde_json::from_value(json!({
            "cluster": "shop", "attack": HOSTILE, "target": "role=primary", "seed": 7, "duration": "30s",
            "hosts": [{"host": "east-1", "region": "east", "node": ["east-1", "primary"], "connected": true,
                       "fault": {"kind": "pause", "note": HOSTILE}, "mechanism": [HOSTILE], "severs_server": true}],
            "radius": {"cluster": {"hit": 1, "under_attack": 1, "of": 3}, "regions": {HOSTILE: {"hit": 1, "under_attack": 1, "of": 3}},
                       "services": {}, "primary": true, "replicas_left": ["east-2"], "ackers_left": []},
            "guards": guards,
        }))
        .expect("a plan")
    }

    pub(crate) fn run_plan(attacks: Vec<Option<AttackPlan>>, refused: Option<&str>) -> RunPlan {
        let cluster = "shop".parse().expect("a name");
        let planned = |(step, plan): (usize, Option<AttackPlan>)| firedrill_api::guards::PlannedAttack {
            step,
            problem: plan.is_none().then(|| HOSTILE.to_owned()),
            plan,
        };
        RunPlan {
            experiment: "x".to_owned(),
            cluster,
            refused: refused.map(str::to_owned),
            attacks: attacks.into_iter().enumerate().map(planned).collect(),
        }
    }

    #[test]
    fn who_may_override_decides_what_can_be_done_about_a_refusal() {
        let plan = attack_plan(&[("degraded", "operator"), ("last-replica", "admin")]);
        let operator = Outlook::of_attack(&Frame::shown_to(Role::Operator), &plan);
        assert_eq!((operator.blocks.len(), operator.overridable.len()), (1, 1), "{operator:?}");
        let admin = Outlook::of_attack(&Frame::shown_to(Role::Admin), &plan);
        assert_eq!((admin.blocks.len(), admin.overridable.len()), (0, 2), "{admin:?}");
        let second = Outlook::of_attack(&Frame::shown_to(Role::Admin), &attack_plan(&[("approval", "second-person")]));
        assert_eq!(second.verdict().0, "warning");
        let owner = Outlook::of_attack(&Frame::shown_to(Role::Admin), &attack_plan(&[("host-owner", "host-owner")]));
        assert_eq!(owner.blocks.len(), 1);
    }

    #[test]
    fn of_a_later_attack_only_what_stays_counts() {
        let frame = Frame::shown_to(Role::Admin);
        let (fine, moving) = (attack_plan(&[]), attack_plan(&[("degraded", "operator")]));
        let later =
            Outlook::of_run(&frame, &run_plan(vec![Some(fine.clone()), Some(moving.clone()), None], None), false);
        assert_eq!(later, Outlook::default());
        let protected = attack_plan(&[("protected", "admin")]);
        let outlook = Outlook::of_run(&frame, &run_plan(vec![Some(fine), Some(protected)], None), false);
        assert_eq!(outlook.overridable.len(), 1);
        let first = Outlook::of_run(&frame, &run_plan(vec![Some(moving)], Some("rung")), true);
        assert_eq!((first.overridable.len(), first.rung.as_deref()), (1, Some("rung")));
        assert_eq!(Outlook::of_run(&frame, &run_plan(vec![None], Some("busy")), false).blocks.len(), 2);
    }
}
