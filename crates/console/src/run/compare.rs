//! Runs side by side.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_model::report::RunReport;
use firedrill_model::{OperationKind, Span};

/// Most runs side by side: as many columns as can be read.
pub const RUNS_MAX: usize = 6;

/// One figure of all runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    name: String,
    cells: Vec<Cell>,
}

/// One figure of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Cell {
    text: String,
    /// `best` or `worst`, when the figures of the runs differ.
    mark: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "compare.html")]
struct Page<'a> {
    frame: &'a Frame,
    runs: &'a [RunReport],
    rows: Vec<Row>,
}

/// The page of some runs side by side, in the order given.
#[must_use]
pub fn page(frame: &Frame, runs: &[RunReport]) -> String {
    finish(Page { frame, runs, rows: rows(runs) }.render())
}

/// A figure of which less is better; `None`: it was not measured.
type Figure = (String, Vec<Option<u64>>, fn(u64) -> String);

fn rows(runs: &[RunReport]) -> Vec<Row> {
    let ledger = |pick: &dyn Fn(&firedrill_model::report::LedgerSummary) -> u64| -> Vec<Option<u64>> {
        runs.iter().map(|run| run.ledger.as_ref().map(pick)).collect()
    };
    let mut figures: Vec<Figure> = vec![
        ("acknowledged writes lost".to_owned(), ledger(&|ledger| ledger.lost_total()), format::count),
        (
            "longest time without an acknowledged write".to_owned(),
            ledger(&|ledger| micros(ledger.longest_write_outage())),
            span,
        ),
        (
            "longest time without an answered read".to_owned(),
            ledger(&|ledger| ledger.read_outages.first().map_or(0, |outage| micros(outage.length))),
            span,
        ),
        ("writes without an answer".to_owned(), ledger(&|ledger| ledger.writes_unknown), format::count),
    ];
    for kind in [OperationKind::Promotion, OperationKind::Recovery, OperationKind::Switchover, OperationKind::Clone] {
        figures.extend(durations(runs, kind));
    }
    let plain = |name: &str, text: &dyn Fn(&RunReport) -> String| Row {
        name: name.to_owned(),
        cells: runs.iter().map(|run| Cell { text: text(run), mark: None }).collect(),
    };
    let mut rows = vec![
        plain("cluster", &|run| run.cluster.to_string()),
        plain("took", &|run| run.ended.map_or_else(|| "runs".to_owned(), |end| end.since(run.began).to_string())),
        plain("acknowledged writes", &|run| {
            run.ledger.as_ref().map_or_else(|| "–".to_owned(), |ledger| format::count(ledger.writes_acknowledged))
        }),
    ];
    rows.extend(figures.into_iter().map(marked));
    rows.push(plain("attacks", &|run| {
        let attacks = run.attacks.iter().map(|attack| format!("{} on {}", attack.fault, attack.host));
        attacks.collect::<Vec<_>>().join("; ")
    }));
    rows.push(plain("started by", &|run| run.by.clone().unwrap_or_default()));
    rows
}

/// How long the first operation of a kind took, whole and by phase.
fn durations(runs: &[RunReport], kind: OperationKind) -> Vec<Figure> {
    let first = |run: &RunReport| run.operations.iter().find(|one| one.kind == kind).cloned();
    let operations: Vec<_> = runs.iter().map(first).collect();
    let mut phases: Vec<_> =
        operations.iter().flatten().flat_map(|one| one.phases()).map(|(phase, ..)| phase).collect();
    phases.sort_unstable();
    phases.dedup();
    if phases.is_empty() {
        return Vec::new();
    }
    let whole = operations.iter().map(|one| {
        let one = one.as_ref()?;
        Some(micros(one.ended?.since(one.failure_at.unwrap_or(one.began))))
    });
    let mut figures: Vec<Figure> = vec![(format!("{kind}, from the failure to its end"), whole.collect(), span)];
    figures.extend(phases.into_iter().map(|wanted| -> Figure {
        let took = operations.iter().map(|one| {
            let phases = one.as_ref()?.phases();
            phases.iter().find(|(phase, ..)| *phase == wanted).map(|(.., took)| micros(*took))
        });
        (format!("{kind}: {wanted}"), took.collect(), span)
    }));
    figures
}

fn marked((name, values, text): Figure) -> Row {
    let known = || values.iter().flatten().copied();
    let (least, most) = (known().min(), known().max());
    let cell = |value: &Option<u64>| {
        let mark = match value {
            Some(_) if least == most => None,
            Some(value) if Some(*value) == least => Some("best"),
            Some(value) if Some(*value) == most => Some("worst"),
            _ => None,
        };
        Cell { text: value.map_or_else(|| "–".to_owned(), text), mark }
    };
    Row { name, cells: values.iter().map(cell).collect() }
}

fn micros(span: Span) -> u64 {
    u64::try_from(span.duration().as_micros()).unwrap_or(u64::MAX)
}

fn span(micros: u64) -> String {
    Span::from(std::time::Duration::from_micros(micros)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_and_the_worst_are_marked_only_when_they_differ() {
        let marks = |values: &[Option<u64>]| -> Vec<Option<&'static str>> {
            marked((String::new(), values.to_vec(), format::count)).cells.iter().map(|cell| cell.mark).collect()
        };
        assert_eq!(marks(&[Some(3), None, Some(1), Some(2)]), [Some("worst"), None, Some("best"), None]);
        assert_eq!(marks(&[Some(0), Some(0)]), [None, None]);
    }
}
