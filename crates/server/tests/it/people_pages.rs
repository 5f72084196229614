//! The pages of users, teams, one's own account and the audit log, as a browser that has logged in uses them.

use crate::access::{PASSWORD, anew, credentials, filled_form, http};
use crate::fixture::Fixture;
use crate::keeper::register;
use crate::schedule_pages::{form, page, send};
use reqwest::StatusCode;

/// A browser that has logged in.
struct Seat<'a> {
    fixture: &'a Fixture,
    cookie: String,
}

impl<'a> Seat<'a> {
    async fn of(fixture: &'a Fixture, user: &str, password: &str) -> Self {
        let post = http().post(fixture.http("/login")).body(filled_form(user, password, "/"));
        let post = post.header("content-type", "application/x-www-form-urlencoded");
        let answer = post.send().await.expect("an answer");
        assert_eq!(answer.status(), 303, "{user} logs in");
        let line = answer.headers().get("set-cookie").expect("a cookie").to_str().expect("text");
        Self { fixture, cookie: line.split(';').next().expect("a pair").to_owned() }
    }

    async fn look(&self, path: &str) -> (StatusCode, String) {
        let get = http().get(self.fixture.http(path)).header("cookie", &self.cookie).header("accept", "text/html");
        let answer = get.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a page"))
    }

    async fn page(&self, path: &str) -> String {
        let (status, page) = self.look(path).await;
        assert_eq!(status, 200, "{path}: {page}");
        page
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String, String) {
        let post = http().post(self.fixture.http(path)).body(form(fields)).header("cookie", &self.cookie);
        // A browser says which site's page a form was on; with a cookie it must be this one's.
        let post = post.header("origin", self.fixture.http("").trim_end_matches('/'));
        let answer = post.header("content-type", "application/x-www-form-urlencoded").send().await.expect("an answer");
        let to = answer.headers().get("location").map_or("", |to| to.to_str().expect("an address")).to_owned();
        (answer.status().as_u16(), to, answer.text().await.expect("a page"))
    }

    /// A form that is taken, and the page where it leads.
    async fn done(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let (status, to, page) = self.send(path, fields).await;
        assert_eq!(status, 303, "{path}: {page}");
        self.page(&to).await
    }
}

/// A server whose first user was made on its page.
async fn with_ada() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    assert!(page(&fixture, "/people").await.contains("No user yet"));
    assert!(page(&fixture, "/account").await.contains("Add the first admin"));
    let (status, _, shown) =
        send(&fixture, "/people/users", &[("form", "user"), ("name", "ada"), ("password", "short"), ("role", "admin")])
            .await;
    assert!(status == 409 && shown.contains("value=\"ada\"") && shown.contains("/errors/S064"), "{shown}");
    let (status, to, _) =
        send(&fixture, "/people/users", &[("name", "ada"), ("password", PASSWORD), ("role", "admin")]).await;
    assert_eq!((status.as_u16(), to.as_str()), (303, "/login"), "from now on everybody has to log in");
    fixture
}

/// What stands as the secret of a page.
fn secret(page: &str) -> &str {
    page.split("class=\"secret mono\">").nth(1).and_then(|rest| rest.split('<').next()).expect("a secret")
}

#[tokio::test]
async fn users_and_teams_are_managed_on_pages() {
    let fixture = with_ada().await;
    let ada = Seat::of(&fixture, "ada", PASSWORD).await;
    let bob = [
        ("name", "bob"),
        ("password", PASSWORD),
        ("role", "operator"),
        ("cluster", "shop"),
        ("family-network", "true"),
    ];
    let shown = ada.done("/people/users", &bob).await;
    assert!(shown.contains("operator of cluster shop (network)") && shown.contains("<h1>bob</h1>"), "{shown}");
    let (status, _, shown) =
        ada.send("/people/users", &[("form", "user"), ("name", "b o b"), ("role", "viewer")]).await;
    assert!(status == 409 && shown.contains("value=\"b o b\"") && shown.contains("nothing was changed"), "{shown}");

    let shown = ada.done("/people/users/bob/give", &[("role", "viewer"), ("cluster", "")]).await;
    assert!(shown.contains("viewer of everything") && shown.contains("operator of cluster shop"), "{shown}");
    let taken = [("grant", "{\"role\":\"viewer\"}")];
    assert!(!ada.done("/people/users/bob/take", &taken).await.contains("<li>viewer of everything"));
    let (status, _, shown) = ada.send("/people/users/ada/take", &[("grant", "{\"role\":\"admin\"}")]).await;
    assert!(status == 409 && shown.contains("last admin"), "{shown}");

    let team = [("form", "team"), ("name", "dba"), ("members", "bob, nobody"), ("role", "viewer")];
    let (status, _, shown) = ada.send("/people/teams", &team).await;
    assert!(status == 409 && shown.contains(">bob, nobody</textarea>"), "{shown}");
    ada.done("/people/teams", &[("name", "dba"), ("members", "bob"), ("role", "viewer")]).await;
    let shown = ada.done("/people/teams/dba/join", &[("user", "ada")]).await;
    assert!(shown.contains("Take out ada"), "{shown}");
    assert!(!ada.done("/people/teams/dba/leave", &[("user", "ada")]).await.contains("Take out ada"));
    let shown = ada.done("/people/teams/dba/give", &[("role", "operator"), ("family-state", "true")]).await;
    assert!(shown.contains("operator of everything (state)"), "{shown}");
    assert!(ada.page("/people/users/bob").await.contains("from team <a href=\"/people/teams/dba\""));
    ada.done("/people/teams/dba/delete", &[]).await;
    assert_eq!(ada.look("/people/teams/dba").await.0, 404);

    assert!(ada.done("/people/users/bob/disable", &[]).await.contains("✖ may not log in"));
    anew(&fixture).log_in(&credentials("bob", PASSWORD)).await.expect_err("disabled");
    ada.done("/people/users/bob/enable", &[]).await;
    ada.done("/people/users/bob/password", &[("password", "another horse battery")]).await;
    let seat = Seat::of(&fixture, "bob", "another horse battery").await;
    for (path, allowed) in [("/people", false), ("/audit", false), ("/account", true)] {
        assert_eq!(seat.look(path).await.0 == 200, allowed, "{path}");
    }
    let first = seat.page("/").await;
    assert!(!first.contains("href=\"/people\"") && first.contains("href=\"/account\""), "{first}");
}

