//! An outside client, a plain MySQL library, writes through the gateway while `kill -9` hits the primary's mariadbd
//! from outside. It loses nothing that it had an OK for.

use crate::fleet::{Fleet, block_on};
use firedrill_sandbox::Profile;
use mysql_async::prelude::Queryable;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Enough acknowledged writes before and after the kill to mean something.
const ENOUGH: usize = 300;
const WRITERS: u64 = 8;

fn options(fleet: &Fleet) -> mysql_async::Opts {
    let gateway = &fleet.status.gateway;
    mysql_async::OptsBuilder::default()
        .ip_or_hostname(gateway.address.to_string())
        .tcp_port(gateway.port)
        .user(Some(gateway.user.clone()))
        .pass(Some(gateway.password.clone()))
        .db_name(Some(gateway.database.clone()))
        .into()
}

/// Writes until told to stop, a new connection after each error; gives what got an OK.
async fn write(options: mysql_async::Opts, writer: u64, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let mut next = writer * 10_000_000;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut session) = mysql_async::Conn::new(options.clone()).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            next += 1;
            let insert = session.query_drop(format!("INSERT INTO outside VALUES ({next})"));
            match tokio::time::timeout(Duration::from_secs(10), insert).await {
                Ok(Ok(())) => acknowledged.push(next),
                _ => break,
            }
        }
    }
    acknowledged
}

#[test]
fn nothing_that_had_an_ok_is_lost_three_times_in_a_row() {
    block_on(async {
        let fleet = Fleet::up("t-outside", Profile::Safe).await;
        let mut session = mysql_async::Conn::new(options(&fleet)).await.expect("the gateway lets us through");
        session.query_drop("CREATE TABLE outside (id BIGINT PRIMARY KEY)").await.expect("a table");
        drop(session);
        let mut all = BTreeSet::new();
        for round in 0..3 {
            let primary = fleet.primary().await;
            let stop = Arc::new(AtomicBool::new(false));
            let offset = round * WRITERS;
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| tokio::spawn(write(options(&fleet), offset + writer + 1, Arc::clone(&stop))))
                .collect();
            tokio::time::sleep(Duration::from_secs(2)).await;
            let pid = fleet.database_pid(&primary).await.expect("the primary's process");
            let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
            assert!(killed.success());
            fleet
                .until("another primary", Duration::from_secs(30), async || {
                    let view = fleet.client.cluster(&fleet.cluster).await.ok()?;
                    view.primary.filter(|node| node.as_str() != primary).map(drop)
                })
                .await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            stop.store(true, Ordering::Relaxed);
            let mut of_round = 0;
            for writer in writers {
                let acknowledged = writer.await.expect("a writer ends");
                of_round += acknowledged.len();
                all.extend(acknowledged);
            }
            assert!(of_round > ENOUGH, "round {round}: only {of_round} writes were acknowledged");
            fleet.until_redundant().await;
        }
        let mut session = mysql_async::Conn::new(options(&fleet)).await.expect("the gateway lets us through");
        let present: Vec<u64> = session.query("SELECT id FROM outside").await.expect("readable");
        let present: BTreeSet<u64> = present.into_iter().collect();
        let lost: Vec<_> = all.difference(&present).collect();
        assert!(lost.is_empty(), "{} of {} acknowledged writes are lost: {lost:?}", lost.len(), all.len());
    });
}
