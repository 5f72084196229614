//! The report and the pages, from values made here.

mod evidence;
mod fixture;

use firedrill_console::{pages, report, summary};

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
    for html in [report::html(&run), pages::run(None, &run)] {
        assert!(!html.contains("<script>alert"), "a reason or an event's text became a script");
    }
}

#[test]
fn the_terminal_summary_reads_without_colour() {
    insta::assert_snapshot!(summary::text(&fixture::failed_run(), false));
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
    assert!(pages::run(None, &running).contains("data-live=\"r-1\""));
    assert!(!pages::run(None, &finished).contains("data-live"));
}

#[test]
fn a_halted_server_says_so_on_every_page() {
    let run = fixture::failed_run();
    let page = pages::operation(Some("too hot"), &run.operations[0]);
    assert!(page.contains("halted: too hot") && page.contains("Resume"));
    assert!(page.contains("drain"));
}
