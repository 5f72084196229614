//! Every page that links lead to: accessible, within its window, without a complaint of the browser.

use super::{SOON, holds, visit};
use crate::fleet::{Fleet, block_on};
use firedrill_browser::site;
use firedrill_model::ReceiverName;
use firedrill_model::message::{Channel, Secret};
use firedrill_sandbox::Profile;
use serde_json::json;

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

/// A text that would be a script.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&";

/// Something on the page of messages, which nothing is sent to.
async fn add_messages(fleet: &Fleet) {
    let url = Secret("http://127.0.0.1:1/hook".to_owned());
    let name: ReceiverName = "chat".parse().expect("a name");
    fleet.client.put_receiver(&name, &Channel::Teams { url }).await.expect("a receiver");
    let rule = json!({"name": "drills", "to": "chat", "clusters": ["demo"]});
    let rule = serde_json::from_value(rule).expect("a rule");
    fleet.client.put_message_rule(&rule).await.expect("a rule");
}

#[test]
fn every_page_can_be_used_by_everybody() {
    block_on(async {
        let fleet = Fleet::up("t-pages", Profile::Safe).await;
        fleet.until_redundant().await;
        let run = fleet.run(SMALL).await.run;
        add_messages(&fleet).await;
        let server = &fleet.status.server.url;
        let browser = visit(&fleet).await.expect("a browser");
        browser.go(&format!("{server}/runs/{run}")).await.expect("a page");
        browser.fill("#note-who", HOSTILE).await.expect("a field");
        browser.fill("#note-text", HOSTILE).await.expect("a field");
        browser.click("form.note button").await.expect("a button");
        browser.read("main", &format!("{HOSTILE}: {HOSTILE}"), SOON).await.expect("as it was typed");
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
