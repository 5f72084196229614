//! Faults that come and go.

use crate::lab::{Lab, LocalAgent, THERE, Victim, attack, eventually, id, on_peers};
use firedrill_fault::undo_everything;
use firedrill_host::process::{Signal, State};
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackSpec, Fault, Span};
use std::time::{Duration, Instant};

fn pulsing(victim: &Victim) -> Fault {
    Fault::new("pause").with("process", victim.select()).with("active", "1s").with("dormant", "1s")
}

/// What the record of the attack would undo.
fn recorded(local: &LocalAgent) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(local.path().join("p.attack")).ok()?;
    let record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    Some(record["undo"].clone())
}

#[tokio::test(flavor = "current_thread")]
async fn a_fault_comes_and_goes_and_each_change_is_told() {
    let (victim, local) = (Victim::new(), LocalAgent::new());
    let mut agent = local.open().await;
    let began = Instant::now();
    let spec = AttackSpec { duration: Span::millis(3500), ..attack("p", pulsing(&victim)) };
    let report = agent.faults.inject(spec).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    let mut told = Vec::new();
    let last = loop {
        let report = agent.report().await;
        if matches!(report.state, AttackState::Undone | AttackState::UndoFailed) {
            break report;
        }
        if report.state == AttackState::Active {
            if !report.mechanism.starts_with("dormant") {
                // Only the first time it is waited for.
                eventually("the stop", || victim.state() == Some(State::Stopped));
            }
            let stands = victim.state() == Some(State::Stopped);
            let nothing = recorded(&local).is_some_and(|undo| undo.is_null());
            told.push((report.mechanism.clone(), stands, nothing));
            assert_eq!(agent.faults.active().len(), 1, "it is under way, dormant or not");
        }
    };
    let by = "SIGSTOP through a pidfd";
    let expected = [
        (by.to_owned(), true, false),
        ("dormant after pulse 1".to_owned(), false, true),
        (format!("pulse 2: {by}"), true, false),
        ("dormant after pulse 2".to_owned(), false, true),
    ];
    assert_eq!(told, expected);
    assert_eq!(last.state, AttackState::Undone, "{}", last.evidence);
    assert!(last.evidence.contains("time was over"), "{}", last.evidence);
    assert!((3400..6000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_ne!(victim.state(), Some(State::Stopped));
    assert!(local.journalled().is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn a_halt_ends_it_in_both_phases() {
    for dormant in [false, true] {
        let (victim, local) = (Victim::new(), LocalAgent::new());
        let agent = local.open().await;
        agent.faults.inject(attack("p", pulsing(&victim))).await;
        let began = Instant::now();
        while dormant && victim.state() == Some(State::Stopped) {
            assert!(began.elapsed() < crate::lab::WITHIN);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..2 {
            let report = agent.faults.undo(&id("p")).await.expect("known");
            assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
        }
        assert_ne!(victim.state(), Some(State::Stopped));
        assert!(local.journalled().is_empty() && agent.faults.active().is_empty());
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_ne!(victim.state(), Some(State::Stopped), "it does not come back");
    }
}

#[test]
fn a_crash_in_any_phase_leaves_nothing_and_the_last_resort_finds_it_dormant() {
    // Undone is passed for the first time at the end of the first pulse.
    for step in ["Undoing", "Undone"] {
        let (victim, local) = (Victim::new(), LocalAgent::new());
        let text = serde_json::to_string(&attack("p", pulsing(&victim))).expect("serialises");
        crate::lab::block_on(async {
            local.holder(&["--crash", step, &text]).has_died().await;
            drop(local.open().await);
        });
        assert!(local.journalled().is_empty(), "{step}");
        assert_ne!(victim.state(), Some(State::Stopped), "{step}");
    }
    for wanted in [false, true] {
        let (victim, local) = (Victim::new(), LocalAgent::new());
        let text = serde_json::to_string(&attack("p", pulsing(&victim))).expect("serialises");
        let holder = crate::lab::block_on(async { local.holder(&[&text]) });
        eventually("the phase", || recorded(&local).is_some_and(|undo| undo.is_null() == wanted));
        if wanted {
            let undone = crate::lab::block_on(undo_everything(&local.path())).expect("reads");
            assert_eq!(undone.len(), 1);
            assert!(undone.iter().all(|one| one.outcome.is_ok()), "{undone:?}");
        } else {
            holder.signal(Signal::SIGKILL);
            holder.dies();
            crate::lab::block_on(async { drop(local.open().await) });
        }
        assert!(local.journalled().is_empty());
        std::thread::sleep(Duration::from_millis(1200));
        assert_ne!(victim.state(), Some(State::Stopped), "it does not come back");
    }
}

#[test]
fn a_partition_that_flaps_is_measured_once_and_leaves_nothing() {
    let lab = Lab::new();
    let before = lab.filter();
    lab.agent(async |agent| {
        let fault = on_peers("partition", &[THERE]).with("active", "1s").with("dormant", "1s");
        let report = agent.faults.inject(attack("flap", fault)).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        let reaches = async || {
            let connecting = tokio::net::TcpStream::connect((THERE, 7));
            tokio::time::timeout(Duration::from_millis(300), connecting).await.is_ok()
        };
        for up in [false, true, false, true] {
            let began = Instant::now();
            while reaches().await != up {
                assert!(began.elapsed() < crate::lab::WITHIN, "it flaps");
            }
        }
        let report = agent.faults.undo(&id("flap")).await.expect("known");
        assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
        assert!(reaches().await);
    });
    assert_eq!(lab.filter(), before);
    assert_eq!(lab.journalled(), [""; 0]);
}
