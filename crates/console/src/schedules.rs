//! All schedules: what they start, when next, how the last ended; who is there; what today brings.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::http::Problem;
use firedrill_api::schedules::{ScheduleView, TodayMessage};
use firedrill_model::{ClusterName, Verdict};
use firedrill_schedule::{Outcome, Presence, Schedule, Timing};
use serde::Deserialize;

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Schedules {
    /// By name.
    pub views: Vec<ScheduleView>,
    /// The message of the day.
    pub today: TodayMessage,
    /// Who is there.
    pub presences: Vec<Presence>,
    /// The clusters that can be chosen.
    pub clusters: Vec<ClusterName>,
    /// What was typed to say that somebody is there.
    pub saying: Saying,
    /// Why something was not done.
    pub problem: Option<Problem>,
}

/// What the form says by which somebody is there, or leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Saying {
    /// Who; empty: who sends it.
    pub person: String,
    /// Until when, such as `17:00`.
    pub until: String,
    /// By the clock of this zone.
    pub zone: String,
    /// For this cluster only; empty: for all.
    pub cluster: String,
    /// They leave now.
    pub leave: bool,
}

/// What came of a due time, for a badge.
pub(crate) struct Came {
    pub(crate) class: String,
    pub(crate) sign: &'static str,
    pub(crate) words: String,
    pub(crate) run: Option<String>,
}

/// In words, with a sign and a class.
pub(crate) fn came(outcome: &Outcome) -> Came {
    let (class, sign, run) = match outcome {
        Outcome::Starting => ("running".to_owned(), "↻", None),
        Outcome::Running { run } => ("running".to_owned(), "↻", Some(run)),
        Outcome::Ended { run, verdict, .. } => (verdict.to_string(), sign(*verdict), Some(run)),
        Outcome::Skipped { .. } => ("soft".to_owned(), "–", None),
        Outcome::Refused { .. } => ("refused".to_owned(), "▲", None),
        Outcome::Broken { .. } => ("error".to_owned(), "✖", None),
    };
    let words = match outcome {
        Outcome::Ended { verdict, .. } => verdict.to_string(),
        Outcome::Skipped { .. } => "skipped".to_owned(),
        Outcome::Refused { .. } => "refused".to_owned(),
        Outcome::Broken { .. } => "could not start".to_owned(),
        other => other.words(),
    };
    Came { class, sign, words, run: run.map(ToString::to_string) }
}

/// Why it came to that, when there is something to say.
pub(crate) fn why(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Ended { reason: Some(why), verdict, .. } if *verdict != Verdict::Passed => why,
        Outcome::Skipped { why, .. } | Outcome::Refused { why, .. } | Outcome::Broken { why, .. } => why,
        _ => "",
    }
}

const fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "✔",
        Verdict::Failed | Verdict::Error => "✖",
        Verdict::Inconclusive => "?",
    }
}

/// When it starts something, in a few words.
pub(crate) fn when(timing: &Timing) -> String {
    match timing {
        Timing::Cron(line) => line.clone(),
        Timing::Random(random) if random.times == 1 => "once a week, at random".to_owned(),
        Timing::Random(random) => format!("{} times a week, at random", random.times),
        Timing::Programme(_) => "rung by rung, from weekly to daily".to_owned(),
    }
}

/// On what, in a few words.
pub(crate) fn clusters(schedule: &Schedule) -> String {
    const SHOWN_MAX: usize = 8;
    let names: Vec<String> = schedule.clusters().take(SHOWN_MAX).map(ToString::to_string).collect();
    let more = schedule.clusters().count().saturating_sub(SHOWN_MAX);
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}

#[derive(Template)]
#[template(path = "schedules.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Schedules,
}

/// All schedules.
#[must_use]
pub fn page(frame: &Frame, page: &Schedules) -> String {
    finish(Page { frame, page }.render())
}

impl Page<'_> {
    fn zone(&self) -> &firedrill_schedule::Zone {
        &self.page.today.today.zone
    }

    fn day(&self) -> String {
        self.page.today.today.day.strftime("%A %Y-%m-%d").to_string()
    }

    /// Whether who looks may say that this person leaves.
    fn may_send_away(&self, presence: &Presence) -> bool {
        let own = presence.person == self.frame.me.name;
        let action = if own { crate::Action::Operate } else { crate::Action::Configure };
        match &presence.cluster {
            Some(cluster) => self.frame.may_on(action, cluster),
            None => self.frame.may_everywhere(action),
        }
    }
}

