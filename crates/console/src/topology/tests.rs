//! What is drawn, and that nothing is drawn over anything else.

use super::layout::{Area, Drawing};
use super::*;
use firedrill_model::Generation;
use serde_json::json;

fn node(name: &str, region: &str, role: &str, number: u8, source: Option<u8>) -> serde_json::Value {
    let replication = source.map(|source| {
        json!({
            "source": {"address": format!("10.0.0.{source}"), "port": 3306}, "receiver": "connected",
            "applier_running": true, "received": "0-1-10", "applied": "0-1-9", "last_heard": "0s", "lag": "2s",
            "receiver_error": null, "applier_error": null
        })
    });
    let acker = role == "replica";
    json!({
        "name": name, "host": format!("host-{name}"), "region": region, "role": role, "health": "healthy", "reason": "",
        "endpoint": {"address": format!("10.0.0.{number}"), "port": 3306}, "acker": acker, "behind": 1,
        "observation": {
            "node": name, "process": {"state": "running", "pid": 7, "stopped": false}, "unanswered_for": "0s",
            "error": null,
            "status": {
                "server_id": number, "version": "x", "read_only": source.is_some(), "binlog_state": "0-1-10",
                "position": "0-1-9", "write_heartbeat_age": null, "replication": replication,
                "semi_sync": {
                    "primary_enabled": true, "primary_active": true, "acker_enabled": acker, "acker_active": acker,
                    "ackers_connected": 1, "waiting_sessions": 0, "unacknowledged_commits": 0
                }
            }
        },
        "observed_at": 1
    })
}

/// Two regions: a primary with two replicas, a pseudo-primary with a pseudo-replica.
pub(crate) fn view() -> ClusterView {
    let nodes = [
        node("east-1", "east", "primary", 1, None),
        node("east-2", "east", "replica", 2, Some(1)),
        node("east-3", "east", "replica", 3, Some(1)),
        node("west-1", "west", "pseudo-primary", 4, Some(1)),
        node("west-2", "west", "pseudo-replica", 5, Some(4)),
    ];
    ClusterView {
        cluster: "shop".parse().expect("a name"),
        generation: Generation(3),
        primary: Some("east-1".parse().expect("a name")),
        route: Some("east-1".parse().expect("a name")),
        nodes: serde_json::from_value(json!(nodes)).expect("nodes"),
        operations: Vec::new(),
        fully_redundant: true,
        problems: Vec::new(),
        policy: firedrill_model::Policy::default(),
        at: firedrill_model::Timestamp(0),
    }
}

pub(crate) fn attack(host: &str, text: &str) -> AttackReport {
    serde_json::from_value(json!({
        "id": "a", "host": host, "fault": {"kind": "latency", "delay": text}, "state": "active", "at": 1,
        "mechanism": "", "evidence": ""
    }))
    .expect("an attack")
}

pub(crate) fn clone_of(subject: &str, donor: &str) -> Operation {
    serde_json::from_value(json!({
        "id": "shop-7", "cluster": "shop", "kind": "clone", "subject": subject, "partner": donor, "cause": "",
        "state": "running", "reason": null, "failure_at": null, "began": 1, "ended": null,
        "steps": [{"number": 1, "phase": "copy", "host": null, "title": "copy", "state": "running", "began": 1,
                   "ended": null, "log": []}]
    }))
    .expect("an operation")
}

fn drawn(view: &ClusterView, attacks: &[AttackReport], under_way: &[Operation]) -> Topology {
    let host: HostName = "front".parse().expect("a name");
    let members = members(view, attacks, under_way);
    Topology::of(&members, gateway(view, Some(&host), attacks).as_ref())
}

fn apart(one: &Area, other: &Area) -> bool {
    one.x + one.width <= other.x
        || other.x + other.width <= one.x
        || one.y + one.height <= other.y
        || other.y + other.height <= one.y
}

fn is_tidy(drawing: &Drawing) {
    for (number, one) in drawing.boxes.iter().enumerate() {
        let inside = one.x >= 0 && one.y >= 0 && one.x + one.width <= drawing.width;
        assert!(inside && one.y + one.height <= drawing.height, "{one:?} of {}", drawing.height);
        for other in &drawing.boxes[number + 1..] {
            assert!(apart(one, other), "{one:?} lies over {other:?}");
        }
    }
    for (number, one) in drawing.regions.iter().enumerate() {
        assert!(drawing.regions[number + 1..].iter().all(|other| apart(one, other)), "{:?}", drawing.regions);
    }
}

#[test]
fn each_node_says_whom_it_follows_how_and_how_far_behind() {
    let view = view();
    let members = members(&view, &[], &[]);
    let links: Vec<(&str, Option<(&str, &str)>)> = members
        .iter()
        .map(|one| (one.node.name.as_str(), one.link.as_ref().map(|link| (link.source.as_str(), link.mode))))
        .collect();
    assert_eq!(
        links,
        [
            ("east-1", None),
            ("east-2", Some(("east-1", "semi-sync acker"))),
            ("east-3", Some(("east-1", "semi-sync acker"))),
            ("west-1", Some(("east-1", "asynchronous"))),
            ("west-2", Some(("west-1", "asynchronous"))),
        ]
    );
    assert_eq!(members[1].link.as_ref().map(|link| link.lag.as_str()), Some("lag 2s, 1 behind"));
    assert!(members[0].routed && !members[1].routed);
}

