//! One schedule: how it stands, what it would do, and the form that makes or changes it.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use crate::schedule_fields::{Fields, VALUE, VERDICTS};
use crate::schedules::{came, may_on_all, why};
use askama::Template;
use firedrill_api::http::{ExperimentEntry, Problem, TemplateEntry};
use firedrill_api::schedules::{CalendarEntry, ScheduleView};
use firedrill_model::template::{Parameter, ParameterKind};
use firedrill_model::{ClusterName, Verdict};
use firedrill_schedule::programme::Pace;

/// Names of clusters that the form lists; in a larger fleet people know theirs.
const CLUSTERS_SHOWN_MAX: usize = 30;

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// The schedule that there is; `None`: a new one.
    pub known: Option<ScheduleView>,
    /// What the form says.
    pub fields: Fields,
    /// The text of a whole schedule, when that was sent instead.
    pub pasted: String,
    /// The experiments that ship.
    pub library: Vec<ExperimentEntry>,
    /// All templates.
    pub templates: Vec<TemplateEntry>,
    /// The clusters that can be chosen.
    pub clusters: Vec<ClusterName>,
    /// When it would start something, as the form says it.
    pub preview: Option<Preview>,
    /// What came of its last due times, newest first.
    pub past: Vec<CalendarEntry>,
    /// Why something was not done.
    pub problem: Option<Problem>,
}

/// When a schedule would start something.
#[derive(Debug, Clone, Default)]
pub struct Preview {
    /// The next due times.
    pub entries: Vec<CalendarEntry>,
    /// Why this week has fewer than the schedule says.
    pub note: Option<String>,
    /// These are the times that will be; otherwise they are an example, and drawn when the schedule is added.
    pub firm: bool,
}

/// One option of the choice of what is started.
struct Choice {
    value: String,
    text: String,
}

/// A value of the template that is chosen.
struct Value<'a> {
    field: String,
    name: &'a str,
    about: &'a str,
    given: &'a str,
    default: &'a str,
    options: &'a [String],
}

#[derive(Template)]
#[template(path = "schedule.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Edit,
    fields: &'a Fields,
    may_change: bool,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, page: &Edit) -> String {
    let may_change = page.known.as_ref().map_or_else(
        || frame.may(crate::Action::Attack),
        |view| may_on_all(frame, crate::Action::Attack, &view.schedule),
    );
    finish(Page { frame, page, fields: &page.fields, may_change }.render())
}

impl Page<'_> {
    /// Where the form goes.
    fn action(&self) -> String {
        self.page
            .known
            .as_ref()
            .map_or_else(|| "/schedules".to_owned(), |view| format!("/schedules/{}", view.schedule.name))
    }

    fn experiments(&self) -> Vec<Choice> {
        let text = |entry: &ExperimentEntry| match entry.rung {
            Some(rung) => format!("rung {rung}: {} ({})", entry.name, entry.title),
            None => format!("{} ({})", entry.name, entry.title),
        };
        let choice =
            |entry: &ExperimentEntry| Choice { value: format!("experiment:{}", entry.name), text: text(entry) };
        self.page.library.iter().map(choice).collect()
    }

    fn templates(&self) -> Vec<Choice> {
        let choice = |entry: &TemplateEntry| Choice {
            value: format!("template:{}", entry.template.name),
            text: format!("{} ({})", entry.template.name, entry.template.title),
        };
        self.page.templates.iter().map(choice).collect()
    }

    fn is_chosen(&self, choice: &Choice) -> bool {
        self.fields.what == choice.value
    }

    /// What was named and is not there any more stays in the form.
    fn forgotten(&self) -> Option<&str> {
        let what = self.fields.what.as_str();
        let known = what.is_empty()
            || what == "file"
            || self.experiments().iter().chain(&self.templates()).any(|choice| choice.value == what);
        (!known).then_some(what)
    }

    /// The values of the template that is chosen.
    fn values(&self) -> Vec<Value<'_>> {
        let name = self.fields.template();
        let entry = self.page.templates.iter().find(|entry| Some(entry.template.name.as_str()) == name);
        let parameters = entry.map_or(&[][..], |entry| &entry.template.parameters);
        parameters.iter().map(|parameter| self.value(parameter)).collect()
    }

    fn value<'a>(&'a self, parameter: &'a Parameter) -> Value<'a> {
        let Parameter { name, about, default, kind } = parameter;
        Value {
            field: format!("{VALUE}{name}"),
            name,
            about,
            given: self.fields.values.get(name).map_or("", String::as_str),
            default: default.as_deref().unwrap_or_default(),
            options: if let ParameterKind::Choice { of } = kind { of } else { &[] },
        }
    }

    fn clusters(&self) -> String {
        let names: Vec<String> = self.page.clusters.iter().take(CLUSTERS_SHOWN_MAX).map(ToString::to_string).collect();
        let more = self.page.clusters.len().saturating_sub(CLUSTERS_SHOWN_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", names.join(", "))
    }

    fn cluster_lines(&self) -> usize {
        self.fields.clusters.lines().count().clamp(2, 12)
    }

    fn verdicts(&self) -> [(Verdict, bool); 4] {
        VERDICTS.map(|verdict| (verdict, self.fields.pause_on.iter().any(|named| *named == verdict.to_string())))
    }

    /// The schedule as the API and the command line take it.
    fn text(&self) -> Option<String> {
        let view = self.page.known.as_ref()?;
        serde_json::to_string_pretty(&view.schedule).ok()
    }

    fn title(&self) -> &str {
        self.page.known.as_ref().map_or("New schedule", |view| view.schedule.name.as_str())
    }
}

