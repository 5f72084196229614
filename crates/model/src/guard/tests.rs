use super::*;
use crate::access::AttackFamily;
use crate::allow::AllowList;
use crate::cluster::{Endpoint, Policy, Role};
use crate::id::{AttackId, Generation, HostName, OperationId, RunId};
use crate::operation::OperationKind;
use crate::quantity::Percent;
use crate::time::{Span, Timestamp};
use crate::view::{ClusterView, Health, NodeView};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Thursday, 1 January 1970, 12:00 UTC.
const NOON: Timestamp = Timestamp(12 * 3600 * 1_000_000);

fn node(name: &str, role: Role) -> NodeView {
    NodeView {
        name: name.parse().expect("a name"),
        host: name.parse().expect("a name"),
        region: name[..4].parse().expect("a name"),
        endpoint: Endpoint { address: "10.0.0.1".parse().expect("an address"), port: 3306 },
        role,
        health: Health::Healthy,
        reason: String::new(),
        acker: role == Role::Replica,
        behind: None,
        observation: None,
        observed_at: None,
    }
}

/// Two regions of three nodes; all belong to one service.
fn facts() -> Facts {
    let nodes = vec![
        node("east-1", Role::Primary),
        node("east-2", Role::Replica),
        node("east-3", Role::Replica),
        node("west-1", Role::PseudoPrimary),
        node("west-2", Role::PseudoReplica),
        node("west-3", Role::PseudoReplica),
    ];
    let tags = BTreeMap::from([("service".to_owned(), "db".to_owned())]);
    let hosts =
        nodes.iter().map(|node| HostFact { host: node.host.clone(), tags: tags.clone(), allowed: None }).collect();
    let view = ClusterView {
        cluster: "shop".parse().expect("a name"),
        generation: Generation(1),
        primary: Some(nodes[0].name.clone()),
        route: None,
        nodes,
        operations: Vec::new(),
        fully_redundant: true,
        problems: Vec::new(),
        policy: Policy::default(),
        at: NOON,
    };
    Facts { now: NOON, view, operations: Vec::new(), hosts, in_place: Vec::new(), runs: Vec::new() }
}

fn hosts(names: &[&str]) -> BTreeSet<HostName> {
    names.iter().map(|name| name.parse().expect("a name")).collect()
}

fn on(names: &[&str]) -> Request {
    Request {
        by: "ann".to_owned(),
        approved_by: None,
        run: None,
        kind: "kill".to_owned(),
        family: Some(AttackFamily::State),
        lasts: None,
        hosts: hosts(names),
    }
}

fn in_place(host: &str, run: Option<&str>) -> InPlace {
    InPlace {
        attack: AttackId(host.to_owned()),
        host: host.parse().expect("a name"),
        cluster: Some("shop".parse().expect("a name")),
        run: run.map(|run| RunId(run.to_owned())),
        kind: "pause".to_owned(),
    }
}

fn clone_of(node: &str, began: Timestamp) -> OperationFact {
    let subject = node.parse().expect("a name");
    OperationFact { id: OperationId("shop-1".into()), kind: OperationKind::Clone, subject, partner: None, began }
}

fn standing(attacked: Option<Timestamp>, hit: &[&str]) -> RunStanding {
    RunStanding { run: RunId("run-1".to_owned()), attacked, hit: hosts(hit), overlap: false }
}

fn refusing(facts: &Facts, request: &Request, policy: &GuardPolicy) -> Vec<Guard> {
    ask(facts, request, policy).into_iter().map(|refusal| refusal.guard).collect()
}

fn refusing_by_default(facts: &Facts, request: &Request) -> Vec<Guard> {
    refusing(facts, request, &GuardPolicy::default())
}

#[test]
fn a_whole_cluster_may_be_attacked() {
    for names in [&["east-1"][..], &["east-2", "east-3"], &["east-1", "east-2", "east-3"], &["west-1"]] {
        assert_eq!(refusing_by_default(&facts(), &on(names)), [], "{names:?}");
    }
}

