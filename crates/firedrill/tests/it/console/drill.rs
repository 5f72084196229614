//! From the first page to a killed primary in three clicks; what came of it, kept and scheduled, without the docs.

use super::{RECOVERED, SOON, visit};
use crate::fleet::{Fleet, block_on};
use firedrill_model::operation::OperationState;
use firedrill_model::{OperationKind, RunId};
use firedrill_sandbox::Profile;

#[test]
fn three_clicks_kill_the_primary_and_the_pages_show_what_comes_of_it() {
    block_on(async {
        let fleet = Fleet::up("t-drill", Profile::Safe).await;
        fleet.until_redundant().await;
        let before = fleet.primary().await;
        let browser = visit(&fleet).await.expect("a browser");
        // The rung below was not climbed here, which the page says before anything starts; the box is there for that.
        browser.click("a[href^='/experiments/start/kill-primary']").await.expect("the first click");
        let struck = browser.read("#plan", &before, SOON).await.expect("the page says who would be struck");
        assert!(struck.contains("SIGKILL") || struck.contains("kill"), "{struck}");
        if browser.text("input[name=force]").await.is_some() {
            browser.click("input[name=force]").await.expect("the second click");
        }
        browser.click("form[action^='/experiments/start/'] button.danger").await.expect("the last click");
        let address = browser.arrive("/runs/", SOON).await.expect("the run's page");
        let run = RunId(address.rsplit('/').next().expect("an id").to_owned());

        // Watched from here on: nothing is loaded again.
        browser.run("window.untouched = true;", Vec::new()).await.expect("a mark");
        browser.read("#attacks", &before, SOON).await.expect("the attack is on the page");
        browser.read("#operations", "promotion", SOON).await.expect("so is the promotion");
        let shaded =
            browser.run("return JSON.parse(document.getElementById('fault-data').textContent).length;", Vec::new());
        assert_eq!(shaded.await.expect("a number"), 1, "the charts know what to shade without being loaded again");
        browser.read("#verdict", "PASSED", RECOVERED).await.expect("and the verdict");
        let untouched = browser.run("return window.untouched === true;", Vec::new()).await.expect("the mark");
        assert_eq!(untouched, true, "the page was not loaded again");
        let figures = browser.text("#figures").await.expect("figures");
        assert!(figures.contains("lost"), "{figures}");
        let report = fleet.client.run(&run).await.expect("a report");
        assert_eq!(report.ledger.expect("a ledger").lost_total(), 0);

        browser.fill("#template", "our-primary").await.expect("a name");
        browser.click("form[action$='/template'] button").await.expect("saved");
        browser.arrive("/templates/our-primary", SOON).await.expect("the template's page");
        fleet.client.template("our-primary").await.expect("it is kept");

        browser.go(&format!("{}/runs/{}", fleet.status.server.url, run.0)).await.expect("a page");
        browser.click("a[href^='/schedules/new?run=']").await.expect("schedule");
        browser.fill("input[name=name]", "daily-primary").await.expect("a name");
        browser.click("button[value=save]").await.expect("saved");
        browser.read("h1", "daily-primary", SOON).await.expect("the schedule's page");
        assert_eq!(fleet.client.schedules().await.expect("a list").len(), 1);
        browser.close().await.expect("closed");
    });
}

#[test]
fn the_topology_moves_and_a_run_is_halted_from_its_page() {
    block_on(async {
        let fleet = Fleet::up("t-moves", Profile::Safe).await;
        fleet.until_redundant().await;
        let browser = visit(&fleet).await.expect("a browser");
        let server = &fleet.status.server.url;
        browser.go(&format!("{server}/clusters/{}", fleet.cluster)).await.expect("a page");
        browser.read("#link", "live", SOON).await.expect("it is live");
        let before = fleet.primary().await;

        // The emergency promotion: what would happen, then one question.
        browser.click("a[href$='/act/promote']").await.expect("the button");
        let foreseen = browser.read("#foreseen", "What could be lost", SOON).await.expect("what would happen");
        assert!(foreseen.contains("Step by step"), "{foreseen}");
        browser.click("form[method=post] button.danger").await.expect("the question");
        let promoted = async || {
            let operations = fleet.client.operations(None).await.ok()?;

            operations
                .into_iter()
                .find(|one| one.kind == OperationKind::Promotion && one.state == OperationState::Finished)
        };
        fleet.until("a promotion", RECOVERED, promoted).await;
        let after = fleet.primary().await;
        assert_ne!(before, after);
        browser.go(&format!("{server}/clusters/{}", fleet.cluster)).await.expect("a page");
        browser.read("#topology", &format!("primary {after}"), SOON).await.expect("the new primary");
        fleet.until_redundant().await;

        // A primary that dies by itself, with the page open.
        let pid = fleet.database_pid(&after).await.expect("a database");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
        let next = async || {
            let view = fleet.client.cluster(&fleet.cluster).await.ok()?;
            view.primary.map(|node| node.to_string()).filter(|node| *node != after)
        };
        let next = fleet.until("another primary", RECOVERED, next).await;
        browser.read("#topology", &format!("primary {next}"), SOON).await.expect("the page shows it");
        fleet.until_redundant().await;

        // A run that would go on for minutes.
        let yaml = "
name: long
title: Slow for minutes
hypothesis: Somebody halts it.
workload: {writers: 2, writes_per_second: 50}
warm_up: 1s
steps:
  - attack: {kind: latency, delay: 20ms, target: {role: replica, region: east}, duration: 5m}
  - wait: 5m
expect:
  - lost-acknowledged-writes-at-most: 0
";
        let start = firedrill_api::http::StartRun {
            yaml: yaml.to_owned(),
            cluster: Some(fleet.cluster.clone()),
            force: true,
            ..Default::default()
        };
        let run = fleet.client.start_run(&start).await.expect("started").run;
        browser.go(&format!("{server}/runs/{}", run.0)).await.expect("a page");
        browser.read("#attacks", "latency", SOON).await.expect("the attack is on the page");
        browser.click("#verdict button.halt").await.expect("the button");
        browser.read("#verdict", "halt", RECOVERED).await.expect("the page says so");
        let ended = async || fleet.client.run(&run).await.ok().filter(|report| report.ended.is_some());
        fleet.until("the run ends", SOON, ended).await;
        browser.close().await.expect("closed");
    });
}
