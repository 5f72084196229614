//! A former primary comes back.

use crate::fleet::{Fleet, application, ask, column, name, position, query, signal};
use firedrill_engine::Instance;
use firedrill_host::process::Signal;
use firedrill_model::command::FailureKind;
use firedrill_model::{GtidState, NodeCommand, NodeReply};
use mysql_async::prelude::Queryable as _;

/// Kills the first node and makes the second the primary of the third.
async fn failed_over(fleet: &Fleet) {
    let [old, new, third] = &fleet.nodes[..] else { panic!("three nodes") };
    signal(old, Signal::SIGKILL).await;
    ask(old, NodeCommand::Fence { node: name(old) }).await.expect("fences");
    let mut held = Vec::new();
    for node in [new, third] {
        let (until, _) = position(ask(node, NodeCommand::StopReceiving { node: name(node) }).await.expect("stops"));
        ask(node, NodeCommand::Drain { node: name(node), until: until.clone() }).await.expect("drains");
        held.push(until);
    }
    // The third may hold more than the one that is to be promoted.
    let (source, until) = (third.config().endpoint, held.remove(1));
    ask(new, NodeCommand::CatchUp { node: name(new), source, until }).await.expect("catches up");
    ask(new, NodeCommand::Open { node: name(new), semi_sync: true }).await.expect("opens");
    let source = new.config().endpoint;
    ask(third, NodeCommand::Follow { node: name(third), source, acker: true }).await.expect("follows");
}

async fn started(node: &Instance) -> GtidState {
    match ask(node, NodeCommand::Start { node: name(node) }).await.expect("starts") {
        NodeReply::Started { binlog_state, .. } => binlog_state,
        other => panic!("not a start: {other:?}"),
    }
}

#[tokio::test]
async fn an_old_primary_without_writes_of_its_own_follows_the_new_one() {
    let fleet = Fleet::replicating(3).await;
    let [old, new, _] = &fleet.nodes[..] else { panic!("three nodes") };
    query(old, "INSERT INTO shop.t (token) VALUES ('before')").await;
    failed_over(&fleet).await;
    query(new, "INSERT INTO shop.t (token) VALUES ('after')").await;
    started(old).await;
    let status = old.observe().await.status.expect("answers");
    assert!(status.read_only && !status.semi_sync.primary_enabled && !status.semi_sync.acker_enabled);
    let source = new.config().endpoint;
    ask(old, NodeCommand::Follow { node: name(old), source, acker: false }).await.expect("follows");
    let goal = new.observe().await.status.expect("answers").position;
    ask(old, NodeCommand::AwaitPosition { node: name(old), until: goal }).await.expect("catches up");
    assert_eq!(column(old, "SELECT token FROM shop.t ORDER BY id").await, ["before", "after"]);
    ask(old, NodeCommand::SetAcker { node: name(old), on: true }).await.expect("becomes an acker");
}

#[tokio::test]
async fn an_old_primary_with_writes_of_its_own_is_refused_as_diverged() {
    let fleet = Fleet::replicating(3).await;
    let [old, new, third] = &fleet.nodes[..] else { panic!("three nodes") };
    query(old, "INSERT INTO shop.t (token) VALUES ('shared')").await;
    // Committed on the old primary alone: no semi-sync, and nobody receives.
    for node in [new, third] {
        ask(node, NodeCommand::StopReceiving { node: name(node) }).await.expect("stops");
    }
    query(old, "SET GLOBAL rpl_semi_sync_master_enabled=0").await;
    let mut conn = application(old).await.expect("connects");
    for count in 0..5 {
        conn.query_drop(format!("INSERT INTO t (token) VALUES ('own-{count}')")).await.expect("writes");
    }
    failed_over(&fleet).await;
    query(new, "INSERT INTO shop.t (token) VALUES ('after')").await;
    let binlog_state = started(old).await;
    let reference = new.observe().await.status.expect("answers").binlog_state;
    let own = binlog_state.beyond(&reference);
    assert_eq!(own.len(), 1, "{binlog_state} beyond {reference}");
    // Recovery as a replica may have dropped the very last ones, which were not in the engine yet.
    let excess = own[0].1.sequence - own[0].0.sequence + 1;
    let listing = NodeCommand::ListTransactions { node: name(old), ranges: own };
    let NodeReply::Transactions { listed, total } = ask(old, listing).await.expect("lists") else {
        panic!("not a listing")
    };
    assert!(listed.iter().any(|one| one.text == "INSERT shop.t x1"), "{listed:?}");
    assert_eq!((total, listed.len() as u64), (excess, excess));
    let follow = NodeCommand::Follow { node: name(old), source: new.config().endpoint, acker: false };
    let failure = ask(old, follow).await.expect_err("must not follow");
    assert_eq!(failure.kind, FailureKind::Diverged, "{failure}");
    assert!(failure.message.contains("1236"), "{failure}");
}
