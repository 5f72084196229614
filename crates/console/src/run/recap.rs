//! What is left of a game day: what was planned, what happened, what people said, what it came to. As a page to print,
//! and as Markdown for wherever a team keeps such things.

use super::game_day::team;
use super::{to_fix, writes};
use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_model::TimelineEvent;
use firedrill_model::progress::Part;
use firedrill_model::report::RunReport;
use firedrill_model::timeline::EventKind;
use std::fmt::Write;

/// What a recap tells, of one run.
#[derive(Debug, Clone)]
pub struct Recap<'a> {
    report: &'a RunReport,
    team: Vec<(Part, &'a str)>,
    /// What happened and what was said, in time order.
    lines: Vec<&'a TimelineEvent>,
    to_fix: Vec<String>,
    /// What took how long.
    durations: Vec<(String, String)>,
}

impl<'a> Recap<'a> {
    /// Of that run.
    #[must_use]
    pub fn of(report: &'a RunReport) -> Self {
        let lines = report.timeline.iter().filter(|event| event.kind != EventKind::Part).collect();
        Self { report, team: team(&report.timeline), lines, to_fix: to_fix(report), durations: durations(report) }
    }

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let report = self.report;
        writeln!(text, "# {}\n", plain(&report.experiment.title))?;
        let experiment = plain(&report.experiment.name);
        writeln!(text, "{experiment} on {}, {}, run {}.", report.cluster, format::date(report.began), report.run)?;
        let verdict = report.verdict.map_or_else(|| "It still runs".to_owned(), |verdict| verdict.to_string());
        writeln!(text, "\n**{verdict}.** {}\n", plain(&report.reasons.join(" ")))?;
        writeln!(text, "Believed: {}", plain(&report.experiment.hypothesis))?;
        section(text, "Who took part", self.team.iter().map(|(part, name)| format!("{part}: {name}")))?;
        section(text, "What to fix", self.to_fix.iter().cloned())?;
        section(
            text,
            "Figures",
            self.figures().into_iter().chain(self.durations.iter().cloned()).map(|(n, v)| format!("{n}: {v}")),
        )?;
        section(text, "What was planned", report.experiment.steps.iter().map(crate::course::sentence))?;
        let line = |event: &&TimelineEvent| {
            let said = if event.kind == EventKind::Note { "(said) " } else { "" };
            format!("{} {said}{}", format::after(event.at, report.began), event.text)
        };
        section(text, "What happened", self.lines.iter().map(line))
    }

    fn figures(&self) -> Vec<(String, String)> {
        let writes = writes(self.report);
        let mut figures = vec![("writes acknowledged".to_owned(), format::count(writes.acknowledged))];
        if let Some(ledger) = &self.report.ledger {
            figures.push(("of them lost".to_owned(), format::count(ledger.lost_total())));
            let outage = ledger.longest_write_outage().to_string();
            figures.push(("longest time without an acknowledged write".to_owned(), outage));
        }
        figures
    }
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) -> std::fmt::Result {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return Ok(());
    }
    writeln!(text, "\n## {title}\n")?;
    lines.try_for_each(|line| writeln!(text, "- {}", plain(&line)))
}

/// One line, in which nothing is a mark of Markdown or a tag.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => plain.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' => plain.extend(['\\', letter]),
            _ => plain.push(letter),
        }
    }
    plain
}

fn durations(report: &RunReport) -> Vec<(String, String)> {
    let ended = report.operations.iter().filter_map(|operation| {
        let took = operation.ended?.since(operation.failure_at.unwrap_or(operation.began));
        Some((format!("{} of {}", operation.kind, operation.subject), took.to_string()))
    });
    let whole = report.ended.map(|end| ("the run".to_owned(), end.since(report.began).to_string()));
    ended.chain(whole).collect()
}

#[derive(Template)]
#[template(path = "recap.html")]
struct Page<'a> {
    frame: &'a Frame,
    recap: &'a Recap<'a>,
    report: &'a RunReport,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, recap: &Recap<'_>) -> String {
    finish(Page { frame, recap, report: recap.report }.render())
}
