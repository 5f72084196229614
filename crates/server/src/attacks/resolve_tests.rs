use super::resolve::{self, Aim, Scene, targets};
use firedrill_api::http::Problem;
use firedrill_model::cluster::{Endpoint, NodeSpec, Policy};
use firedrill_model::experiment::AttackStep;
use firedrill_model::{
    ClusterSpec, ClusterView, Fault, Generation, Health, NodeView, Role, Selector, Span, Target, Timestamp,
};
use firedrill_store::HostRecord;
use std::collections::BTreeMap;
use std::net::IpAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn target(name: &str, address: &str, region: &str, role: Option<Role>) -> Target {
    Target {
        host: name.parse().expect("a name"),
        address: ip(address),
        region: Some(region.parse().expect("a name")),
        tags: BTreeMap::new(),
        node: role.map(|role| (name.parse().expect("a name"), role)),
        database: Default::default(),
    }
}

fn scene() -> Scene {
    Scene {
        cluster: "shop".parse().expect("a name"),
        targets: vec![
            target("app", "10.0.0.9", "east", None),
            target("east-1", "10.0.0.1", "east", Some(Role::Primary)),
            target("east-2", "10.0.0.2", "east", Some(Role::Replica)),
            target("west-1", "10.0.1.1", "west", Some(Role::PseudoPrimary)),
        ],
        server: ip("10.0.0.254"),
        lease: Span::secs(10),
    }
}

fn role(role: Role) -> Selector {
    Selector { role: Some(role), ..Selector::default() }
}

fn region(name: &str) -> Selector {
    Selector { region: Some(name.parse().expect("a name")), ..Selector::default() }
}

fn attack(fault: Fault, target: Selector) -> AttackStep {
    AttackStep { name: None, fault, target, duration: Span::secs(10) }
}

fn partition(peers: Option<Selector>, target: Selector) -> AttackStep {
    let fault = Fault::new("partition").with("spare", Vec::<String>::new());
    let peers = peers.map(|peers| serde_json::to_value(peers).expect("serialises"));
    attack(peers.into_iter().fold(fault, |fault, peers| fault.with("peers", peers)), target)
}

fn aims(scene: &Scene, attack: &AttackStep) -> Result<Vec<Aim>, Problem> {
    resolve::aims(scene, attack, 0)
}

fn peers(aim: &Aim) -> Option<Vec<String>> {
    aim.fault.parameters.get("peers").map(|peers| serde_json::from_value(peers.clone()).expect("addresses"))
}

#[test]
fn a_kill_means_the_database_of_the_host() {
    let kill = Fault::new("kill").with("signal", "SIGTERM");
    let aims = aims(&scene(), &attack(kill.clone(), role(Role::Primary))).expect("one");
    assert_eq!(aims.len(), 1);
    assert_eq!((&aims[0].fault, aims[0].node.as_ref().map(firedrill_model::NodeName::as_str)), (&kill, Some("east-1")));
    assert!(!aims[0].severs_server);
}

#[test]
fn an_attack_that_is_not_well_formed_is_refused() {
    let refused = |fault: Fault| aims(&scene(), &attack(fault, role(Role::Primary))).expect_err("refused").message;
    assert!(refused(Fault::new("tickle")).contains("known are kill"));
    assert!(refused(Fault::new("latency").with("delay", "-1s")).contains("`delay`"));
}

#[test]
fn a_host_without_a_database_cannot_be_paused() {
    let named = Selector { hosts: vec!["app".parse().expect("a name")], ..Selector::default() };
    let problem = aims(&scene(), &attack(Fault::new("pause"), named)).expect_err("app has none");
    assert!(problem.message.contains("host app runs no database"), "{problem}");
}

#[test]
fn a_region_means_its_databases_when_only_they_can_be_hit() {
    let hosts = |fault: Fault, target: Selector| -> Vec<String> {
        let aims = aims(&scene(), &attack(fault, target)).expect("some");
        aims.iter().map(|aim| aim.host.to_string()).collect()
    };
    assert_eq!(hosts(Fault::new("kill"), region("east")), ["east-1", "east-2"]);
    assert_eq!(hosts(Fault::new("kill"), Selector { limit: Some(1), ..region("east") }), ["east-1"]);
    assert_eq!(hosts(Fault::new("cpu").with("load", 10), region("east")), ["app", "east-1", "east-2"]);
}

#[test]
fn an_empty_target_names_the_selector() {
    let selector = Selector { role: Some(Role::PseudoReplica), ..region("east") };
    let problem = aims(&scene(), &attack(Fault::new("pause"), selector)).expect_err("nobody");
    assert!(problem.message.contains("(role=pseudo-replica,region=east)"), "{problem}");
    let problem = aims(&scene(), &attack(Fault::new("pause"), Selector::default())).expect_err("nobody");
    assert!(problem.message.contains("(empty selector)"), "{problem}");
    let problem = aims(&scene(), &partition(Some(region("north")), role(Role::Primary))).expect_err("no peers");
    assert!(problem.message.contains("the peers (region=north)"), "{problem}");
}

