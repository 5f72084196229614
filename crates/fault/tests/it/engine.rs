//! Faults inside a database server, against real MariaDB servers. Needs root and mariadb-server; fails without.

use crate::fleet::{Fleet, administrator, application, ask, column, name, query, signal};
use crate::lab::{Agent, LocalAgent, attack, id};
use firedrill_engine::Instance;
use firedrill_fault::Context;
use firedrill_host::process::Signal;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackSpec, Fault, NodeCommand, Span};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A server with a table of the application, and an agent beside it.
pub(crate) struct Ward {
    pub(crate) fleet: Fleet,
    pub(crate) local: LocalAgent,
}

impl Ward {
    pub(crate) async fn one() -> Self {
        let fleet = Fleet::start(1).await;
        query(&fleet.nodes[0], "SET GLOBAL read_only=0").await;
        query(&fleet.nodes[0], "CREATE TABLE shop.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT NOT NULL DEFAULT 0)")
            .await;
        query(&fleet.nodes[0], "INSERT INTO shop.t (v) VALUES (10), (20), (30)").await;
        Self { fleet, local: LocalAgent::new() }
    }

    /// A primary and a replica that acknowledges.
    async fn two() -> Self {
        Self { fleet: Fleet::replicating(2).await, local: LocalAgent::new() }
    }

    pub(crate) fn node(&self) -> &Instance {
        &self.fleet.nodes[0]
    }

    async fn agent(&self) -> Agent {
        self.agent_of(false).await
    }

    async fn agent_of(&self, expendable: bool) -> Agent {
        let nodes = self.fleet.nodes.clone();
        let mut context = Context::new("here".parse().expect("name"));
        context.admin = Box::new(move |wanted| nodes.iter().find(|node| name(node) == *wanted)?.admin());
        context.expendable = expendable;
        self.local.open_with(context).await
    }
}

pub(crate) fn on(node: &Instance, fault: Fault) -> AttackSpec {
    AttackSpec { node: Some(name(node)), ..attack("a", fault) }
}

/// All that a fault could leave: settings, schemas, sessions, replication.
pub(crate) async fn snapshot(node: &Instance) -> BTreeSet<String> {
    let mut conn = administrator(node).await;
    let variables = "SELECT CONCAT(VARIABLE_NAME, '=', VARIABLE_VALUE) FROM information_schema.GLOBAL_VARIABLES \
         WHERE VARIABLE_NAME NOT LIKE 'GTID%' ORDER BY 1";
    let schemas = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY 1";
    let sessions = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND='Sleep' AND \
         (SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id=ID)";
    let tables = "SELECT CONCAT(TABLE_NAME, IF(AUTO_INCREMENT<100, ' has ids', ' has none')) FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA='shop'";
    let mut all = BTreeSet::new();
    for statement in [variables, schemas, sessions, tables] {
        all.extend(conn.query::<String, _>(statement).await.expect("answers"));
    }
    let replication: Vec<mysql_async::Row> = conn.query("SHOW ALL SLAVES STATUS").await.expect("answers");
    let of =
        ["Master_User", "Master_Host", "Slave_IO_Running", "Slave_SQL_Running", "Slave_heartbeat_period", "Using_Gtid"];
    for row in &replication {
        all.extend(of.iter().map(|&column| format!("{column}={:?}", row.get_opt::<String, _>(column))));
    }
    all
}

/// What is in only one of two snapshots.
pub(crate) fn difference(one: &BTreeSet<String>, two: &BTreeSet<String>) -> Vec<String> {
    one.symmetric_difference(two).cloned().collect()
}

