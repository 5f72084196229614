//! The page before a run: what would be done to whom, what the guards say, what must hold; and one button.

use crate::course::Course;
use crate::frame::Frame;
use crate::pages::finish;
use crate::plan::Outlook;
use crate::typed::Typed;
use askama::Template;
use firedrill_api::guards::RunPlan;
use firedrill_api::http::{Problem, TemplateEntry};
use firedrill_model::ClusterName;
use firedrill_model::experiment::Experiment;

/// What a run would be.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreseen {
    /// The text of the file, with all values filled in.
    pub yaml: String,
    /// As it is understood.
    pub experiment: Experiment,
    /// What its attacks would do now; `None`: a cluster has to be chosen first, or see the problem.
    pub plan: Option<RunPlan>,
    /// It would be refused because the rung below has not passed on the cluster.
    pub needs_force: bool,
}

/// What the page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The experiment's name in the library, or the template's.
    pub name: String,
    /// The template that it is made of; `None`: an experiment of the library.
    pub template: Option<TemplateEntry>,
    /// Clusters among which there is a choice.
    pub clusters: Vec<ClusterName>,
    /// The one that is chosen: the only one, or the one that was asked for.
    pub cluster: Option<ClusterName>,
    /// What was typed.
    pub typed: Typed,
    /// What would be run; `None`: see the problem.
    pub foreseen: Option<Foreseen>,
    /// Why it cannot be said what would happen, or why it was not begun.
    pub problem: Option<Problem>,
    /// Whether that was an answer to the button.
    pub tried: bool,
}

#[derive(Template)]
#[template(path = "start.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Start,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, page: &Start) -> String {
    finish(Page { frame, page }.render())
}

impl Page<'_> {
    fn title(&self) -> &str {
        let of_template = self.page.template.as_ref().map(|entry| entry.template.title.as_str());
        let of_experiment = self.page.foreseen.as_ref().map(|foreseen| foreseen.experiment.title.as_str());
        of_template.or(of_experiment).unwrap_or(&self.page.name)
    }

    fn parameters(&self) -> &[firedrill_model::template::Parameter] {
        self.page.template.as_ref().map_or(&[], |entry| &entry.template.parameters)
    }

    fn is_chosen(&self, cluster: &ClusterName) -> bool {
        self.page.cluster.as_ref() == Some(cluster)
    }

    /// What is sent along with the button beside what stands in its own form.
    fn hidden(&self) -> Vec<(String, &str)> {
        self.page.typed.pairs(&["force", "reason", "cluster"])
    }

    fn outlook(&self, plan: &RunPlan, foreseen: &Foreseen) -> Outlook {
        Outlook::of_run(self.frame, plan, foreseen.needs_force)
    }

    fn course(&self, foreseen: &Foreseen) -> Course {
        Course::of(&foreseen.experiment)
    }

    /// The value of a parameter that is shown: what was typed, or the default.
    fn shown<'b>(&'b self, parameter: &'b firedrill_model::template::Parameter) -> &'b str {
        let typed = self.page.typed.value(&parameter.name);
        if typed.is_empty() { parameter.default.as_deref().unwrap_or_default() } else { typed }
    }

    fn choices<'b>(&self, parameter: &'b firedrill_model::template::Parameter) -> &'b [String] {
        match &parameter.kind {
            firedrill_model::template::ParameterKind::Choice { of } => of,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{HOSTILE, attack_plan, run_plan};
    use firedrill_model::access::Role;
    use serde_json::json;

    fn experiment() -> Experiment {
        serde_json::from_value(json!({
            "name": "kill-primary", "title": HOSTILE, "hypothesis": HOSTILE, "rung": 3,
            "steps": [{"attack": {"kind": "kill", "name": HOSTILE, "target": {"role": "primary"}}}, {"wait": "5s"}],
            "expect": ["no-fork"], "abort_when": ["operation-needs-person"],
        }))
        .expect("an experiment")
    }

    fn start(plan: Option<RunPlan>, needs_force: bool) -> Start {
        let cluster: ClusterName = "shop".parse().expect("a name");
        let typed = Typed::of(vec![("reason".to_owned(), HOSTILE.to_owned()), ("p.x".to_owned(), HOSTILE.to_owned())]);
        let foreseen = Foreseen { yaml: HOSTILE.to_owned(), experiment: experiment(), plan, needs_force };
        Start {
            name: "kill-primary".to_owned(),
            template: None,
            clusters: vec![cluster.clone(), "other".parse().expect("a name")],
            cluster: Some(cluster),
            typed,
            foreseen: Some(foreseen),
            problem: None,
            tried: false,
        }
    }

    #[test]
    fn targets_radius_guards_and_one_button_are_shown_and_no_markup_gets_in() {
        let shown = start(Some(run_plan(vec![Some(attack_plan(&[]))], None)), false);
        let html = page(&Frame::shown_to(Role::Operator), &shown);
        for wanted in [
            "east-1, primary",
            "Hit: 1 of 3 (33 %) nodes",
            "Nothing speaks against it",
            "No two nodes",
            "Start on shop",
        ] {
            assert!(html.contains(wanted), "{wanted}: {html}");
        }
        assert!(!html.contains("<script>alert"), "{html}");
        assert_eq!(html.matches("class=\"danger\"").count(), 1, "one button");
        assert!(html.contains("name=\"p.x\" value=\"&#60;script"), "what was typed is sent along: {html}");
    }

    #[test]
    fn a_refusal_says_why_and_offers_what_can_be_done() {
        let plan = run_plan(vec![Some(attack_plan(&[("degraded", "operator")]))], Some("the rung below"));
        let html = page(&Frame::shown_to(Role::Operator), &start(Some(plan), true));
        assert!(html.contains("It would be refused now") && html.contains("name=\"force\""), "{html}");
        assert!(html.contains("name=\"override\" value=\"degraded\"") && html.contains("name=\"reason\""), "{html}");
        let mut refused = start(None, false);
        refused.problem = Some(Problem { code: "S071".to_owned(), message: HOSTILE.to_owned(), refused: true });
        refused.tried = true;
        let html = page(&Frame::shown_to(Role::Operator), &refused);
        assert!(html.contains("role=\"alert\"") && html.contains("/errors/S071") && html.contains("Nothing was begun"));
    }

    #[test]
    fn a_viewer_sees_what_it_is_and_no_button() {
        let html = page(&Frame::shown_to(Role::Viewer), &start(None, false));
        assert!(!html.contains("class=\"danger\"") && html.contains("role operator"), "{html}");
    }

    #[test]
    fn parameters_of_a_template_are_explained_with_their_defaults() {
        let mut shown = start(None, false);
        let template = json!({
            "shipped": true, "name": "t", "title": HOSTILE, "about": HOSTILE, "experiment": "x",
            "parameters": [
                {"name": "cut", "about": HOSTILE, "type": "duration", "default": "43s", "at_most": "10m"},
                {"name": "x", "about": "which", "type": "choice", "of": ["a", "b"], "default": "b"},
            ],
        });
        shown.template = Some(serde_json::from_value(template).expect("a template"));
        shown.foreseen = None;
        let html = page(&Frame::shown_to(Role::Operator), &shown);
        assert!(html.contains("value=\"43s\"") && html.contains("a time up to 10m"), "{html}");
        assert!(html.contains("<option selected>b</option>") || html.contains("<option>b</option>"), "{html}");
        assert!(!html.contains("<script>alert"), "{html}");
    }
}
