//! Kill.

use crate::lab::{LocalAgent, Victim, attack, id};
use firedrill_fault::Context;
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackSpec, Fault, NodeName};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn kill(signal: &str, process: Value) -> Fault {
    Fault::new("kill").with("signal", signal).with("process", process)
}

fn database(node: &str) -> Value {
    json!({ "select": "database", "node": node })
}

#[tokio::test(flavor = "current_thread")]
async fn the_database_of_a_node_is_killed() {
    let victim = Victim::new();
    let identity = victim.identity();
    let mut context = Context::new("here".parse().expect("name"));
    context.database = Box::new(move |node: &NodeName| (node.as_str() == "east-1").then_some(identity));
    let local = LocalAgent::new();
    let mut agent = local.open_with(context).await;

    let process = database("east-1");
    let report = agent.faults.inject(attack("k", kill("SIGKILL", process.clone()))).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert!(report.evidence.contains("after SIGKILL"), "{}", report.evidence);
    assert!(!identity.alive());
    assert_eq!(agent.report().await.state, AttackState::Preparing);
    assert_eq!(agent.report().await.state, AttackState::Active);
    let undone = agent.faults.undo(&id("k")).await.expect("known");
    assert_eq!(undone.state, AttackState::Undone);
    assert!(agent.faults.active().is_empty());

    let again = agent.faults.inject(attack("k2", kill("SIGKILL", process))).await;
    assert_eq!(again.state, AttackState::Refused, "it is dead");
    let refused = agent.faults.inject(attack("k3", kill("SIGKILL", database("west-1")))).await;
    assert!(refused.state == AttackState::Refused && refused.evidence.contains("west-1"), "{}", refused.evidence);
    let of_the_node = AttackSpec { node: Some("west-1".parse().expect("name")), ..attack("k4", Fault::new("kill")) };
    let refused = agent.faults.inject(of_the_node).await;
    assert!(refused.evidence.contains("west-1"), "the node is what is meant by default: {}", refused.evidence);
    let nobody = agent.faults.inject(attack("k5", Fault::new("kill"))).await;
    assert!(nobody.evidence.contains("not said which process"), "{}", nobody.evidence);
}

#[tokio::test(flavor = "current_thread")]
async fn a_signal_without_a_measurable_effect_is_not_called_one() {
    let victim = Victim::running(&["-c", "trap '' HUP; while :; do sleep 1; done"]);
    let local = LocalAgent::new();
    let agent = local.open().await;
    let report = agent.faults.inject(attack("hup", kill("SIGHUP", victim.select()))).await;
    assert_eq!(report.state, AttackState::NoEffect, "{}", report.evidence);
    let report = agent.faults.inject(attack("stop", kill("SIGSTOP", victim.select()))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    let report = agent.faults.inject(attack("init", kill("SIGKILL", json!({ "select": "pid", "pid": 1 })))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    let own = json!({ "select": "pid", "pid": std::process::id() });
    let report = agent.faults.inject(attack("self", kill("SIGKILL", own))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    assert!(victim.identity().alive());
}

#[tokio::test(flavor = "current_thread")]
async fn a_halt_does_not_wait_for_a_process_that_takes_its_time() {
    let victim = Victim::running(&["-c", "trap '' TERM; while :; do sleep 1; done"]);
    let local = LocalAgent::new();
    let mut agent = local.open().await;
    let (faults, spec) = (agent.faults.clone(), attack("slow", kill("SIGTERM", victim.select())));
    let injecting = tokio::spawn(async move { faults.inject(spec).await });
    assert_eq!(agent.report().await.state, AttackState::Preparing);
    let began = Instant::now();
    let ended = agent.faults.undo_all("halt").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(ended.len(), 1);
    assert!(matches!(ended[0].state, AttackState::Undone | AttackState::Refused), "{ended:?}");
    assert_eq!(injecting.await.expect("ends").state, ended[0].state);
}
