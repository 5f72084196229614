//! A run on a big screen, for a room that watches together: a clock, what goes on, who does what, what people say.

use super::{Watched, steps};
use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::progress::{Part, part_taken};
use firedrill_model::report::RunReport;
use firedrill_model::timeline::EventKind;
use firedrill_model::{ClusterView, Health, Operation, TimelineEvent};
use std::collections::BTreeMap;

/// Lines on the screen: what can be read from the last row.
const LINES: usize = 14;

#[derive(Template)]
#[template(path = "gameday.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Watched,
    report: &'a RunReport,
    view: Option<&'a ClusterView>,
}

/// The screen; `view` is the cluster now, when it is known.
#[must_use]
pub fn page(frame: &Frame, page: &Watched, view: Option<&ClusterView>) -> String {
    finish(Page { frame, page, report: &page.report, view }.render())
}

/// Who takes part: each person with the part taken last, by part.
pub(crate) fn team(timeline: &[TimelineEvent]) -> Vec<(Part, &str)> {
    let lines = timeline.iter().filter(|event| event.kind == EventKind::Part);
    let taken: BTreeMap<&str, Part> =
        lines.filter_map(|event| part_taken(&event.text)).map(|(part, name)| (name, part)).collect();
    let mut team: Vec<(Part, &str)> = taken.into_iter().map(|(name, part)| (part, name)).collect();
    team.sort_unstable();
    team
}

impl Page<'_> {
    /// After the end nothing is: a kill only has no end of its own to report.
    fn in_place(&self) -> impl Iterator<Item = &AttackReport> {
        let runs = self.report.ended.is_none();
        self.report.attacks.iter().filter(move |attack| runs && attack.state == AttackState::Active)
    }

    fn under_way(&self) -> impl Iterator<Item = &Operation> {
        self.report.operations.iter().filter(|operation| operation.ended.is_none())
    }

    /// The step that is being taken, or what the run does instead.
    fn now(&self) -> String {
        let step = steps(self.report).into_iter().find(|step| step.standing == super::Standing::Now);
        match (step, super::stage(self.report)) {
            (Some(step), _) => step.sentence,
            (None, Some(stage)) => stage.to_string(),
            (None, None) => "over".to_owned(),
        }
    }

    fn primary(&self) -> String {
        let view = self.view.and_then(|view| Some((view, view.primary.as_ref()?)));
        let Some((view, primary)) = view else { return "none, one is being chosen".to_owned() };
        let node = view.nodes.iter().find(|node| node.name == *primary);
        match node.map(|node| node.health) {
            Some(Health::Healthy) | None => primary.to_string(),
            Some(health) => format!("{primary} ({health})"),
        }
    }

    /// What happened last, newest first: a room looks at the top.
    fn lines(&self) -> Vec<&TimelineEvent> {
        self.report.timeline.iter().rev().filter(|event| event.kind != EventKind::Part).take(LINES).collect()
    }

    fn clock(&self) -> String {
        self.report.ended.unwrap_or(self.page.now).since(self.report.began).to_string()
    }
}