#[test]
fn the_last_healthy_replica_stays() {
    let mut facts = facts();
    facts.view.nodes.truncate(3);
    facts.view.nodes[1].health = Health::Dead;
    assert!(refusing_by_default(&facts, &on(&["east-3"])).contains(&Guard::LastReplica));
    facts.view.nodes[1].health = Health::Healthy;
    assert!(!refusing_by_default(&facts, &on(&["east-3"])).contains(&Guard::LastReplica));
    // The other one is not touched by this attack, but by one that is in place.
    facts.in_place.push(in_place("east-2", None));
    let refused = &ask(&facts, &on(&["east-3"]), &GuardPolicy::default())[0];
    assert_eq!((refused.guard, refused.authority), (Guard::LastReplica, Authority::Admin));
    assert_eq!(
        refused.to_string(),
        "guard last-replica: 0 healthy replicas of cluster shop would be left untouched; the limit: at least 1; \
         an administrator may override it with --override last-replica --reason TEXT"
    );
    // A primary that nobody could replace is as good as the last replica.
    facts.in_place.push(in_place("east-3", None));
    assert!(refusing_by_default(&facts, &on(&["east-1"])).contains(&Guard::LastReplica));
    assert!(!refusing_by_default(&facts, &on(&["app"])).contains(&Guard::LastReplica));
}

#[test]
fn a_degraded_cluster_is_left_alone() {
    let mut facts = facts();
    facts.view.fully_redundant = false;
    facts.view.nodes[5].health = Health::Suspect;
    let refused = ask(&facts, &on(&["app"]), &GuardPolicy::default());
    assert_eq!((refused.len(), refused[0].guard), (1, Guard::Degraded));
    assert!(refused[0].figure.contains("west-3 is suspect"), "{}", refused[0]);
}

#[test]
fn an_operation_is_left_alone() {
    let mut facts = facts();
    facts.view.fully_redundant = false;
    facts.operations.push(clone_of("east-3", NOON));
    let refused = ask(&facts, &on(&["east-1"]), &GuardPolicy::default());
    assert_eq!((refused.len(), refused[0].guard), (1, Guard::Operation));
    assert!(refused[0].figure.contains("clone shop-1 of east-3"), "{}", refused[0]);
}

#[test]
fn a_run_may_strike_what_it_has_degraded_itself() {
    let mut facts = facts();
    facts.view.fully_redundant = false;
    facts.view.nodes[2].health = Health::Dead;
    facts.view.nodes[1].health = Health::Suspect;
    let began = NOON - Span::secs(5);
    facts.operations.push(clone_of("east-3", NOON));
    let asked =
        |run: RunStanding, facts: &Facts| refusing_by_default(facts, &Request { run: Some(run), ..on(&["east-1"]) });
    assert_eq!(asked(standing(Some(began), &["east-3"]), &facts), []);
    // Its first attack needs a whole cluster, as everybody's does.
    assert_eq!(asked(standing(None, &[]), &facts), [Guard::Degraded, Guard::Operation]);
    // What others have broken is not subtracted.
    facts.view.nodes[4].health = Health::Dead;
    assert_eq!(asked(standing(Some(began), &["east-3"]), &facts), [Guard::Degraded]);
    facts.view.nodes[4].health = Health::Healthy;
    facts.operations[0].began = began - Span::secs(5);
    assert_eq!(asked(standing(Some(began), &["east-3"]), &facts), [Guard::Operation]);
}

#[test]
fn attacks_overlap_only_when_the_file_says_so() {
    let mut facts = facts();
    facts.in_place.push(in_place("east-2", Some("run-1")));
    let run = standing(Some(NOON), &["east-2"]);
    let asked = |run: &RunStanding| refusing_by_default(&facts, &Request { run: Some(run.clone()), ..on(&["east-1"]) });
    assert_eq!(asked(&run), [Guard::Overlap]);
    assert_eq!(asked(&RunStanding { overlap: true, ..run }), []);
    let during = Facts { runs: vec![RunId("run-1".to_owned())], ..self::facts() };
    assert_eq!(refusing_by_default(&during, &on(&["east-1"])), [Guard::Overlap]);
}

#[test]
fn shares_count_what_is_under_attack_already() {
    let mut facts = facts();
    let four = on(&["east-1", "east-2", "east-3", "west-1"]);
    assert_eq!(refusing_by_default(&facts, &four), [Guard::ClusterShare, Guard::ServiceShare]);
    facts.in_place.push(in_place("west-1", None));
    let three = on(&["east-1", "east-2", "east-3"]);
    assert_eq!(refusing_by_default(&facts, &three), [Guard::ClusterShare, Guard::ServiceShare]);
    let strict = GuardPolicy { cluster_share_max: Percent::whole(1), ..GuardPolicy::default() };
    assert_eq!(refusing(&self::facts(), &on(&["east-1"]), &strict), [], "one is always allowed");
}

