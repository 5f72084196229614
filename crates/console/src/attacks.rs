//! Attacks by hand: the kinds, a form for each, and what is in place.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use crate::plan::Outlook;
use crate::typed::Typed;
use askama::Template;
use firedrill_api::guards::AttackPlan;
use firedrill_api::http::Problem;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{ClusterName, RunId, Timestamp};
use serde::Serialize;

/// A kind of attack, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// As in files.
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// What it is and does, in full.
    pub documentation: String,
    /// What it is done to, such as `network`.
    pub family: String,
    /// It must be aimed at hosts of database nodes.
    pub of_nodes: bool,
    /// It is over at once and needs no duration.
    pub instant: bool,
    /// It destroys data.
    pub destroys: bool,
    /// What a host must have for it.
    pub needs: Vec<String>,
    /// In the order of the form: what must be given comes first.
    pub parameters: Vec<Parameter>,
}

/// A parameter of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// As in files.
    pub name: String,
    /// What a value looks like.
    pub form: String,
    /// What it is.
    pub about: String,
    /// It must be given.
    pub required: bool,
    /// What holds when it is not given.
    pub default: Option<String>,
    /// Words among which there is a choice; empty: any text.
    pub choices: Vec<String>,
}

/// The kinds of one family.
#[derive(Debug, Clone)]
pub struct Kinds {
    /// All of them.
    pub kinds: Vec<Kind>,
    /// For which cluster something is chosen.
    pub cluster: Option<ClusterName>,
}

#[derive(Template)]
#[template(path = "attack_kinds.html")]
struct KindsPage<'a> {
    frame: &'a Frame,
    page: &'a Kinds,
}

impl KindsPage<'_> {
    fn families(&self) -> Vec<(&'static str, &'static str, Vec<&Kind>)> {
        let of = |(family, about): (&'static str, &'static str)| {
            (family, about, self.page.kinds.iter().filter(|kind| kind.family == family).collect())
        };
        FAMILIES.into_iter().map(of).collect()
    }

    fn with_cluster(&self) -> String {
        self.page.cluster.as_ref().map(|cluster| format!("?cluster={cluster}")).unwrap_or_default()
    }
}

/// The families, as the table of faults names them.
const FAMILIES: [(&str, &str); 5] = [
    ("state", "Processes and hosts"),
    ("network", "Packets between hosts"),
    ("resource", "Processors, memory, room on disks"),
    ("storage", "What disks answer"),
    ("engine", "Inside the database server"),
];

/// All kinds, by family.
#[must_use]
pub fn kinds(frame: &Frame, page: &Kinds) -> String {
    finish(KindsPage { frame, page }.render())
}

/// What the form of one kind shows.
#[derive(Debug, Clone)]
pub struct Attack {
    /// The kind.
    pub kind: Kind,
    /// Clusters among which there is a choice.
    pub clusters: Vec<ClusterName>,
    /// The one that is chosen.
    pub cluster: Option<ClusterName>,
    /// What was typed.
    pub typed: Typed,
    /// What it would do now; `None`: not asked for yet, or see the problem.
    pub plan: Option<AttackPlan>,
    /// Why not.
    pub problem: Option<Problem>,
    /// Whether that was an answer to the button.
    pub tried: bool,
}

#[derive(Template)]
#[template(path = "attack.html")]
struct AttackPage<'a> {
    frame: &'a Frame,
    page: &'a Attack,
}

/// The form, and what the attack would do.
#[must_use]
pub fn form(frame: &Frame, page: &Attack) -> String {
    finish(AttackPage { frame, page }.render())
}

/// Taken when nothing is typed, as on the command line.
const DURATION: &str = "30s";

impl AttackPage<'_> {
    fn is_chosen(&self, cluster: &ClusterName) -> bool {
        self.page.cluster.as_ref() == Some(cluster)
    }

    fn duration(&self) -> &str {
        self.page.typed.text("duration").unwrap_or(DURATION)
    }

    /// What is sent along with the button beside what stands in its own form. The hosts that were shown are struck, so
    /// the number of the choice goes along.
    fn hidden(&self, plan: &AttackPlan) -> Vec<(String, String)> {
        let typed = self.page.typed.pairs(&["reason", "seed", "cluster"]);
        let typed = typed.into_iter().map(|(name, text)| (name, text.to_owned()));
        let seed = ("seed".to_owned(), plan.seed.to_string());
        typed.chain([seed, ("cluster".to_owned(), plan.cluster.to_string())]).collect()
    }

    fn outlook(&self, plan: &AttackPlan) -> Outlook {
        Outlook::of_attack(self.frame, plan)
    }
}

/// One attack of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// As it was reported last.
    pub report: AttackReport,
    /// On which cluster.
    pub cluster: Option<ClusterName>,
    /// In which run; `None`: by hand.
    pub run: Option<RunId>,
    /// When its deadline takes it out; `None`: not known, or it is over at once.
    pub until: Option<Timestamp>,
    /// It is, or may be, in place.
    pub in_place: bool,
}

/// The attacks.
#[derive(Debug, Clone)]
pub struct List {
    /// In place now, newest first.
    pub in_place: Vec<Listed>,
    /// One page of all, newest first.
    pub newest: Vec<Listed>,
    /// The page does not begin with the newest.
    pub later: bool,
    /// The last one of this page, when there is another page.
    pub next: Option<String>,
    /// Why one was not taken out.
    pub problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "attacks.html")]
struct ListPage<'a> {
    frame: &'a Frame,
    page: &'a List,
}