#[tokio::test]
async fn everybody_looks_after_their_own_account() {
    let fixture = with_ada().await;
    let ada = Seat::of(&fixture, "ada", PASSWORD).await;
    let (status, _, shown) =
        ada.send("/account/tokens", &[("label", "nightly <b>"), ("good_for", "9000d"), ("role", "viewer")]).await;
    assert!(status == 409 && shown.contains("nightly &#60;b&#62;") && shown.contains("value=\"9000d\""), "{shown}");
    let token = [("label", "nightly"), ("good_for", "1d"), ("role", "viewer")];
    let (status, _, shown) = ada.send("/account/tokens", &token).await;
    assert_eq!(status, 200);
    let script = anew(&fixture).with_credential(secret(&shown));
    assert_eq!(script.me().await.expect("good").token.map(|grants| grants.len()), Some(1));
    let shown = ada.page("/account").await;
    let id = shown.split("/account/tokens/").nth(1).and_then(|rest| rest.split('/').next()).expect("an id");
    assert!(ada.page("/people").await.contains(&format!("/people/tokens/{id}/revoke")));
    assert!(ada.done(&format!("/account/tokens/{id}/revoke"), &[]).await.contains("✖ revoked"));
    script.me().await.expect_err("revoked");

    let (status, _, shown) = ada.send("/account/codes", &[]).await;
    assert!(status == 200 && secret(&shown).len() >= 32 && shown.contains("otpauth://totp/firedrill:ada"), "{shown}");
    let (status, _, shown) = ada.send("/account/codes/confirm", &[("code", "000000")]).await;
    assert!(status == 409 && shown.contains("one-time code is wrong"), "{shown}");

    let (status, _, shown) = ada.send("/account/password", &[("old", "wrong"), ("new", "yet another horse")]).await;
    assert!(status == 409 && shown.contains("present password is wrong"), "{shown}");
    let (status, to, _) = ada.send("/account/password", &[("old", PASSWORD), ("new", "yet another horse")]).await;
    assert_eq!((status, to.as_str()), (303, "/login"));
    assert_ne!(ada.look("/account").await.0, 200, "the session has ended");
    Seat::of(&fixture, "ada", "yet another horse").await;
}

/// The number of the newest entry.
fn last_number(page: &str) -> usize {
    let row = page.split("<th scope=\"row\">").nth(1).and_then(|rest| rest.split('<').next());
    row.expect("an entry").parse().expect("a number")
}

#[tokio::test]
async fn the_audit_log_is_read_checked_and_taken_away() {
    let fixture = with_ada().await;
    let ada = Seat::of(&fixture, "ada", PASSWORD).await;
    for number in 0..120 {
        let (status, _, _) = ada.send("/people/users/nobody/disable", &[("n", &number.to_string())]).await;
        assert!(status == 404 || status == 429, "{status}");
    }
    let shown = ada.page("/audit").await;
    assert!(shown.matches("<th scope=\"row\">").count() == 100 && shown.contains("rel=\"next\""), "{shown}");
    let (mut seen, mut last) = (100, shown);
    while let Some(next) = last.split("rel=\"next\" href=\"").nth(1).and_then(|rest| rest.split('"').next()) {
        last = ada.page(&next.replace("&amp;", "&")).await;
        seen += last.matches("<th scope=\"row\">").count();
    }
    assert!(last.contains("user ada: admin of everything") && last.contains("<th scope=\"row\">1</th>"), "{last}");
    let newest = last_number(&ada.page("/audit").await);
    assert_eq!(seen, newest, "each entry is on one page");
    let found = ada.page("/audit?q=LOG-IN+ada&outcome=done").await;
    assert!(found.contains("log-in") && !found.contains("disable<"), "{found}");
    assert!(ada.page("/audit?q=no-such-thing").await.contains("None of the"));

    let shown = ada.page("/audit/check").await;
    assert!(shown.contains("entries hold together"), "{shown}");
    let head = shown.split("mono secret\">").nth(1).and_then(|rest| rest.split('<').next()).expect("a head");
    assert!(ada.page(&format!("/audit/check?head={head}")).await.contains("✔ The head that was noted"));
    let lost = ada.page(&format!("/audit/check?head={}", "f".repeat(64))).await;
    assert!(lost.contains("✖ The head that was noted"), "{lost}");

    let lines = ada.page("/audit/export").await;
    let mut check = firedrill_server::access::audit::Check::default();
    lines.lines().for_each(|line| check.next(&serde_json::from_str(line).expect("an entry")));
    let verified = check.finish();
    assert!(verified.broken.is_none() && verified.entries > 100, "{verified:?}");
}