/// Waits until the server is as it was: a receiver that was started again takes a moment to reach its source.
async fn is_as_before(node: &Instance, before: &BTreeSet<String>, when: &str) {
    let began = Instant::now();
    loop {
        let other = difference(&snapshot(node).await, before);
        if other.is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{when}: {other:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Injects it, has `inside` look at it, takes it out twice, and compares the server with what it was.
async fn comes_and_goes(ward: &Ward, node: &Instance, fault: Fault, inside: impl AsyncFnOnce(AttackReport)) {
    let agent = ward.agent().await;
    let before = snapshot(node).await;
    let report = agent.faults.inject(on(node, fault)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert_ne!(difference(&snapshot(node).await, &before), [""; 0], "a snapshot that sees nothing proves nothing");
    inside(report).await;
    for _ in 0..2 {
        let report = agent.faults.undo(&id("a")).await.expect("known");
        assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
    }
    is_as_before(node, &before, "undone").await;
}

/// The server's number for why a statement was refused; 0 when it was not.
async fn refusal(conn: &mut Conn, statement: &str) -> u16 {
    match conn.query_drop(statement).await {
        Ok(()) => 0,
        Err(Error::Server(refused)) => refused.code,
        Err(other) => panic!("{statement}: {other}"),
    }
}

async fn hasty(node: &Instance) -> Conn {
    let mut conn = application(node).await.expect("connects");
    conn.query_drop("SET SESSION lock_wait_timeout=1, innodb_lock_wait_timeout=1").await.expect("sets");
    conn
}

#[tokio::test(flavor = "current_thread")]
async fn locked_rows_and_no_others_are_waited_for() {
    let ward = Ward::one().await;
    let fault = Fault::new("row-lock").with("table", "shop.t").with("rows", 2);
    comes_and_goes(&ward, ward.node(), fault, async |report| {
        assert!(report.evidence.contains("waited"), "{}", report.evidence);
        let mut app = hasty(ward.node()).await;
        assert_eq!(refusal(&mut app, "UPDATE shop.t SET v=v+1 WHERE id=2").await, 1205);
        assert_eq!(refusal(&mut app, "UPDATE shop.t SET v=v+1 WHERE id=3").await, 0);
        assert_eq!(refusal(&mut app, "SELECT * FROM shop.t").await, 0);
    })
    .await;
    assert_eq!(refusal(&mut hasty(ward.node()).await, "UPDATE shop.t SET v=v+1 WHERE id=2").await, 0);
}

#[tokio::test(flavor = "current_thread")]
async fn by_default_a_lock_is_on_a_table_of_its_own() {
    let ward = Ward::one().await;
    for fault in ["row-lock", "metadata-lock", "long-transaction"] {
        let before = column(ward.node(), "SELECT @@gtid_binlog_pos").await;
        comes_and_goes(&ward, ward.node(), Fault::new(fault), async |_| {
            assert_eq!(refusal(&mut hasty(ward.node()).await, "UPDATE shop.t SET v=v+1").await, 0);
        })
        .await;
        let mine = column(ward.node(), "SELECT @@gtid_binlog_pos").await;
        assert_ne!(mine, before, "the update above");
    }
    let events =
        column(ward.node(), "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'firedrill\\_a%'");
    assert_eq!(events.await, ["0"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_locked_table_is_waited_for() {
    let ward = Ward::one().await;
    let fault = |lock: &str| Fault::new("table-lock").with("table", "shop.t").with("lock", lock);
    let agent = ward.agent().await;
    let mut app = hasty(ward.node()).await;
    for (lock, reads) in [("write", 1205), ("read", 0)] {
        let report = agent.faults.inject(AttackSpec { id: id(lock), ..on(ward.node(), fault(lock)) }).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        assert_eq!(refusal(&mut app, "SELECT * FROM shop.t").await, reads, "{lock}");
        assert_eq!(refusal(&mut app, "UPDATE shop.t SET v=v+1").await, 1205, "{lock}");
        let report = agent.faults.undo(&id(lock)).await.expect("known");
        assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
        assert_eq!(refusal(&mut app, "UPDATE shop.t SET v=v+1").await, 0, "{lock}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn behind_a_waiting_change_of_the_definition_everybody_waits() {
    let ward = Ward::one().await;
    let mut app = hasty(ward.node()).await;
    let fault = Fault::new("metadata-lock").with("table", "shop.t");
    comes_and_goes(&ward, ward.node(), fault.clone(), async |_| {
        assert_eq!(refusal(&mut app, "SELECT * FROM shop.t").await, 0);
        assert_eq!(refusal(&mut app, "ALTER TABLE shop.t ADD COLUMN w INT").await, 1205);
    })
    .await;
    comes_and_goes(&ward, ward.node(), fault.with("pending_ddl", true), async |_| {
        assert_eq!(refusal(&mut app, "SELECT * FROM shop.t").await, 1205);
    })
    .await;
    assert_eq!(refusal(&mut app, "UPDATE shop.t SET v=v+1").await, 0);
}

#[tokio::test(flavor = "current_thread")]
async fn with_all_connections_taken_only_an_administrator_gets_in() {
    let ward = Ward::one().await;
    let agent = ward.agent().await;
    let held = application(ward.node()).await.expect("connects");
    let report = agent.faults.inject(on(ward.node(), Fault::new("connections"))).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    let refused = application(ward.node()).await.expect_err("there is no room");
    assert!(matches!(&refused, Error::Server(error) if error.code == 1040), "{refused}");
    // A place that becomes free is taken, too.
    held.disconnect().await.expect("leaves");
    let began = Instant::now();
    while application(ward.node()).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "the place was not taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(column(ward.node(), "SELECT 1").await, ["1"], "the administrator's place");
    let report = agent.faults.undo(&id("a")).await.expect("known");
    assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
    application(ward.node()).await.expect("there is room again");
}

#[tokio::test(flavor = "current_thread")]
async fn some_connections_can_be_left() {
    let ward = Ward::one().await;
    let agent = ward.agent().await;
    let report = agent.faults.inject(on(ward.node(), Fault::new("connections").with("leave", 5))).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    let mut got = Vec::new();
    while let Ok(conn) = application(ward.node()).await {
        got.push(conn);
        assert!(got.len() <= 8, "{} got in", got.len());
    }
    assert!(got.len() >= 3, "only {} got in", got.len());
}

#[tokio::test(flavor = "current_thread")]
async fn deadlocks_and_heavy_statements_load_the_server_while_they_last() {
    let ward = Ward::one().await;
    let agent = ward.agent().await;
    let running = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '/* firedrill%'";
    let storm = Fault::new("deadlock-storm").with("per_second", 50).with("pairs", 2);
    let heavy = Fault::new("slow-queries").with("sessions", 3);
    for (name, fault) in [("storm", storm), ("heavy", heavy)] {
        let report = agent.faults.inject(AttackSpec { id: id(name), ..on(ward.node(), fault) }).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    }
    assert_eq!(column(ward.node(), running).await, ["3"]);
    for report in agent.faults.undo_all("test").await {
        assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
    }
    assert_eq!(column(ward.node(), running).await, ["0"]);
    let count = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='Innodb_deadlocks'";
    let before = column(ward.node(), count).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(column(ward.node(), count).await, before);
}

#[tokio::test(flavor = "current_thread")]
async fn sessions_of_the_application_are_killed_and_no_others() {
    let ward = Ward::two().await;
    let agent = ward.agent().await;
    let mut app = application(ward.node()).await.expect("connects");
    let mut root = administrator(ward.node()).await;
    let nobody = agent
        .faults
        .inject(AttackSpec { id: id("n"), ..on(ward.node(), Fault::new("kill-sessions").with("user", "x")) });
    assert_eq!(nobody.await.state, AttackState::NoEffect);
    let again = Fault::new("kill-sessions").with("user", "app").with("every", "50ms");
    let report = agent.faults.inject(on(ward.node(), again)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    app.query_drop("SELECT 1").await.expect_err("was killed");
    let began = Instant::now();
    let mut next = application(ward.node()).await.expect("connects");
    while next.query_drop("SELECT 1").await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "is not killed again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    root.query_drop("SELECT 1").await.expect("administrators are spared");
    agent.faults.undo_all("test").await;
    let mut last = application(ward.node()).await.expect("connects");
    tokio::time::sleep(Duration::from_millis(200)).await;
    last.query_drop("SELECT 1").await.expect("lives");
    let dumps = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND='Binlog Dump'";
    assert_eq!(column(ward.node(), dumps).await, ["1"], "replication is spared");
    for user in ["repl", "root"] {
        let fault = Fault::new("kill-sessions").with("user", user);
        let report = agent.faults.inject(AttackSpec { id: id(user), ..on(ward.node(), fault) }).await;
        assert_eq!(report.state, AttackState::NoEffect, "{}", report.evidence);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_primary_refuses_writes_until_it_is_put_back() {
    let ward = Ward::one().await;
    comes_and_goes(&ward, ward.node(), Fault::new("read-only"), async |report| {
        assert!(report.evidence.contains("refused"), "{}", report.evidence);
        assert_eq!(refusal(&mut hasty(ward.node()).await, "UPDATE shop.t SET v=v+1").await, 1290);
    })
    .await;
    let agent = ward.agent().await;
    let report = agent.faults.inject(on(ward.node(), Fault::new("read-only").with("to", "writable"))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
}

#[tokio::test(flavor = "current_thread")]
async fn what_the_keeper_commands_meanwhile_stands() {
    let ward = Ward::one().await;
    let mut agent = ward.agent().await;
    let report = agent.faults.inject(on(ward.node(), Fault::new("read-only"))).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    ask(ward.node(), NodeCommand::CloseWrites { node: name(ward.node()) }).await.expect("closes");
    // Noticed by itself.
    let report = loop {
        let report = agent.report().await;
        if report.state == AttackState::Undone {
            break report;
        }
    };
    assert!(report.evidence.contains("what it made of it stands"), "{}", report.evidence);
    assert_eq!(column(ward.node(), "SELECT @@read_only").await, ["1"], "a closed server is not opened by an undo");
}

#[tokio::test(flavor = "current_thread")]
async fn a_lagging_replica_applies_what_is_old_enough() {
    let ward = Ward::two().await;
    let [primary, replica] = [&ward.fleet.nodes[0], &ward.fleet.nodes[1]];
    let agent = ward.agent().await;
    let before = snapshot(replica).await;
    let delay = Duration::from_millis(1500);
    let fault = Fault::new("delay-replication").with("delay", "1500ms");
    let report = agent.faults.inject(on(replica, fault)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    let mut primary = administrator(primary).await;
    let mut replica_conn = administrator(replica).await;
    let (mut written, mut lags) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while lags.len() < 20 {
        if written.len() < 20 {
            let number = written.len();
            primary.query_drop(format!("INSERT INTO shop.t (token) VALUES ('{number}')")).await.expect("acknowledged");
            written.push(Instant::now());
        }
        let seen: usize = replica_conn.query_first("SELECT COUNT(*) FROM shop.t").await.expect("reads").expect("a row");
        lags.extend((lags.len()..seen).map(|number| written[number].elapsed()));
        assert!(began.elapsed() < Duration::from_secs(30), "only {} of 20 arrive", lags.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(lags.iter().all(|lag| *lag > delay / 2 && *lag < 3 * delay), "{lags:?}");
    let agrees = column(replica, "SELECT IF(@@rpl_semi_sync_slave_enabled, 'acknowledges', 'does not')").await;
    assert_eq!(agrees, ["acknowledges"]);
    let report = agent.faults.undo(&id("a")).await.expect("known");
    assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
    is_as_before(replica, &before, "undone").await;
}

#[tokio::test(flavor = "current_thread")]
async fn semi_sync_is_lost_and_comes_back() {
    let ward = Ward::two().await;
    let [primary, replica] = [&ward.fleet.nodes[0], &ward.fleet.nodes[1]];
    comes_and_goes(&ward, primary, Fault::new("semi-sync-off"), async |_| {
        query(replica, "STOP SLAVE IO_THREAD").await;
        query(primary, "INSERT INTO shop.t (token) VALUES ('alone')").await;
        query(replica, "START SLAVE IO_THREAD").await;
    })
    .await;
    let agent = ward.agent().await;
    let report = agent.faults.inject(on(replica, Fault::new("semi-sync-off"))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
}

#[tokio::test(flavor = "current_thread")]
async fn replication_stops_and_goes_on_with_nothing_lost() {
    let ward = Ward::two().await;
    let [primary, replica] = [&ward.fleet.nodes[0], &ward.fleet.nodes[1]];
    for threads in ["applier", "both"] {
        let fault = Fault::new("stop-replication").with("threads", threads);
        comes_and_goes(&ward, replica, fault, async |_| {
            if threads == "applier" {
                query(primary, "INSERT INTO shop.t (token) VALUES ('late')").await;
                assert_eq!(column(replica, "SELECT COUNT(*) FROM shop.t").await, ["0"]);
            }
        })
        .await;
        let began = Instant::now();
        while column(replica, "SELECT COUNT(*) FROM shop.t").await != ["1"] {
            assert!(began.elapsed() < Duration::from_secs(10), "the row does not arrive");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let agent = ward.agent().await;
    let report = agent.faults.inject(on(primary, Fault::new("stop-replication"))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
}

#[tokio::test(flavor = "current_thread")]
async fn a_relay_log_is_dropped_and_what_was_in_it_received_again() {
    let ward = Ward::two().await;
    let [primary, replica] = [&ward.fleet.nodes[0], &ward.fleet.nodes[1]];
    query(primary, "INSERT INTO shop.t (token) VALUES (REPEAT('x', 60))").await;
    let agent = ward.agent().await;
    // Nothing of it stays that a snapshot could show: what is seen is that the receiver began anew.
    let attack = on(replica, Fault::new("relay-log-purge"));
    let report = agent.faults.inject(attack.clone()).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert!(report.evidence.contains("began anew"), "{}", report.evidence);
    query(primary, "INSERT INTO shop.t (token) VALUES ('after')").await;
    let began = Instant::now();
    while column(replica, "SELECT COUNT(*) FROM shop.t").await != ["2"] {
        assert!(began.elapsed() < Duration::from_secs(10), "the rows do not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let report = agent.faults.undo(&attack.id).await.expect("known");
    assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
    drop(agent);
    let agent = ward.agent().await;
    let report = agent.faults.inject(on(primary, Fault::new("relay-log-purge"))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
}

#[tokio::test(flavor = "current_thread")]
async fn a_replica_with_wrong_credentials_is_refused_until_they_are_put_back() {
    let ward = Ward::two().await;
    let replica = &ward.fleet.nodes[1];
    comes_and_goes(&ward, replica, Fault::new("wrong-credentials"), async |report| {
        assert!(report.evidence.contains("1045"), "{}", report.evidence);
        // Starting it again does not help.
        query(replica, "STOP SLAVE; START SLAVE").await;
    })
    .await;
    query(ward.node(), "INSERT INTO shop.t (token) VALUES ('acknowledged')").await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_table_runs_out_of_ids() {
    let ward = Ward::one().await;
    for form in ["INT", "BIGINT UNSIGNED", "TINYINT"] {
        query(ward.node(), &format!("ALTER TABLE shop.t MODIFY id {form} AUTO_INCREMENT")).await;
        comes_and_goes(&ward, ward.node(), Fault::new("id-exhaustion").with("table", "shop.t"), async |report| {
            assert!(report.evidence.contains("refused"), "{}", report.evidence);
            let mut app = hasty(ward.node()).await;
            assert_ne!(refusal(&mut app, "INSERT INTO shop.t (v) VALUES (1)").await, 0, "{form}");
            assert_eq!(refusal(&mut app, "UPDATE shop.t SET v=v+1").await, 0);
        })
        .await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_cannot_be_taken_back_needs_an_expendable_cluster() {
    let ward = Ward::two().await;
    let [primary, replica] = [&ward.fleet.nodes[0], &ward.fleet.nodes[1]];
    query(primary, "INSERT INTO shop.t (token) VALUES ('a'), ('b'), ('c')").await;
    let faults = [
        (replica, Fault::new("diverged-row").with("table", "shop.t")),
        (primary, Fault::new("delete-rows").with("table", "shop.t").with("rows", 1)),
        (replica, Fault::new("errant-transaction")),
        (primary, Fault::new("drop-table").with("table", "shop.t")),
        (primary, Fault::new("drop-database").with("database", "shop")),
    ];
    let began = Instant::now();
    while column(replica, "SELECT COUNT(*) FROM shop.t").await != ["3"] {
        assert!(began.elapsed() < Duration::from_secs(10), "the rows do not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for expendable in [false, true] {
        let agent = ward.agent_of(expendable).await;
        for (node, fault) in &faults {
            let spec = AttackSpec { duration: Span::ZERO, id: id(&fault.kind), ..on(node, fault.clone()) };
            let report = agent.faults.inject(spec).await;
            let expected = if expendable { AttackState::Active } else { AttackState::Refused };
            assert_eq!(report.state, expected, "{}: {}", fault.kind, report.evidence);
        }
        if !expendable {
            assert_eq!(column(primary, "SELECT COUNT(*) FROM shop.t").await, ["3"]);
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_makes_no_sense_is_refused_with_a_sentence() {
    let ward = Ward::one().await;
    let agent = ward.agent().await;
    let refused = [
        (Fault::new("row-lock").with("table", "shop.none"), "there is no table shop.none"),
        (Fault::new("row-lock").with("table", "mysql.user"), "spared"),
        (Fault::new("row-lock").with("rows", 0), "between 1 and"),
        (Fault::new("kill-sessions"), "say whose sessions"),
        (Fault::new("stop-replication"), "replicates from nobody"),
        (Fault::new("wrong-credentials"), "replicates from nobody"),
        (Fault::new("slow-queries").with("statement", "DROP TABLE shop.t"), "must be a SELECT"),
    ];
    for (number, (fault, why)) in refused.into_iter().enumerate() {
        let report = agent.faults.inject(AttackSpec { id: id(&number.to_string()), ..on(ward.node(), fault) }).await;
        assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
        assert!(report.evidence.contains(why), "{}", report.evidence);
    }
    let nowhere = AttackSpec { node: Some("west-9".parse().expect("name")), ..attack("w", Fault::new("row-lock")) };
    let report = agent.faults.inject(nowhere).await;
    assert!(report.evidence.contains("no database server of west-9"), "{}", report.evidence);
}

#[tokio::test(flavor = "current_thread")]
async fn attacks_on_one_server_end_in_any_order() {
    let ward = Ward::two().await;
    let replica = &ward.fleet.nodes[1];
    let agent = ward.agent().await;
    let before = snapshot(replica).await;
    let faults = [
        ("lag", Fault::new("delay-replication").with("delay", "1h")),
        ("rows", Fault::new("row-lock")),
        ("full", Fault::new("connections")),
        ("mute", Fault::new("stop-replication").with("threads", "receiver")),
        ("trx", Fault::new("long-transaction")),
    ];
    for turn in 0..faults.len() {
        let [lag, open] = [faults[0].1.clone(), Fault::new("read-only").with("to", "writable")];
        for (one, other) in [(lag.clone(), open.clone()), (open, lag)] {
            let pair = [(one, "first", AttackState::Active), (other, "second", AttackState::Refused)];
            for (fault, name, expected) in pair {
                let spec = AttackSpec { id: id(&format!("{}-{name}{turn}", fault.kind)), ..on(replica, fault) };
                let report = agent.faults.inject(spec).await;
                assert_eq!(report.state, expected, "these two could not end in any order: {}", report.evidence);
            }
            agent.faults.undo_all("test").await;
        }
        for (name, fault) in &faults {
            let spec = AttackSpec { id: id(&format!("{name}{turn}")), ..on(replica, fault.clone()) };
            let report = agent.faults.inject(spec).await;
            // There is no room for the sessions of those that come after.
            let expected = *name != "trx";
            assert_eq!(report.state == AttackState::Active, expected, "{name}: {}", report.evidence);
        }
        for place in 0..faults.len() {
            let name = faults[(turn + place) % faults.len()].0;
            let report = agent.faults.undo(&id(&format!("{name}{turn}"))).await.expect("known");
            assert!(matches!(report.state, AttackState::Undone | AttackState::Refused), "{name}: {}", report.evidence);
        }
        is_as_before(replica, &before, &format!("turn {turn}")).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn of_a_server_that_is_ended_and_started_nothing_is_put_back_that_is_gone() {
    let ward = Ward::one().await;
    let mut agent = ward.agent().await;
    for (name, fault) in [("rows", Fault::new("row-lock")), ("closed", Fault::new("read-only"))] {
        let report = agent.faults.inject(AttackSpec { id: id(name), ..on(ward.node(), fault) }).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    }
    signal(ward.node(), Signal::SIGKILL).await;
    let mut undone = 0;
    while undone < 2 {
        let report = agent.report().await;
        assert_ne!(report.state, AttackState::UndoFailed, "{}", report.evidence);
        if report.state == AttackState::Undone {
            assert!(report.evidence.contains("ended"), "{}", report.evidence);
            undone += 1;
        }
    }
    ask(ward.node(), NodeCommand::Start { node: name(ward.node()) }).await.expect("starts");
    assert_eq!(column(ward.node(), "SELECT @@read_only").await, ["1"], "a started server is a replica-to-be");
    // What could not be removed then is removed with the next attack.
    let schemas = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'firedrill\\_a%'";
    assert_eq!(column(ward.node(), schemas).await, ["1"]);
    agent.faults.inject(on(ward.node(), Fault::new("kill-sessions").with("user", "nobody"))).await;
    assert_eq!(column(ward.node(), schemas).await, ["0"]);
}
