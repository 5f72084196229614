//! Templates: one of them in full, and new ones.

use crate::frame::Frame;
use crate::pages::finish;
use crate::typed::Typed;
use askama::Template;
use firedrill_api::chaos_toolkit::Import;
use firedrill_api::http::{Problem, TemplateEntry};

/// One template.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The template.
    pub entry: TemplateEntry,
    /// Why it was not removed.
    pub problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "template.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Shown,
}

/// The page of one template.
#[must_use]
pub fn page(frame: &Frame, page: &Shown) -> String {
    finish(Page { frame, page }.render())
}

/// A template that is to be.
#[derive(Debug, Clone, Default)]
pub struct New {
    /// What was typed.
    pub typed: Typed,
    /// Why it was not kept.
    pub problem: Option<Problem>,
    /// What became of a file of the Chaos Toolkit.
    pub import: Option<Import>,
}

#[derive(Template)]
#[template(path = "template_new.html")]
struct NewPage<'a> {
    frame: &'a Frame,
    page: &'a New,
    example: &'static str,
}

/// The page on which one is added, or imported.
#[must_use]
pub fn new(frame: &Frame, page: &New) -> String {
    finish(NewPage { frame, page, example: EXAMPLE }.render())
}

impl NewPage<'_> {
    fn yaml(&self) -> &str {
        self.page.typed.text("yaml").unwrap_or(self.example)
    }

    /// Whether the form of the import was sent.
    fn is_import(&self) -> bool {
        self.page.typed.get("do").starts_with("import")
    }
}

/// To begin with: it is whole, and says what each part is.
const EXAMPLE: &str = r#"name: short-cut
title: A short cut
about: The primary's host is cut off for a while.
parameters:
  - {name: cut, about: How long, type: duration, default: 20s, at_least: 1s, at_most: 10m}
experiment: |
  name: short-cut
  title: A short cut
  hypothesis: Another node takes over, and nothing is lost.
  workload: {writers: 4, writes_per_second: 200}
  steps:
    - attack: {kind: partition, target: {role: primary}, duration: "${cut}"}
    - wait-until: {condition: redundancy-restored, within: 180s}
  expect:
    - lost-acknowledged-writes-at-most: 0
    - no-fork
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::access::Role;
    use serde_json::json;

    const HOSTILE: &str = "<script>alert(1)</script>\"'&";

    fn shown(shipped: bool) -> Shown {
        let outage = json!({"who": HOSTILE, "date": HOSTILE, "sources": ["https://example.org/x", "javascript:alert(1)"],
            "happened": HOSTILE, "resilient": HOSTILE, "differs": HOSTILE});
        let entry = json!({
            "shipped": shipped, "name": "own", "title": HOSTILE, "about": HOSTILE, "experiment": HOSTILE, "outage": outage,
            "parameters": [{"name": "cut", "about": HOSTILE, "type": "duration", "default": "43s"}],
        });
        Shown { entry: serde_json::from_value(entry).expect("a template"), problem: None }
    }

    #[test]
    fn ones_own_can_be_removed_by_those_who_attack_and_shipped_ones_by_nobody() {
        let removes = |role, shipped| page(&Frame::shown_to(role), &shown(shipped)).contains("/templates/own/delete");
        assert!(removes(Role::Operator, false) && !removes(Role::Operator, true) && !removes(Role::Viewer, false));
        let html = page(&Frame::shown_to(Role::Operator), &shown(false));
        assert!(!html.contains("<script>alert") && !html.contains("href=\"javascript:"), "{html}");
        assert!(html.contains("/experiments/start/own?from=template") && html.contains("43s"), "{html}");
    }

    #[test]
    fn a_refused_file_is_kept_and_an_import_says_what_each_step_became() {
        let typed = Typed::of(vec![("yaml".to_owned(), HOSTILE.to_owned()), ("text".to_owned(), HOSTILE.to_owned())]);
        let import = json!({"parts": [{"place": "method[0]", "name": HOSTILE, "was": HOSTILE, "became": HOSTILE, "notes": [HOSTILE]}],
            "problems": [{"place": "method[1]", "found": HOSTILE, "instead": HOSTILE}]});
        let problem = Problem { code: "S002".to_owned(), message: HOSTILE.to_owned(), refused: false };
        let import = Some(serde_json::from_value(import).expect("an import"));
        let html = new(&Frame::shown_to(Role::Operator), &New { typed, problem: Some(problem), import });
        assert!(html.contains("method[0]") && html.contains("method[1]") && html.contains("role=\"alert\""), "{html}");
        assert!(html.matches("&#60;script").count() >= 7 && !html.contains("<script>alert"), "{html}");
        let fresh = new(&Frame::shown_to(Role::Operator), &New::default());
        assert!(fresh.contains("name: short-cut"), "{fresh}");
    }
}