#[test]
fn a_node_that_does_not_replicate_is_told_apart_from_one_that_says_nothing() {
    let mut view = view();
    let status = |view: &mut ClusterView, at: usize| view.nodes[at].observation.as_mut().expect("seen").status.take();
    let mut told = status(&mut view, 1).expect("a status");
    told.replication.as_mut().expect("replication").receiver = Receiver::Connecting;
    view.nodes[1].observation.as_mut().expect("seen").status = Some(told);
    status(&mut view, 2);
    let mut told = status(&mut view, 4).expect("a status");
    told.replication = None;
    view.nodes[4].observation.as_mut().expect("seen").status = Some(told);
    let members = members(&view, &[], &[]);
    let links: Vec<(Flow, &str, &str)> = members[1..]
        .iter()
        .filter_map(|one| one.link.as_ref())
        .map(|link| (link.flow, link.source.as_str(), link.lag.as_str()))
        .collect();
    assert_eq!(
        links,
        [
            (Flow::Broken, "east-1", "not connected"),
            (Flow::Unknown, "east-1", "lag not known"),
            (Flow::Flowing, "east-1", "lag 2s, 1 behind"),
            (Flow::Broken, "west-1", "not replicating"),
        ]
    );
}

#[test]
fn attacks_and_operations_stand_in_the_boxes_and_in_the_words() {
    let attacks = vec![attack("host-east-2", "1s"), attack("front", "2s")];
    let topology = drawn(&view(), &attacks, &[clone_of("west-2", "west-1")]);
    for words in ["attacked: latency (delay 1s)", "clone, copy", "donor for west-2", "sends connections to east-1"] {
        assert!(topology.text.contains(words), "{words}: {}", topology.text);
    }
    let boxes = &topology.drawings[0].boxes;
    let lines = |id: &str| {
        let area = boxes.iter().find(|area| area.id == id).expect("it is drawn");
        area.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("|")
    };
    assert!(lines("wide-node-east-2").contains("⚠ latency (delay 1s)"), "{}", lines("wide-node-east-2"));
    assert!(lines("wide-node-west-2").contains("↻ clone, copy") && lines("wide-gateway").contains("⚠ latency"));
    assert_eq!(topology.drawings[0].arrows.len(), 5, "four follow, and the gateway has its route");
}

#[test]
fn nothing_lies_over_anything_else_however_the_cluster_looks() {
    let attacks: Vec<AttackReport> = (0..9).map(|_| attack("host-west-1", "a very long text indeed")).collect();
    let mut scenes = vec![view()];
    let mut dead = view();
    dead.nodes[0].role = Role::OutOfService;
    dead.nodes[1].role = Role::Primary;
    (dead.primary, dead.route) = (None, None);
    scenes.push(dead);
    let mut many = view();
    for number in 10..40 {
        let text = node(&format!("east-{number}"), "east", "out-of-service", number, Some(2));
        many.nodes.push(serde_json::from_value(text).expect("a node"));
    }
    scenes.push(many);
    let mut nothing = view();
    nothing.nodes.clear();
    scenes.push(nothing);
    for view in scenes {
        let topology = drawn(&view, &attacks, &[clone_of("west-2", "west-1")]);
        topology.drawings.iter().for_each(is_tidy);
        let ids: std::collections::BTreeSet<&str> = topology
            .drawings
            .iter()
            .flat_map(|one| one.boxes.iter().chain(&one.regions).map(|area| area.id.as_str()))
            .collect();
        let all: usize = topology.drawings.iter().map(|one| one.boxes.len() + one.regions.len()).sum();
        assert_eq!(ids.len(), all, "each element has an id of its own");
    }
}

fn page(view: ClusterView, attacks: Vec<AttackReport>) -> crate::cluster::Cluster {
    crate::cluster::Cluster {
        view,
        gateway: Some("front".parse().expect("a name")),
        attacks,
        under_way: vec![clone_of("west-2", "west-1")],
        operations: Vec::new(),
        timeline: Vec::new(),
        latest: None,
    }
}

#[test]
fn the_page_escapes_what_comes_from_outside_and_offers_actions_to_operators_only() {
    use firedrill_model::access::Role as Held;
    const HOSTILE: &str = "<script>alert(1)</script>\"'&";
    let mut hostile = view();
    hostile.problems = vec![HOSTILE.to_owned()];
    hostile.nodes[0].reason = HOSTILE.to_owned();
    let page = page(hostile, vec![attack("host-east-2", HOSTILE), attack("front", HOSTILE)]);
    let shown = crate::cluster::page(&crate::Frame::shown_to(Held::Operator), &page);
    assert!(!shown.contains("<script>alert") && shown.contains("alert(1)"), "{shown}");
    assert!(shown.contains("/act/promote") && shown.contains("role=\"img\""));
    assert!(!shown.contains("style=\""), "the policy of the server forbids it");
    let looked_at = crate::cluster::page(&crate::Frame::shown_to(Held::Viewer), &page);
    assert!(!looked_at.contains("/act/"));
}
