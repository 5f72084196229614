//! Partition.

use crate::lab::{Lab, NOBODY, OTHER, THERE, attack, id, on_peers};
use firedrill_model::attack::{AttackState, Direction};
use firedrill_model::{AttackSpec, Fault, Span};
use std::net::{IpAddr, Ipv4Addr};

fn cut(peers: &[IpAddr], direction: Direction) -> Fault {
    on_peers("partition", peers).with("direction", serde_json::to_value(direction).expect("JSON"))
}

#[test]
fn a_peer_is_cut_off_and_comes_back() {
    let lab = Lab::new();
    let before = lab.filter();
    lab.agent(async |agent| {
        let report = agent.faults.inject(attack("cut.1", cut(&[THERE], Direction::Both))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        assert_eq!(lab.passes_out_and_in(), (false, false));
        assert!(!lab.reaches(THERE) && lab.reaches(OTHER), "only the peer is cut off");
        assert!(lab.filter().contains("flags owner"));
        for _ in 0..2 {
            let report = agent.faults.undo(&id("cut.1")).await.expect("known");
            assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
        }
        assert_eq!(lab.passes_out_and_in(), (true, true));
        assert!(lab.reaches(THERE));
    });
    assert_eq!(lab.filter(), before);
    assert_eq!(lab.journalled(), [""; 0]);
}

#[test]
fn one_way_is_one_way() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let out = agent.faults.inject(attack("out", cut(&[THERE], Direction::Outbound))).await;
        assert_eq!(out.state, AttackState::Active, "{}", out.evidence);
        assert_eq!(lab.passes_out_and_in(), (false, true));
        agent.faults.undo(&id("out")).await.expect("known");
        let inbound = agent.faults.inject(attack("in", cut(&[THERE], Direction::Inbound))).await;
        assert_eq!(inbound.state, AttackState::Active, "{}", inbound.evidence);
        assert_eq!(lab.passes_out_and_in(), (true, false));
        assert!(!lab.reaches(THERE), "the answers are lost");
    });
}

#[test]
fn everybody_is_everybody_but_oneself() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let report = agent.faults.inject(attack("all", cut(&[], Direction::Both))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        assert!(!lab.reaches(THERE) && !lab.reaches(OTHER));
        assert!(lab.reaches(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    });
    assert!(lab.reaches(THERE), "an agent that lets go leaves nothing");
}

#[test]
fn attacks_overlap_and_end_alone() {
    let lab = Lab::new();
    let before = lab.filter();
    lab.agent(async |agent| {
        let one = attack("one", cut(&[THERE], Direction::Both));
        let two = AttackSpec { severs_server: true, ..attack("two", cut(&[OTHER], Direction::Both)) };
        assert_eq!(agent.faults.inject(one).await.state, AttackState::Active);
        assert_eq!(agent.faults.inject(two).await.state, AttackState::Active);
        assert!(!lab.reaches(THERE) && !lab.reaches(OTHER));
        let ended = agent.faults.undo_all_except_severing("the server is silent").await;
        assert_eq!(ended.iter().map(|report| report.id.0.as_str()).collect::<Vec<_>>(), ["one"]);
        assert!(lab.reaches(THERE) && !lab.reaches(OTHER));
        let ended = agent.faults.undo_all("halt").await;
        assert!(ended.len() == 1 && ended[0].state == AttackState::Undone && ended[0].evidence.contains("halt"));
    });
    assert_eq!(lab.filter(), before);
}

#[test]
fn it_comes_out_at_its_deadline() {
    let lab = Lab::new();
    lab.agent(async |mut agent| {
        let spec = AttackSpec { duration: Span::millis(2500), ..attack("short", cut(&[THERE], Direction::Both)) };
        assert_eq!(agent.faults.inject(spec).await.state, AttackState::Active);
        assert!(!lab.reaches(THERE));
        while agent.report().await.state != AttackState::Undone {}
        assert!(lab.reaches(THERE));
    });
}

#[test]
fn what_cannot_be_measured_is_not_claimed() {
    let lab = Lab::new();
    let before = lab.filter();
    lab.agent(async |agent| {
        let report = agent.faults.inject(attack("nobody", cut(&[NOBODY], Direction::Both))).await;
        assert_eq!(report.state, AttackState::NoEffect, "{}", report.evidence);
        let report = agent.faults.undo(&id("nobody")).await.expect("known");
        assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let report = agent.faults.inject(attack("own", cut(&[own], Direction::Both))).await;
        assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
        let forever = AttackSpec { duration: Span::ZERO, ..attack("zero", cut(&[THERE], Direction::Both)) };
        assert_eq!(agent.faults.inject(forever).await.state, AttackState::Refused);
        let outside = attack("../escape", cut(&[THERE], Direction::Both));
        assert_eq!(agent.faults.inject(outside).await.state, AttackState::Refused);
    });
    assert_eq!(lab.filter(), before);
}
