//! The decision of each guard.

use super::{
    Answer, Authority, Facts, GUARDS, Guard, GuardPolicy, Part, Refusal, Request, RunStanding, radius, window,
};
use crate::id::HostName;
use crate::quantity::Percent;
use crate::time::Timestamp;
use crate::view::{Health, NodeView};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Most names in one sentence; a reader needs the first ones, the rest is a number.
const NAMES_MAX: usize = 5;

/// What a guard has seen, and what it allows.
struct No {
    figure: String,
    limit: String,
}

/// Asks every guard; gives those that refuse.
#[must_use]
pub fn ask(facts: &Facts, request: &Request, policy: &GuardPolicy) -> Vec<Refusal> {
    answers(facts, request, policy).into_iter().filter_map(|answer| answer.refusal).collect()
}

/// Asks every guard; gives what each says.
#[must_use]
pub fn answers(facts: &Facts, request: &Request, policy: &GuardPolicy) -> Vec<Answer> {
    let answer = |guard: Guard| {
        // What the agents refuse is refused, whatever the settings say.
        let off = policy.off.contains(&guard) && guard.authority() != Authority::HostOwner;
        let no = if off { None } else { decide(guard, facts, request, policy) };
        let refusal = no.map(|No { figure, limit }| Refusal { guard, figure, limit, authority: guard.authority() });
        Answer { guard, refusal, off, overridden: None }
    };
    GUARDS.into_iter().map(answer).collect()
}

fn decide(guard: Guard, facts: &Facts, request: &Request, policy: &GuardPolicy) -> Option<No> {
    match guard {
        Guard::LastReplica => last_replica(facts, request, policy.healthy_replicas_min),
        Guard::Degraded => degraded(facts, request.run.as_ref()),
        Guard::Operation => operation(facts, request.run.as_ref()),
        Guard::Overlap => overlap(facts, request.run.as_ref()),
        Guard::ClusterShare => {
            let part = radius(facts, &request.hosts, &policy.service_tag).cluster;
            share(part, policy.cluster_share_max, &format!("nodes of cluster {}", facts.view.cluster))
        }
        Guard::ServiceShare => {
            let services = radius(facts, &request.hosts, &policy.service_tag).services;
            let refuses = |(service, part): (String, Part)| {
                share(part, policy.service_share_max, &format!("hosts of service {service}"))
            };
            services.into_iter().find_map(refuses)
        }
        Guard::ConcurrentCluster => {
            let there = facts.in_place.iter().filter(|fault| fault.cluster.as_ref() == Some(&facts.view.cluster));
            let on = format!("on cluster {}", facts.view.cluster);
            concurrent(there.count(), request.hosts.len(), policy.concurrent_cluster_max, &on)
        }
        Guard::ConcurrentService => concurrent_service(facts, request, policy),
        Guard::ConcurrentAll => {
            concurrent(facts.in_place.len(), request.hosts.len(), policy.concurrent_all_max, "in all")
        }
        Guard::Protected => protected(facts, request, policy),
        Guard::Window => {
            let closed = !policy.windows.is_empty() && !policy.windows.iter().any(|open| open.contains(facts.now));
            closed.then(|| No {
                figure: format!("it is {}", window::shown(facts.now)),
                limit: format!("attacks begin within {} (UTC)", names(&policy.windows)),
            })
        }
        Guard::Approval => approval(facts, request, policy),
        Guard::HostOwner => host_owner(facts, request),
    }
}

/// Never the last healthy replica: counted is what is healthy now, whoever made the others sick.
fn last_replica(facts: &Facts, request: &Request, least: u32) -> Option<No> {
    let radius = radius(facts, &request.hosts, "");
    let left = radius.replicas_left.len();
    (radius.cluster.hit > 0 && left < least as usize).then(|| No {
        figure: format!(
            "{left} healthy replicas of cluster {} would be left untouched{}",
            facts.view.cluster,
            listed(&radius.replicas_left)
        ),
        limit: format!("at least {least}"),
    })
}

fn degraded(facts: &Facts, run: Option<&RunStanding>) -> Option<No> {
    let view = &facts.view;
    let seen = match run.and_then(|run| Some((run, run.attacked?))) {
        Some((run, attacked)) => {
            let lost: Vec<String> =
                view.nodes.iter().filter(|node| lost_to_others(facts, run, attacked, node)).map(condition).collect();
            (!lost.is_empty()).then(|| format!("{}, which this run has not touched", names(&lost)))?
        }
        None => {
            let sick: Vec<String> =
                view.nodes.iter().filter(|node| node.health != Health::Healthy).map(condition).collect();
            // What runs is another guard's matter.
            let only_busy = sick.is_empty() && view.problems.is_empty() && !facts.operations.is_empty();
            if view.fully_redundant || only_busy {
                return None;
            }
            match (sick.as_slice(), view.problems.as_slice()) {
                ([], []) => "a replica has not caught up or does not acknowledge".to_owned(),
                ([], problems) => names(problems),
                (sick, _) => names(sick),
            }
        }
    };
    let limit = "every node in service, caught up".to_owned();
    Some(No { figure: format!("cluster {} is degraded: {seen}", view.cluster), limit })
}

/// Lost, though the run has not hit its host, and no operation that came after the run's attack works on it. Nodes that
/// are merely suspect or joining may be so because of what the run did to others.
fn lost_to_others(facts: &Facts, run: &RunStanding, attacked: Timestamp, node: &NodeView) -> bool {
    let lost = matches!(node.health, Health::Dead | Health::Hung | Health::Silent | Health::Diverged);
    let worked_on = facts.operations.iter().any(|operation| {
        operation.began >= attacked
            && (operation.subject == node.name || operation.partner.as_ref() == Some(&node.name))
    });
    lost && !run.hit.contains(&node.host) && !worked_on
}

