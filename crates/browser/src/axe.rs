//! Rules of accessibility, checked by axe-core.

use serde_json::Value;
use std::fmt;

/// The checker, as its makers publish it.
pub(crate) const AXE: &str = include_str!("../vendor/axe.min.js");

/// Runs the checker with the rules of WCAG 2.2, levels A and AA, and the best practices that need no judgement.
pub(crate) const CHECK: &str = r#"
    const done = arguments[arguments.length - 1];
    const only = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    axe.run(document, { runOnly: { type: "tag", values: only }, resultTypes: ["violations"] })
        .then((found) => done(found.violations.map((rule) => ({
            rule: rule.id, help: rule.help,
            nodes: rule.nodes.map((node) => node.target.join(" ") + ": " + (node.failureSummary || "").replace(/\s+/g, " ")),
        }))), (error) => done([{ rule: "axe", help: String(error), nodes: [] }]));
"#;

/// A rule that a page breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name in axe-core.
    pub rule: String,
    /// What it asks for.
    pub help: String,
    /// Where it is broken, and how.
    pub places: Vec<String>,
}

impl Violation {
    pub(crate) fn read(value: &Value) -> Vec<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = |rule: &Value| Self {
            rule: text(&rule["rule"]),
            help: text(&rule["help"]),
            places: rule["nodes"].as_array().into_iter().flatten().map(text).collect(),
        };
        value.as_array().into_iter().flatten().map(one).collect()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.rule, self.help)?;
        self.places.iter().try_for_each(|place| write!(formatter, "\n    {place}"))
    }
}
