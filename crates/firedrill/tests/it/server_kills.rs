//! The server is killed again and again while hosts with faults, runs, halts and schedules are under way: nothing that was
//! acknowledged is lost, and nothing is left behind. `cargo xtask bench --only server-kills` does it 200 times.

use crate::fleet::program;
use firedrill_played::killing::{self, Plan};

/// A minute on a slow machine.
const KILLS: u32 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_forgets_nothing_and_leaves_nothing_behind() {
    survives(KILLS, false).await;
}

/// Each take-over waits for the end of what the killed server has said last, 2 s.
const TAKE_OVERS: u32 = 10;
/// What the issue of several servers asks for.
const CARRIED_ON_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn of_two_servers_on_one_database_the_other_carries_on_when_the_acting_one_is_killed() {
    let tally = survives(TAKE_OVERS, true).await;
    // With the time that a machine may take on which much else goes on.
    assert!(tally.settled_max < CARRIED_ON_WITHIN * 3, "{tally}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_goes_on_when_the_acting_server_dies_with_the_primary() {
    firedrill_api::client::install_crypto();
    let mut begun_before = 0;
    for round in 0..ROUNDS {
        let dir = tempfile::Builder::new().prefix("fd-kills-").tempdir_in("/var/tmp").expect("a directory");
        let seed = u64::from(std::process::id()) + round;
        let plan = Plan { program: program(), dir: dir.path().to_owned(), kills: 1, seed, pair: true };
        match killing::promotion(&plan).await {
            Ok(carried_on) => {
                eprintln!("seed {seed}: {carried_on:?}");
                begun_before += u32::from(carried_on.begun_before);
                assert!(carried_on.after < CARRIED_ON_WITHIN * 3, "{carried_on:?}");
            }
            Err(problem) => {
                panic!("seed {seed}: {problem:#}; what the servers have left is in {}", dir.keep().display())
            }
        }
    }
    eprintln!("{begun_before} of {ROUNDS} had been begun by the killed server");
}

/// Each brings up a cluster of its own.
const ROUNDS: u64 = 4;

async fn survives(kills: u32, pair: bool) -> killing::Tally {
    firedrill_api::client::install_crypto();
    let dir = tempfile::Builder::new().prefix("fd-kills-").tempdir_in("/var/tmp").expect("a directory");
    let seed = u64::from(std::process::id());
    let plan = Plan { program: program(), dir: dir.path().to_owned(), kills, seed, pair };
    match killing::run(&plan).await {
        Ok(tally) => {
            eprintln!("seed {seed}: {tally}");
            assert!(tally.kills == kills && tally.attacks > 0 && tally.runs > 0 && tally.with_faults > 0, "{tally}");
            tally
        }
        Err(problem) => panic!("{problem:#}; what the server has left is in {}", dir.keep().display()),
    }
}
