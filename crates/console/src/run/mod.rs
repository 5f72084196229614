//! One run on a page: how far it is while it goes on, what it came to afterwards, and what can be done next.
//!
//! **Where to begin**: [`page`] for who watches at a desk, [`game_day::page`] for a room that watches together,
//! [`recap::Recap`] for what is left of it.

pub mod compare;
pub mod game_day;
pub mod list;
pub mod recap;
#[cfg(test)]
mod tests;

use crate::chart::{self, ChartData};
use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::http::Problem;
use firedrill_model::attack::AttackReport;
use firedrill_model::progress::{Progress, Stage, WritesSoFar};
use firedrill_model::report::{ProbeResult, RunReport};
use firedrill_model::{RunId, TimelineEvent, Timestamp, Verdict};

/// Lines of the timeline on the page, the newest; the report has all.
const LINES: usize = 200;

/// A run as a page shows it.
#[derive(Debug, Clone)]
pub struct Watched {
    /// All that is known of it.
    pub report: RunReport,
    /// Earlier runs of the same experiment on that cluster, newest first.
    pub earlier: Vec<RunId>,
    /// The address at which it can be started again; `None`: nothing has kept its file.
    pub again: Option<String>,
    /// Why the last thing asked for on the page was not done.
    pub problem: Option<Problem>,
    /// The name under which it was to be kept as a template.
    pub template: String,
    /// Only the parts that change are wanted, by a page that is open already.
    pub fresh_only: bool,
    /// Now.
    pub now: Timestamp,
}

#[derive(Template)]
#[template(path = "run.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Watched,
    report: &'a RunReport,
}

/// The page of a run.
#[must_use]
pub fn page(frame: &Frame, page: &Watched) -> String {
    finish(Page { frame, page, report: &page.report }.render())
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Waiting,
    Now,
    Done,
    NotTaken,
}

impl Standing {
    /// As a class of the style sheet.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Now => "now",
            Self::Done => "done",
            Self::NotTaken => "not-taken",
        }
    }

    /// With a sign of its own, as colours say nothing to some.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Waiting => "○ waits",
            Self::Now => "▶ now",
            Self::Done => "✔ over",
            Self::NotTaken => "– not taken",
        }
    }
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepLine {
    pub(crate) sentence: String,
    pub(crate) standing: Standing,
    /// Since the beginning of the run.
    pub(crate) began: Option<String>,
    pub(crate) took: Option<String>,
}

/// The steps and how each stands; of a run that has not kept that, only what they are.
pub(crate) fn steps(report: &RunReport) -> Vec<StepLine> {
    let taken = report.progress.as_ref().map_or(&[][..], |progress| &progress.steps);
    let lines = report.experiment.steps.iter().enumerate().map(|(index, step)| {
        let taken = taken.get(index);
        let standing = match taken.map(|taken| taken.ended) {
            Some(Some(_)) => Standing::Done,
            Some(None) if report.ended.is_none() => Standing::Now,
            None if report.ended.is_none() => Standing::Waiting,
            Some(None) | None => Standing::NotTaken,
        };
        StepLine {
            sentence: crate::course::sentence(step),
            standing,
            began: taken.map(|taken| format::after(taken.began, report.began)),
            took: taken.and_then(|taken| Some(taken.ended?.since(taken.began).to_string())),
        }
    });
    lines.collect()
}

/// Answers to the writes so far; in the end the ledger's own numbers.
pub(crate) fn writes(report: &RunReport) -> WritesSoFar {
    match &report.ledger {
        Some(ledger) => WritesSoFar {
            acknowledged: ledger.writes_acknowledged,
            failed: ledger.writes_failed,
            unknown: ledger.writes_unknown,
        },
        None => report.progress.as_ref().map(|progress| progress.writes).unwrap_or_default(),
    }
}

/// The part of the run that goes on; `None`: it is over, or it has not kept that.
pub(crate) fn stage(report: &RunReport) -> Option<Stage> {
    let progress = report.progress.as_ref().filter(|_| report.ended.is_none());
    progress.map(|Progress { stage, .. }| *stage)
}

/// A sign and a word for a verdict.
pub(crate) fn sign(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "✔",
        Verdict::Failed => "✖",
        Verdict::Inconclusive => "?",
        Verdict::Error => "⚠",
    }
}

/// What the timeline says of the host of an attack.
pub(crate) fn lines_of<'a>(report: &'a RunReport, attack: &'a AttackReport) -> impl Iterator<Item = &'a TimelineEvent> {
    report.timeline.iter().filter(|event| event.scope.host.as_ref() == Some(&attack.host))
}

/// What a finished run asks of people: expectations and probes that did not hold, and what nobody could tell.
pub(crate) fn to_fix(report: &RunReport) -> Vec<String> {
    let broken = report.expectations.iter().filter(|result| result.verdict != Verdict::Passed);
    let mut lines: Vec<String> = broken
        .map(|result| match result.verdict {
            Verdict::Failed => format!("Expected {}, and what came was {}.", result.expected, result.observed),
            _ => format!("It could not be told whether {}: {}.", result.expected, result.observed),
        })
        .collect();
    let failed = report.probes.iter().filter(|probe| !probe.held);
    lines.extend(failed.map(|probe| {
        let ProbeResult { name, when, observed, unknown, .. } = probe;
        let what = if *unknown { "could not be asked" } else { "did not hold" };
        format!("Probe “{name}” {what} {}: {observed}.", format::class(when))
    }));
    let stuck =
        report.operations.iter().filter(|operation| operation.state == firedrill_model::OperationState::NeedsPerson);
    lines.extend(stuck.map(|operation| {
        let reason = operation.reason.as_deref().unwrap_or("its page says at what");
        format!("The {} of {} stopped and waits for a person: {reason}.", operation.kind, operation.subject)
    }));
    lines
}

impl Page<'_> {
    fn is_live(&self) -> bool {
        self.report.ended.is_none()
    }

    fn chart_json(&self) -> String {
        ChartData::of(self.report).json()
    }

    /// Apart from the chart's other data: what is shaded changes while the page is open.
    fn fault_json(&self) -> String {
        chart::in_a_script(&chart::faults(self.report))
    }

    fn steps(&self) -> Vec<StepLine> {
        steps(self.report)
    }

    fn newest_lines(&self) -> &[TimelineEvent] {
        let lines = &self.report.timeline;
        &lines[lines.len().saturating_sub(LINES)..]
    }

    /// `&run=…` for each run that this one is compared with.
    fn compared(&self) -> String {
        let runs = std::iter::once(&self.report.run).chain(self.page.earlier.iter().take(compare::RUNS_MAX - 1));
        runs.map(|run| format!("run={run}")).collect::<Vec<_>>().join("&")
    }
}
