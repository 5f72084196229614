//! What must not pass: two writable primaries, a row that only one replica has, an attack that does not land.

use crate::fleet::{Fleet, block_on, program, told};
use firedrill_model::Verdict;
use firedrill_model::report::LedgerSummary;
use firedrill_model::workload::{Load, Login, WorkloadSpec};
use firedrill_model::{Endpoint, RunId};
use firedrill_sandbox::{NodeStatus, Profile};
use mysql_async::prelude::Queryable;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

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

/// The socket of the server with that data directory.
fn socket_of(data_dir: &Path) -> String {
    let socket = data_dir.with_file_name("run").join("mariadbd.sock");
    assert!(socket.exists(), "there is no socket {}", socket.display());
    socket.display().to_string()
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
        let planted =
            format!("CREATE TABLE {database}.planted (id INT PRIMARY KEY); INSERT INTO {database}.planted VALUES (1)");
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

/// Sends connections to two servers in turn, as a broken gateway would.
async fn split(listener: TcpListener, servers: [Endpoint; 2]) {
    let mut turn = 0;
    while let Ok((mut client, _)) = listener.accept().await {
        let server = servers[turn % 2];
        turn += 1;
        tokio::spawn(async move {
            if let Ok(mut server) = TcpStream::connect((server.address, server.port)).await {
                // Either side may end it: that is the client's business here.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}

#[test]
fn two_writable_primaries_are_found() {
    block_on(async {
        let fleet = Fleet::up("t-fork", Profile::Safe).await;
        // With the keeper alive a second writer is fenced at once; a fork needs it gone.
        for pid in [fleet.status.supervisor_pid, fleet.status.server.pid].into_iter().flatten() {
            let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
            assert!(killed.success());
        }
        let node = |name: &str| fleet.status.nodes.iter().find(|node| node.name == name).expect("a node");
        let (one, other) = (node("east-1"), node("east-2"));
        // The load's table still comes over from east-1; from then on each goes its own way.
        let mut session = admin(one).await;
        session.query_drop("SET GLOBAL rpl_semi_sync_master_enabled=0").await.expect("no acker is waited for");
        let mut session = admin(other).await;
        for statement in ["SET GLOBAL gtid_strict_mode=0", "SET GLOBAL read_only=0"] {
            session.query_drop(statement).await.expect("a second writer");
        }
        let endpoint = |node: &NodeStatus| Endpoint { address: node.address, port: node.port };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let splitter = tokio::spawn(split(listener, [endpoint(one), endpoint(other)]));
        let gateway = &fleet.status.gateway;
        let spec = WorkloadSpec {
            run: RunId("fork".into()),
            load: Load { writers: 4, writes_per_second: 100, readers: 1, reads_per_second: 10, ..Load::default() },
            gateway: Endpoint { address: "127.0.0.1".parse().expect("an address"), port },
            nodes: [one, other].map(|node| (node.name.parse().expect("a name"), endpoint(node))).to_vec(),
            login: Login {
                user: gateway.user.clone(),
                password: gateway.password.clone(),
                database: gateway.database.clone(),
            },
        };
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("spec.json");
        std::fs::write(&file, serde_json::to_vec(&spec).expect("JSON")).expect("written");
        let load = tokio::process::Command::new(program())
            .args(["workload", "--spec", &file.display().to_string(), "--dir", &directory.path().display().to_string()])
            .kill_on_drop(true)
            .spawn();
        let mut load = load.expect("the load starts");
        tokio::time::sleep(Duration::from_secs(4)).await;
        std::fs::write(directory.path().join("stop"), "").expect("told to stop");
        let ended = tokio::time::timeout(Duration::from_secs(90), load.wait()).await;
        ended.expect("the load ends in time").expect("the load ends");
        splitter.abort();
        let history = directory.path().join("history.fdh");
        let checked = Command::new(program()).args(["ledger", "check", "--json"]).arg(&history).output().expect("runs");
        let summary: LedgerSummary = serde_json::from_slice(&checked.stdout).expect("a summary");
        assert!(summary.forks.count > 0, "{summary:#?}");
        assert_eq!(checked.status.code(), Some(1), "{summary:#?}");
        assert_eq!(summary.verdict, Verdict::Failed);
    });
}
