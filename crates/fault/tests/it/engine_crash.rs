//! Whatever happens to the process that holds a fault inside a database server, the server is as before.

use crate::engine::{Ward, difference, on, snapshot};
use crate::fleet::{Fleet, application, column, query};
use crate::lab::{Holder, LocalAgent, eventually, id};
use firedrill_engine::Instance;
use firedrill_host::process::Signal;
use firedrill_model::{AttackSpec, Fault, Span};
use mysql_async::prelude::Queryable as _;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const STEPS: [&str; 6] = ["Journalled", "Injected", "Verified", "Undoing", "Undone", "Forgotten"];

/// Longer than any of the leases.
const WITHIN: Duration = Duration::from_secs(15);

fn on_a_primary() -> Vec<Fault> {
    let named = |kind: &str| Fault::new(kind).with("table", "shop.t");
    vec![
        named("row-lock"),
        Fault::new("row-lock"),
        named("table-lock"),
        named("metadata-lock").with("pending_ddl", true),
        Fault::new("long-transaction").with("read_view", false),
        Fault::new("deadlock-storm"),
        Fault::new("slow-queries"),
        Fault::new("connections"),
        Fault::new("read-only"),
        named("id-exhaustion"),
    ]
}

fn on_a_replica() -> Vec<Fault> {
    vec![
        Fault::new("stop-replication"),
        Fault::new("relay-log-purge"),
        Fault::new("stop-replication").with("threads", "applier"),
        Fault::new("wrong-credentials"),
        Fault::new("delay-replication").with("delay", "1h"),
    ]
}

/// So short that the undo begins by itself soon; the early steps are passed before.
fn short(spec: AttackSpec) -> AttackSpec {
    AttackSpec { duration: Span::millis(2500), ..spec }
}

fn holder(local: &LocalAgent, node: &Instance, arguments: &[&str], spec: &AttackSpec) -> Holder {
    let admin = serde_json::to_string(&node.admin().expect("runs")).expect("serialises");
    let spec = serde_json::to_string(spec).expect("serialises");
    local.holder(&[arguments, &["--admin", &admin, &spec]].concat())
}

/// Looks until the server is as it was.
async fn comes_back(node: &Instance, before: &BTreeSet<String>, after: &str) {
    let began = Instant::now();
    loop {
        let other = difference(&snapshot(node).await, before);
        if other.is_empty() {
            return;
        }
        assert!(began.elapsed() < WITHIN, "{after}: {other:?}");
        // The server's list of transactions stays as it was while somebody looks at it more often.
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
}

async fn crashes(local: &LocalAgent, node: &Instance, faults: Vec<Fault>) {
    let before = snapshot(node).await;
    for fault in faults {
        for step in STEPS {
            let after = format!("{fault} crashed at {step}");
            holder(local, node, &["--rescue", "--crash", step], &short(on(node, fault.clone()))).has_died().await;
            eventually(&format!("the rescue after {after}"), || local.journalled().is_empty());
            comes_back(node, &before, &after).await;
        }
    }
}

#[tokio::test]
async fn a_primary_is_as_before_after_a_crash_at_any_step() {
    let ward = Ward::one().await;
    crashes(&ward.local, ward.node(), on_a_primary()).await;
    let mut app = application(ward.node()).await.expect("there is room");
    app.query_drop("INSERT INTO shop.t (v) VALUES (1)").await.expect("takes writes");
}

#[tokio::test]
async fn a_replica_is_as_before_after_a_crash_at_any_step() {
    let fleet = Fleet::replicating(2).await;
    crashes(&LocalAgent::new(), &fleet.nodes[1], on_a_replica()).await;
    query(&fleet.nodes[0], "INSERT INTO shop.t (token) VALUES ('acknowledged')").await;
    let began = Instant::now();
    while column(&fleet.nodes[1], "SELECT COUNT(*) FROM shop.t").await != ["1"] {
        assert!(began.elapsed() < WITHIN, "the row does not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn without_anybody_to_undo_it_a_lock_goes_with_its_holder() {
    let ward = Ward::one().await;
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let fault = Fault::new("table-lock").with("table", "shop.t");
        let spec = AttackSpec { id: id(signal.as_str()), ..on(ward.node(), fault) };
        let local = LocalAgent::new();
        let holder = holder(&local, ward.node(), &[], &spec);
        let free = async || {
            let mut app = application(ward.node()).await.expect("connects");
            app.query_drop("SET SESSION lock_wait_timeout=1").await.expect("sets");
            app.query_drop("SELECT 1 FROM shop.t").await.is_ok()
        };
        let began = Instant::now();
        while free().await {
            assert!(began.elapsed() < WITHIN, "it is never locked");
        }
        holder.signal(signal);
        let began = Instant::now();
        while !free().await {
            assert!(began.elapsed() < WITHIN, "{signal} leaves the table locked");
        }
    }
}
