//! Sessions: how they begin, carry instructions, and end.

use crate::agent::{Agent, hello, obliging, say_hello};
use crate::fixture::{Fixture, until};
use firedrill_api::link::{Answer, Order};
use firedrill_model::command::FailureKind;
use firedrill_model::{RunId, Span};
use firedrill_server::fleet::Call;
use reqwest::StatusCode;
use std::time::{Duration, Instant};

fn resume(within: Span) -> Call {
    Call::new(Order::Resume, within)
}

fn numbered(number: usize) -> Order {
    Order::DropWorkload { run: RunId(number.to_string()) }
}

#[tokio::test]
async fn instructions_are_answered_and_arrive_in_order() {
    const CALLS: usize = 200;
    let fixture = Fixture::new().await;
    let agent = Agent::connect(&fixture, "east-1", obliging()).await;
    let fleet = &fixture.server().fleet;
    for number in 0..CALLS {
        let answer = fleet.call(agent.host(), Call::new(numbered(number), Span::secs(5))).await;
        assert_eq!(answer, Ok(Answer::Done));
    }
    let told = agent.instructions.lock().expect("whole");
    let seen: Vec<_> = told.iter().map(|told| told.order.clone()).filter(|order| *order != Order::Resume).collect();
    assert_eq!(seen, (0..CALLS).map(numbered).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_older_session_is_refused_and_its_stream_ends() {
    let fixture = Fixture::new().await;
    let old = Agent::connect(&fixture, "east-1", obliging()).await;
    let new = say_hello(&fixture, &old.identity, &hello(old.host())).await.expect("welcome");
    assert!(new.session > old.session);
    assert_eq!(old.report(Vec::new()).await, StatusCode::CONFLICT);
    old.cut_off().await;
}

#[tokio::test]
async fn a_session_has_one_stream() {
    let fixture = Fixture::new().await;
    let agent = Agent::connect(&fixture, "east-1", obliging()).await;
    let url = fixture.link(&format!("/link/v1/stream?session={}", agent.session));
    let second = crate::agent::identified(&agent.identity).get(url).send().await.expect("an answer");
    assert_eq!(second.status(), StatusCode::CONFLICT);
    assert_eq!(agent.report(Vec::new()).await, StatusCode::OK, "the first goes on");
}

#[tokio::test]
async fn a_broken_link_fails_what_waits_at_once() {
    let fixture = Fixture::new().await;
    let agent = Agent::connect(&fixture, "east-1", Box::new(|_| None)).await;
    let (server, host) = (fixture.server().clone(), agent.host().clone());
    let waiting = tokio::spawn(async move { server.fleet.call(&host, resume(Span::secs(60))).await });
    agent.told("the instruction", |order| (*order == Order::Resume).then_some(())).await;
    let began = Instant::now();
    let host = agent.host().clone();
    drop(agent);
    let failure = waiting.await.expect("ended").expect_err("lost");
    assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
    assert!(began.elapsed() < Duration::from_millis(1500), "before silence is noticed: {:?}", began.elapsed());
    let failure = fixture.server().fleet.call(&host, resume(Span::secs(1))).await.expect_err("nobody there");
    assert_eq!(failure.kind, FailureKind::Unreachable);
}

#[tokio::test]
async fn a_silent_agent_is_lost_after_two_seconds() {
    let fixture = Fixture::new().await;
    let mut agent = Agent::connect(&fixture, "east-1", Box::new(|_| None)).await;
    agent.fall_silent();
    let began = Instant::now();
    let failure = fixture.server().fleet.call(agent.host(), resume(Span::secs(60))).await.expect_err("lost");
    assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
    assert!(began.elapsed() > Duration::from_millis(1500), "not too early: {:?}", began.elapsed());
    assert!(fixture.server().fleet.connected().is_empty());
    agent.cut_off().await;
}

#[tokio::test]
async fn an_agent_that_reports_is_not_lost() {
    let fixture = Fixture::new().await;
    let agent = Agent::connect(&fixture, "east-1", Box::new(|_| None)).await;
    let failure = fixture.server().fleet.call(agent.host(), resume(Span::millis(2500))).await.expect_err("no answer");
    assert_eq!(failure.kind, FailureKind::TimedOut, "{failure}");
    assert_eq!(fixture.server().fleet.connected(), [agent.host().clone()]);
}

#[tokio::test]
async fn comings_and_goings_are_on_the_timeline() {
    let fixture = Fixture::new().await;
    let agent = Agent::connect(&fixture, "east-1", obliging()).await;
    drop(agent);
    until("the line of the loss", async || {
        let lines = fixture.client.timeline(&Default::default()).await.expect("lines");
        let has = |text: &str| lines.iter().any(|line| line.text.contains(text));
        (has("agent of east-1 is connected") && has("link to the agent of east-1 is lost")).then_some(())
    })
    .await;
}
