//! Sessions: reports go out, the link comes back.

use crate::agent::{Agent, config};
use crate::link_server::{Heard, LinkServer, answers, instruction};
use axum::http::StatusCode;
use firedrill_api::link::{Answer, Order, Upward};
use std::time::{Duration, Instant};

fn host_looks(heard: &Heard) -> usize {
    heard.items.iter().filter(|item| matches!(item, Upward::Host { .. })).count()
}

#[tokio::test]
async fn it_reports_though_there_is_nothing_to_say() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    let began = Instant::now();
    server.until("four reports", |heard| (heard.reports >= 4).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(3), "a report each half second: {:?}", began.elapsed());
    server.until("a look at the host", |heard| (host_looks(heard) > 0).then_some(())).await;
    agent.stop().await;
}

#[tokio::test]
async fn it_comes_back_soon_after_the_server_was_killed_and_started_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    for round in 1..=3 {
        server.kill().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.start_again().await;
        let began = Instant::now();
        server.until("another hello", |heard| heard.hellos.get(round).map(|_| ())).await;
        server.connected().await;
        assert!(began.elapsed() < Duration::from_millis(1500), "round {round}: {:?}", began.elapsed());
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    let session = server.session();
    *server.shared.mute.lock().expect("lock") = true;
    // Longer than the patience for a ping; the next hello hangs too.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    *server.shared.mute.lock().expect("lock") = false;
    server.until("another hello", |heard| heard.hellos.get(1).map(|_| ())).await;
    assert!(server.session() > session);
    agent.stop().await;
}

#[tokio::test]
async fn a_server_in_trouble_is_not_a_server_that_refuses() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    *server.shared.refuse_hello.lock().expect("lock") =
        Some((StatusCode::INTERNAL_SERVER_ERROR, "the store is locked".to_owned()));
    let agent = Agent::start(config(&server, dir.path()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    *server.shared.refuse_hello.lock().expect("lock") = None;
    server.connected().await;
    agent.stop().await;
}

#[tokio::test]
async fn an_answer_does_not_wait_behind_a_report_under_way() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    server.until("a look at the host", |heard| (host_looks(heard) > 0).then_some(())).await;
    *server.shared.report_delay.lock().expect("lock") = Duration::from_secs(2);
    let reports = server.shared.heard.lock().expect("lock").reports;
    server.until("a report that hangs", |heard| (heard.reports > reports).then_some(())).await;
    let began = Instant::now();
    server.send(instruction("i1", 1, Order::Resume));
    assert_eq!(server.answer("i1", 1).await, Ok(Answer::Done));
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    agent.stop().await;
}

#[tokio::test]
async fn answers_of_a_lost_session_come_in_the_next() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    // The report with the answer is never confirmed.
    *server.shared.report_delay.lock().expect("lock") = Duration::from_secs(60);
    server.send(instruction("i1", 1, Order::Resume));
    assert_eq!(server.answer("i1", 1).await, Ok(Answer::Done));
    server.kill().await;
    *server.shared.report_delay.lock().expect("lock") = Duration::ZERO;
    server.start_again().await;
    server.connected().await;
    server.answer("i1", 2).await.expect("again");
    server.until("some more reports", |heard| (heard.reports > 5).then_some(())).await;
    assert_eq!(answers(&server.shared.heard.lock().expect("lock"), "i1").len(), 2, "confirmed, it is not sent again");
    agent.stop().await;
}
