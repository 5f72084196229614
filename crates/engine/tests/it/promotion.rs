//! A primary is lost under load, and one of its replicas takes over by the commands alone: nothing acknowledged is lost.

use crate::fleet::{Fleet, application, ask, column, name, position, query, seen, signal};
use firedrill_engine::Instance;
use firedrill_host::process::Signal;
use firedrill_model::command::FailureKind;
use firedrill_model::{GtidPos, NodeCommand, NodeReply, Span};
use mysql_async::prelude::Queryable as _;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Writes tokens until the connection breaks; answers with those it had an OK for.
fn writer(node: &Instance, number: u32) -> JoinHandle<Vec<String>> {
    let node = node.clone();
    tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        let Ok(mut conn) = application(&node).await else { return acknowledged };
        for count in 0u32.. {
            let token = format!("w{number}-{count}");
            if conn.query_drop(format!("INSERT INTO t (token) VALUES ('{token}')")).await.is_err() {
                break;
            }
            acknowledged.push(token);
        }
        acknowledged
    })
}

async fn ended(writers: Vec<JoinHandle<Vec<String>>>) -> Vec<String> {
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await.expect("no panic"));
    }
    all
}

async fn tokens(node: &Instance) -> BTreeSet<String> {
    column(node, "SELECT token FROM shop.t").await.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_replaced_with_nothing_lost() {
    let fleet = Fleet::replicating(3).await;
    let [old, left, right] = &fleet.nodes[..] else { panic!("three nodes") };
    let writers: Vec<_> = (0..4).map(|number| writer(old, number)).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    signal(old, Signal::SIGKILL).await;
    old.exited().await;
    let fenced = ask(old, NodeCommand::Fence { node: name(old) }).await.expect("fences");
    assert_eq!(fenced, NodeReply::Fenced { killed: false });
    let (a, b) = tokio::join!(
        ask_owned(left, NodeCommand::StopReceiving { node: name(left) }),
        ask_owned(right, NodeCommand::StopReceiving { node: name(right) })
    );
    let (a, b) = (position(a).0, position(b).0);
    let (best, other, until) = if a.covers(&b) { (left, right, a) } else { (right, left, b) };
    ask(best, NodeCommand::Drain { node: name(best), until: until.clone() }).await.expect("drains");
    let opened_at = ask(best, NodeCommand::Open { node: name(best), semi_sync: true }).await.expect("opens");
    assert!(position(opened_at).1.covers(&until));
    let source = best.config().endpoint;
    ask(other, NodeCommand::Follow { node: name(other), source, acker: true }).await.expect("follows");
    let mut conn = application(best).await.expect("connects");
    conn.query_drop("INSERT INTO t (token) VALUES ('after')").await.expect("writes again, acknowledged");

    let acknowledged = ended(writers).await;
    assert!(acknowledged.len() > 100, "too few writes to tell: {}", acknowledged.len());
    let present = tokens(best).await;
    let lost: Vec<_> = acknowledged.iter().filter(|token| !present.contains(*token)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), acknowledged.len());
    // The source is forgotten soon after.
    seen(best, "no replication", |look| look.status.as_ref().is_some_and(|status| status.replication.is_none())).await;
}

async fn ask_owned(node: &Instance, command: NodeCommand) -> NodeReply {
    ask(node, command).await.expect("carried out")
}

#[tokio::test]
async fn a_receiver_of_a_silent_source_stops_at_once() {
    let fleet = Fleet::replicating(2).await;
    let [primary, replica] = &fleet.nodes[..] else { panic!("two nodes") };
    signal(primary, Signal::SIGSTOP).await;
    let begun = Instant::now();
    ask(replica, NodeCommand::StopReceiving { node: name(replica) }).await.expect("stops");
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(400), "took {took:?}: the farewell call to the source was waited for");
    let look = replica.observe().await.status.expect("answers");
    let replication = look.replication.expect("still set up");
    assert!(replication.applier_running, "only the receiver is stopped");
}

