//! Writing an experiment: the file and the form of its steps, either changing the other.

use super::{SOON, holds, visit};
use crate::fleet::{Fleet, block_on};
use firedrill_browser::Browser;
use firedrill_sandbox::Profile;
use serde_json::json;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(50);

const FILE: &str = "\
name: by-hand
title: Slow for a moment
hypothesis: Nobody notices.
workload: {writers: 2, writes_per_second: 50}
warm_up: 0s
cool_down: 0s
steps:
  - attack: {kind: latency, delay: 20ms, target: {role: replica, region: east}, duration: 2s}
  - wait: 3s
expect:
  - lost-acknowledged-writes-at-most: 0
";

/// What a person types instead of what is there.
async fn write(browser: &Browser, text: &str) {
    let script = "const file = document.getElementById('yaml'); file.value = arguments[0];
        file.dispatchEvent(new Event('input', { bubbles: true }));";
    browser.run(script, vec![json!(text)]).await.expect("typed");
}

/// Chooses from the list that a label names, in a step; fails when there is none.
async fn choose(browser: &Browser, step: usize, label: &str, word: &str) {
    let script = "const step = document.querySelectorAll('#steps > li')[arguments[0]];
        const label = [...step.querySelectorAll('label')].find((one) => one.textContent.startsWith(arguments[1]));
        const field = document.getElementById(label.htmlFor);
        field.value = arguments[2];
        field.dispatchEvent(new Event(field.tagName === 'SELECT' ? 'change' : 'input', { bubbles: true }));";
    browser.run(script, vec![json!(step), json!(label), json!(word)]).await.expect(label);
}

/// Waits until the file is like that.
async fn file(browser: &Browser, what: &str, holds: impl Fn(&str) -> bool) {
    let began = Instant::now();
    loop {
        let file = browser.run("return document.getElementById('yaml').value;", vec![]).await.expect("a file");
        let file = file.as_str().expect("text");
        if holds(file) {
            return;
        }
        assert!(began.elapsed() < SOON, "{what}:\n{file}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until the form has these steps.
async fn steps(browser: &Browser, expected: &[&str]) {
    let script = "return [...document.querySelectorAll('#steps legend')].map((one) => one.textContent);";
    let began = Instant::now();
    loop {
        let shown = browser.run(script, vec![]).await.expect("steps");
        if shown == json!(expected) {
            return;
        }
        assert!(began.elapsed() < SOON, "{shown} instead of {expected:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[test]
fn the_file_and_the_form_of_steps_change_each_other() {
    block_on(async {
        let fleet = Fleet::up("t-editor", Profile::Safe).await;
        fleet.until_redundant().await;
        let browser = visit(&fleet).await.expect("a browser");
        browser.go(&format!("{}/experiments/edit", fleet.status.server.url)).await.expect("a page");
        browser.see("#steps > li", SOON).await.expect("the example has steps");

        write(&browser, FILE).await;
        steps(&browser, &["1. attack", "2. wait"]).await;

        browser.click("#add-step").await.expect("a button");
        file(&browser, "a third step", |file| file.matches("wait:").count() == 2).await;
        choose(&browser, 2, "How long", "9s").await;
        file(&browser, "nine seconds", |file| file.contains("wait: 9s")).await;
        browser.click("#steps > li:nth-child(3) .up").await.expect("a button");
        file(&browser, "another order", |file| file.find("wait: 9s") < file.find("wait: 3s")).await;
        choose(&browser, 0, "Kind", "loss").await;
        browser.read("#steps > li:nth-child(1)", "A share of packets", SOON).await.expect("what it does");
        browser.read("#steps-problem", "percent", SOON).await.expect("what is missing is named, and the file stays");
        choose(&browser, 0, "percent", "5").await;
        file(&browser, "another kind", |file| file.contains("kind: loss") && !file.contains("delay")).await;
        browser.click("#steps > li:nth-child(1) .danger").await.expect("a button");
        file(&browser, "no attack", |file| !file.contains("attack:")).await;

        write(&browser, "steps: [").await;
        browser.see("#yaml-problems .critical", SOON).await.expect("what is wrong with it");
        write(&browser, &FILE.replace("Slow", "<img src=x onerror=alert(1)>")).await;
        steps(&browser, &["1. attack", "2. wait"]).await;
        let mut wrong = holds(&browser, "/experiments/edit").await.expect("looked at");
        // Steps came and went since the page was drawn, and a step without what it needs was refused: that is what was done.
        wrong.retain(|line| !line.contains("its parts moved") && !line.contains("/experiments/edit/yaml - "));
        browser.click("button[value=check]").await.expect("a button");
        browser.see("#plan", SOON).await.expect("what it would strike");
        wrong.extend(holds(&browser, "/experiments/edit, checked").await.expect("looked at"));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        browser.close().await.expect("closed");
    });
}