/// Whether who looks may do that on every cluster of a schedule.
pub(crate) fn may_on_all(frame: &Frame, action: crate::Action, schedule: &Schedule) -> bool {
    schedule.clusters().all(|cluster| frame.may_on(action, cluster))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use firedrill_model::access::Role;
    use serde_json::json;

    pub(crate) const HOSTILE: &str = "<script>alert(1)</script>\"'&";

    pub(crate) fn view(paused: Option<&str>) -> ScheduleView {
        serde_json::from_value(json!({
            "schedule": {"name": "twice", "file": format!("name: {HOSTILE}"), "groups": [{"clusters": ["shop"]}],
                         "zone": "Europe/Berlin", "when": {"cron": HOSTILE}},
            "seed": 7, "paused": paused, "next": {"due": 1_795_503_600_000_000_i64, "cluster": "shop"},
            "last": {"schedule": "twice", "cluster": "shop", "due": 0, "experiment": HOSTILE, "at": 0,
                     "outcome": {"outcome": "ended", "run": "run-1", "verdict": "failed", "reason": HOSTILE}},
            "note": HOSTILE,
            "ladders": [{"cluster": "shop", "rungs": [{"rung": 1, "streak": 2, "pace": "weekly", "last": null}]}]
        }))
        .expect("a schedule")
    }

    fn shown(role: Role, views: Vec<ScheduleView>) -> String {
        let today = serde_json::from_value(json!({
            "day": "2026-11-24", "zone": "Europe/Berlin", "halted": null, "text": HOSTILE,
            "planned": [{"due": 1_795_503_600_000_000_i64, "schedule": "twice", "cluster": "shop", "experiment": HOSTILE,
                         "title": HOSTILE, "expected": HOSTILE, "obstacle": HOSTILE}],
            "recap": [{"due": 0, "schedule": "twice", "cluster": "shop", "experiment": HOSTILE, "outcome": "skipped",
                       "obstacle": "halted", "why": HOSTILE}],
            "paused": [], "present": []
        }));
        let presence = json!([{"person": HOSTILE, "since": 0, "until": 1_795_503_600_000_000_i64}]);
        let shown = Schedules {
            views,
            today: today.expect("a message"),
            presences: serde_json::from_value(presence).expect("a presence"),
            clusters: vec!["shop".parse().expect("a name")],
            saying: Saying { until: HOSTILE.to_owned(), ..Saying::default() },
            problem: Some(Problem { code: "S002".into(), message: HOSTILE.into(), refused: false }),
        };
        page(&Frame::shown_to(role), &shown)
    }

    #[test]
    fn nothing_that_people_have_written_becomes_markup() {
        let html = shown(Role::Admin, vec![view(Some(HOSTILE))]);
        assert!(!html.contains("<script>alert") && !html.contains("style=\""), "{html}");
        assert!(html.contains("/schedules/twice/resume") && html.contains("paused") && html.contains("/runs/run-1"));
        assert!(html.contains("role=\"alert\"") && html.contains("/errors/S002"));
    }

    #[test]
    fn buttons_are_for_those_who_may() {
        let html = shown(Role::Operator, vec![view(None)]);
        assert!(html.contains("/schedules/twice/pause") && html.contains("/schedules/new"));
        assert!(html.contains("action=\"/presence\"") && !html.contains("name=\"person\" type=\"text\""), "{html}");
        assert!(shown(Role::Admin, vec![]).contains("name=\"person\" type=\"text\""));
        let html = shown(Role::Viewer, vec![view(Some("late"))]);
        assert!(!html.contains("/resume") && !html.contains("/presence") && !html.contains("/schedules/new"), "{html}");
    }

    #[test]
    fn without_a_schedule_the_page_leads_to_the_first() {
        let html = shown(Role::Operator, Vec::new());
        assert!(html.contains("No schedule yet") && html.contains("href=\"/schedules/new\""), "{html}");
    }
}
