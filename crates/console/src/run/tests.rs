use super::game_day::team;
use super::recap::Recap;
use super::*;
use crate::Frame;
use firedrill_model::access::Role;
use firedrill_model::progress::StepTaken;
use firedrill_model::timeline::EventKind;
use serde_json::json;

const HOSTILE: &str = "<script>alert(1)</script>\"'&";

fn running() -> RunReport {
    serde_json::from_value(json!({
        "run": "r-1", "cluster": "shop", "state": "running", "began": 1_000_000, "ended": null, "verdict": null,
        "experiment": {
            "name": "kill-primary", "title": HOSTILE, "hypothesis": HOSTILE, "expect": [],
            "steps": [
                {"attack": {"kind": "kill", "signal": "SIGKILL", "target": {"role": "primary"}}},
                {"wait": "5s"}, {"wait": "6s"}
            ]
        },
        "reasons": [], "expectations": [], "probes": [], "operations": [], "samples": [], "lags": [], "ledger": null,
        "environment": [], "by": HOSTILE,
        "attacks": [{
            "id": "a-1", "host": "east-1", "fault": {"kind": "kill"}, "state": "active", "at": 2_000_000,
            "mechanism": HOSTILE, "evidence": HOSTILE
        }],
        "timeline": [
            {"sequence": 1, "at": 2_000_000, "severity": "info", "kind": "attack-started", "text": HOSTILE, "host": "east-1"},
            {"sequence": 2, "at": 3_000_000, "severity": "info", "kind": "note", "text": format!("ada: {HOSTILE}")},
            {"sequence": 3, "at": 3_000_000, "severity": "info", "kind": "part", "text": "scribe: ada"},
            {"sequence": 4, "at": 4_000_000, "severity": "info", "kind": "part", "text": "lead: ada"},
            {"sequence": 5, "at": 4_000_000, "severity": "info", "kind": "part", "text": format!("driver: {HOSTILE}")}
        ],
        "progress": {
            "stage": "steps", "writes": {"acknowledged": 12345, "failed": 6, "unknown": 7},
            "steps": [{"began": 2_000_000, "ended": 2_500_000}, {"began": 2_500_000}]
        }
    }))
    .expect("a report")
}

fn finished() -> RunReport {
    let mut report = running();
    (report.ended, report.verdict) = (Some(Timestamp(9_000_000)), Some(Verdict::Failed));
    report.reasons = vec![HOSTILE.to_owned()];
    report
}

fn watched(report: RunReport) -> Watched {
    Watched {
        report,
        earlier: vec![RunId("r-0".to_owned())],
        again: Some("/experiments/start/kill-primary?cluster=shop".to_owned()),
        problem: None,
        template: String::new(),
        fresh_only: false,
        now: Timestamp(5_000_000),
    }
}

fn shown(role: Role, report: RunReport) -> String {
    page(&Frame::shown_to(role), &watched(report))
}

#[test]
fn a_run_that_goes_on_says_where_it_is_and_can_be_halted() {
    let page = shown(Role::Viewer, running());
    assert!(page.contains("action=\"/runs/r-1/halt\"") && page.contains("data-run=\"r-1\""), "{page}");
    assert!(page.contains("12\u{202f}345") && page.contains("counted when the load has ended"), "{page}");
    let standings: Vec<Standing> = steps(&running()).iter().map(|step| step.standing).collect();
    assert_eq!(standings, [Standing::Done, Standing::Now, Standing::Waiting]);
    assert!(!page.contains("Save as template") && !page.contains("/notes"), "a viewer writes nothing");
}

#[test]
fn a_run_that_is_over_says_what_to_do_next() {
    let page = shown(Role::Operator, finished());
    for part in
        ["Run again", "/schedules/new?run=r-1", "/runs/compare?run=r-1&#38;run=r-0", "Save as template", "/recap"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("/halt\"><button class=\"halt big\"") && !page.contains("data-run="), "{page}");
    let standings: Vec<Standing> = steps(&finished()).iter().map(|step| step.standing).collect();
    assert_eq!(standings, [Standing::Done, Standing::NotTaken, Standing::NotTaken]);
    assert!(!shown(Role::Viewer, finished()).contains("Run again"));
}

#[test]
fn nothing_that_comes_from_outside_becomes_markup() {
    let frame = Frame::shown_to(Role::Operator);
    let report = finished();
    let pages = [
        shown(Role::Operator, running()),
        shown(Role::Operator, report.clone()),
        game_day::page(&frame, &watched(running()), None),
        recap::page(&frame, &Recap::of(&report)),
        compare::page(&frame, &[report.clone(), running()]),
        list::page(
            &frame,
            &list::Runs {
                query: list::RunsQuery { cluster: HOSTILE.to_owned(), ..list::RunsQuery::default() },
                runs: Vec::new(),
                next: None,
            },
        ),
    ];
    for page in pages {
        assert!(!page.contains("<script>alert") && !page.contains("style=\""), "{page}");
    }
    let markdown = Recap::of(&report).markdown();
    assert!(!markdown.contains("<script>") && markdown.contains("\\<script\\>"), "{markdown}");
}

#[test]
fn the_big_screen_says_what_is_in_place_as_long_as_the_run_goes_on() {
    let shown = |report| game_day::page(&Frame::shown_to(Role::Viewer), &watched(report), None);
    let in_place = "<dt>In place</dt><dd>kill on east-1";
    assert!(shown(running()).contains(in_place) && !shown(finished()).contains(in_place));
}

#[test]
fn an_open_page_is_sent_no_chart() {
    let fresh = page(&Frame::shown_to(Role::Viewer), &Watched { fresh_only: true, ..watched(running()) });
    assert!(!fresh.contains("id=\"chart-data\"") && shown(Role::Viewer, running()).contains("id=\"chart-data\""));
    assert!(
        fresh.contains("id=\"fault-data\"") && fresh.contains("[[1.0,null,\"\\u003cscript"),
        "what is shaded stays true"
    );
}

#[test]
fn the_last_word_on_a_part_holds_and_the_recap_has_what_was_said() {
    let report = finished();
    let parts = team(&report.timeline);
    assert_eq!(parts.iter().filter(|(_, name)| *name == "ada").count(), 1);
    assert_eq!(parts[0].0, firedrill_model::progress::Part::Lead);
    let text = Recap::of(&report).markdown();
    assert!(text.contains("(said) ada: ") && text.contains("- lead: ada") && text.contains("**failed.**"), "{text}");
    assert!(!text.contains("takes part") && report.timeline.iter().any(|line| line.kind == EventKind::Part));
}

#[test]
fn a_long_timeline_is_cut_and_says_so() {
    let mut report = running();
    report.timeline = (0..1000).map(|n| TimelineEvent { sequence: n, ..report.timeline[0].clone() }).collect();
    report.progress.as_mut().expect("progress").steps = vec![StepTaken { began: Timestamp(0), ended: None }];
    let page = shown(Role::Viewer, report);
    assert!(page.contains("The newest 200 of 1000 lines"), "{page}");
}
