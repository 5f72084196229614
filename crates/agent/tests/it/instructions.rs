//! Instructions: carried out once, refused when stale or late, answered always.

use crate::agent::{Agent, config};
use crate::link_server::{LinkServer, instruction, now};
use firedrill_api::link::{Answer, Order};
use firedrill_model::command::FailureKind;
use firedrill_model::{CommandFailure, NodeCommand, RunId, Span};
use std::path::Path;
use std::time::Duration;

fn stop_workload(run: &str) -> Order {
    Order::StopWorkload { run: RunId(run.to_owned()) }
}

fn kind(answer: &Result<Answer, CommandFailure>) -> Option<FailureKind> {
    answer.as_ref().err().map(|failure| failure.kind)
}

/// The record is written beside the answer, not before it: waits until it is in the file.
async fn recorded(dir: &Path, id: &str) {
    let path = dir.join("agent/answers.ndjson");
    let there = async {
        while !std::fs::read_to_string(&path).is_ok_and(|lines| lines.contains(&format!("\"{id}\""))) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), there).await.expect("the answer is recorded");
}

#[tokio::test]
async fn a_repeated_id_repeats_the_answer_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    server.send(instruction("i1", 1, stop_workload("unknown")));
    let first = server.answer("i1", 1).await;
    assert_eq!(kind(&first), Some(FailureKind::Invalid));
    // Were it carried out, it would now be `Done`.
    server.send(instruction("i1", 1, Order::Resume));
    assert_eq!(server.answer("i1", 2).await, first);
    recorded(dir.path(), "i1").await;
    agent.kill().await;

    let agent = Agent::start(config(&server, dir.path()));
    server.until("another hello", |heard| heard.hellos.get(1).map(|_| ())).await;
    server.connected().await;
    server.send(instruction("i1", 1, Order::Resume));
    assert_eq!(server.answer("i1", 3).await, first);
    agent.stop().await;
}

#[tokio::test]
async fn an_older_generation_is_refused_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    server.send(instruction("new", 7, Order::Resume));
    assert_eq!(server.answer("new", 1).await, Ok(Answer::Done));
    server.send(instruction("old", 6, Order::Resume));
    let refused = server.answer("old", 1).await;
    assert_eq!(kind(&refused), Some(FailureKind::Stale));
    let message = refused.expect_err("refused").message;
    assert!(message.contains("g6") && message.contains("g7") && message.contains("shop"), "{message}");
    agent.kill().await;

    let agent = Agent::start(config(&server, dir.path()));
    server.until("another hello", |heard| heard.hellos.get(1).map(|_| ())).await;
    server.connected().await;
    server.send(instruction("old again", 6, Order::Resume));
    assert_eq!(kind(&server.answer("old again", 1).await), Some(FailureKind::Stale));
    server.send(instruction("same", 7, Order::Resume));
    assert_eq!(server.answer("same", 1).await, Ok(Answer::Done));
    let mut of_no_cluster = instruction("no cluster", 0, Order::Resume);
    of_no_cluster.cluster = None;
    server.send(of_no_cluster);
    assert_eq!(server.answer("no cluster", 1).await, Ok(Answer::Done), "no generation is checked");
    agent.stop().await;
}

#[tokio::test]
async fn an_instruction_is_not_begun_after_its_deadline() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    let mut late = instruction("late", 9, Order::Resume);
    late.deadline = now() - Span::millis(50);
    server.send(late);
    let refused = server.answer("late", 1).await;
    assert_eq!(kind(&refused), Some(FailureKind::TimedOut));
    assert!(refused.expect_err("refused").message.contains("nothing was done"));
    server.send(instruction("in time", 8, Order::Resume));
    assert_eq!(server.answer("in time", 1).await, Ok(Answer::Done), "what was late did not move the generation");
    agent.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_here_is_said_so() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    let node = "elsewhere".parse().expect("a name");
    server.send(instruction("fence", 1, Order::Node { command: NodeCommand::Fence { node } }));
    let route = firedrill_model::command::Route::Hold;
    let cluster = "shop".parse().expect("a name");
    server.send(instruction("route", 1, Order::Node { command: NodeCommand::Route { cluster, route } }));
    for id in ["fence", "route"] {
        assert_eq!(kind(&server.answer(id, 1).await), Some(FailureKind::Invalid), "{id}");
    }
    agent.stop().await;
}
