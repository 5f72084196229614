//! Log-in by OpenID Connect, against an identity provider of the test's own.

use crate::access::{add, anew, http, logged_in, name};
use crate::fixture::{Fixture, config};
use crate::identity_provider::{IdentityProvider, Script};
use firedrill_api::client::Client;
use firedrill_model::access::{Grant, Role};
use firedrill_server::{StartError, start};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Response, StatusCode, Url};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "a secret of the client/+";

/// A server with an admin `ada`, whose people come from that provider.
async fn set_up(provider: &IdentityProvider, more: Value) -> (Fixture, Client) {
    let issuer = provider.issuer();
    let fixture = Fixture::with(|dir| {
        let data = dir.path().join("data");
        std::fs::create_dir_all(&data).expect("made");
        let secret = dir.path().join("openid.secret");
        std::fs::write(&secret, format!("{SECRET}\n")).expect("written");
        let mut settings = json!({
            "issuer": issuer, "client_id": "firedrill", "client_secret_file": secret, "label": "Example",
            "redirect": "http://127.0.0.1:7070/login/openid/return", "make_users": true,
            "groups": {"dba": [{"role": "admin"}], "dev": [{"role": "viewer"}]},
        });
        for (name, value) in more.as_object().cloned().unwrap_or_default() {
            settings[name] = value;
        }
        std::fs::write(data.join("openid.json"), settings.to_string()).expect("written");
        config(dir)
    })
    .await;
    add(&fixture.client, "ada", vec![Grant::everywhere(Role::Admin)]).await;
    let admin = logged_in(&fixture, "ada").await;
    (fixture, admin)
}

/// A browser, as far as this needs one.
struct Browser<'f> {
    fixture: &'f Fixture,
    /// What it keeps for the way back.
    cookie: String,
    /// What it was sent to the provider with.
    sent: BTreeMap<String, String>,
}

impl<'f> Browser<'f> {
    async fn begin(fixture: &'f Fixture) -> Self {
        let answer = http().get(fixture.http("/login/openid?next=/clusters/shop")).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let cookie = cookies(&answer).remove(0);
        let address = answer.headers()[LOCATION].to_str().expect("text");
        let url = Url::parse(address).expect("an address");
        let sent = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Self { fixture, cookie, sent }
    }

    async fn come_back(&self, code: &str, state: &str) -> Response {
        let mut url = Url::parse(&self.fixture.http("/login/openid/return")).expect("an address");
        url.query_pairs_mut().append_pair("code", code).append_pair("state", state);
        http().get(url).header(COOKIE, &self.cookie).send().await.expect("an answer")
    }
}

/// What would be sent back, of each cookie that was set.
fn cookies(answer: &Response) -> Vec<String> {
    let all = answer.headers().get_all(SET_COOKIE).iter().map(|value| value.to_str().expect("text").to_owned());
    all.map(|line| line.split(';').next().unwrap_or_default().to_owned()).collect()
}

/// The whole way; the session that comes of it, or the page that says why there is none.
async fn log_in(fixture: &Fixture, provider: &IdentityProvider) -> Result<Client, String> {
    let browser = Browser::begin(fixture).await;
    let code = provider.logs_in(&browser.sent);
    let answer = browser.come_back(&code, &browser.sent["state"]).await;
    let (status, cookies) = (answer.status(), cookies(&answer));
    let page = answer.text().await.expect("a page");
    let session = cookies.iter().find_map(|cookie| cookie.strip_prefix("firedrill-session="));
    match session {
        Some(secret) => {
            assert_eq!(status, StatusCode::OK);
            assert!(page.contains("url=/clusters/shop"), "{page}");
            Ok(anew(fixture).with_credential(secret))
        }
        None => {
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{page}");
            Err(page)
        }
    }
}

