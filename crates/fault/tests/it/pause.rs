//! Pause.

use crate::lab::{LocalAgent, Victim, attack, eventually, id};
use firedrill_fault::FaultError;
use firedrill_host::process::{Signal, State};
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackSpec, Fault, Span};
use std::time::Instant;

fn pause(victim: &Victim) -> Fault {
    Fault::new("pause").with("process", victim.select())
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_stands_still_and_runs_again() {
    let (victim, local) = (Victim::new(), LocalAgent::new());
    let agent = local.open().await;
    let report = agent.faults.inject(attack("p", pause(&victim))).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert_eq!(victim.state(), Some(State::Stopped));
    assert_eq!(agent.faults.active().len(), 1);
    let repeated = agent.faults.inject(attack("p", pause(&victim))).await;
    assert_eq!(repeated, report, "a repeated id repeats the answer");

    for _ in 0..2 {
        let report = agent.faults.undo(&id("p")).await.expect("known");
        assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
        assert_ne!(victim.state(), Some(State::Stopped));
    }
    assert!(agent.faults.active().is_empty());
    assert!(matches!(agent.faults.undo(&id("q")).await, Err(FaultError::Unknown(_))));
    let left = std::fs::read_dir(local.path()).expect("lists").flatten().map(|entry| entry.file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["holder.lock"]);
}

#[tokio::test(flavor = "current_thread")]
async fn it_comes_out_at_its_deadline() {
    let (victim, local) = (Victim::new(), LocalAgent::new());
    let mut agent = local.open().await;
    let began = Instant::now();
    let spec = AttackSpec { duration: Span::millis(700), ..attack("p", pause(&victim)) };
    let report = agent.faults.inject(spec).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    for state in [AttackState::Preparing, AttackState::Active, AttackState::Undone] {
        assert_eq!(agent.report().await.state, state);
    }
    let took = began.elapsed().as_millis();
    assert!((700..3000).contains(&took), "{took} ms");
    assert_ne!(victim.state(), Some(State::Stopped));
}

#[tokio::test(flavor = "current_thread")]
async fn what_somebody_else_stopped_stays_stopped() {
    let (victim, local) = (Victim::new(), LocalAgent::new());
    victim.signal(Signal::SIGSTOP);
    eventually("the stop", || victim.state() == Some(State::Stopped));
    let agent = local.open().await;
    let report = agent.faults.inject(attack("p", pause(&victim))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    agent.faults.undo(&id("p")).await.expect("known");
    agent.faults.undo_all("test").await;
    assert_eq!(victim.state(), Some(State::Stopped));
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_that_is_killed_while_it_is_paused_is_no_failure() {
    let (victim, local) = (Victim::new(), LocalAgent::new());
    let agent = local.open().await;
    agent.faults.inject(attack("p", pause(&victim))).await;
    victim.signal(Signal::SIGKILL);
    eventually("the end", || !victim.identity().alive());
    let report = agent.faults.undo(&id("p")).await.expect("known");
    assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
}

#[tokio::test(flavor = "current_thread")]
async fn a_halt_ends_what_is_only_being_prepared() {
    let local = LocalAgent::new();
    let agent = local.open().await;
    let victims: Vec<Victim> = (0..8).map(|_| Victim::new()).collect();
    let injecting = victims.iter().enumerate().map(|(number, victim)| {
        let (faults, spec) = (agent.faults.clone(), attack(&format!("p{number}"), pause(victim)));
        tokio::spawn(async move { faults.inject(spec).await })
    });
    let injecting: Vec<_> = injecting.collect();
    tokio::task::yield_now().await;
    agent.faults.undo_all("halt").await;
    for attack in injecting {
        attack.await.expect("ends");
    }
    assert!(agent.faults.active().is_empty());
    assert!(victims.iter().all(|victim| victim.state() != Some(State::Stopped)));
}

#[tokio::test(flavor = "current_thread")]
async fn letting_go_of_the_faults_undoes_them() {
    let (victim, local) = (Victim::new(), LocalAgent::new());
    let agent = local.open().await;
    agent.faults.inject(attack("p", pause(&victim))).await;
    assert_eq!(victim.state(), Some(State::Stopped));
    drop(agent.faults);
    let mut reports = agent.reports;
    while reports.recv().await.is_some() {}
    assert_ne!(victim.state(), Some(State::Stopped));
}
