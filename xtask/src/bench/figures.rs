//! Figures, their targets, and the tables they are printed in.

use std::fmt::Write;

/// What one benchmark found.
#[derive(Default)]
pub(super) struct Section {
    rows: Vec<Row>,
    notes: Vec<String>,
}

struct Row {
    what: String,
    target: String,
    measured: String,
    held: Option<bool>,
}

impl Section {
    /// A figure with a target.
    pub(super) fn judged(
        &mut self,
        what: impl Into<String>,
        target: impl Into<String>,
        measured: impl Into<String>,
        held: bool,
    ) {
        let (what, target, measured) = (what.into(), target.into(), measured.into());
        self.rows.push(Row { what, target, measured, held: Some(held) });
    }

    /// A figure that nothing was asked of.
    pub(super) fn told(&mut self, what: impl Into<String>, measured: impl Into<String>) {
        self.rows.push(Row { what: what.into(), target: String::new(), measured: measured.into(), held: None });
    }

    /// A paragraph below the table.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// As Markdown, with the load average that the machine had before.
    pub(super) fn markdown(&self, name: &str, load: f64) -> String {
        let mut text = format!("### {name}\n\n| figure | target | measured | held |\n|---|---|---|---|\n");
        for row in &self.rows {
            let held = match row.held {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            let Row { what, target, measured, .. } = row;
            let _infallible = writeln!(text, "| {what} | {target} | {measured} | {held} |");
        }
        let _infallible = writeln!(text, "\nLoad average before: {load:.2}.");
        for note in &self.notes {
            let _infallible = writeln!(text, "\n{note}");
        }
        text
    }
}

/// Least, middle and greatest of some measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { min, median, max })
    }

    /// `12.1 / 15.0 / 21.3 ms`.
    pub(super) fn text(self, unit: &str) -> String {
        let Self { min, median, max } = self;
        format!("{} / {} / {} {unit}", digits(min), digits(median), digits(max))
    }
}

/// With as many decimals as a person reads.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middling if middling >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
    }

    #[test]
    fn a_missed_target_stands_out() {
        let mut section = Section::default();
        section.judged("outage", "≤ 1 s", "2 s", false);
        section.told("size", "7");
        section.note("why");
        let text = section.markdown("x", 0.5);
        assert!(text.contains("| outage | ≤ 1 s | 2 s | **no** |\n| size |  | 7 |  |"), "{text}");
        assert!(text.ends_with("Load average before: 0.50.\n\nwhy\n"), "{text}");
    }
}
