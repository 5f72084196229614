//! The calendar: what ran by schedule, what comes, and when nothing may start. A month as a grid where there is room, as a
//! list where there is not; the style sheet decides.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::http::Problem;
use firedrill_api::schedules::CalendarEntry;
use firedrill_model::{ClusterName, ScheduleName};
use firedrill_schedule::{Closure, Scope};
use serde::Deserialize;

/// Entries of one day that are shown at once; a line below them opens the others.
const OF_A_DAY_MAX: usize = 8;

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct Calendar {
    /// The month, as in the address: `2026-11`.
    pub month: String,
    /// The month in words.
    pub title: String,
    /// The month before.
    pub previous: String,
    /// The month after; `None`: nothing is planned so far ahead.
    pub next: Option<String>,
    /// By whose clock.
    pub zone: String,
    /// Only of this schedule.
    pub schedule: Option<ScheduleName>,
    /// From a Monday to a Sunday.
    pub days: Vec<Day>,
    /// There is more than is shown.
    pub truncated: bool,
    /// There is no schedule at all.
    pub no_schedule: bool,
    /// What is closed, now or later.
    pub closures: Vec<Closure>,
    /// The clusters that can be chosen.
    pub clusters: Vec<ClusterName>,
    /// What was typed to close something.
    pub closing: Closing,
    /// Why something was not done.
    pub problem: Option<Problem>,
}

/// One day.
#[derive(Debug, Clone)]
pub struct Day {
    /// `2026-11-24`.
    pub date: String,
    /// `Tuesday`.
    pub weekday: String,
    /// `24`.
    pub number: String,
    /// `November`.
    pub month: String,
    /// Of the month that is shown.
    pub within: bool,
    /// The present one.
    pub today: bool,
    /// What ran and what comes, in order, with the time of day.
    pub entries: Vec<(String, CalendarEntry)>,
    /// What is closed on it, and why.
    pub closed: Vec<String>,
}

/// What the form says by which something is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Closing {
    /// `all`, `cluster` or `service`.
    pub scope: String,
    /// Which cluster.
    pub cluster: String,
    /// Which value of the tag `service`.
    pub service: String,
    /// From then on; empty: from now on.
    pub from: String,
    /// Until then; empty: until it is removed.
    pub until: String,
    /// By the clock of this zone.
    pub zone: String,
    /// For people.
    pub reason: String,
}

#[derive(Template)]
#[template(path = "calendar.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Calendar,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, page: &Calendar) -> String {
    finish(Page { frame, page }.render())
}

impl Day {
    fn class(&self) -> String {
        let words = [
            (!self.within, "other"),
            (self.today, "today"),
            (!self.closed.is_empty(), "closed"),
            (self.entries.is_empty() && self.closed.is_empty() && !self.today, "free"),
        ];
        words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect::<Vec<_>>().join(" ")
    }

    fn first(&self) -> &[(String, CalendarEntry)] {
        self.entries.get(..OF_A_DAY_MAX).unwrap_or(&self.entries)
    }

    fn others(&self) -> &[(String, CalendarEntry)] {
        self.entries.get(OF_A_DAY_MAX..).unwrap_or_default()
    }
}

impl Page<'_> {
    /// What all links of the page keep.
    fn kept(&self) -> String {
        let schedule = self.page.schedule.as_ref().map_or_else(String::new, |name| format!("&schedule={name}"));
        let zone = self.page.zone.replace('+', "%2B");
        format!("&zone={zone}{schedule}")
    }

    fn may_open(&self, closure: &Closure) -> bool {
        match &closure.scope {
            Scope::Cluster(cluster) => self.frame.may_on(crate::Action::Operate, cluster),
            Scope::All | Scope::Service(_) => self.frame.may_everywhere(crate::Action::Operate),
        }
    }
}

/// What is closed, in words.
#[must_use]
pub fn scope(scope: &Scope) -> String {
    match scope {
        Scope::All => "everything".to_owned(),
        Scope::Cluster(cluster) => format!("cluster {cluster}"),
        Scope::Service(service) => format!("service {service}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::HOSTILE;
    use firedrill_model::access::Role;
    use serde_json::json;

    fn shown(role: Role, entries: usize) -> String {
        let entry = |result: serde_json::Value| -> CalendarEntry {
            serde_json::from_value(json!({"due": 0, "local": HOSTILE, "schedule": "twice", "cluster": "shop",
                "experiment": HOSTILE, "result": result, "note": HOSTILE}))
            .expect("an entry")
        };
        let over = entry(json!({"outcome": "ended", "run": "run-1", "verdict": "failed", "reason": HOSTILE}));
        let mut of_day = vec![(HOSTILE.to_owned(), over)];
        of_day.extend((0..entries).map(|_| ("10:30 CET".to_owned(), entry(serde_json::Value::Null))));
        let day = Day {
            date: "2026-11-24".into(),
            weekday: "Tuesday".into(),
            number: "24".into(),
            month: "November".into(),
            within: true,
            today: true,
            entries: of_day,
            closed: vec![HOSTILE.to_owned()],
        };
        let closure = json!([{"id": "id-1", "scope": {"service": HOSTILE}, "from": 0, "reason": HOSTILE},
                             {"id": "id-2", "scope": {"cluster": "shop"}, "from": 0, "until": 1, "reason": "x"}]);
        let calendar = Calendar {
            month: "2026-11".into(),
            title: "November 2026".into(),
            previous: "2026-10".into(),
            next: Some("2026-12".into()),
            zone: HOSTILE.into(),
            days: vec![day],
            closures: serde_json::from_value(closure).expect("black-outs"),
            closing: Closing {
                reason: HOSTILE.into(),
                scope: "service".into(),
                service: HOSTILE.into(),
                ..Closing::default()
            },
            problem: Some(Problem { code: "S081".into(), message: HOSTILE.into(), refused: false }),
            ..Calendar::default()
        };
        page(&Frame::shown_to(role), &calendar)
    }

    #[test]
    fn a_day_shows_what_ran_and_what_comes_and_nothing_becomes_markup() {
        let html = shown(Role::Operator, 1);
        assert!(!html.contains("<script>alert") && !html.contains("style=\""), "{html}");
        assert!(html.contains("/runs/run-1") && html.contains("✖ failed") && html.contains("planned"), "{html}");
        assert!(
            html.contains("class=\"today closed\"")
                && html.contains("month=2026-10")
                && html.contains("/blackouts/id-1/delete")
        );
        assert_eq!(html.matches("more</summary>").count(), 0);
        assert!(shown(Role::Operator, 20).contains("13 more</summary>"));
    }

    #[test]
    fn a_viewer_closes_nothing() {
        let html = shown(Role::Viewer, 1);
        assert!(!html.contains("action=\"/blackouts") && html.contains("until it is removed"), "{html}");
    }

    #[test]
    fn without_a_schedule_it_leads_to_the_first() {
        let calendar = Calendar { no_schedule: true, ..Calendar::default() };
        let html = page(&Frame::shown_to(Role::Operator), &calendar);
        assert!(html.contains("/schedules/new"), "{html}");
    }
}
