//! Evidence of a period on the console: what was tested, what was found, how long recovery takes; and the same to take
//! away, as one page ([`crate::evidence`]), a table or values.

use crate::evidence::{joined, people, result};
use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::http::Problem;
use firedrill_model::evidence::{Evidence, Retest, TestedRun};
use firedrill_model::{ClusterName, Verdict};
use serde::Deserialize;

/// Runs that the page lists; the downloads have all.
const RUNS_MAX: usize = 200;

/// Which period is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Period {
    /// From this day, or day and time, on.
    pub from: String,
    /// Until then; a day is included.
    pub to: String,
    /// Only of this cluster; empty: of all.
    pub cluster: String,
    /// By whose clock; empty: UTC.
    pub zone: String,
}

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct EvidencePage {
    /// What is asked for.
    pub period: Period,
    /// The clusters that can be chosen.
    pub clusters: Vec<ClusterName>,
    /// Who looks may see all of them together.
    pub everything: bool,
    /// What there is.
    pub evidence: Option<Evidence>,
    /// Why there is none.
    pub problem: Option<Problem>,
}

/// What came of a finding later.
struct Later {
    class: &'static str,
    words: String,
    run: Option<String>,
}

#[derive(Template)]
#[template(path = "evidence_page.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a EvidencePage,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, page: &EvidencePage) -> String {
    finish(Page { frame, page }.render())
}

impl Page<'_> {
    /// Where the document is, in one of the forms of the API.
    fn download(&self, form: &str) -> String {
        let Period { from, to, cluster, zone } = &self.page.period;
        let fields = [("from", from), ("to", to), ("cluster", cluster), ("zone", zone)];
        let given = fields.into_iter().filter(|(_, value)| !value.trim().is_empty());
        let query: String = given.map(|(name, value)| format!("&{name}={}", encoded(value.trim()))).collect();
        format!("/api/v1/evidence?format={form}{query}")
    }
}

/// For the part of an address after `?`.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// The runs that the page lists, newest first.
fn newest(evidence: &Evidence) -> impl Iterator<Item = &TestedRun> {
    evidence.runs.iter().rev().take(RUNS_MAX)
}

/// How many it does not list.
fn left_out(evidence: &Evidence) -> usize {
    evidence.runs.len().saturating_sub(RUNS_MAX)
}

fn later(retest: &Retest) -> Later {
    match retest {
        Retest::NotYet => Later { class: "warning", words: "▲ not yet".to_owned(), run: None },
        Retest::NotPassed { runs } => {
            Later { class: "critical", words: format!("✖ {runs} times, has not passed"), run: None }
        }
        Retest::Passed { run, .. } => {
            Later { class: "passed", words: "✔ passed".to_owned(), run: Some(run.to_string()) }
        }
    }
}

fn retested(evidence: &Evidence) -> usize {
    evidence.findings().filter(|(_, finding)| matches!(finding.retest, Retest::Passed { .. })).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::HOSTILE;
    use firedrill_model::access::Role;
    use serde_json::json;

    fn evidence() -> Evidence {
        let run = |id: &str, verdict: &str, retest: serde_json::Value| {
            json!({"run": id, "experiment": HOSTILE, "title": HOSTILE, "cluster": "shop", "hosts": ["db-1"],
                   "faults": [HOSTILE], "by": HOSTILE, "approved_by": null, "began": 0, "ended": 2_000_000,
                   "state": "finished", "verdict": verdict, "finding": retest})
        };
        let finding = json!({"reasons": [HOSTILE], "retest": {"state": "passed", "run": "run-2", "at": 5}});
        serde_json::from_value(json!({
            "from": 0, "until": 10, "made": 10, "cluster": null, "zone": "UTC",
            "runs": [run("run-1", "failed", finding), run("run-2", "passed", serde_json::Value::Null)],
            "proven": [{"cluster": "shop", "abilities": {"promotion": null,
                        "clone": {"at": 1, "ago": "3s", "operation": "shop-1", "run": null}}}],
            "durations": [{"what": "promotion", "all": {"count": 1, "min": "1s", "p50": "1s", "p90": "1s", "p99": "1s",
                           "max": "9s"}, "by_hour": {}, "by_weekday": {}}]
        }))
        .expect("evidence")
    }

    fn shown(change: impl FnOnce(&mut EvidencePage)) -> String {
        let period =
            Period { from: "2026-11-01".into(), to: "2026-11-30".into(), zone: HOSTILE.into(), ..Period::default() };
        let mut shown =
            EvidencePage { period, everything: true, evidence: Some(evidence()), ..EvidencePage::default() };
        change(&mut shown);
        page(&Frame::shown_to(Role::Viewer), &shown)
    }

    #[test]
    fn the_period_is_summed_up_and_can_be_taken_away() {
        let html = shown(|_| {});
        assert!(!html.contains("<script>alert") && !html.contains("style=\""), "{html}");
        for text in ["1 of 1", "href=\"/runs/run-2\"", "not on record", "/operations/shop-1", "<b>9s</b>"] {
            assert!(html.contains(text), "{text}: {html}");
        }
        for form in ["html", "csv", "json"] {
            assert!(html.contains(&format!("/api/v1/evidence?format={form}&#38;from=2026-11-01")), "{form}: {html}");
        }
        assert!(html.contains("zone=%3Cscript%3E"), "{html}");
    }

    #[test]
    fn a_period_that_cannot_be_keeps_the_form_and_offers_nothing() {
        let refused = Problem { code: "S055".into(), message: HOSTILE.into(), refused: false };
        let html = shown(|page| (page.evidence, page.problem) = (None, Some(refused)));
        assert!(html.contains("/errors/S055") && html.contains("value=\"2026-11-01\""), "{html}");
        assert!(!html.contains("/api/v1/evidence") && !html.contains("<script>alert"));
    }

    #[test]
    fn an_empty_period_says_what_to_do() {
        let html = shown(|page| page.evidence.iter_mut().for_each(|evidence| evidence.runs.clear()));
        assert!(html.contains("Nothing was tested") && html.contains("href=\"/experiments\""), "{html}");
    }
}
