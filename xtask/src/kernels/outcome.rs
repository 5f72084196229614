//! What came of the tests in a guest.

use super::matrix::Plan;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Lines of a log or of the console that are printed when something failed.
const TAIL_LINES: usize = 25;

/// One test in one guest.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// It passed, in so many seconds.
    Passed(f64),
    /// It failed beside others and passed alone.
    PassedAlone(f64),
    /// It failed, with the end of what it said.
    Failed(String),
    /// It was killed because it took too long.
    TooSlow,
    /// The guest ended before.
    NotReached,
}

/// All of one guest.
pub(super) struct Run {
    /// As people call the kernel.
    pub(super) kernel: &'static str,
    /// As it calls itself.
    pub(super) release: String,
    pub(super) outcomes: BTreeMap<String, Outcome>,
    /// What `firedrill host check` said there.
    pub(super) check: String,
    /// What kind of host it is.
    pub(super) facts: String,
    /// What was there afterwards and not before, and the other way round.
    pub(super) left: Vec<String>,
    /// The end of the console, when the guest did not come to its end.
    console: Option<String>,
    pub(super) took: Duration,
}

impl Run {
    /// Reads what the guest has written.
    pub(super) fn read(kernel: &'static str, release: &str, dir: &Path, plan: &Plan, took: Duration) -> Result<Self> {
        let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
        let outcomes = plan.run.iter().map(|test| {
            let result = read(&format!("results/{test}"));
            Ok((test.clone(), outcome(&result, &read(&format!("logs/{test}")))?))
        });
        let ended = dir.join("done").exists();
        Ok(Self {
            kernel,
            release: release.to_owned(),
            outcomes: outcomes.collect::<Result<_>>()?,
            check: read("check.txt"),
            facts: read("facts.txt"),
            left: if ended { differences(&read("before.txt"), &read("after.txt")) } else { Vec::new() },
            console: (!ended).then(|| tail(&read("console.txt"))),
            took,
        })
    }

    /// What fails the stage, a paragraph each.
    pub(super) fn problems(&self) -> Vec<String> {
        let name = format!("Linux {}", self.kernel);
        let tests = self.outcomes.iter().filter_map(|(test, outcome)| match outcome {
            Outcome::Passed(_) | Outcome::PassedAlone(_) => None,
            Outcome::Failed(said) => Some(format!("{name}: {test} failed\n{said}")),
            Outcome::TooSlow => Some(format!("{name}: {test} took too long")),
            Outcome::NotReached => Some(format!("{name}: {test} was not reached")),
        });
        let console = self.console.iter().map(|end| format!("{name}: the guest did not come to its end\n{end}"));
        let left = self.left.iter().map(|line| format!("{name}: not as before the tests: {line}"));
        console.chain(tests).chain(left).collect()
    }

    /// How many tests passed, of the modules of tests that a filter takes.
    pub(super) fn passed(&self, means: impl Fn(&str) -> bool) -> usize {
        let passed = self
            .outcomes
            .iter()
            .filter(|(test, outcome)| means(test) && matches!(outcome, Outcome::Passed(_) | Outcome::PassedAlone(_)));
        passed.count()
    }
}

/// From lines `status began ended`, seconds since the guest's boot, one for each time that it was run.
fn outcome(result: &str, log: &str) -> Result<Outcome> {
    let Some(last) = result.lines().last() else { return Ok(Outcome::NotReached) };
    let mut words = last.split_whitespace();
    let Some(status) = words.next() else { return Ok(Outcome::NotReached) };
    let times: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
    Ok(match (status, &times[..]) {
        ("0", [began, ended]) if log.contains("1 passed") => match result.lines().count() {
            1 => Outcome::Passed(ended - began),
            _ => Outcome::PassedAlone(ended - began),
        },
        ("0", _) => Outcome::Failed(format!("it was not run\n{}", tail(log))),
        ("137", _) => Outcome::TooSlow,
        (other, _) => {
            other.parse::<i32>().with_context(|| format!("{result:?} is not the result of a test"))?;
            Outcome::Failed(tail(log))
        }
    })
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Lines that are in one of the two only.
fn differences(before: &str, after: &str) -> Vec<String> {
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), after.lines().collect());
    let gone = before.difference(&after).map(|line| format!("gone: {line}"));
    gone.chain(after.difference(&before).map(|line| format!("new: {line}"))).collect()
}

/// The results for the terminal: tests by kernels, what was left out and why, a line for each kernel.
pub(super) fn table(runs: &[Run], plan: &Plan) -> String {
    let mut text = String::new();
    let width = plan.run.iter().map(String::len).max().unwrap_or(0);
    let header = runs.iter().map(|run| format!("{:>9}", run.kernel)).collect::<String>();
    let tests: BTreeSet<&String> = plan.run.iter().collect();
    // Writing to a String cannot fail.
    let _ok = writeln!(text, "{:<width$}{header}", "test");
    for test in tests {
        let cells = runs.iter().map(|run| match run.outcomes.get(test) {
            Some(Outcome::Passed(seconds)) => format!("{seconds:>7.1} s"),
            Some(Outcome::PassedAlone(seconds)) => format!("{seconds:>5.1} s *"),
            Some(Outcome::Failed(_)) => format!("{:>9}", "FAILED"),
            Some(Outcome::TooSlow) => format!("{:>9}", "TOO SLOW"),
            Some(Outcome::NotReached) | None => format!("{:>9}", "NOT RUN"),
        });
        let _ok = writeln!(text, "{test:<width$}{}", cells.collect::<String>());
    }
    let alone = |run: &Run| run.outcomes.values().any(|outcome| matches!(outcome, Outcome::PassedAlone(_)));
    if runs.iter().any(alone) {
        let _ok = writeln!(text, "* failed beside other tests, and passed alone");
    }
    for (test, reason) in &plan.left_out {
        let _ok = writeln!(text, "left out: {test}: {reason}");
    }
    for run in runs {
        let (passed, all) = (run.passed(|_| true), run.outcomes.len());
        let (release, took) = (&run.release, run.took.as_secs());
        let left = if run.left.is_empty() { "and the guest was as before" } else { "and THINGS WERE LEFT" };
        let _ok = writeln!(text, "Linux {release}: {passed} of {all} tests passed in {took} s, {left}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_passes_only_when_it_says_so() {
        let said = "test result: ok. 1 passed; 0 failed";
        assert_eq!(outcome("0 10.00 12.50\n", said).expect("reads"), Outcome::Passed(2.5));
        assert_eq!(outcome("101 1 2\n0 10 12\n", said).expect("reads"), Outcome::PassedAlone(2.0));
        assert!(matches!(outcome("0 1 2", "0 passed").expect("reads"), Outcome::Failed(_)));
        assert_eq!(outcome("101 1 2", "panicked").expect("reads"), Outcome::Failed("panicked".to_owned()));
        assert_eq!(outcome("137 1 2", "").expect("reads"), Outcome::TooSlow);
        assert_eq!(outcome("", "").expect("reads"), Outcome::NotReached);
    }

    #[test]
    fn what_is_left_is_named() {
        assert_eq!(differences("a\nb\n", "b\na\n"), [""; 0]);
        assert_eq!(differences("a\nb\n", "b\nc\n"), ["gone: a", "new: c"]);
    }
}
