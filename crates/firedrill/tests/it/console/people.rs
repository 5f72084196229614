//! Who may do what, as the pages show it and the server decides it.

use super::{SOON, holds, visit};
use crate::fleet::{Fleet, block_on};
use firedrill_api::access::{AddUser, CreateToken, SetTeam};
use firedrill_api::client::Client;
use firedrill_browser::Browser;
use firedrill_model::Span;
use firedrill_model::access::{Grant, Role};
use firedrill_sandbox::Profile;
use serde_json::json;

const PASSWORD: &str = "correct horse battery staple";

/// Adds a viewer on the page of people, and looks at every page of people, of one's own account and of the audit log.
async fn manage(browser: &Browser, server: &str, admin: &Client) {
    browser.click("nav.places a[href='/people']").await.expect("people");
    browser.fill("#name", "vera").await.expect("a field");
    browser.fill("#password", PASSWORD).await.expect("a field");
    browser.click("form[action='/people/users'] button.primary").await.expect("add her");
    browser.arrive("/people/users/vera", SOON).await.expect("her page");
    browser.read("main", "viewer of everything", SOON).await.expect("the least role is the first one");
    let team = SetTeam { grants: vec![], members: vec!["vera".parse().expect("a name")] };
    admin.set_team(&"dba".parse().expect("a name"), &team).await.expect("a team");
    let grants = vec![Grant::everywhere(Role::Viewer)];
    let token = CreateToken { label: "<b>nightly</b>".to_owned(), grants, good_for: Span::secs(3600) };
    admin.create_token(&token).await.expect("a token");
    // The browser has written down that the wrong password was refused.
    let mut wrong = browser.complaints().await.expect("a log");
    wrong.retain(|line| !(line.contains("/login") && line.contains("401")));
    for path in [
        "/people",
        "/people/users/vera",
        "/people/users/ada",
        "/people/teams/dba",
        "/account",
        "/audit",
        "/audit/check",
    ] {
        browser.go(&format!("{server}{path}")).await.expect("a page");
        browser.see("h1", SOON).await.expect("a heading");
        wrong.extend(holds(browser, path).await.expect("looked at"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn somebody_who_only_looks_can_halt_and_can_start_nothing() {
    block_on(async {
        let fleet = Fleet::up("t-people", Profile::Safe).await;
        let server = &fleet.status.server.url;
        let browser = visit(&fleet).await.expect("a browser");
        let user = |name: &str, role| AddUser {
            name: name.parse().expect("a name"),
            password: PASSWORD.to_owned(),
            grants: vec![Grant::everywhere(role)],
        };
        // The first user closes the server; the second is added by the first, on the page of people.
        fleet.client.add_user(&user("ada", Role::Admin)).await.expect("an admin");
        browser.go(&format!("{server}/hosts")).await.expect("a page");
        browser.read("h1", "Log in", SOON).await.expect("nobody gets in without a name");
        browser.fill("#user", "ada").await.expect("a field");
        browser.fill("#password", "wrong").await.expect("a field");
        browser.click("form button.primary").await.expect("a button");
        browser.see("[role=alert]", SOON).await.expect("a wrong password is told");
        browser.fill("#user", "ada").await.expect("a field");
        browser.fill("#password", PASSWORD).await.expect("a field");
        browser.click("form button.primary").await.expect("a button");
        browser.arrive("/hosts", SOON).await.expect("where ada wanted to go");
        browser.read(".who", "ada", SOON).await.expect("ada is in");
        let login = firedrill_api::access::LogIn { user: "ada".into(), password: PASSWORD.into(), code: None };
        let session = fleet.client.log_in(&login).await.expect("a session");
        let admin = Client::new(server).expect("an address").with_credential(&session.token);
        manage(&browser, server, &admin).await;

        browser.click(".who button").await.expect("log out");
        browser.read("h1", "Log in", SOON).await.expect("out");
        browser.fill("#user", "vera").await.expect("a field");
        browser.fill("#password", PASSWORD).await.expect("a field");
        browser.click("form button.primary").await.expect("a button");
        browser.read(".who", "vera", SOON).await.expect("vera is in");
        browser.read("h1", "Fleet", SOON).await.expect("the first page");
        assert_eq!(browser.text("a[href^='/experiments/start/']").await, None, "nothing to start is offered");
        browser.go(&format!("{server}/clusters/{}", fleet.cluster)).await.expect("a page");
        browser.see("#topology", SOON).await.expect("she sees the cluster");
        assert_eq!(browser.text("a[href$='/act/promote']").await, None, "nothing to do is offered");
        // Whoever asks all the same is refused by the server, with the page's own session.
        for path in [format!("/clusters/{}/act/promote", fleet.cluster), "/experiments/start/kill-primary".to_owned()] {
            let script = "const done = arguments[1];
                fetch(arguments[0], { method: 'POST', redirect: 'manual', body: new URLSearchParams(arguments[0].includes('act') ? {} : { cluster: 'demo' }) })
                    .then((answer) => done(answer.status));";
            let status = browser.run_async(script, vec![json!(path)]).await.expect("an answer");
            assert_eq!(status, 403, "{path}");
        }
        // The brake is for everybody.
        browser.go(server).await.expect("a page");
        browser.click(".halt-all button").await.expect("halt");
        browser.read("#halt-state", "Halted", SOON).await.expect("halted");
        assert_eq!(browser.text("#halt-state button").await, None, "starts are allowed again by others");
        assert!(admin.status().await.expect("a status").halted.is_some());
        browser.close().await.expect("closed");
    });
}
