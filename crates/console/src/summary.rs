//! What the terminal says of a run. Reads without colour.

use crate::format::{count, date};
use firedrill_model::Verdict;
use firedrill_model::operation::OperationState;
use firedrill_model::report::RunReport;
use std::fmt::Write as _;

/// ANSI codes or nothing.
struct Paint(bool);

impl Paint {
    fn verdict(&self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Passed => "32",
            Verdict::Failed | Verdict::Error => "31",
            Verdict::Inconclusive => "33",
        };
        if self.0 { format!("\u{1b}[1;{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The summary of one run, about twenty lines.
#[must_use]
pub fn text(report: &RunReport, colour: bool) -> String {
    let paint = Paint(colour);
    let mut out = String::new();
    let verdict =
        report.verdict.map_or_else(|| "running".to_owned(), |v| paint.verdict(v, &v.to_string().to_uppercase()));
    let _ = writeln!(out, "{}  {}", verdict, report.experiment.title);
    let _ = writeln!(out, "  run {} on {}, {}", report.run, report.cluster, date(report.began));
    for reason in &report.reasons {
        let _ = writeln!(out, "  ! {reason}");
    }
    if let Some(aborted) = &report.aborted {
        let _ = writeln!(out, "  {}", crate::format::aborted(aborted, report.began));
    }
    if let Some(ledger) = &report.ledger {
        let _ = writeln!(
            out,
            "  {} of {} acknowledged writes lost; {} unknown ({} of them there); longest write outage {} (resolution {})",
            count(ledger.lost_total()),
            count(ledger.writes_acknowledged),
            count(ledger.writes_unknown),
            count(ledger.unknown_present),
            ledger.longest_write_outage(),
            ledger.resolution,
        );
        for class in ledger.lost.iter().filter(|class| class.findings.count > 0) {
            let shown = class.findings.examples.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "    {}: {} ({shown} …)", class.class, class.findings.count);
        }
    }
    for result in &report.expectations {
        let mark = match result.verdict {
            Verdict::Passed => "ok ",
            Verdict::Failed => "NOT",
            Verdict::Inconclusive => " ? ",
            Verdict::Error => "ERR",
        };
        let _ = writeln!(out, "  {} {}: {}", paint.verdict(result.verdict, mark), result.expected, result.observed);
    }
    for series in &report.probe_series {
        let _ = writeln!(out, "      {}", crate::format::series(series));
    }
    for operation in &report.operations {
        let state = match operation.state {
            OperationState::Running => "running",
            OperationState::Finished => "finished",
            OperationState::Undone => "undone",
            OperationState::NeedsPerson => "NEEDS A PERSON",
        };
        let took = operation.ended.map(|ended| ended.since(operation.failure_at.unwrap_or(operation.began)));
        let took = took.map_or_else(String::new, |took| format!(" after {took}"));
        let partner = operation.partner.as_ref().map_or_else(String::new, |partner| format!(" -> {partner}"));
        let _ = writeln!(out, "  {} {} {}{partner}: {state}{took}", operation.id, operation.kind, operation.subject);
        let phases: Vec<_> =
            operation.phases().into_iter().map(|(phase, _, length)| format!("{phase} {length}")).collect();
        if !phases.is_empty() {
            let _ = writeln!(out, "      {}", phases.join(" · "));
        }
    }
    out
}
