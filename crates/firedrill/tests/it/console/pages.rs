//! Every page that links lead to: accessible, within its window, without a complaint of the browser.

use super::{SOON, holds, visit};
use crate::fleet::{Fleet, block_on};
use firedrill_browser::site;
use firedrill_sandbox::Profile;

/// Breaks something small, so that the pages of runs, attacks and operations have something to show.
const SMALL: &str = "
name: small
title: A replica is slow for a moment <img src=x onerror=alert(1)>
hypothesis: Nobody notices.
workload: {writers: 2, writes_per_second: 50}
warm_up: 1s
steps:
  - attack: {kind: latency, delay: 20ms, target: {role: replica, region: east}, duration: 2s}
  - wait: 3s
expect:
  - lost-acknowledged-writes-at-most: 0
";

#[test]
fn every_page_can_be_used_by_everybody() {
    block_on(async {
        let fleet = Fleet::up("t-pages", Profile::Safe).await;
        fleet.until_redundant().await;
        fleet.run(SMALL).await;
        let server = &fleet.status.server.url;
        let browser = visit(&fleet).await.expect("a browser");
        let pages = site::pages(&browser, server).await.expect("all pages");
        let kinds: Vec<&str> = pages.iter().map(|page| page.kind.as_str()).collect();
        let places =
            ["/", "/experiments", "/runs", "/schedules", "/hosts", "/evidence", "/people", "/audit", "/settings"];
        let within = ["/clusters/{}", "/clusters/{}/fingerprint", "/runs/{}", "/settings/guards", "/settings/messages"];
        for wanted in places.iter().chain(&within) {
            assert!(kinds.contains(wanted), "no link leads to {wanted}: {kinds:?}");
        }
        // What a walk along links has met, it has met with the browser's own complaints.
        let mut wrong = browser.complaints().await.expect("a log");
        let others = ["/errors/S004", "/nowhere"].map(|path| site::Page { path: path.into(), kind: path.into() });
        for page in pages.iter().chain(&others) {
            browser.go(&format!("{server}{}", page.path)).await.expect("a page");
            browser.see("h1", SOON).await.expect("a heading");
            wrong.extend(holds(&browser, &page.path).await.expect("looked at"));
        }
        // A page that is not there says so with the status that the browser writes down.
        wrong.retain(|line| !(line.starts_with("/nowhere: ") && line.contains("404")));
        assert!(wrong.is_empty(), "{} of {} pages:\n{}", wrong.len(), pages.len(), wrong.join("\n"));
        browser.close().await.expect("closed");
    });
}
