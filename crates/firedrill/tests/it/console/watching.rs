//! Watching: what happens is on the page when it happens, also after the server was away.

use super::{SOON, visit};
use crate::fleet::{Fleet, block_on};
use firedrill_sandbox::Profile;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_halt_is_on_every_page_at_once_and_a_reason_is_text() {
    block_on(async {
        let fleet = Fleet::up("t-halt", Profile::Safe).await;
        let browser = visit(&fleet).await.expect("a browser");
        // Somebody else halts everything; this page says so by itself, and offers the way back.
        fleet.client.halt("smoke <b>in</b> the rack").await.expect("halted");
        let said = browser.read("#halt-state", "smoke", SOON).await.expect("the page says so");
        assert!(said.contains("smoke <b>in</b> the rack"), "{said}");
        browser.click("#halt-state button").await.expect("a button");
        let allowed = async || fleet.client.status().await.ok().filter(|status| status.halted.is_none());
        fleet.until("starts are allowed", SOON, allowed).await;
        // The button of every page halts everything, from anywhere.
        browser.go(&format!("{}/clusters/{}", fleet.status.server.url, fleet.cluster)).await.expect("a page");
        browser.click(".halt-all button").await.expect("a button");
        browser.read("#halt-state", "Halted", SOON).await.expect("the page says so");
        assert!(fleet.client.status().await.expect("a status").halted.is_some());
        assert_eq!(browser.complaints().await.expect("a log"), Vec::<String>::new());
        browser.close().await.expect("closed");
    });
}

#[test]
fn keys_lead_everywhere() {
    block_on(async {
        let fleet = Fleet::up("t-keys", Profile::Safe).await;
        let browser = visit(&fleet).await.expect("a browser");
        browser.press("?").await.expect("a key");
        let keys = browser.read("#keys", "Experiments", SOON).await.expect("the list of keys");
        assert!(keys.contains("the other theme"), "{keys}");
        browser.click("#keys button").await.expect("a button");
        browser.press("d").await.expect("a key");
        browser.see("html[data-theme=dark] body", SOON).await.expect("the other theme");
        browser.press("/").await.expect("a key");
        browser.fill("#palette-text", fleet.cluster.as_str()).await.expect("a field");
        browser.read("#palette-list", "cluster", SOON).await.expect("the cluster is found");
        browser.press("\u{e007}").await.expect("enter");
        browser.arrive(&format!("/clusters/{}", fleet.cluster), SOON).await.expect("its page");
        browser.see("html[data-theme=dark] h1", SOON).await.expect("the theme stays");
        browser.close().await.expect("closed");
    });
}

#[test]
fn a_page_catches_up_after_the_server_was_away() {
    block_on(async {
        let fleet = Fleet::up("t-away", Profile::Safe).await;
        fleet.until_redundant().await;
        let browser = visit(&fleet).await.expect("a browser");
        browser.go(&format!("{}/clusters/{}", fleet.status.server.url, fleet.cluster)).await.expect("a page");
        browser.read("#link", "live", SOON).await.expect("it is live");
        let server = Pid::from_raw(i32::try_from(fleet.status.server.pid.expect("a server")).expect("a pid"));
        kill(server, Signal::SIGKILL).expect("killed");
        browser.read("#link", "reconnecting", SOON).await.expect("the page says that it is not live");
        // The sandbox starts it again; meanwhile the primary is lost, which no page could be told.
        let before = fleet.primary().await;
        let database = fleet.database_pid(&before).await.expect("a database");
        kill(Pid::from_raw(i32::try_from(database).expect("a pid")), Signal::SIGKILL).expect("killed");
        browser.read("#link", "live", SOON).await.expect("it is live again");
        let moved = async || {
            let view = fleet.client.cluster(&fleet.cluster).await.ok()?;
            view.primary.map(|node| node.to_string()).filter(|node| *node != before)
        };
        let after = fleet.until("another primary", super::RECOVERED, moved).await;
        let shown = browser.read("#topology", &format!("primary {after}"), SOON).await;
        shown.expect("the page shows the new primary without being asked");
        fleet.until_redundant().await;
        browser.close().await.expect("closed");
    });
}
