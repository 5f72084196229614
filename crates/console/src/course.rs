//! An experiment as people read it: its steps one after the other, drawn and in words, and what must hold.

use crate::pages::finish;
use askama::Template;
use firedrill_model::Span;
use firedrill_model::experiment::{Condition, Expectation, Experiment, Probe, StepSpec, When};

/// Width of the drawing, in its own units; labels stand on the left of the bars.
const WIDTH: f64 = 1000.0;
/// Where bars begin: labels take this much.
const LEFT: f64 = 270.0;
/// Height of one step.
const ROW: f64 = 26.0;
/// Characters of a label that fit on the left of the bars.
const LABEL_CHARS_MAX: usize = 38;
/// What is over at once is drawn this long, so that it is seen.
const INSTANT: f64 = 4.0;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// In full.
    pub(crate) sentence: String,
    /// Short, for the drawing.
    label: String,
    /// Seconds after the load began.
    from: f64,
    to: f64,
    class: &'static str,
}

/// The steps in their time. What is waited for may be over earlier: it is drawn as long as it may take.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Course {
    pub(crate) rows: Vec<Row>,
    length: f64,
}

impl Course {
    pub(crate) fn of(experiment: &Experiment) -> Self {
        let mut at = seconds(experiment.warm_up);
        let mut rows: Vec<Row> = Vec::new();
        let mut attacks: Vec<(String, usize)> = Vec::new();
        for step in &experiment.steps {
            let (label, class, length) = match step {
                StepSpec::Attack(attack) => {
                    attacks.push((attack.label().to_owned(), rows.len()));
                    (format!("{} on {}", attack.label(), attack.target), "attack", seconds(attack.duration))
                }
                StepSpec::EndAttack(name) => {
                    let begun = attacks.iter().rev().find(|(label, _)| label == name).map(|(_, row)| *row);
                    if let Some(row) = begun.and_then(|row| rows.get_mut(row)) {
                        row.to = row.to.min(at);
                    }
                    (format!("take {name} out"), "end", 0.0)
                }
                StepSpec::Wait(span) => (format!("wait {span}"), "wait", seconds(*span)),
                StepSpec::WaitUntil { condition, within } => {
                    (format!("until {}", self::condition(*condition)), "until", seconds(*within))
                }
                StepSpec::Check(probe) => (format!("check {probe}"), "check", 0.0),
            };
            rows.push(Row { sentence: sentence(step), label: short(&label), from: at, to: at + length, class });
            // An attack goes on beside the steps that follow it.
            if matches!(step, StepSpec::Wait(_) | StepSpec::WaitUntil { .. }) {
                at += length;
            }
        }
        // An attack that outlasts the steps comes out with them.
        let length = at + seconds(experiment.cool_down);
        rows.iter_mut().for_each(|row| row.to = row.to.min(length));
        Self { rows, length }
    }

    /// The drawing, as markup.
    pub(crate) fn drawing(&self) -> String {
        finish(Drawing { course: self }.render())
    }

    /// At most how long all of it takes.
    pub(crate) fn takes(&self) -> Span {
        Span::from(std::time::Duration::from_secs_f64(self.length.max(0.0)))
    }
}

#[derive(Template)]
#[template(path = "course.html")]
struct Drawing<'a> {
    course: &'a Course,
}

impl Drawing<'_> {
    fn height(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "an experiment has at most 200 steps")]
        let rows = self.course.rows.len() as f64;
        rows * ROW + 24.0
    }

    fn x(&self, at: &f64) -> f64 {
        let length = if self.course.length > 0.0 { self.course.length } else { 1.0 };
        ((WIDTH - LEFT) * at / length + LEFT).round()
    }

    fn width(&self, row: &Row) -> f64 {
        (self.x(&row.to) - self.x(&row.from)).max(INSTANT)
    }

    fn y(&self, index: &usize) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "an experiment has at most 200 steps")]
        let index = *index as f64;
        index * ROW + 4.0
    }
}

fn seconds(span: Span) -> f64 {
    span.duration().as_secs_f64()
}

fn short(label: &str) -> String {
    if label.chars().count() <= LABEL_CHARS_MAX {
        return label.to_owned();
    }
    label.chars().take(LABEL_CHARS_MAX).chain(['…']).collect()
}

/// A step in words.
pub(crate) fn sentence(step: &StepSpec) -> String {
    match step {
        StepSpec::Attack(attack) => {
            let named = attack.name.as_ref().map(|name| format!("“{name}”: ")).unwrap_or_default();
            format!("Attack {named}{} on {}, for {}.", attack.fault, attack.target, attack.duration)
        }
        StepSpec::EndAttack(name) => format!("Take the attack “{name}” out."),
        StepSpec::Wait(span) => format!("Wait {span}."),
        StepSpec::WaitUntil { condition, within } => {
            format!("Wait until {}, at most {within}.", self::condition(*condition))
        }
        StepSpec::Check(probe) => format!("Ask the probe “{probe}”: it must hold."),
    }
}

fn condition(condition: Condition) -> String {
    match condition {
        Condition::Finished(kind) => format!("a {kind} has finished"),
        Condition::RedundancyRestored => "redundancy is restored".to_owned(),
        Condition::WritesFlow => "writes flow".to_owned(),
    }
}

/// What must hold, in words.
pub(crate) fn expected(expectation: &Expectation) -> String {
    match expectation {
        Expectation::WriteOutageBelow(limit) => {
            format!("The longest time without an acknowledged write is below {limit}.")
        }
        Expectation::LostAcknowledgedWritesAtMost(0) => "No acknowledged write is lost.".to_owned(),
        Expectation::LostAcknowledgedWritesAtMost(most) => format!("At most {most} acknowledged writes are lost."),
        Expectation::Operation { kind, within } => format!("A {kind} finishes within {within} of the attack."),
        Expectation::RedundancyWithin(within) => format!("Full redundancy again within {within} of the attack."),
        Expectation::NoPromotion => "Nothing is promoted.".to_owned(),
        Expectation::NoFork => "No two nodes acknowledge writes at once.".to_owned(),
        Expectation::NoDivergence => "All nodes hold the same rows in the end.".to_owned(),
    }
}

/// When a probe is asked, in words.
pub(crate) fn asked(probe: &Probe) -> String {
    let when = |when: &When| match when {
        When::Before => "before",
        When::During => "during",
        When::After => "after",
    };
    probe.when.iter().map(when).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn attacks_go_on_beside_the_steps_that_follow() {
        let experiment: Experiment = serde_json::from_value(json!({
            "name": "x", "title": "x", "hypothesis": "x", "warm_up": "2s", "cool_down": "1s",
            "steps": [
                {"attack": {"kind": "pause", "name": "<b>&", "target": {"role": "primary"}, "duration": "10m"}},
                {"wait": "5s"},
                {"end-attack": "<b>&"},
                {"wait-until": {"condition": {"finished": "promotion"}, "within": "20s"}},
                {"check": "alive"},
            ],
            "expect": ["no-fork"],
        }))
        .expect("an experiment");
        let course = Course::of(&experiment);
        let times: Vec<(f64, f64)> = course.rows.iter().map(|row| (row.from, row.to)).collect();
        assert_eq!(times, [(2.0, 7.0), (2.0, 7.0), (7.0, 7.0), (7.0, 27.0), (27.0, 27.0)]);
        assert_eq!(course.takes(), Span::secs(28));
        let drawn = course.drawing();
        assert!(drawn.contains("&#60;b&#62;") && !drawn.contains("<b>"), "{drawn}");
        assert!(course.rows[3].sentence.contains("a promotion has finished, at most 20s"), "{course:?}");
    }
}