#[test]
fn faults_at_once_are_counted() {
    let mut facts = facts();
    facts.in_place.push(in_place("east-2", None));
    let limits = |cluster, service, all| GuardPolicy {
        concurrent_cluster_max: cluster,
        concurrent_service_max: service,
        concurrent_all_max: all,
        ..GuardPolicy::default()
    };
    let one = on(&["east-1"]);
    assert_eq!(refusing(&facts, &one, &limits(2, 2, 2)), []);
    assert_eq!(refusing(&facts, &one, &limits(1, 2, 2)), [Guard::ConcurrentCluster]);
    assert_eq!(refusing(&facts, &one, &limits(2, 1, 2)), [Guard::ConcurrentService]);
    assert_eq!(refusing(&facts, &one, &limits(2, 2, 1)), [Guard::ConcurrentAll]);
}

#[test]
fn what_is_protected_is_not_hit() {
    let mut facts = facts();
    facts.hosts[0].tags.insert("protected".to_owned(), "true".to_owned());
    assert_eq!(refusing_by_default(&facts, &on(&["east-1"])), [Guard::Protected]);
    let named = GuardPolicy { protected_hosts: vec!["east-2".parse().expect("a name")], ..GuardPolicy::default() };
    assert_eq!(refusing(&facts, &on(&["east-2"]), &named), [Guard::Protected]);
}

#[test]
fn a_second_person_is_somebody_else() {
    let policy = GuardPolicy { approval_kinds: vec!["kill".to_owned()], ..GuardPolicy::default() };
    let asked = |second: Option<&str>| {
        let request = Request { approved_by: second.map(str::to_owned), ..on(&["east-1"]) };
        refusing(&facts(), &request, &policy)
    };
    assert_eq!(asked(None), [Guard::Approval]);
    assert_eq!(asked(Some("ann")), [Guard::Approval]);
    assert_eq!(asked(Some("bob")), []);
    let mut facts = facts();
    facts.hosts[0].tags.insert("approval".to_owned(), "required".to_owned());
    assert_eq!(refusing_by_default(&facts, &on(&["east-1"])), [Guard::Approval]);
}

#[test]
fn windows_are_hours_of_the_week() {
    let inside = |window: &str| window.parse::<Window>().expect(window).contains(NOON);
    assert!(inside("thu 12:00-12:01") && inside("mon-fri 09:00-17:00") && inside("sat-thu 00:00-24:00"));
    assert!(!inside("thu 11:00-12:00") && !inside("fri-wed 09:00-17:00"));
    // Over midnight, from the day before.
    assert!(inside("wed 22:00-12:01") && !inside("thu 22:00-12:01"));
    for wrong in ["", "mon", "mon 9-17", "mon 09:00-09:00", "day 09:00-17:00", "mon 25:00-26:00", "mon 24:00-01:00"] {
        assert!(wrong.parse::<Window>().is_err(), "{wrong:?}");
    }
    let policy = GuardPolicy { windows: vec!["fri 09:00-17:00".parse().expect("a window")], ..GuardPolicy::default() };
    let refused = ask(&facts(), &on(&["east-1"]), &policy);
    assert!(refused[0].to_string().contains("it is thu 12:00 UTC; the limit: attacks begin within fri 09:00-17:00"));
}

#[test]
fn the_blast_radius_says_what_would_be_left() {
    let seen = radius(&facts(), &hosts(&["east-1", "east-2"]), "service");
    assert_eq!(seen.cluster, Part { hit: 2, under_attack: 2, of: 6 });
    assert_eq!(seen.regions["east"], Part { hit: 2, under_attack: 2, of: 3 });
    assert_eq!(seen.services["db"].of, 6);
    assert!(seen.primary);
    assert_eq!((seen.replicas_left.len(), seen.ackers_left.len()), (4, 1));
}

