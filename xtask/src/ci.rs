//! The stages of CI, in the order of what they cost: cheap ones first.

use crate::{api_fuzz, generate, kernels, shell, tidy};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One stage.
struct Stage {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<()>,
}

const STAGES: &[Stage] = &[
    Stage { name: "fmt", about: "formatting", run: fmt },
    Stage { name: "tidy", about: "sizes, layers, documents, changelog", run: tidy::run },
    Stage { name: "deny", about: "licences, sources, bans and advisories of dependencies", run: deny },
    Stage { name: "clippy", about: "lints, warnings denied", run: clippy },
    Stage { name: "generated", about: "generated files are fresh", run: generated },
    Stage { name: "nextest", about: "all tests", run: nextest },
    Stage { name: "api", about: "the HTTP API, as its description says, under a fuzzer", run: api_fuzz::run },
    Stage { name: "kernels", about: "faults on the stock kernels of Debian, in qemu", run: kernels::stage },
    Stage { name: "doctest", about: "examples in the documentation", run: doctest },
    Stage { name: "sim", about: "the keeper against simulated fleets, many seeds", run: sim },
];

/// Seeds that the simulation must hold on.
const SIMULATION_SEEDS: &str = "10000";

/// Kills that the tests must have survived.
const KILLS_MIN: usize = 1000;

/// Prints the stages.
pub(crate) fn list() {
    for stage in STAGES {
        println!("{:<10} {}", stage.name, stage.about);
    }
}

/// Runs all stages, or those named, and prints how long each took. All are run, also after one has failed.
///
/// # Errors
/// When a stage failed, or a name is unknown.
pub(crate) fn run(names: &[&str]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| !STAGES.iter().any(|stage| stage.name == **name)) {
        bail!("there is no stage {unknown:?}; `cargo xtask ci --list` names them");
    }
    let mut results: Vec<(&Stage, Duration, Result<()>)> = Vec::new();
    for stage in STAGES.iter().filter(|stage| names.is_empty() || names.contains(&stage.name)) {
        println!("\n== {}: {}", stage.name, stage.about);
        let began = Instant::now();
        let result = (stage.run)();
        if let Err(problem) = &result {
            println!("== {} failed: {problem:#}", stage.name);
        }
        results.push((stage, began.elapsed(), result));
    }
    println!("\n== summary");
    for (stage, took, result) in &results {
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        println!("{:<10} {:>7.1} s  {word}", stage.name, took.as_secs_f64());
    }
    let failed: Vec<_> =
        results.iter().filter(|(_, _, result)| result.is_err()).map(|(stage, ..)| stage.name).collect();
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn fmt() -> Result<()> {
    shell::run("cargo", &["fmt", "--all", "--check"])
}

fn clippy() -> Result<()> {
    shell::run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

fn generated() -> Result<()> {
    generate::run(generate::Mode::Check)
}

fn nextest() -> Result<()> {
    if !shell::has_cargo_command("nextest") {
        bail!("cargo-nextest is missing; run `make setup`, or `cargo install cargo-nextest --locked`");
    }
    let tally = tally();
    if let Err(problem) = std::fs::remove_file(&tally)
        && problem.kind() != std::io::ErrorKind::NotFound
    {
        return Err(problem).with_context(|| format!("cannot remove {}", tally.display()));
    }
    // Frames of the runtime would fill the log of a failure; its place and its words are what is read.
    let environment = [("RUST_BACKTRACE", "0")];
    shell::run_with("cargo", &["nextest", "run", "--workspace", "--locked", "--profile", "ci"], &environment)?;
    count_kills(&tally)
}

/// Where tests write a line for each process that they have killed while it had a fault to look after.
fn tally() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into())).join("tmp/kills.log")
}

/// Says how many there were; each was followed by a look at what was left, which was nothing, or its test had failed.
fn count_kills(tally: &Path) -> Result<()> {
    let lines = std::fs::read_to_string(tally).with_context(|| format!("no tally of kills at {}", tally.display()))?;
    let mut by_kind: BTreeMap<&str, usize> = BTreeMap::new();
    lines.lines().for_each(|line| *by_kind.entry(line).or_default() += 1);
    let sum: usize = by_kind.values().sum();
    println!("{sum} processes killed while they had faults to look after, 0 leftovers:");
    by_kind.iter().for_each(|(whom, count)| println!("{count:>8} {whom}"));
    if sum < KILLS_MIN { bail!("that are fewer than {KILLS_MIN}") } else { Ok(()) }
}

fn doctest() -> Result<()> {
    shell::run("cargo", &["test", "--workspace", "--locked", "--doc", "--quiet"])
}

fn sim() -> Result<()> {
    shell::run("cargo", &["run", "--locked", "--package", "firedrill-sim", "--", "--seeds", SIMULATION_SEEDS])
}

/// Where the advisory database cannot be fetched (a machine that reaches registries only), the other checks still
/// count; that it was left out is said aloud.
fn deny() -> Result<()> {
    if !shell::has_cargo_command("deny") {
        shell::run("cargo", &["install", "cargo-deny", "--locked"]).context("cargo-deny is missing")?;
    }
    shell::run("cargo", &["deny", "--locked", "check", "bans", "licenses", "sources"])?;
    if let Err(problem) = shell::output("cargo", &["deny", "fetch", "db"]) {
        println!("NOT CHECKED: security advisories, because their database cannot be fetched here ({problem:#})");
        return Ok(());
    }
    shell::run("cargo", &["deny", "--locked", "check", "advisories"])
}