/// How often a rung is tried.
fn pace(pace: Pace) -> &'static str {
    match pace {
        Pace::Closed => "not yet",
        Pace::Weekly => "once a week",
        Pace::Daily => "daily, in turn",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::{HOSTILE, view};
    use firedrill_model::access::Role;
    use serde_json::json;

    fn edit() -> Edit {
        let entry = json!({"due": 0, "local": HOSTILE, "schedule": "twice", "cluster": "shop", "experiment": HOSTILE,
                           "result": null, "note": HOSTILE});
        let entry: CalendarEntry = serde_json::from_value(entry).expect("an entry");
        let template = json!({"shipped": false, "name": HOSTILE, "title": HOSTILE, "about": "x", "experiment": "x",
            "parameters": [{"name": "wait", "about": HOSTILE, "type": "duration", "default": "7s"},
                           {"name": "how", "about": "Which way", "type": "choice", "of": [HOSTILE, "other"]}]});
        Edit {
            fields: Fields {
                name: HOSTILE.into(),
                what: format!("template:{HOSTILE}"),
                clusters: HOSTILE.into(),
                cron: HOSTILE.into(),
                ..Fields::default()
            },
            pasted: HOSTILE.into(),
            library: vec![ExperimentEntry {
                name: "kill".into(),
                title: HOSTILE.into(),
                rung: Some(1),
                yaml: String::new(),
            }],
            templates: vec![serde_json::from_value(template).expect("a template")],
            clusters: vec!["shop".parse().expect("a name")],
            preview: Some(Preview { entries: vec![entry.clone()], note: Some(HOSTILE.into()), firm: false }),
            past: vec![entry],
            problem: Some(Problem { code: "S080".into(), message: HOSTILE.into(), refused: false }),
            known: None,
        }
    }

    #[test]
    fn what_was_typed_is_kept_and_never_becomes_markup() {
        let html = page(&Frame::shown_to(Role::Operator), &edit());
        assert!(!html.contains("<script>alert") && !html.contains("style=\""), "{html}");
        assert!(html.contains("action=\"/schedules\"") && html.contains("name=\"value.wait\"") && html.contains("7s"));
        assert!(html.contains("/errors/S080") && html.contains("an example"), "{html}");
        assert_eq!(html.matches("value=\"&#60;script&#62;alert(1)").count(), 3, "name, line and option: {html}");
    }

    #[test]
    fn one_that_there_is_shows_how_it_stands() {
        let known = view(Some(HOSTILE));
        let shown = Edit { fields: Fields::of(&known.schedule), known: Some(known), problem: None, ..edit() };
        let html = page(&Frame::shown_to(Role::Operator), &shown);
        assert!(html.contains("/schedules/twice/delete") && html.contains("/schedules/twice/resume"), "{html}");
        assert!(html.contains("once a week") && !html.contains("<script>alert"));
        let html = page(&Frame::shown_to(Role::Viewer), &shown);
        assert!(
            !html.contains("/delete") && !html.contains("<textarea") && html.contains("&#34;groups&#34;"),
            "{html}"
        );
    }

    #[test]
    fn what_is_not_there_any_more_is_said() {
        let shown = Edit { fields: Fields { what: "experiment:gone".into(), ..Fields::default() }, ..Edit::default() };
        let html = page(&Frame::shown_to(Role::Operator), &shown);
        assert!(html.contains("experiment:gone") && html.contains("not there any more"), "{html}");
    }
}
