//! The report and the pages, from values made here.

mod evidence;
mod fixture;

use firedrill_api::access::Me;
use firedrill_console::run::Watched;
use firedrill_console::{Frame, Place, pages, report, summary};
use firedrill_model::Span;
use firedrill_model::access::{Grant, Role};
use firedrill_model::probe::ProbeState;
use firedrill_model::report::{Aborted, ProbeSeries, ProbeValue, RunReport};

fn frame(halted: Option<&str>) -> Frame {
    let grants = vec![Grant::everywhere(Role::Operator)];
    let me = Me { name: "ada".to_owned(), open: false, grants, token: None };
    Frame { title: "A <page>".to_owned(), place: Place::Runs, me, halted: halted.map(str::to_owned) }
}

fn run_page(frame: &Frame, run: &RunReport) -> String {
    let watched = Watched {
        report: run.clone(),
        earlier: Vec::new(),
        again: None,
        problem: None,
        template: String::new(),
        fresh_only: false,
        now: run.began,
    };
    firedrill_console::run::page(frame, &watched)
}

#[test]
fn the_report_needs_nothing_else() {
    let html = report::html(&fixture::failed_run());
    for outside in ["src=\"", "href=\"http", "href=\"/", "@import", "url("] {
        assert!(!html.contains(outside), "the report refers to something outside itself: {outside}");
    }
    assert!(html.contains("<div class=\"verdict\">failed</div>"));
    assert!(html.contains("2</b><span>acknowledged writes lost, of 12\u{202f}345"));
    assert!(html.contains("uPlot"));
}

#[test]
fn text_from_outside_cannot_become_markup() {
    let mut run = fixture::failed_run();
    run.reasons = vec!["<script>alert(1)</script>".into()];
    run.timeline[0].text = "</script><script>alert(2)</script>".into();
    for html in [report::html(&run), run_page(&frame(None), &run)] {
        assert!(!html.contains("<script>alert"), "a reason or an event's text became a script");
    }
}

#[test]
fn the_terminal_summary_reads_without_colour() {
    insta::assert_snapshot!(summary::text(&fixture::failed_run(), false));
}

#[test]
fn an_aborted_run_says_how_long_the_faults_stayed() {
    let mut run = fixture::failed_run();
    let at = |millis| run.began + Span::millis(millis);
    let aborted = Aborted {
        condition: "probe shop broken".into(),
        observed: "status 503 in 2ms".into(),
        breach_at: at(12_300),
        halt_at: at(12_340),
        faults_gone_at: Some(at(12_710)),
    };
    let value = |state| ProbeValue { at: at(1), took: Span::millis(2), state, observed: "<b>seen</b>".into() };
    run.probe_series = vec![ProbeSeries {
        name: "shop".into(),
        asked: 9,
        broken: 2,
        unknown: 1,
        values: vec![value(ProbeState::Held), value(ProbeState::Broken)],
    }];
    run.aborted = Some(aborted.clone());
    let line = "aborted: probe shop broken (status 503 in 2ms) at +12.300 s; halted 40ms after it, \
                every fault out 410ms after it";
    let counted = "probe shop during the steps: held 6 of 9, broken 2, not told 1";
    for text in [summary::text(&run, false), report::html(&run)] {
        assert!(text.contains(line) && text.contains(counted), "{text}");
        assert!(!text.contains("<b>seen"), "what a probe has seen became markup");
    }
    run.aborted = Some(Aborted { faults_gone_at: None, ..aborted });
    assert!(summary::text(&run, false).contains("faults NOT seen to be out"));
}

#[test]
fn colour_only_adds_to_the_text() {
    let coloured = summary::text(&fixture::failed_run(), true);
    let bare = ["\u{1b}[1;31m", "\u{1b}[1;32m", "\u{1b}[1;33m", "\u{1b}[0m"]
        .iter()
        .fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(bare, summary::text(&fixture::failed_run(), false));
}

#[test]
fn a_running_run_is_live_and_a_finished_one_is_not() {
    let finished = fixture::failed_run();
    let mut running = finished.clone();
    (running.ended, running.verdict, running.ledger) = (None, None, None);
    assert!(run_page(&frame(None), &running).contains("data-run=\"r-1\""));
    assert!(!run_page(&frame(None), &finished).contains("data-run"));
}

#[test]
fn a_halted_server_says_so_on_every_page() {
    let run = fixture::failed_run();
    let page = pages::operation(&frame(Some("too hot")), &run.operations[0]);
    assert!(page.contains("nothing starts.</b> too hot") && page.contains("Allow starts again"));
    assert!(page.contains("drain"));
}