/// What is in place, and what was.
#[must_use]
pub fn list(frame: &Frame, page: &List) -> String {
    finish(ListPage { frame, page }.render())
}

impl ListPage<'_> {
    /// Whether whoever looks may take it out.
    fn may_end(&self, one: &Listed) -> bool {
        let stop = crate::Action::Stop;
        one.in_place && one.cluster.as_ref().map_or_else(|| self.frame.may(stop), |on| self.frame.may_on(stop, on))
    }
}

/// A state in words, with a sign.
pub(crate) fn state(state: AttackState) -> &'static str {
    match state {
        AttackState::Preparing => "… preparing",
        AttackState::Active => "● in place",
        AttackState::NoEffect => "? no effect measured",
        AttackState::Refused => "– refused, nothing done",
        AttackState::Undone => "✔ out",
        AttackState::UndoFailed => "✖ NOT taken out",
    }
}

/// The class of a state for the style sheet.
pub(crate) fn class(state: AttackState) -> String {
    match state {
        AttackState::Active => "critical".to_owned(),
        AttackState::Undone => "done".to_owned(),
        other => format::class(&other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{HOSTILE, attack_plan};
    use firedrill_model::access::Role;
    use serde_json::json;

    fn kind() -> Kind {
        let parameter = |name: &str, required: bool, choices: &[&str]| Parameter {
            name: name.to_owned(),
            form: "duration such as `100ms`".to_owned(),
            about: HOSTILE.to_owned(),
            required,
            default: (!required).then(|| "both".to_owned()),
            choices: choices.iter().map(|word| (*word).to_owned()).collect(),
        };
        Kind {
            name: "latency".to_owned(),
            summary: HOSTILE.to_owned(),
            documentation: HOSTILE.to_owned(),
            family: "network".to_owned(),
            of_nodes: false,
            instant: false,
            destroys: false,
            needs: vec![HOSTILE.to_owned()],
            parameters: vec![parameter("delay", true, &[]), parameter("direction", false, &["both", "inbound"])],
        }
    }

    fn attack(plan: Option<AttackPlan>) -> Attack {
        let cluster: ClusterName = "shop".parse().expect("a name");
        let typed = ["target", "p.delay", "reason"].map(|name| (name.to_owned(), HOSTILE.to_owned()));
        Attack {
            kind: kind(),
            clusters: vec![cluster.clone()],
            cluster: Some(cluster),
            typed: Typed::of(typed.into()),
            plan,
            problem: None,
            tried: false,
        }
    }

    #[test]
    fn the_form_is_made_from_the_kind_and_keeps_what_was_typed() {
        let html = form(&Frame::shown_to(Role::Operator), &attack(None));
        assert!(html.contains("name=\"p.delay\"") && html.contains("value=\"&#60;script"), "{html}");
        assert!(html.contains("<option>inbound</option>") && !html.contains("<script>alert"), "{html}");
        assert!(!html.contains("class=\"danger\""), "nothing was shown yet");
        let html = form(&Frame::shown_to(Role::Operator), &attack(Some(attack_plan(&[]))));
        assert!(html.contains("name=\"seed\" value=\"7\"") && html.contains("class=\"danger\""), "{html}");
        assert!(!html.contains("<script>alert"), "{html}");
        let mut refused = attack(None);
        refused.problem = Some(Problem { code: "S071".to_owned(), message: HOSTILE.to_owned(), refused: true });
        refused.tried = true;
        assert!(form(&Frame::shown_to(Role::Operator), &refused).contains("Nothing was begun"));
        let html = form(&Frame::shown_to(Role::Viewer), &attack(None));
        assert!(!html.contains("Show what it would do"), "{html}");
    }

    #[test]
    fn kinds_are_grouped_with_a_sentence_each() {
        let page = Kinds { kinds: vec![kind()], cluster: Some("shop".parse().expect("a name")) };
        let html = kinds(&Frame::shown_to(Role::Viewer), &page);
        assert!(html.contains("/experiments/attack/latency?cluster=shop") && html.contains("Packets between hosts"));
        assert!(!html.contains("<script>alert") && !html.contains("Processes and hosts"), "{html}");
    }

    fn listed(state: &str, in_place: bool) -> Listed {
        let report = json!({
            "id": "a-1", "host": "east-1", "fault": {"kind": "pause", "note": HOSTILE}, "state": state, "at": 1_000_000,
            "mechanism": HOSTILE, "evidence": HOSTILE,
        });
        let report = serde_json::from_value(report).expect("a report");
        Listed {
            report,
            cluster: Some("shop".parse().expect("a name")),
            run: None,
            until: Some(Timestamp(0)),
            in_place,
        }
    }

    #[test]
    fn what_is_in_place_can_be_taken_out_by_everybody_who_may_stop() {
        let page = List {
            in_place: vec![listed("active", true)],
            newest: vec![listed("undone", false)],
            later: false,
            next: Some("a-1".to_owned()),
            problem: None,
        };
        let html = list(&Frame::shown_to(Role::Viewer), &page);
        assert!(html.contains("action=\"/attacks/a-1/undo\"") && html.contains("until"), "{html}");
        assert!(html.contains("before=a-1") && !html.contains("<script>alert"), "{html}");
        assert_eq!(html.matches("Take it out").count(), 1);
        let none = List { in_place: vec![], newest: vec![], later: false, next: None, problem: None };
        assert!(list(&Frame::shown_to(Role::Viewer), &none).contains("Nothing is in place"));
    }
}