#[tokio::test]
async fn a_hung_primary_is_fenced() {
    let fleet = Fleet::start(1).await;
    let node = &fleet.nodes[0];
    signal(node, Signal::SIGSTOP).await;
    let fenced = ask(node, NodeCommand::Fence { node: name(node) }).await.expect("fences");
    assert_eq!(fenced, NodeReply::Fenced { killed: true });
    assert!(node.observe().await.process.is_gone());
    let again = ask(node, NodeCommand::Fence { node: name(node) }).await.expect("fences");
    assert_eq!(again, NodeReply::Fenced { killed: false });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_closes_moves_and_opens() {
    let fleet = Fleet::replicating(3).await;
    let [old, new, third] = &fleet.nodes[..] else { panic!("three nodes") };
    let writers: Vec<_> = (0..2).map(|number| writer(old, number)).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (until, _) = position(ask_owned(old, NodeCommand::CloseWrites { node: name(old) }).await);
    let acknowledged = ended(writers).await;
    ask_owned(new, NodeCommand::AwaitPosition { node: name(new), until: until.clone() }).await;
    ask_owned(new, NodeCommand::Open { node: name(new), semi_sync: true }).await;
    let source = new.config().endpoint;
    for node in [third, old] {
        ask_owned(node, NodeCommand::Follow { node: name(node), source, acker: true }).await;
    }
    let present = tokens(new).await;
    assert!(!acknowledged.is_empty() && acknowledged.iter().all(|token| present.contains(token)));
    query(new, "INSERT INTO shop.t (token) VALUES ('moved')").await;
    let (goal, _) = position(ask_owned(new, NodeCommand::AwaitPosition { node: name(new), until }).await);
    for node in [third, old] {
        ask_owned(node, NodeCommand::AwaitPosition { node: name(node), until: goal.clone() }).await;
        assert!(tokens(node).await.contains("moved"));
    }
}

#[tokio::test]
async fn writes_close_although_a_commit_waits_for_an_acker() {
    let fleet = Fleet::replicating(2).await;
    let [primary, replica] = &fleet.nodes[..] else { panic!("two nodes") };
    query(replica, "STOP SLAVE").await;
    let mut conn = application(primary).await.expect("connects");
    let waiting = tokio::spawn(async move { conn.query_drop("INSERT INTO t (token) VALUES ('waits')").await });
    seen(primary, "a waiting commit", |look| {
        look.status.as_ref().is_some_and(|status| status.semi_sync.waiting_sessions > 0)
    })
    .await;
    let begun = Instant::now();
    ask(primary, NodeCommand::CloseWrites { node: name(primary) }).await.expect("closes");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(waiting.await.expect("no panic").is_err(), "a commit without an ack must not be acknowledged");
    ask(primary, NodeCommand::ReopenWrites { node: name(primary) }).await.expect("opens again");
    assert!(!primary.observe().await.status.expect("answers").read_only);
}

#[tokio::test]
async fn a_replica_that_knows_less_catches_up_from_one_that_knows_more() {
    let fleet = Fleet::replicating(3).await;
    let [old, better, worse] = &fleet.nodes[..] else { panic!("three nodes") };
    ask(worse, NodeCommand::StopReceiving { node: name(worse) }).await.expect("stops");
    query(old, "INSERT INTO shop.t (token) VALUES ('only-one-has-it')").await;
    signal(old, Signal::SIGKILL).await;
    let (until, _) = position(ask_owned(better, NodeCommand::StopReceiving { node: name(better) }).await);
    let source = better.config().endpoint;
    let reply = ask_owned(worse, NodeCommand::CatchUp { node: name(worse), source, until: until.clone() }).await;
    assert!(position(reply).1.covers(&until));
    assert!(tokens(worse).await.contains("only-one-has-it"));
    let receiver = worse.observe().await.status.expect("answers").replication.expect("set up").receiver;
    assert_eq!(receiver, firedrill_model::observation::Receiver::Stopped);
}

#[tokio::test]
async fn a_drain_that_cannot_end_says_why_at_once() {
    let fleet = Fleet::replicating(2).await;
    let replica = &fleet.nodes[1];
    ask(replica, NodeCommand::StopReceiving { node: name(replica) }).await.expect("stops");
    let until: GtidPos = "0-1-999999".parse().expect("a position");
    let begun = Instant::now();
    let failure = ask(replica, NodeCommand::Drain { node: name(replica), until }).await.expect_err("has not got it");
    assert!(failure.kind == FailureKind::Failed && failure.message.contains("0-1-999999"), "{failure:?}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn an_acker_is_switched_off_and_on() {
    let fleet = Fleet::replicating(2).await;
    let [primary, replica] = &fleet.nodes[..] else { panic!("two nodes") };
    for on in [false, true] {
        ask_owned(replica, NodeCommand::SetAcker { node: name(replica), on }).await;
        seen(replica, "the acker side", |look| {
            look.status
                .as_ref()
                .is_some_and(|status| (status.semi_sync.acker_enabled, status.semi_sync.acker_active) == (on, on))
        })
        .await;
    }
    query(primary, "INSERT INTO shop.t (token) VALUES ('acknowledged')").await;
    // Asked once more: nothing changes.
    ask_owned(replica, NodeCommand::SetAcker { node: name(replica), on: true }).await;
    let within = Span::secs(5);
    let again = NodeCommand::Follow { node: name(replica), source: primary.config().endpoint, acker: true };
    replica.carry_out(again, within).await.expect("follows already");
}
