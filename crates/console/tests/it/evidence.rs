//! Evidence as a page and as a table.

use firedrill_console::evidence::{csv, html};
use firedrill_model::evidence::{Evidence, Facts, RunFact, Wall, Weekday};
use firedrill_model::{Operation, Timestamp};
use serde_json::json;

/// 2026-11-23 09:00 UTC, a Monday.
const MONDAY: i64 = 1_795_424_400_000_000;
const MINUTE: i64 = 60_000_000;

fn run(id: &str, minute: i64, verdict: &str, reasons: &[&str]) -> RunFact {
    let began = MONDAY + minute * MINUTE;
    serde_json::from_value(json!({
        "run": id, "cluster": "shop", "state": "finished", "began": began, "ended": began + MINUTE / 2,
        "verdict": verdict, "reasons": reasons, "by": "=HYPERLINK(\"http://evil\")", "approved_by": "bob",
        "experiment": {"name": "kill-primary", "title": "The <primary> is killed", "hypothesis": "Nothing is lost."},
        "attacks": [
            {"id": "a", "host": "east-1", "state": "active", "at": began, "fault": {"kind": "kill"},
             "mechanism": "", "evidence": ""},
            {"id": "b", "host": "east-2", "state": "refused", "at": began, "fault": {"kind": "pause"},
             "mechanism": "", "evidence": ""}
        ],
        "operations": [operation(id, "promotion", began, 2_000)], "samples": [], "timeline": []
    }))
    .expect("the parts of a report")
}

fn operation(id: &str, kind: &str, began: i64, millis: i64) -> serde_json::Value {
    json!({
        "id": format!("shop-{id}"), "cluster": "shop", "kind": kind, "subject": "east-1", "partner": "west-1",
        "cause": "", "state": "finished", "reason": null, "failure_at": null, "began": began,
        "ended": began + millis * 1000, "steps": []
    })
}

fn evidence(runs: Vec<RunFact>) -> Evidence {
    let clone = serde_json::from_value(operation("c", "clone", MONDAY, 90_000)).expect("an operation");
    let operations: Vec<Operation> = runs.iter().flat_map(|run| run.operations.clone()).chain([clone]).collect();
    let region = |node: &str, region: &str| (node.parse().expect("a name"), region.parse().expect("a name"));
    Evidence::of(&Facts {
        from: Timestamp(MONDAY),
        until: Timestamp(MONDAY + 120 * MINUTE),
        now: Timestamp(MONDAY + 600 * MINUTE),
        cluster: None,
        zone: "Europe/Berlin".to_owned(),
        wall: &|at| Wall {
            weekday: Weekday::Monday,
            hour: u8::try_from(10 + (at.0 - MONDAY) / (60 * MINUTE)).expect("an hour"),
        },
        clusters: vec!["shop".parse().expect("a name"), "bank".parse().expect("a name")],
        regions: [region("east-1", "east"), region("west-1", "west")].into(),
        runs,
        operations,
    })
}

fn example() -> Evidence {
    evidence(vec![
        run("r-1", 0, "failed", &["+2 acknowledged writes lost", "the gateway, \"shop\", held"]),
        run("r-2", 30, "inconclusive", &["too few writes"]),
        run("r-3", 60, "passed", &[]),
        run("r-4", 90, "error", &["-the tool broke"]),
    ])
}

#[test]
fn the_table_has_one_row_for_each_run_and_no_formula() {
    insta::assert_snapshot!(csv(&example()));
}

#[test]
fn the_page_needs_nothing_else_and_nothing_becomes_markup() {
    let page = html(&example());
    for outside in ["src=\"", "href=\"", "@import", "url(", "<script", "<primary>"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("not on record"));
    let body = page.split_once("<body>").expect("a body").1;
    insta::assert_snapshot!(body);
}

#[test]
fn nothing_is_shown_as_zero_when_there_is_no_data() {
    let mut nothing = evidence(vec![]);
    nothing.proven.clear();
    nothing.durations.retain(|duration| duration.spread.all.is_none());
    let page = html(&nothing);
    assert!(page.contains("None in the period.") && page.contains("No data in the period."));
    let shown = page.split_once("Last proven").expect("the figures").1;
    assert!(!shown.contains("class=\"num\"") && !page.contains("<b>0"), "{page}");
    assert!(page.contains("Nothing is known"));
    assert_eq!(csv(&nothing).lines().count(), 1);
}
