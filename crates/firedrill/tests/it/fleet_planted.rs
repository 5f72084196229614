//! What must not pass: two writable primaries, a row that only one replica has, an attack that does not land.

use crate::fleet::{Fleet, block_on, told};
use firedrill_model::Verdict;
use firedrill_sandbox::{NodeStatus, Profile};
use mysql_async::prelude::Queryable;
use std::path::Path;

/// A quiet run: a load, a wait, and what must hold.
const QUIET: &str = "
name: quiet
title: Nothing is broken by us
hypothesis: All nodes hold the same rows.
workload: {writers: 4, writes_per_second: 200, readers: 2, reads_per_second: 50}
warm_up: 1s
cool_down: 1s
steps:
  - wait: 4s
expect:
  - lost-acknowledged-writes-at-most: 0
  - no-fork
  - no-divergence
";

/// Logs in at a node's own socket as the machine's administrator.
async fn admin(node: &NodeStatus) -> mysql_async::Conn {
    let socket = socket_of(&node.data_dir);
    let options = mysql_async::OptsBuilder::default().socket(Some(socket)).user(Some("root"));
    mysql_async::Conn::new(options).await.expect("an administrator's session")
}

/// The socket stands beside the data directory.
fn socket_of(data_dir: &Path) -> String {
    let parent = data_dir.parent().expect("a data directory has a parent");
    let found = std::fs::read_dir(parent).expect("the node's directory").flatten().map(|entry| entry.path());
    let socket = found.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "sock"));
    socket.expect("a socket beside the data").display().to_string()
}

#[test]
fn a_row_written_on_a_replica_is_found() {
    block_on(async {
        let fleet = Fleet::up("t-planted", Profile::Safe).await;
        let clean = fleet.run(QUIET).await;
        assert_eq!(clean.verdict, Some(Verdict::Passed), "{}", told(&clean));

        let west = fleet.status.nodes.iter().find(|node| node.name == "west-3").expect("west-3");
        let mut session = admin(west).await;
        let database = &fleet.status.gateway.database;
        // Without binary log, so that no GTID tells: only the rows differ.
        session.query_drop("SET sql_log_bin=0").await.expect("allowed");
        let planted = format!("CREATE TABLE {database}.planted (id INT PRIMARY KEY); INSERT INTO {database}.planted VALUES (1)");
        for statement in planted.split("; ") {
            session.query_drop(statement).await.expect("planted");
        }
        drop(session);
        let report = fleet.run(QUIET).await;
        assert_eq!(report.verdict, Some(Verdict::Failed), "{}", told(&report));
        let divergence = &report.ledger.as_ref().expect("a ledger").divergence;
        assert!(divergence.count > 0, "{}", told(&report));
        assert!(divergence.examples.iter().any(|example| example.contains("west-3")), "{}", told(&report));
    });
}

#[test]
fn an_attack_that_does_not_land_is_inconclusive() {
    block_on(async {
        let fleet = Fleet::up("t-noland", Profile::Safe).await;
        // SIGCONT to a running server changes nothing that could be measured.
        let yaml = QUIET.replace("  - wait: 4s", "  - attack: {kind: kill, signal: SIGCONT, target: {role: primary}}");
        let report = fleet.run(&yaml).await;
        assert_eq!(report.verdict, Some(Verdict::Inconclusive), "{}", told(&report));
    });
}
