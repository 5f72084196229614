//! SIGKILL of server, agents, gateway and supervisor at random moments during promotions and clones: nothing is lost,
//! nothing is left behind, and the fleet comes back to full strength.
//!
//! `FIREDRILL_CRASHES=N` sets how many; the moments follow from `FIREDRILL_SEED`, which a failure prints.

use crate::fleet::{Fleet, block_on};
use firedrill_sandbox::{Home, Profile};
use mysql_async::prelude::Queryable;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

/// Kills in CI.
const CRASHES: u64 = 50;
/// Kills in one disturbed operation: several, so that recoveries are hit too.
const PER_ROUND: u64 = 5;

/// A small generator, so that a failing order of events can be had again (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn kill(pid: u32) {
    // It may have ended by itself meanwhile: that is no failure of the test.
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
}

/// Kills one of the platform's own processes.
async fn crash(fleet: &Fleet, dice: &mut Dice) -> String {
    let status = firedrill_sandbox::status(&Home::from_environment(), &fleet.name).await.expect("a status");
    let agents: Vec<_> = status.hosts.iter().filter_map(|host| Some((host.name.clone(), host.agent_pid?))).collect();
    let (name, pid) = match dice.roll(4) {
        0 | 1 => ("server".to_owned(), status.server.pid),
        2 if status.gateway.pid.is_some() && dice.roll(3) == 0 => ("gateway".to_owned(), status.gateway.pid),
        _ if agents.is_empty() => ("server".to_owned(), status.server.pid),
        _ => {
            let (host, pid) = &agents[usize::try_from(dice.roll(agents.len() as u64)).expect("small")];
            (format!("agent of {host}"), Some(*pid))
        }
    };
    if let Some(pid) = pid {
        kill(pid);
    }
    name
}

async fn write_some(fleet: &Fleet, next: &mut u64, acknowledged: &mut BTreeSet<u64>) {
    let gateway = &fleet.status.gateway;
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname(gateway.address.to_string())
        .tcp_port(gateway.port)
        .user(Some(gateway.user.clone()))
        .pass(Some(gateway.password.clone()))
        .db_name(Some(gateway.database.clone()));
    let connecting = tokio::time::timeout(Duration::from_secs(2), mysql_async::Conn::new(options)).await;
    let Ok(Ok(mut session)) = connecting else { return };
    for _ in 0..50 {
        *next += 1;
        let insert = session.query_drop(format!("INSERT INTO crash VALUES ({next})"));
        match tokio::time::timeout(Duration::from_secs(3), insert).await {
            Ok(Ok(())) => drop(acknowledged.insert(*next)),
            _ => return,
        }
    }
}

#[test]
fn the_platform_may_be_killed_at_any_moment() {
    let seed = number("FIREDRILL_SEED", 20_261_123);
    let crashes = number("FIREDRILL_CRASHES", CRASHES);
    eprintln!("FIREDRILL_SEED={seed} FIREDRILL_CRASHES={crashes}");
    block_on(async {
        let fleet = Fleet::up("t-crash", Profile::Safe).await;
        let mut dice = Dice(seed);
        let (mut next, mut acknowledged) = (0, BTreeSet::new());
        let gateway = &fleet.status.gateway;
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname(gateway.address.to_string())
            .tcp_port(gateway.port)
            .user(Some(gateway.user.clone()))
            .pass(Some(gateway.password.clone()))
            .db_name(Some(gateway.database.clone()));
        let mut session = mysql_async::Conn::new(options.clone()).await.expect("the gateway lets us through");
        session.query_drop("CREATE TABLE crash (id BIGINT PRIMARY KEY)").await.expect("a table");
        drop(session);
        let mut done = 0;
        while done < crashes {
            // What is disturbed: a promotion (with the rejoin after it) or a clone.
            let primary = fleet.primary().await;
            let victim = match dice.roll(2) {
                0 => primary.clone(),
                _ => {
                    fleet.status.nodes.iter().map(|node| node.name.clone()).find(|name| *name != primary).expect("one")
                }
            };
            write_some(&fleet, &mut next, &mut acknowledged).await;
            if let Some(pid) = fleet.database_pid(&victim).await {
                kill(pid);
            }
            let mut log = vec![format!("mariadbd of {victim}")];
            for _ in 0..PER_ROUND.min(crashes - done) {
                tokio::time::sleep(Duration::from_millis(dice.roll(900))).await;
                log.push(crash(&fleet, &mut dice).await);
                done += 1;
                write_some(&fleet, &mut next, &mut acknowledged).await;
            }
            eprintln!("{done} of {crashes} kills: {}", log.join(", "));
            fleet.until_redundant().await;
        }
        let mut session = mysql_async::Conn::new(options).await.expect("the gateway lets us through");
        let present: Vec<u64> = session.query("SELECT id FROM crash").await.expect("readable");
        let present: BTreeSet<u64> = present.into_iter().collect();
        let lost: Vec<_> = acknowledged.difference(&present).collect();
        assert!(lost.is_empty(), "{} of {} acknowledged writes are lost: {lost:?}", lost.len(), acknowledged.len());
        assert!(acknowledged.len() > 200, "only {} writes were acknowledged", acknowledged.len());
        eprintln!("{crashes} kills, {} writes acknowledged, 0 lost", acknowledged.len());
    });
}