#[tokio::test]
async fn a_person_of_the_provider_becomes_a_user_with_what_their_groups_give() {
    let provider = IdentityProvider::start(SECRET).await;
    let (fixture, admin) = set_up(&provider, json!({})).await;
    let page = http().get(fixture.http("/login?next=/runs/r-1")).send().await.expect("a page").text().await;
    let page = page.expect("text");
    assert!(page.contains("Log in with Example") && page.contains("/login/openid?next=/runs/r-1"), "{page}");

    provider.says(Script::of(json!({"sub": "7", "preferred_username": "Bob@example.org", "groups": ["dev", "x"]})));
    let bob = log_in(&fixture, &provider).await.expect("let in");
    let me = bob.me().await.expect("known");
    assert_eq!((me.name.as_str(), me.grants), ("bob", vec![Grant::everywhere(Role::Viewer)]));

    // The same person by another name and with another group.
    provider.says(Script::of(json!({"sub": "7", "preferred_username": "robert", "groups": "dba"})));
    let again = log_in(&fixture, &provider).await.expect("let in");
    let me = again.me().await.expect("known");
    assert_eq!((me.name.as_str(), me.grants), ("bob", vec![Grant::everywhere(Role::Admin)]));
    assert!(bob.me().await.is_err(), "what they may do has changed, so the session before is over");

    let entries = admin.audit(None, 1000).await.expect("entries");
    let said: Vec<&str> =
        entries.iter().map(|entry| entry.entry.as_str()).filter(|one| one.contains("OpenID")).collect();
    assert!(said[0].contains("user bob was made") && said[1].contains("may now"), "{said:#?}");
    let kept = std::fs::read(fixture.dir.path().join("data/firedrill.db")).expect("read");
    assert!(!kept.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
}

#[tokio::test]
async fn what_is_wrong_with_a_statement_keeps_its_person_out() {
    let provider = IdentityProvider::start(SECRET).await;
    let (fixture, admin) = set_up(&provider, json!({})).await;
    let good = Script::of(json!({"sub": "7", "preferred_username": "bob", "groups": ["dev"]}));
    let claim = |name: &str, value: Value| {
        let mut script = good.clone();
        script.claims[name] = value;
        script
    };
    let now = firedrill_server::clock::now().0 / 1_000_000;
    for (script, says) in [
        (claim("aud", json!("another")), "for another application"),
        (claim("nonce", json!("another")), "belongs to another log-in"),
        (claim("iss", json!("https://evil.example")), "not from the provider"),
        (claim("exp", json!(now - 120)), "expired"),
        (claim("sub", json!("")), "does not say who"),
        (Script { unsigned: true, ..good.clone() }, "which is not taken"),
        (Script { forged: true, ..good.clone() }, "signature"),
        (Script { refuses: true, ..good.clone() }, "S141"),
        (claim("groups", json!(["others"])), "is no user of this server"),
        (claim("preferred_username", json!("ada")), "another user ada already"),
        (claim("preferred_username", json!("...")), "no name that could be one"),
    ] {
        provider.says(script);
        let page = log_in(&fixture, &provider).await.expect_err("kept out");
        let (page, says) = (
            page.replace("&#39;", "'").replace("&#34;", "\""),
            says.replace("not from the provider", "not from the provider that was asked"),
        );
        assert!(page.contains(&says), "{says}: {page}");
    }
    assert_eq!(admin.users().await.expect("users").len(), 1);
    let entries = admin.audit(None, 1000).await.expect("entries");
    assert!(entries.iter().filter(|entry| entry.entry.contains("denied")).count() >= 11);
}

#[tokio::test]
async fn only_the_browser_that_began_comes_to_an_end() {
    let provider = IdentityProvider::start(SECRET).await;
    let (fixture, _) = set_up(&provider, json!({})).await;
    provider.says(Script::of(json!({"sub": "7", "preferred_username": "bob", "groups": ["dev"]})));
    let (mine, other) = (Browser::begin(&fixture).await, Browser::begin(&fixture).await);
    let code = provider.logs_in(&other.sent);
    let no_cookie = Browser { cookie: String::new(), ..Browser::begin(&fixture).await };
    let made_up = Browser { cookie: "firedrill-openid=00".to_owned(), ..Browser::begin(&fixture).await };
    for (browser, state) in [
        (&mine, other.sent["state"].as_str()),
        (&mine, ""),
        (&no_cookie, other.sent["state"].as_str()),
        (&made_up, other.sent["state"].as_str()),
        // The other's code with one's own state: the code was made for another verifier.
        (&mine, mine.sent["state"].as_str()),
    ] {
        let answer = browser.come_back(&code, state).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(!cookies(&answer).iter().any(|cookie| cookie.starts_with("firedrill-session=")));
    }
    let code = provider.logs_in(&other.sent);
    assert_eq!(other.come_back(&code, &other.sent["state"]).await.status(), StatusCode::OK);
    let replayed = other.come_back(&code, &other.sent["state"]).await;
    assert_eq!(replayed.status(), StatusCode::UNAUTHORIZED, "a code is good once");
}

#[tokio::test]
async fn a_key_that_rotates_is_found() {
    let provider = IdentityProvider::start(SECRET).await;
    let (fixture, _) = set_up(&provider, json!({})).await;
    provider.says(Script::of(json!({"sub": "7", "preferred_username": "bob", "groups": ["dev"]})));
    log_in(&fixture, &provider).await.expect("let in");
    provider.rotate();
    // Keys are not asked for more often than once a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    log_in(&fixture, &provider).await.expect("let in with the new key");
}

#[tokio::test]
async fn disabled_users_stay_out_and_the_last_admin_stays_admin() {
    let provider = IdentityProvider::start(SECRET).await;
    let users = json!({"users": {"1": "ada"}});
    let (fixture, admin) = set_up(&provider, users).await;
    // One that an administrator has linked keeps what they were given here.
    provider.says(Script::of(json!({"sub": "1", "preferred_username": "whoever", "groups": ["dev"]})));
    let ada = log_in(&fixture, &provider).await.expect("let in").me().await.expect("known");
    assert_eq!((ada.name.as_str(), ada.grants), ("ada", vec![Grant::everywhere(Role::Admin)]));

    provider.says(Script::of(json!({"sub": "7", "preferred_username": "bob", "groups": ["dba"]})));
    let bob = log_in(&fixture, &provider).await.expect("let in");
    bob.disable_user(&name("ada"), true).await.expect("there is another admin");
    provider.says(Script::of(json!({"sub": "1"})));
    assert!(log_in(&fixture, &provider).await.expect_err("disabled").contains("user ada is disabled"));
    assert!(admin.me().await.is_err());

    // Their groups give bob nothing any more; somebody must be able to manage users.
    provider.says(Script::of(json!({"sub": "7", "groups": []})));
    let bob = log_in(&fixture, &provider).await.expect("let in");
    assert_eq!(bob.me().await.expect("known").grants, [Grant::everywhere(Role::Admin)]);
    bob.disable_user(&name("ada"), false).await.expect("enabled");
    let bob = log_in(&fixture, &provider).await.expect("let in");
    assert!(bob.me().await.expect("known").grants.is_empty());
    logged_in(&fixture, "ada").await.disable_user(&name("bob"), true).await.expect("disabled");
    assert!(log_in(&fixture, &provider).await.expect_err("disabled").contains("user bob is disabled"));
}

#[tokio::test]
async fn without_settings_there_is_no_such_log_in_and_bad_ones_keep_the_server_from_starting() {
    let fixture = Fixture::new().await;
    add(&fixture.client, "ada", vec![Grant::everywhere(Role::Admin)]).await;
    let answer = http().get(fixture.http("/login/openid")).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let page = http().get(fixture.http("/login")).send().await.expect("a page").text().await.expect("text");
    assert!(!page.contains("openid"), "{page}");

    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    std::fs::create_dir_all(&data).expect("made");
    let bad =
        r#"{"issuer": "http://id.example", "client_id": "x", "redirect": "https://x.example/login/openid/return"}"#;
    std::fs::write(data.join("openid.json"), bad).expect("written");
    let error = start(config(&dir), CancellationToken::new()).await.expect_err("not started");
    assert!(matches!(error, StartError::OpenId(_)), "{error:?}");
    assert_eq!(error.code(), "S140");
}