#[test]
fn settings_that_contradict_themselves_are_told() {
    assert_eq!(GuardPolicy::default().contradiction(), None);
    let none = GuardPolicy { concurrent_all_max: 0, ..GuardPolicy::default() };
    assert!(none.contradiction().is_some_and(|text| text.contains("no attack at all")));
    let above = GuardPolicy { concurrent_all_max: 5, ..GuardPolicy::default() };
    assert!(above.contradiction().is_some_and(|text| text.contains("never be reached")));
    assert!(serde_json::from_str::<GuardPolicy>(r#"{"colour": 1}"#).is_err());
}

const NAMES: [&str; 8] = ["east-1", "east-2", "east-3", "west-1", "west-2", "west-3", "app", "backup"];
const HEALTHS: [Health; 4] = [Health::Healthy, Health::Suspect, Health::Dead, Health::Joining];

prop_compose! {
    fn any_facts()(
        health in proptest::collection::vec(proptest::sample::select(HEALTHS.to_vec()), 6),
        faults in proptest::collection::btree_set(proptest::sample::select(NAMES.to_vec()), 0..4),
        busy in any::<bool>(),
    ) -> Facts {
        let mut facts = facts();
        for (node, health) in facts.view.nodes.iter_mut().zip(health) {
            node.health = health;
        }
        facts.in_place = faults.into_iter().map(|host| in_place(host, None)).collect();
        facts.operations = busy.then(|| clone_of("west-3", NOON)).into_iter().collect();
        facts.view.fully_redundant = !busy && facts.view.nodes.iter().all(|node| node.health == Health::Healthy);
        facts
    }
}

prop_compose! {
    fn any_request()(
        names in proptest::collection::btree_set(proptest::sample::select(NAMES.to_vec()), 1..5),
    ) -> Request {
        on(&names.into_iter().collect::<Vec<_>>())
    }
}

#[test]
fn what_a_hosts_owner_does_not_allow_is_refused_also_when_all_guards_are_off() {
    let mut facts = facts();
    facts.hosts[1].allowed = Some(AllowList { except: vec!["kill".to_owned()], ..AllowList::default() });
    let policy = GuardPolicy::all_off();
    assert!(ask(&facts, &on(&["east-1"]), &policy).is_empty(), "another host");
    let refused = ask(&facts, &on(&["east-1", "east-2"]), &policy);
    let text = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(refused.len(), 1, "{text}");
    assert!(text.contains("guard host-owner: the owner of host east-2 does not allow it"), "{text}");
    assert!(text.contains("nobody overrides it from here"), "{text}");
    let other = Request { kind: "pause".to_owned(), ..on(&["east-2"]) };
    assert!(ask(&facts, &other, &policy).is_empty());
}

proptest! {
    #[test]
    fn what_is_let_through_leaves_a_healthy_replica(facts in any_facts(), request in any_request()) {
        if ask(&facts, &request, &GuardPolicy::default()).is_empty() {
            let touches = facts.view.nodes.iter().any(|node| request.hosts.contains(&node.host));
            let left = facts.view.nodes.iter().filter(|node| {
                node.role != Role::Primary && node.health == Health::Healthy && !request.hosts.contains(&node.host)
                    && !facts.in_place.iter().any(|fault| fault.host == node.host)
            });
            prop_assert!(!touches || left.count() >= 1);
            prop_assert!(facts.view.fully_redundant);
        }
    }

    #[test]
    fn more_hosts_are_never_allowed_when_fewer_are_not(
        facts in any_facts(), request in any_request(), more in any_request(),
    ) {
        let wider = Request { hosts: request.hosts.union(&more.hosts).cloned().collect(), ..request.clone() };
        let (few, many) = (refusing_by_default(&facts, &request), refusing_by_default(&facts, &wider));
        prop_assert!(few.iter().all(|guard| many.contains(guard)), "{few:?} {many:?}");
    }

    #[test]
    fn a_guard_that_is_off_says_nothing(facts in any_facts(), request in any_request()) {
        prop_assert_eq!(ask(&facts, &request, &GuardPolicy::all_off()), []);
        let answers = answers(&facts, &request, &GuardPolicy::default());
        prop_assert_eq!(answers.len(), GUARDS.len());
    }

    #[test]
    fn a_window_reads_back(minute in 0_i64..10_080, first in 0_usize..7, last in 0_usize..7, from in 0_u16..1440, to in 0_u16..=1440) {
        const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let text = format!(
            "{}-{} {:02}:{:02}-{:02}:{:02}", DAYS[first], DAYS[last], from / 60, from % 60, to / 60, to % 60
        );
        if let Ok(window) = text.parse::<Window>() {
            let again: Window = window.to_string().parse().expect("reads back");
            prop_assert_eq!(again, window);
            prop_assert_eq!(again.contains(Timestamp(minute * 60_000_000)), window.contains(Timestamp(minute * 60_000_000)));
        }
    }
}
