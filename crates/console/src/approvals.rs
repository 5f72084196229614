//! What waits for a second person, and which guards were passed over.

use crate::course::Course;
use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::guards::{Approval, ApprovalState, AttackPlan, Overridden, RunPlan, Wish};
use firedrill_api::http::Problem;
use firedrill_model::Timestamp;
use firedrill_model::experiment::Experiment;

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Somebody can approve it.
    Waiting,
    /// Somebody has.
    Approved,
    /// Nobody has in time.
    Expired,
}

impl Standing {
    /// Of a request at a moment.
    #[must_use]
    pub fn of(approval: &Approval, now: Timestamp) -> Self {
        match approval.state {
            ApprovalState::Approved => Self::Approved,
            ApprovalState::Waiting if now >= approval.expires => Self::Expired,
            ApprovalState::Waiting => Self::Waiting,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Waiting => "warning",
            Self::Approved => "done",
            Self::Expired => "soft",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Waiting => "▲ waits",
            Self::Approved => "✔ approved",
            Self::Expired => "– too old",
        }
    }
}

/// The requests and the overrides.
#[derive(Debug, Clone)]
pub struct List {
    /// One page, newest first.
    pub approvals: Vec<Approval>,
    /// The page does not begin with the newest.
    pub later: bool,
    /// The last one of this page, when there is another page.
    pub next: Option<String>,
    /// The newest overrides.
    pub overrides: Vec<Overridden>,
    /// Now, to tell what is too old.
    pub now: Timestamp,
}

#[derive(Template)]
#[template(path = "approvals.html")]
struct ListPage<'a> {
    frame: &'a Frame,
    page: &'a List,
}

/// The requests for a second person.
#[must_use]
pub fn list(frame: &Frame, page: &List) -> String {
    finish(ListPage { frame, page }.render())
}

impl ListPage<'_> {
    fn standing(&self, approval: &Approval) -> Standing {
        Standing::of(approval, self.page.now)
    }
}

/// What would be begun.
#[derive(Debug, Clone)]
pub enum Shown {
    /// An attack by hand, as it would be now.
    Attack(Box<AttackPlan>),
    /// A run, as it would be now.
    Run(Box<RunPlan>),
    /// Why it cannot be said what would happen now.
    Unknown(Problem),
    /// Whoever looks may not start it either, so could not be the second person.
    NotYours,
    /// It is over.
    Over,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request.
    pub approval: Approval,
    /// The experiment, when it is about a run that is understood.
    pub experiment: Option<Experiment>,
    /// What would be begun.
    pub shown: Shown,
    /// How it stands.
    pub standing: Standing,
    /// Why it was not approved, or not begun.
    pub problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "approval.html")]
struct RequestPage<'a> {
    frame: &'a Frame,
    page: &'a Request,
}

/// One request: who asks, what would be done, and the button.
#[must_use]
pub fn request(frame: &Frame, page: &Request) -> String {
    finish(RequestPage { frame, page }.render())
}

impl RequestPage<'_> {
    /// Whether it waits for somebody else than whoever looks.
    fn is_own(&self) -> bool {
        self.page.approval.by == self.frame.me.name
    }

    fn waits(&self) -> bool {
        self.page.standing == Standing::Waiting
    }

    fn may_approve(&self) -> bool {
        self.waits()
            && !self.is_own()
            && matches!(self.page.shown, Shown::Attack(_) | Shown::Run(_) | Shown::Unknown(_))
    }

    fn course(&self, experiment: &Experiment) -> Course {
        Course::of(experiment)
    }

    /// What else was said with the wish.
    fn overrides(&self) -> Vec<String> {
        let overrides = match &self.page.approval.wish {
            Wish::Attack(start) => &start.overrides,
            Wish::Run(start) => &start.overrides,
        };
        overrides.iter().map(|one| format!("passes over guard {}: {}", one.guard, one.reason)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{HOSTILE, attack_plan};
    use firedrill_model::access::Role;
    use serde_json::json;

    fn approval(by: &str) -> Approval {
        let wish = json!({"attack": {
            "cluster": "shop", "attack": {"kind": "pause", "target": {"role": "primary"}, "duration": "30s"},
            "overrides": [{"guard": "degraded", "reason": HOSTILE}],
        }});
        Approval {
            id: "r-1".to_owned(),
            at: Timestamp(0),
            expires: Timestamp(100),
            by: by.to_owned(),
            text: HOSTILE.to_owned(),
            state: ApprovalState::Waiting,
            approved_by: None,
            wish: serde_json::from_value(wish).expect("a wish"),
        }
    }

    fn shown(by: &str) -> Request {
        let shown = Shown::Attack(Box::new(attack_plan(&[("approval", "second-person")])));
        Request { approval: approval(by), experiment: None, shown, standing: Standing::Waiting, problem: None }
    }

    #[test]
    fn the_second_person_is_another_one() {
        let frame = Frame::shown_to(Role::Operator);
        let html = request(&frame, &shown("bob"));
        assert!(html.contains("action=\"/approvals/r-1\"") && html.contains("Hit: 1 of 3"), "{html}");
        assert!(!html.contains("<script>alert"), "{html}");
        let own = request(&frame, &shown("ada"));
        assert!(!own.contains("action=\"/approvals/r-1\"") && own.contains("somebody else"), "{own}");
        let mut denied = shown("bob");
        denied.shown = Shown::NotYours;
        assert!(!request(&frame, &denied).contains("action=\"/approvals/r-1\""));
    }

    #[test]
    fn the_list_says_how_each_stands_and_what_was_passed_over() {
        let frame = Frame::shown_to(Role::Viewer);
        let mut page = List {
            approvals: vec![approval("bob")],
            later: false,
            next: Some("r-1".to_owned()),
            overrides: Vec::new(),
            now: Timestamp(50),
        };
        let html = list(&frame, &page);
        assert!(html.contains("▲ waits") && html.contains("before=r-1") && !html.contains("<script>alert"), "{html}");
        page.now = Timestamp(100);
        assert!(list(&frame, &page).contains("– too old"));
        page.approvals.clear();
        assert!(list(&frame, &page).contains("Nothing waits for a second person"));
    }
}
