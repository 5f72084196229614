//! Runs the simulation from the command line: many seeds, or one with its story.
//!
//! `cargo run -p firedrill-sim -- --seeds 10000` and `cargo run -p firedrill-sim -- --seed 7 --trace`.
#![allow(clippy::print_stdout, reason = "a program that prints its results")]

use anyhow::{Context, bail};
use firedrill_sim::{Ending, run_many, traced};
use std::time::Instant;

struct Options {
    seed: Option<u64>,
    first: u64,
    seeds: u64,
    trace: bool,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options { seed: None, first: 0, seeds: 10_000, trace: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> anyhow::Result<u64> {
            let text = arguments.next().with_context(|| format!("{argument} needs a number"))?;
            text.parse().with_context(|| format!("{argument} {text:?} is not a number"))
        };
        match argument.as_str() {
            "--seed" => options.seed = Some(number()?),
            "--first" => options.first = number()?,
            "--seeds" => options.seeds = number()?,
            "--trace" => options.trace = true,
            other => bail!("unknown option {other}; known are --seed N, --first N, --seeds N, --trace"),
        }
    }
    Ok(options)
}

fn main() -> anyhow::Result<()> {
    let options = options()?;
    if let Some(seed) = options.seed {
        let outcome = traced(seed);
        if options.trace {
            outcome.trace.iter().for_each(|line| println!("{line}"));
        }
        println!("seed {seed}: {:?}, fingerprint {:016x}", outcome.ending, outcome.fingerprint);
        if let Ending::Broken(_) = outcome.ending {
            bail!("seed {seed} broke a rule");
        }
        return Ok(());
    }
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = run_many(options.first, options.seeds, threads);
    println!(
        "{} runs in {:.1} s: {} settled ({} after a person accepted a loss), {} refused, {} broke a rule; {} writes \
         acknowledged, {} events",
        summary.runs,
        began.elapsed().as_secs_f64(),
        summary.settled,
        summary.with_person,
        summary.refused,
        summary.broken_total,
        summary.oks,
        summary.events
    );
    for (seed, rules) in &summary.broken {
        println!("seed {seed}: {}\n  replay: cargo run -p firedrill-sim -- --seed {seed} --trace", rules.join("; "));
    }
    if summary.broken_total > 0 {
        bail!("{} seeds broke a rule", summary.broken_total);
    }
    Ok(())
}
