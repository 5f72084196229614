//! The editor: an experiment as text, and its steps as a form beside it. Either changes the other; both are read and
//! written by the server.

use crate::attacks::Kind;
use crate::course::Course;
use crate::frame::Frame;
use crate::pages::finish;
use crate::plan::Outlook;
use crate::start::Foreseen;
use crate::typed::Typed;
use askama::Template;
use firedrill_api::guards::RunPlan;
use firedrill_api::http::Problem;
use firedrill_model::ClusterName;
use firedrill_model::experiment::Experiment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One step as the form has it: every value a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Row {
    /// `attack`, `end-attack`, `wait`, `wait-until` or `check`.
    pub step: String,
    /// Of an attack.
    pub kind: String,
    /// Of the attack; of the attack that is taken out; of the probe.
    pub name: String,
    /// A selector.
    pub target: String,
    /// How long, or at most how long.
    pub duration: String,
    /// What is waited for: `redundancy-restored`, `writes-flow`, `finished promotion`.
    pub until: String,
    /// Of the attack.
    pub parameters: BTreeMap<String, String>,
}

/// What the form is told of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Parsed {
    /// The text, when the form has changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yaml: Option<String>,
    /// The steps; `None`: it is not understood.
    pub steps: Option<Vec<Row>>,
    /// What is wrong, each with its line where one is known.
    pub problems: Vec<String>,
    /// The steps drawn, as markup.
    pub drawing: String,
}

/// An experiment's steps, drawn.
#[must_use]
pub fn drawing(experiment: &Experiment) -> String {
    Course::of(experiment).drawing()
}

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Editor {
    /// What was typed, the text among it.
    pub typed: Typed,
    /// The text.
    pub yaml: String,
    /// Clusters among which there is a choice.
    pub clusters: Vec<ClusterName>,
    /// The one that is chosen.
    pub cluster: Option<ClusterName>,
    /// What is wrong with the text.
    pub problems: Vec<String>,
    /// What would be run; `None`: not checked, or not understood.
    pub foreseen: Option<Foreseen>,
    /// Why it was not saved or begun.
    pub problem: Option<Problem>,
    /// The kinds of attacks, for the form.
    pub kinds: Vec<Kind>,
}

#[derive(Template)]
#[template(path = "editor.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Editor,
    kinds_json: String,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, page: &Editor) -> String {
    // Nothing in the text can end the element that holds it.
    let kinds_json = serde_json::to_string(&page.kinds).unwrap_or_default().replace('<', "\\u003c");
    finish(Page { frame, page, kinds_json }.render())
}

impl Page<'_> {
    fn is_chosen(&self, cluster: &ClusterName) -> bool {
        self.page.cluster.as_ref() == Some(cluster)
    }

    fn course(&self, foreseen: &Foreseen) -> Course {
        Course::of(&foreseen.experiment)
    }

    fn outlook(&self, plan: &RunPlan, foreseen: &Foreseen) -> Outlook {
        Outlook::of_run(self.frame, plan, foreseen.needs_force)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{HOSTILE, attack_plan, run_plan};
    use firedrill_model::access::Role;

    fn editor() -> Editor {
        let kind = Kind {
            name: "pause".to_owned(),
            summary: "</script><script>alert(1)</script>".to_owned(),
            documentation: String::new(),
            family: "state".to_owned(),
            of_nodes: false,
            instant: false,
            destroys: false,
            needs: Vec::new(),
            parameters: Vec::new(),
        };
        Editor {
            typed: Typed::default(),
            yaml: "</textarea><script>alert(1)</script>".to_owned(),
            clusters: vec!["shop".parse().expect("a name")],
            cluster: Some("shop".parse().expect("a name")),
            problems: vec![format!("line 3: {HOSTILE}")],
            foreseen: None,
            problem: None,
            kinds: vec![kind],
        }
    }

    #[test]
    fn neither_the_text_nor_the_kinds_get_out_of_their_elements() {
        let html = page(&Frame::shown_to(Role::Operator), &editor());
        assert!(!html.contains("<script>alert") && html.contains("line 3:"), "{html}");
        assert!(!html.contains("class=\"danger\""), "nothing was shown yet");
        assert!(html.contains("omments"), "it says that comments may be lost");
    }

    #[test]
    fn what_was_checked_can_be_started() {
        let mut shown = editor();
        let experiment =
            serde_json::json!({"name": "x", "title": "x", "hypothesis": HOSTILE, "steps": [], "expect": []});
        let experiment = serde_json::from_value(experiment).expect("an experiment");
        let plan = Some(run_plan(vec![Some(attack_plan(&[]))], None));
        shown.foreseen = Some(Foreseen { yaml: String::new(), experiment, plan, needs_force: false });
        let html = page(&Frame::shown_to(Role::Operator), &shown);
        assert!(html.contains("name=\"do\" value=\"start\"") && !html.contains("<script>alert"), "{html}");
    }
}
