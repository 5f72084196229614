//! Evidence as a document: one HTML page for print that needs nothing else, and a table with one row for each run.

use crate::assets;
use crate::format;
use crate::pages::finish;
use askama::Template;
use firedrill_model::Verdict;
use firedrill_model::evidence::{Evidence, Percentiles, Retest, TestedRun};
use std::collections::BTreeSet;

#[derive(Template)]
#[template(path = "evidence.html")]
struct Page<'a> {
    evidence: &'a Evidence,
    style: &'static str,
}

/// The page. Styles and data are inside it.
#[must_use]
pub fn html(evidence: &Evidence) -> String {
    finish(Page { evidence, style: assets::STYLE }.render())
}

impl Page<'_> {
    fn count(&self, verdict: Verdict) -> usize {
        self.evidence.count(verdict)
    }

    /// Runs that have no verdict yet.
    fn open(&self) -> usize {
        self.evidence.runs.iter().filter(|run| run.verdict.is_none()).count()
    }

    fn findings(&self) -> usize {
        self.evidence.findings().count()
    }

    fn retested(&self) -> usize {
        let passed = |retest: &Retest| matches!(retest, Retest::Passed { .. });
        self.evidence.findings().filter(|(_, finding)| passed(&finding.retest)).count()
    }
}

/// Words for the result of a run.
pub(crate) fn result(run: &TestedRun) -> String {
    run.verdict.map_or_else(|| "running".to_owned(), |verdict| verdict.to_string())
}

/// Who started it, and who approved it.
pub(crate) fn people(run: &TestedRun) -> String {
    let by = run.by.as_deref().unwrap_or("not recorded");
    run.approved_by.as_ref().map_or_else(|| by.to_owned(), |second| format!("{by}, approved by {second}"))
}

pub(crate) fn joined<T: ToString>(items: &BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// One line of figures for a table.
fn figures(percentiles: &Percentiles) -> [String; 6] {
    let Percentiles { count, min, p50, p90, p99, max } = percentiles;
    [count.to_string(), min.to_string(), p50.to_string(), p90.to_string(), p99.to_string(), max.to_string()]
}

/// The head of the table.
const COLUMNS: [&str; 17] = [
    "run",
    "began",
    "ended",
    "cluster",
    "experiment",
    "title",
    "by",
    "approved_by",
    "hosts",
    "faults",
    "state",
    "verdict",
    "findings",
    "retest",
    "retest_runs",
    "retest_run",
    "retest_ended",
];

/// The table, one row for each run (RFC 4180).
#[must_use]
pub fn csv(evidence: &Evidence) -> String {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Writing into memory does not fail, and all rows have as many cells.
    let _head = writer.write_record(COLUMNS);
    for run in &evidence.runs {
        let _row = writer.write_record(row(run).map(|cell| harmless(&cell)));
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn row(run: &TestedRun) -> [String; 17] {
    let (mut retest, mut runs, mut passed, mut at) = Default::default();
    let findings = run.finding.as_ref().map_or_else(String::new, |finding| {
        (retest, runs, passed, at) = match &finding.retest {
            Retest::NotYet => ("not yet".to_owned(), String::new(), String::new(), String::new()),
            Retest::NotPassed { runs } => ("not passed".to_owned(), runs.to_string(), String::new(), String::new()),
            Retest::Passed { run, at } => ("passed".to_owned(), String::new(), run.to_string(), format::date(*at)),
        };
        finding.reasons.join("; ")
    });
    [
        run.run.to_string(),
        format::date(run.began),
        run.ended.map_or_else(String::new, format::date),
        run.cluster.to_string(),
        run.experiment.clone(),
        run.title.clone(),
        run.by.clone().unwrap_or_default(),
        run.approved_by.clone().unwrap_or_default(),
        joined(&run.hosts),
        joined(&run.faults),
        format::class(&run.state),
        run.verdict.map_or_else(String::new, |verdict| verdict.to_string()),
        findings,
        retest,
        runs,
        passed,
        at,
    ]
}

/// A cell that a spreadsheet takes as text. One that begins like a formula would be carried out when the file is opened
/// (OWASP, "CSV Injection"): an apostrophe before it makes it text.
fn harmless(cell: &str) -> String {
    let formula =
        cell.trim_start_matches([' ', '\u{a0}']).starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%']);
    if formula { format!("'{cell}") } else { cell.to_owned() }
}
