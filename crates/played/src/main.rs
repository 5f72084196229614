//! Played agents from the command line: `kills` kills a server many times, `pair-kills` whichever
//! of two acts, `pair-promotion` that one with the primary, `crowd` measures one with many agents, `first-page` the
//! console of a large fleet, `readers` a page that many have open. What is
//! measured is printed as one JSON object, or as one line of text.
#![allow(clippy::print_stdout, reason = "a program that prints its results")]

use anyhow::{Context, bail};
use firedrill_played::{crowd, killing, readers};
use std::path::PathBuf;
use std::time::Duration;

struct Options {
    program: PathBuf,
    agents: u32,
    rounds: u32,
    kills: u32,
    seed: u64,
    clusters: u32,
    readers: u32,
    seconds: u32,
    server: String,
}

fn options(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let program = PathBuf::from("target/release/firedrill");
    let mut options = Options {
        program,
        agents: 1000,
        rounds: 5,
        kills: 200,
        seed: 1,
        clusters: 1000,
        readers: 200,
        seconds: 10,
        server: "127.0.0.1:7070".to_owned(),
    };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u32>().with_context(|| format!("{flag} {value:?} is not a number"));
        match flag.as_str() {
            "--program" => options.program = PathBuf::from(&value),
            "--agents" => options.agents = number()?,
            "--rounds" => options.rounds = number()?.max(1),
            "--kills" => options.kills = number()?,
            "--seed" => options.seed = value.parse().with_context(|| format!("--seed {value:?} is not a number"))?,
            "--clusters" => options.clusters = number()?.max(1),
            "--readers" => options.readers = number()?,
            "--seconds" => options.seconds = number()?,
            "--server" => options.server = value,
            _ => bail!(
                "unknown option {flag}; known are --program, --agents, --rounds, --kills, --seed, --clusters, --readers, --seconds, --server"
            ),
        }
    }
    Ok(options)
}

fn main() -> anyhow::Result<()> {
    firedrill_api::client::install_crypto();
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let options = options(arguments)?;
    if what == "readers" {
        return read(&options);
    }
    let Options { program, agents, rounds, kills, seed, clusters, .. } = options;
    let program = program.canonicalize().with_context(|| format!("{} is not there", program.display()))?;
    // On a disk, as a server's state is: a commit is to cost what it costs.
    let dir = tempfile::Builder::new().prefix("fd-played-").tempdir_in("/var/tmp")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let at = dir.path().to_owned();
    let done = match what.as_str() {
        "kills" | "pair-kills" => {
            let plan = killing::Plan { program, dir: at, kills, seed, pair: what == "pair-kills" };
            runtime.block_on(killing::run(&plan)).map(|tally| println!("{tally}"))
        }
        "pair-promotion" => {
            let plan = killing::Plan { program, dir: at, kills: 1, seed, pair: true };
            runtime.block_on(killing::promotion(&plan)).map(|carried_on| println!("{carried_on:?}"))
        }
        "crowd" => {
            let plan = crowd::Plan { program, dir: at, agents, rounds };
            let printed = runtime.block_on(crowd::run(&plan)).and_then(|figures| Ok(serde_json::to_string(&figures)?));
            printed.map(|text| println!("{text}"))
        }
        "first-page" => {
            let plan = readers::FirstPage { program, dir: at, clusters };
            let measured = runtime.block_on(readers::first_page(&plan));
            measured.and_then(|figures| Ok(serde_json::to_string(&figures)?)).map(|text| println!("{text}"))
        }
        _ => bail!("say what to do: `kills`, `pair-kills`, `pair-promotion`, `crowd`, `first-page` or `readers`"),
    };
    if done.is_err() {
        let kept = dir.keep();
        return done.with_context(|| format!("what the server has left is in {}", kept.display()));
    }
    done
}

/// On a server that runs already: the run that is under way, or the next one that begins.
fn read(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = options.server.parse().with_context(|| format!("--server {:?} is no address", options.server))?;
    let plan =
        readers::Readers { server, count: options.readers, during: Duration::from_secs(u64::from(options.seconds)) };
    println!("{}", serde_json::to_string(&runtime.block_on(readers::readers(&plan))?)?);
    Ok(())
}
