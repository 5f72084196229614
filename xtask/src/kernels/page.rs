//! The page docs/kernels.md: what people should know of their kernel, and what was seen.

use super::matrix::Plan;
use super::outcome::Run;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const HEAD: &str = include_str!("page.md");

/// All of it.
pub(super) fn text(runs: &[Run], plan: &Plan) -> String {
    let mut text = HEAD.to_owned();
    // Writing to a String cannot fail.
    let _ok = write!(text, "\n## What was run\n\n{}\n{}\n", counts(runs, plan), left_out(plan));
    for run in runs {
        let _ok = write!(text, "\n## Linux {}\n\n```text\n{}\n```\n", run.kernel, run.facts.trim_end());
        let _ok = write!(text, "\n`firedrill host check` there:\n\n```text\n{}\n```\n", check(run, runs));
    }
    text
}

/// The part of a test's name before the first `::`.
fn module(test: &str) -> &str {
    test.split("::").next().unwrap_or(test)
}

/// Passed tests by module and kernel.
fn counts(runs: &[Run], plan: &Plan) -> String {
    let names: String = runs.iter().map(|run| format!(" {} |", run.release)).collect();
    let lines: String = runs.iter().map(|_| "---|").collect();
    let mut text = format!("| tests | run |{names}\n|---|---|{lines}\n");
    let modules: BTreeSet<&str> = plan.run.iter().map(|test| module(test)).collect();
    for one in modules {
        let of = |test: &str| module(test) == one;
        let all = plan.run.iter().filter(|test| of(test)).count();
        let passed: String = runs.iter().map(|run| format!(" {} passed |", run.passed(of))).collect();
        let _ok = writeln!(text, "| {one} | {all} |{passed}");
    }
    text
}

fn left_out(plan: &Plan) -> String {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (test, reason) in &plan.left_out {
        reasons.entry(reason).or_default().push(test);
    }
    let mut text = "Left out on every kernel:\n\n".to_owned();
    for (reason, tests) in reasons {
        let modules: BTreeSet<&str> = tests.iter().map(|test| module(test)).collect();
        let modules: Vec<&str> = modules.into_iter().collect();
        let _ok = writeln!(text, "- {} tests ({}): {reason}", tests.len(), modules.join(", "));
    }
    text
}

/// What is said; for the second kernel and later ones, only where it differs from the first.
fn check(run: &Run, runs: &[Run]) -> String {
    let said = run.check.trim_end();
    let Some(first) = runs.first().filter(|first| first.kernel != run.kernel) else { return said.to_owned() };
    let known: BTreeSet<&str> = first.check.lines().collect();
    let other: Vec<&str> = said.lines().filter(|line| !known.contains(line)).collect();
    if other.is_empty() { format!("the same as on Linux {}", first.kernel) } else { other.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_the_first_part_of_a_name() {
        assert_eq!(module("power::a_lost_sync"), "power");
    }
}