fn condition(node: &NodeView) -> String {
    format!("{} is {}", node.name, node.health)
}

fn operation(facts: &Facts, run: Option<&RunStanding>) -> Option<No> {
    let attacked = run.and_then(|run| run.attacked);
    let others = facts.operations.iter().filter(|operation| attacked.is_none_or(|at| operation.began < at));
    let running: Vec<String> = others.map(|one| format!("{} {} of {}", one.kind, one.id, one.subject)).collect();
    (!running.is_empty()).then(|| No {
        figure: format!("{} on cluster {}", names(&running), facts.view.cluster),
        limit: "no operation runs or waits for a person".to_owned(),
    })
}

fn overlap(facts: &Facts, run: Option<&RunStanding>) -> Option<No> {
    let Some(run) = run else {
        let other = facts.runs.first()?;
        let figure = format!("run {other} is under way on cluster {} and would be spoilt", facts.view.cluster);
        return Some(No { figure, limit: "no attack beside a run".to_owned() });
    };
    let own = facts.in_place.iter().filter(|fault| fault.run.as_ref() == Some(&run.run));
    let own: Vec<String> = own.map(|fault| format!("{} on {}", fault.kind, fault.host)).collect();
    (!run.overlap && !own.is_empty()).then(|| No {
        figure: format!("{} of this run is still in place", names(&own)),
        limit: "one attack at a time, unless the experiment says `overlap: true`".to_owned(),
    })
}

/// One host is always allowed: a share of something small would allow nobody.
fn share(part: Part, most: Percent, what: &str) -> Option<No> {
    let allowed = (part.of.saturating_mul(most.thousandths() as usize) / 100_000).max(1);
    (part.hit > 0 && part.under_attack > allowed).then(|| No {
        figure: format!("{} of {} {what} would be under attack", part.under_attack, part.of),
        limit: format!("{allowed} ({most})"),
    })
}

fn concurrent(there: usize, more: usize, most: u32, on: &str) -> Option<No> {
    (there + more > most as usize).then(|| No {
        figure: format!("{there} faults are in place {on}, {more} more would make {}", there + more),
        limit: format!("at most {most}"),
    })
}

fn concurrent_service(facts: &Facts, request: &Request, policy: &GuardPolicy) -> Option<No> {
    let service = |host: &HostName| facts.tag(host, &policy.service_tag);
    let mut more: BTreeMap<&str, usize> = BTreeMap::new();
    for name in request.hosts.iter().filter_map(service) {
        *more.entry(name).or_default() += 1;
    }
    more.into_iter().find_map(|(name, more)| {
        let there = facts.in_place.iter().filter(|fault| service(&fault.host) == Some(name)).count();
        concurrent(there, more, policy.concurrent_service_max, &format!("on service {name}"))
    })
}

fn protected(facts: &Facts, request: &Request, policy: &GuardPolicy) -> Option<No> {
    let marked = |host: &&HostName| {
        policy.protected_hosts.contains(host) || carries(facts, host, &policy.protected_tags).is_some()
    };
    let hosts: Vec<&HostName> = request.hosts.iter().filter(marked).collect();
    (!hosts.is_empty()).then(|| No {
        figure: format!("{} protected hosts would be hit{}", hosts.len(), listed(&hosts)),
        limit: "none".to_owned(),
    })
}

fn approval(facts: &Facts, request: &Request, policy: &GuardPolicy) -> Option<No> {
    let by_kind = policy.approval_kinds.contains(&request.kind).then(|| format!("attacks of kind {}", request.kind));
    let by_host = || {
        let marked = |host: &HostName| {
            let tag = carries(facts, host, &policy.approval_tags)?;
            Some(format!("attacks on host {host} (tag {tag})"))
        };
        request.hosts.iter().find_map(marked)
    };
    let what = by_kind.or_else(by_host)?;
    let limit = "a second person has approved it".to_owned();
    match &request.approved_by {
        Some(second) if *second != request.by => None,
        Some(_) => {
            Some(No { figure: format!("{what} were approved by {} only, who asks for them", request.by), limit })
        }
        None => Some(No { figure: format!("{what} were asked for by {} alone", request.by), limit }),
    }
}

/// What the agents would refuse on the spot is known before anything begins.
fn host_owner(facts: &Facts, request: &Request) -> Option<No> {
    let refusal = |host: &HostName| {
        let list = facts.allowed(host)?;
        let why = list.refusal(&request.kind, request.family, request.lasts)?;
        Some(No { figure: format!("the owner of host {host} does not allow it: {why}"), limit: list.to_string() })
    };
    request.hosts.iter().find_map(refusal)
}

fn carries(facts: &Facts, host: &HostName, tags: &BTreeMap<String, String>) -> Option<String> {
    let carried = tags.iter().find(|(key, value)| facts.tag(host, key) == Some(value.as_str()));
    carried.map(|(key, value)| format!("{key}={value}"))
}

fn listed<T: Display>(items: &[T]) -> String {
    if items.is_empty() { String::new() } else { format!(" ({})", names(items)) }
}

fn names<T: Display>(items: &[T]) -> String {
    let mut text = items.iter().take(NAMES_MAX).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if items.len() > NAMES_MAX {
        text.push_str(&format!(" and {} more", items.len() - NAMES_MAX));
    }
    text
}
