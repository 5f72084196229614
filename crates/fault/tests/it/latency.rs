//! Latency and loss.

use crate::lab::{Lab, NOBODY, OTHER, THERE, WITHIN, attack, block_on, id, on_peers};
use firedrill_host::process::{Spawn, run};
use firedrill_model::Fault;
use firedrill_model::attack::AttackState;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

fn slow(delay_ms: u64, jitter_ms: u64, loss: f64) -> Fault {
    slow_to(THERE, delay_ms, jitter_ms, loss)
}

fn slow_to(peer: IpAddr, delay_ms: u64, jitter_ms: u64, loss: f64) -> Fault {
    on_peers("latency", &[peer])
        .with("delay", format!("{delay_ms}ms"))
        .with("jitter", format!("{jitter_ms}ms"))
        .with("loss_percent", loss)
}

/// The time of a handshake with the peer, without keeping the agent from renewing its leases.
async fn handshake() -> Option<Duration> {
    let began = Instant::now();
    let connecting = TcpStream::connect((THERE, 7));
    let answer = tokio::time::timeout(Duration::from_millis(600), connecting).await.ok()?;
    assert_eq!(answer.expect_err("closed").kind(), ErrorKind::ConnectionRefused);
    Some(began.elapsed())
}

async fn median_of(probes: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..probes {
        times.extend(handshake().await);
    }
    assert!(!times.is_empty(), "no probe was answered");
    times.sort();
    times[times.len() / 2]
}

#[test]
fn packets_are_as_late_as_asked_and_then_on_time() {
    let lab = Lab::new();
    let before = lab.filter();
    lab.agent(async |agent| {
        let report = agent.faults.inject(attack("slow", slow(100, 0, 0.0))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        // Bounds for a busy machine; an idle one shows 100.1 to 101 ms.
        let late = median_of(11).await;
        assert!((Duration::from_millis(99)..Duration::from_millis(150)).contains(&late), "{late:?}");
        let other = lab.round_trip(OTHER).expect("answers");
        assert!(other < Duration::from_millis(80), "only the peer is slow: {other:?}");
        let report = agent.faults.undo(&id("slow")).await.expect("known");
        assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
        assert!(median_of(11).await < Duration::from_millis(50));
    });
    assert_eq!(lab.filter(), before);
    assert_eq!(lab.journalled(), [""; 0]);
}

#[test]
fn jitter_spreads_and_loss_loses() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let report = agent.faults.inject(attack("rough", slow(40, 30, 30.0))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        let mut answered = Vec::new();
        for _ in 0..60 {
            answered.extend(handshake().await);
        }
        assert!((20..60).contains(&answered.len()), "{} of 60 answered, 42 expected", answered.len());
        let spread = answered.iter().max().expect("some").saturating_sub(*answered.iter().min().expect("some"));
        assert!(spread > Duration::from_millis(20), "{spread:?}");
        assert!(answered.iter().all(|time| *time > Duration::from_millis(9)), "{answered:?}");
    });
    assert!(lab.round_trip(THERE).expect("answers") < Duration::from_millis(9), "an agent that lets go leaves nothing");
}

#[test]
fn delays_add_up_and_end_alone() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        assert_eq!(agent.faults.inject(attack("a", slow(60, 0, 0.0))).await.state, AttackState::Active);
        assert_eq!(agent.faults.inject(attack("b", slow(80, 0, 0.0))).await.state, AttackState::Active);
        let both = median_of(5).await;
        assert!((Duration::from_millis(139)..Duration::from_millis(200)).contains(&both), "{both:?}");
        agent.faults.undo(&id("a")).await.expect("known");
        let one = median_of(5).await;
        assert!((Duration::from_millis(79)..Duration::from_millis(130)).contains(&one), "{one:?}");
    });
}

#[test]
fn what_others_have_set_on_an_interface_stays() {
    let lab = Lab::new();
    let tc = |words: &[&str]| {
        let ran = lab.near(|| block_on(run(Spawn::new("tc").args(words), WITHIN)));
        ran.map(|output| output.text())
    };
    // As administrators do who know what their line is like. Kernels without `sch_netem` have a bucket at least.
    let on = ["qdisc", "add", "dev", "eth0", "root"];
    let netem = tc(&[&on[..], &["netem", "delay", "30ms"]].concat());
    if netem.is_err() {
        tc(&[&on[..], &["tbf", "rate", "100mbit", "burst", "64k", "latency", "50ms"]].concat()).expect("a bucket");
    }
    let own = if netem.is_ok() { Duration::from_millis(30) } else { Duration::ZERO };
    let seen = || tc(&["qdisc", "show", "dev", "eth0"]).expect("shows");
    let before = seen();
    lab.agent(async |agent| {
        for fault in [slow(60, 0, 0.0), on_peers("loss", &[THERE]).with("percent", 40)] {
            let report = agent.faults.inject(attack(&fault.kind, fault.clone())).await;
            assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
            assert_eq!(seen(), before, "{} changes no qdisc", fault.kind);
            if fault.kind == "latency" {
                let both = median_of(5).await;
                assert!(both > own + Duration::from_millis(59), "{both:?}");
            }
            let report = agent.faults.undo(&id(&fault.kind)).await.expect("known");
            assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
            assert_eq!(seen(), before, "the undo of {} removes no qdisc", fault.kind);
        }
    });
    assert!(lab.round_trip(THERE).expect("answers") >= own);
}

#[test]
fn what_cannot_be_measured_is_not_claimed() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let fault = slow_to(NOBODY, 50, 0, 0.0);
        let report = agent.faults.inject(attack("nobody", fault)).await;
        assert_eq!(report.state, AttackState::NoEffect, "{}", report.evidence);
        let report = agent.faults.inject(attack("nothing", slow(0, 0, 0.0))).await;
        assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    });
}

#[test]
fn a_delay_rises_to_what_is_asked() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let began = Instant::now();
        let report = agent.faults.inject(attack("ramp", slow(200, 0, 0.0).with("ramp", "4s"))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        assert!(report.evidence.contains("rising over 4s"), "{}", report.evidence);
        let early = median_of(3).await;
        assert!(early < Duration::from_millis(199) || began.elapsed() > Duration::from_secs(4), "{early:?}");
        let late = loop {
            let late = median_of(3).await;
            if late >= Duration::from_millis(199) {
                break late;
            }
            assert!(began.elapsed() < crate::lab::WITHIN, "it rises: {late:?}");
        };
        assert!(late < Duration::from_millis(300), "{late:?}");
        agent.faults.undo(&id("ramp")).await.expect("known");
        assert!(median_of(3).await < Duration::from_millis(150));
    });
}
