//! Faults that grow, and cuts that end slowly.

use crate::lab::{Lab, THERE, attack, eventually, id, on_peers};
use firedrill_host::process::Signal;
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackSpec, Fault, Span};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

fn slowly_ending() -> Fault {
    on_peers("partition", &[THERE]).with("slow_start", "4s")
}

fn lasting(secs: u64, spec: AttackSpec) -> AttackSpec {
    AttackSpec { duration: Span::secs(secs), ..spec }
}

/// How many of a hundred packets arrive.
async fn arriving((near, far): &(UdpSocket, UdpSocket)) -> usize {
    let target = far.local_addr().expect("bound");
    for _ in 0..100 {
        near.send_to(b"x", target).await.expect("a loss must not show at the sender");
    }
    let mut arrived = 0;
    while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(30), far.recv(&mut [0; 8])).await {
        arrived += 1;
    }
    arrived
}

#[test]
fn a_loss_rises_to_what_is_asked_and_ends_at_once() {
    let lab = Lab::new();
    let before = lab.filter();
    lab.agent(async |agent| {
        let sockets = lab.sockets();
        let fault = on_peers("loss", &[THERE]).with("percent", 100).with("ramp", "5s");
        let report = agent.faults.inject(attack("rise", fault)).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        assert!(report.evidence.contains("% by now"), "{}", report.evidence);
        let (began, mut last) = (Instant::now(), arriving(&sockets).await);
        let mut between = 0 < last && last < 100;
        while last > 0 {
            last = arriving(&sockets).await;
            between |= 0 < last && last < 100;
            assert!(began.elapsed() < crate::lab::WITHIN, "it rises: {last}");
        }
        assert!(between, "not all at once");
        let report = agent.faults.undo(&id("rise")).await.expect("known");
        assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
        assert_eq!(arriving(&sockets).await, 100);
    });
    assert_eq!(lab.filter(), before);
}

#[test]
fn corruption_and_duplication_rise_as_well() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        for kind in ["corruption", "duplication"] {
            let fault = on_peers(kind, &[THERE]).with("percent", 90).with("ramp", "2s");
            let report = agent.faults.inject(attack(kind, fault)).await;
            assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
            agent.faults.undo(&id(kind)).await.expect("known");
        }
    });
}

#[test]
fn after_a_cut_traffic_comes_back_little_by_little() {
    let lab = Lab::new();
    let before = lab.filter();
    lab.agent(async |mut agent| {
        let sockets = lab.sockets();
        let began = Instant::now();
        let report = agent.faults.inject(lasting(9, attack("cut", slowly_ending()))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        let (mut some, mut all) = (0, 0);
        loop {
            let arrived = arriving(&sockets).await;
            let since = began.elapsed();
            assert!(arrived == 0 || since > Duration::from_secs(4), "{arrived} of 100 after {since:?}");
            some += usize::from((5..95).contains(&arrived));
            all += usize::from(arrived == 100);
            if agent.faults.active().is_empty() {
                break;
            }
        }
        assert!(some > 0, "some packets come before all do; {all} times all did");
        while agent.report().await.state != AttackState::Undone {}
        assert_eq!(arriving(&sockets).await, 100);
    });
    assert_eq!(lab.filter(), before);
    assert_eq!(lab.journalled(), [""; 0]);
}

#[test]
fn there_must_be_time_for_a_cut_and_its_end() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let report = agent.faults.inject(lasting(8, attack("short", slowly_ending()))).await;
        assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
        let pulsing = slowly_ending().with("active", "6s").with("dormant", "1s");
        let report = agent.faults.inject(lasting(60, attack("pulse", pulsing))).await;
        assert_eq!(report.state, AttackState::Refused, "each time it is in place: {}", report.evidence);
    });
}

#[test]
fn called_off_or_killed_during_the_slow_start_everything_passes_at_once() {
    let lab = Lab::new();
    let before = lab.filter();
    let cut = || lasting(65, attack("cut", on_peers("partition", &[THERE]).with("slow_start", "60s")));
    let weaker = || lab.filter().contains("numgen");
    lab.agent(async |agent| {
        assert_eq!(agent.faults.inject(cut()).await.state, AttackState::Active);
        let began = Instant::now();
        while !weaker() {
            assert!(began.elapsed() < crate::lab::WITHIN, "the slow start begins");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let halted = agent.faults.undo_all("halt").await;
        assert!(halted.iter().all(|report| report.state == AttackState::Undone), "{halted:?}");
        assert_eq!(lab.filter(), before);
        assert_eq!(arriving(&lab.sockets()).await, 100);
    });
    let holder = lab.holder(&["--rescue"], &[cut()]);
    eventually("the slow start", weaker);
    holder.signal(Signal::SIGKILL);
    holder.dies();
    eventually("the end of all", || lab.filter() == before && lab.journalled().is_empty());
}
