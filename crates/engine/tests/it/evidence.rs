//! What is set aside of a failed server, and the fingerprint of a node.

use crate::fleet::{Fleet, ask, name, operation, position, query, signal};
use firedrill_engine::Instance;
use firedrill_host::process::Signal;
use firedrill_model::command::Fingerprint;
use firedrill_model::observation::ProcessState;
use firedrill_model::{GtidPos, NodeCommand, NodeReply};
use std::path::Path;

pub(crate) async fn fingerprint(node: &Instance) -> Fingerprint {
    match ask(node, NodeCommand::Fingerprint { node: name(node) }).await.expect("is read") {
        NodeReply::Fingerprint(fingerprint) => fingerprint,
        other => panic!("not a fingerprint: {other:?}"),
    }
}

#[tokio::test]
async fn a_dead_server_is_captured() {
    let fleet = Fleet::start(1).await;
    let node = &fleet.nodes[0];
    signal(node, Signal::SIGKILL).await;
    // An observation that notices the end first does not swallow it.
    while !matches!(node.observe().await.process, ProcessState::Exited { .. }) {}
    node.exited().await;
    for _ in 0..2 {
        let reply = ask(node, NodeCommand::Capture { node: name(node), operation: operation("test-1") }).await;
        let NodeReply::Captured { directory, log_tail } = reply.expect("captures") else { panic!("not captured") };
        assert!(!log_tail.is_empty());
        let read = |file: &str| std::fs::read_to_string(Path::new(&directory).join(file)).expect(file);
        assert!(read("error.log").contains("ready for connections"));
        assert!(read("files.txt").contains("last binary log: ") && read("files.txt").contains("ibdata1"));
        assert!(read("process.txt").contains("Exited"));
    }
}

#[tokio::test]
async fn equal_nodes_have_equal_fingerprints_and_a_planted_difference_shows() {
    let fleet = Fleet::replicating(2).await;
    let [primary, replica] = &fleet.nodes[..] else { panic!("two nodes") };
    query(
        primary,
        "CREATE TABLE shop.wide (id INT PRIMARY KEY, d DOUBLE, n DECIMAL(20,4), b BLOB, t TEXT, j JSON, e BIT(9))",
    )
    .await;
    query(
        primary,
        "INSERT INTO shop.wide VALUES (1, 0.1, 12.5, x'00ff', 'é', '{}', b'1'), (2, NULL, NULL, NULL, NULL, NULL, NULL)",
    )
    .await;
    query(primary, "INSERT INTO shop.t (token) VALUES ('a'), ('b'), (NULL)").await;
    let ours = fingerprint(primary).await;
    let goal: GtidPos = ours.position.clone();
    let reply = ask(replica, NodeCommand::AwaitPosition { node: name(replica), until: goal.clone() }).await;
    assert!(position(reply.expect("arrives")).1.covers(&goal));
    let theirs = fingerprint(replica).await;
    assert_eq!(ours.tables, theirs.tables);
    assert_eq!(ours.tables.iter().map(|table| table.rows).collect::<Vec<_>>(), [3, 2]);
    assert!(ours.tables.iter().all(|table| table.hash != 0));
    // 0.1 and 0.10001 differ, and so do NULL and the empty text.
    for difference in ["UPDATE shop.wide SET d=0.10001 WHERE id=1", "UPDATE shop.wide SET t='' WHERE id=2"] {
        let before = fingerprint(replica).await;
        query(replica, &format!("SET STATEMENT sql_log_bin=0 FOR {difference}")).await;
        let after = fingerprint(replica).await;
        assert_eq!(before.position, after.position);
        assert_ne!(before.tables[1].hash, after.tables[1].hash, "{difference}");
        assert_eq!(before.tables[0], after.tables[0]);
    }
}
