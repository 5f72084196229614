//! Halt always works.

use crate::agent::{Agent, Script, hello, obliging};
use crate::fixture::{Fixture, until};
use crate::keeper::{register, shop};
use firedrill_api::http::StartAttack;
use firedrill_api::link::{Answer, Order};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::experiment::AttackStep;
use firedrill_model::{AttackId, Fault, Role, RunId, Selector, Span};

fn pause(role: Role) -> StartAttack {
    let target = Selector { role: Some(role), ..Selector::default() };
    let attack = AttackStep { name: None, fault: Fault::new("pause"), target, duration: Span::secs(30) };
    StartAttack::new(shop(), attack)
}

fn undone(id: &str) -> AttackReport {
    AttackReport {
        id: AttackId(id.to_owned()),
        host: "east-1".parse().expect("a name"),
        fault: Fault::new("pause"),
        state: AttackState::Undone,
        at: firedrill_server::clock::now(),
        in_place: None,
        mechanism: "SIGCONT".to_owned(),
        evidence: "it answers again".to_owned(),
    }
}

/// Has one fault in place until it is halted.
fn with_a_fault() -> Script {
    Box::new(|order| {
        Some(Ok(match order {
            Order::Halt { .. } => Answer::Halted { reports: vec![undone("found-there")] },
            _ => Answer::Done,
        }))
    })
}

#[tokio::test]
async fn it_reaches_everything_and_blocks_starts_until_resume() {
    let mut fixture = Fixture::new().await;
    let agent = Agent::connect(&fixture, "east-1", with_a_fault()).await;
    let gone = Agent::connect(&fixture, "east-2", obliging()).await;
    let gone_host = gone.host().clone();
    drop(gone);
    until("the loss", async || (fixture.server().fleet.connected().len() == 1).then_some(())).await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let run = RunId("run-1".to_owned());
    let guard = fixture.server().runs.begin(&run, &shop()).expect("free");

    let halted = fixture.client.halt("enough").await.expect("halted");
    assert_eq!(halted.runs, [run]);
    assert_eq!(halted.attacks.iter().map(|attack| attack.id.0.as_str()).collect::<Vec<_>>(), ["found-there"]);
    assert_eq!(halted.unreachable, [gone_host]);
    assert!(halted.took > Span::ZERO);
    assert_eq!(guard.until_halted().await, "enough");
    drop(guard);

    let refused = fixture.client.start_attack(&pause(Role::Primary)).await.expect_err("halted");
    assert!(refused.refused() && refused.to_string().contains("enough"), "{refused}");
    // Idempotent; the first reason stands, also over a restart.
    fixture.client.halt("again").await.expect("halted again");
    fixture.restart().await;
    assert_eq!(fixture.client.status().await.expect("status").halted.as_deref(), Some("enough"));

    // An agent that comes later is told.
    let identity = agent.identity.clone();
    drop(agent);
    let greeting = hello(&identity.host);
    let later = Agent::connect_as(&fixture, identity, greeting, with_a_fault()).await;
    later.told("the halt", |order| matches!(order, Order::Halt { reason } if reason == "enough").then_some(())).await;

    fixture.client.resume("looked at it").await.expect("resumed");
    later.told("the resume", |order| (*order == Order::Resume).then_some(())).await;
    assert_eq!(fixture.client.status().await.expect("status").halted, None);
    let lines = fixture.client.timeline(&Default::default()).await.expect("lines");
    assert!(lines.iter().any(|line| line.text.contains("allowed again: looked at it")), "{lines:#?}");
}