#[test]
fn peers_become_addresses_without_the_target_itself() {
    let aims = aims(&scene(), &partition(Some(region("east")), role(Role::Primary))).expect("one");
    assert_eq!(peers(&aims[0]), Some(["10.0.0.2", "10.0.0.9"].map(str::to_owned).to_vec()));
    assert!(!aims[0].severs_server);
}

#[test]
fn a_target_that_is_its_only_peer_is_not_cut_from_everybody() {
    let problem = aims(&scene(), &partition(Some(role(Role::Primary)), role(Role::Primary))).expect_err("itself");
    assert!(problem.message.contains("the target east-1 itself"), "{problem}");
}

#[test]
fn what_cuts_the_server_off_is_marked() {
    let server = Selector { server: true, ..Selector::default() };
    let both = Selector { server: true, ..region("west") };
    for (chosen, severs, expected) in [
        (None, true, None),
        (Some(server), true, Some(vec!["10.0.0.254"])),
        (Some(both), true, Some(vec!["10.0.0.254", "10.0.1.1"])),
        (Some(region("west")), false, Some(vec!["10.0.1.1"])),
    ] {
        let written = partition(chosen, role(Role::Primary));
        let aim = aims(&scene(), &written).expect("one").remove(0);
        assert_eq!(peers(&aim), expected.map(|all| all.into_iter().map(str::to_owned).collect()));
        assert_eq!(aim.severs_server, severs, "{aim:?}");
        let sparing = AttackStep { fault: written.fault.with("spare", vec!["agent"]), ..written };
        assert!(!aims(&scene(), &sparing).expect("one")[0].severs_server);
    }
}

#[test]
fn latency_cuts_the_server_off_only_when_nothing_gets_through_in_time() {
    for (delay, loss, severs) in [("200ms", 5.0, false), ("5s", 0.0, true), ("0s", 100.0, true)] {
        let fault = Fault::new("latency").with("loss_percent", loss).with("spare", Vec::<String>::new());
        let fault = fault.with("delay", delay);
        let scene = Scene { lease: Span::secs(5), ..scene() };
        let aims = aims(&scene, &attack(fault, role(Role::Primary))).expect("one");
        assert_eq!(aims[0].severs_server, severs, "{delay} {loss} %");
    }
}

fn spec(cluster: &str, host: &str) -> ClusterSpec {
    let node = NodeSpec {
        name: host.parse().expect("a name"),
        host: host.parse().expect("a name"),
        region: "east".parse().expect("a name"),
        endpoint: Endpoint { address: ip("10.0.0.1"), port: 3306 },
        initial_role: Role::Primary,
        server_id: 1,
    };
    ClusterSpec {
        name: cluster.parse().expect("a name"),
        nodes: vec![node],
        gateway_host: None,
        gateway: None,
        application_host: None,
        policy: Policy::default(),
    }
}

fn record(host: &str) -> HostRecord {
    HostRecord {
        name: host.parse().expect("a name"),
        address: ip("10.0.0.7"),
        region: Some("east".parse().expect("a name")),
        tags: BTreeMap::new(),
        agent_version: String::new(),
        boot_id: String::new(),
        nodes: Vec::new(),
        gateway_of: None,
        allowed: None,
    }
}

#[test]
fn hosts_of_other_clusters_are_out_of_reach() {
    let specs = [spec("shop", "east-1"), spec("bank", "vault-1")];
    let node = &specs[0].nodes[0];
    let view = ClusterView {
        cluster: specs[0].name.clone(),
        generation: Generation(1),
        primary: None,
        route: None,
        nodes: vec![NodeView {
            name: node.name.clone(),
            host: node.host.clone(),
            region: node.region.clone(),
            endpoint: node.endpoint,
            // The role of now, not the one at registration.
            role: Role::Replica,
            health: Health::Healthy,
            reason: String::new(),
            acker: false,
            behind: None,
            observation: None,
            observed_at: None,
        }],
        operations: Vec::new(),
        fully_redundant: true,
        problems: Vec::new(),
        policy: Policy::default(),
        at: Timestamp(0),
    };
    let seen = targets(&view, &specs, &[record("vault-1"), record("backup-1")], &[]);
    let names: Vec<_> = seen.iter().map(|target| target.host.as_str()).collect();
    // The backup host belongs to nobody; the node's host counts though its agent has never been here.
    assert_eq!(names, ["backup-1", "east-1"]);
    assert_eq!(seen[1].node.as_ref().map(|(_, role)| *role), Some(Role::Replica));
}

#[test]
fn a_target_that_contradicts_itself_is_refused() {
    let selector = |text: &str| text.parse::<Selector>().expect("a selector");
    let problem = aims(&scene(), &attack(Fault::new("pause"), selector("cluster=bank,role=primary"))).expect_err("no");
    assert_eq!(problem.code, "S070");
    assert!(problem.message.contains("names cluster bank, but the attack is on cluster shop"), "{problem}");
    let both = Selector { limit: Some(1), ..selector("role=replica,choose=1") };
    let problem = aims(&scene(), &attack(Fault::new("pause"), both)).expect_err("no");
    assert_eq!(problem.code, "S070", "{problem}");
}
