//! The server is killed again and again while hosts with faults, runs, halts and schedules are under way: nothing that was
//! acknowledged is lost, and nothing is left behind. `cargo xtask bench --only server-kills` does it 200 times.

use crate::fleet::program;
use firedrill_played::killing::{self, Plan};

/// A minute on a slow machine.
const KILLS: u32 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_forgets_nothing_and_leaves_nothing_behind() {
    firedrill_api::client::install_crypto();
    let dir = tempfile::Builder::new().prefix("fd-kills-").tempdir_in("/var/tmp").expect("a directory");
    let seed = u64::from(std::process::id());
    let plan = Plan { program: program(), dir: dir.path().to_owned(), kills: KILLS, seed };
    match killing::run(&plan).await {
        Ok(tally) => {
            eprintln!("seed {seed}: {tally}");
            assert!(tally.kills == KILLS && tally.attacks > 0 && tally.runs > 0 && tally.with_faults > 0, "{tally}");
        }
        Err(problem) => panic!("{problem:#}; what the server has left is in {}", dir.keep().display()),
    }
}
