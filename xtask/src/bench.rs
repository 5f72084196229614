//! `cargo xtask bench`: the figures of `docs/benchmarks.md`, measured on this machine.
//!
//! Everything goes through the release program's command line, as a person would use it; where a crate has a benchmark
//! of its own, that one is called. A figure that misses its target is printed as such and is no error: figures are read
//! by people, tests are what fails.

mod attacks;
mod console;
mod control;
mod copy;
mod examples;
mod failover;
mod figures;
mod fleet;
mod idle;
mod machine;
mod start;
mod steady;
mod trials;

use anyhow::{Context, Result, bail};
use figures::Section;
use fleet::Ground;
use std::path::PathBuf;
use std::time::Duration;

/// How long each benchmark waits for a quiet machine when nothing else is said; then it is measured all the same, and
/// the load is printed with the figures.
const QUIET_WITHIN: Duration = Duration::from_secs(120);

/// One benchmark.
struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn(&Ground, Runs) -> Result<Section>,
}

const BENCHES: &[Bench] = &[
    Bench { name: "start", about: "sandbox up and down", run: start::sandbox },
    Bench { name: "kill-primary", about: "write outage at SIGKILL of the primary", run: failover::kill_primary },
    Bench { name: "silent-host", about: "write outage when the primary's host is silent", run: failover::silent_host },
    Bench { name: "hung-primary", about: "write outage when the primary is stopped", run: failover::hung_primary },
    Bench { name: "no-failover", about: "a slow, lossy or cut link to the server alone", run: steady::no_failover },
    Bench { name: "attacks", about: "from start to fault in place, from halt to faults gone", run: attacks::speed },
    Bench { name: "clone", about: "a clone of 1 GiB against plain mariadb-backup", run: copy::clone },
    Bench { name: "idle", about: "memory and processor of idle agents", run: idle::agents },
    Bench { name: "server-kills", about: "SIGKILL of the server at random moments", run: control::kills },
    Bench { name: "crowd", about: "one server with 100, 1,000 and 10,000 agents", run: control::crowd },
    Bench { name: "first-page", about: "the console's first page with 1,000 clusters", run: console::first_page },
    Bench { name: "readers", about: "a run that 200 browsers watch", run: console::readers },
    Bench { name: "chart", about: "a chart of a day at one point a second", run: console::chart },
    Bench { name: "gateway", about: "the gateway against HAProxy and no proxy", run: examples::gateway },
    Bench { name: "storage", about: "a storage layer without a fault against none", run: examples::storage },
    Bench { name: "ledger", about: "the check of 10 million operations", run: examples::ledger },
    Bench { name: "demo", about: "`firedrill demo`, start to finish", run: start::demo },
];

/// How often a benchmark that repeats itself does so.
#[derive(Clone, Copy)]
struct Runs(Option<u32>);

impl Runs {
    /// The number that was asked for, else this one.
    fn or(self, default: u32) -> u32 {
        self.0.unwrap_or(default).max(1)
    }
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq)]
struct Options {
    only: Vec<String>,
    runs: Option<u32>,
    program: Option<PathBuf>,
    quiet_within: Option<Duration>,
}

fn options(arguments: &[&str]) -> Result<Options> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let value = rest.next().with_context(|| format!("{flag} needs a value"))?;
        match *flag {
            "--only" if BENCHES.iter().any(|bench| bench.name == *value) => options.only.push((*value).to_owned()),
            "--only" => {
                let names: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
                bail!("there is no benchmark {value:?}; there are {}", names.join(", "));
            }
            "--runs" => options.runs = Some(number(flag, value)?),
            "--quiet-within" => options.quiet_within = Some(Duration::from_secs(number(flag, value)?.into())),
            "--program" => options.program = Some(PathBuf::from(value)),
            _ => bail!("{flag:?} is unknown; known are --only NAME, --runs N, --quiet-within SECONDS, --program FILE"),
        }
    }
    Ok(options)
}

fn number(flag: &str, value: &str) -> Result<u32> {
    value.parse().with_context(|| format!("{flag} {value:?} is not a number"))
}

/// Runs all benchmarks, or those named, and prints a table for each as soon as it is there. A benchmark that breaks does
/// not keep the others from running.
///
/// # Errors
/// When an argument is not understood, the program was not built, or a benchmark broke.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let options = options(arguments)?;
    let ground = Ground::new(options.program.as_deref())?;
    println!("{}\n", machine::describe()?);
    let mut broken = Vec::new();
    for bench in BENCHES.iter().filter(|bench| options.only.is_empty() || options.only.iter().any(|n| n == bench.name))
    {
        let load = machine::wait_for_quiet(options.quiet_within.unwrap_or(QUIET_WITHIN))?;
        eprintln!("== {}: {} (load average {load:.2})", bench.name, bench.about);
        match (bench.run)(&ground, Runs(options.runs)) {
            Ok(section) => println!("{}", section.markdown(bench.name, load)),
            Err(problem) => {
                eprintln!("== {} broke: {problem:#}", bench.name);
                broken.push(bench.name);
            }
        }
    }
    if broken.is_empty() { Ok(()) } else { bail!("broken: {}", broken.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood_or_refused_by_name() {
        let wanted = options(&["--only", "idle", "--runs", "3", "--only", "clone"]).expect("understood");
        assert_eq!(wanted.only, ["idle", "clone"]);
        assert_eq!(wanted.runs, Some(3));
        for (wrong, says) in [
            (&["--only", "idel"][..], "there are start, kill-primary"),
            (&["--runs", "many"], "not a number"),
            (&["--fast", "1"], "--fast"),
            (&["--only"], "needs a value"),
        ] {
            let problem = format!("{:#}", options(wrong).expect_err("refused"));
            assert!(problem.contains(says), "{problem}");
        }
    }
}
