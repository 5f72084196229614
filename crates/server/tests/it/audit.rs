//! What is written down about who did what; and the browser's way in.

use crate::access::{PASSWORD, add, anew, closed, code, credentials, filled_form, http, logged_in, name, on};
use firedrill_api::access::{AuditOutcome, AuditRecord, Code};
use firedrill_model::UserName;
use firedrill_model::access::{Grant, Role};

async fn records(admin: &firedrill_api::client::Client) -> Vec<AuditRecord> {
    let entries = admin.audit(Some(0), 1000).await.expect("entries");
    entries.iter().map(|entry| serde_json::from_str(&entry.entry).expect("a record")).collect()
}

#[tokio::test]
async fn actions_denials_log_ins_and_overrides_are_written_down() {
    let (fixture, admin) = closed().await;
    add(&admin, "bob", vec![on(Role::Viewer, "shop")]).await;
    let bob = logged_in(&fixture, "bob").await;
    bob.halt("smoke").await.expect("halted");
    assert_eq!(code(&bob.resume("no").await.expect_err("a viewer")), "S061");
    anew(&fixture).log_in(&credentials("mallory", PASSWORD)).await.expect_err("nobody");
    let promote = firedrill_keeper::Request::Promote { to: Some(name("east-2")), without_proof: true };
    let _ = admin.request(&name("shop"), &promote).await;

    let seen = records(&admin).await;
    let has = |who: &str, call: &str, outcome: AuditOutcome, detail: &str| {
        let found = seen.iter().any(|record| {
            record.who == who && record.call == call && record.outcome == outcome && record.detail.contains(detail)
        });
        assert!(found, "{who} {call} {outcome:?} {detail}: {seen:#?}");
    };
    has("local", "POST /api/v1/users", AuditOutcome::Done, "user ada: admin of everything");
    has("bob", "log-in", AuditOutcome::Done, "");
    has("bob", "POST /api/v1/halt", AuditOutcome::Asked, "");
    has("bob", "POST /api/v1/halt", AuditOutcome::Done, "");
    has("bob", "POST /api/v1/resume", AuditOutcome::Denied, "that needs the role operator");
    has("mallory", "log-in", AuditOutcome::Denied, "name or password");
    has("ada", "POST /api/v1/clusters/shop/requests", AuditOutcome::Asked, "");
    assert!(seen.iter().any(|record| record.detail.contains("override: acknowledged writes may be missing")));
    assert!(seen.iter().all(|record| record.from == "127.0.0.1"), "{seen:#?}");
    let text = format!("{seen:?}");
    assert!(!text.contains(PASSWORD), "a password is in the audit log");

    let verified = admin.verify_audit().await.expect("checked");
    assert!(verified.broken.is_none() && verified.entries >= seen.len() as u64, "{verified:?}");
    assert_eq!(code(&bob.audit(None, 10).await.expect_err("a viewer")), "S061");
}

#[tokio::test]
async fn a_one_time_code_is_needed_and_good_once() {
    let (fixture, admin) = closed().await;
    let ada: UserName = name("ada");
    admin.make_totp(&ada).await.expect("a key");
    let wrong = admin.confirm_totp(&ada, &Code { code: "000000".into() }).await;
    assert_eq!(code(&wrong.expect_err("one in a million")), "S062");
    // Not confirmed, so it does not count yet.
    logged_in(&fixture, "ada").await.remove_totp(&ada).await.expect("removed");
    logged_in(&fixture, "ada").await;
    add(&admin, "bob", vec![Grant::everywhere(Role::Admin)]).await;
    assert_eq!(code(&admin.make_totp(&name("bob")).await.expect_err("another's telephone")), "S064");
}

#[tokio::test]
async fn a_browser_logs_in_and_other_sites_do_not_act_for_it() {
    let (fixture, admin) = closed().await;
    let http = http();
    let page = http.get(fixture.http("/runs/none")).send().await.expect("an answer");
    assert_eq!(page.headers()["location"], "/login?next=/runs/none");
    let page = http.get(fixture.http("/login")).send().await.expect("an answer");
    for (header, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.headers()[header], value);
    }
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let text = page.text().await.expect("a page");
    assert!(text.contains("autocomplete=\"current-password\"") && text.contains("<label for=\"user\">"), "{text}");

    let log_in = |form: String| {
        let call = http.post(fixture.http("/login")).header("content-type", "application/x-www-form-urlencoded");
        call.body(form).send()
    };
    let wrong = log_in(filled_form("ada", "wrong", "")).await.expect("an answer");
    assert!(wrong.status() == 401 && wrong.text().await.expect("a page").contains("role=\"alert\""));
    let right = log_in(filled_form("ada", PASSWORD, "//evil.example")).await.expect("an answer");
    assert_eq!((right.status().as_u16(), &right.headers()["location"]), (303, &"/".parse().expect("a header")));
    let line = right.headers()["set-cookie"].to_str().expect("text").to_owned();
    assert!(line.contains("HttpOnly") && line.contains("SameSite=Strict"), "{line}");
    let cookie = line.split(';').next().expect("a pair").to_owned();

    let page = http.get(fixture.http("/")).header("cookie", &cookie).send().await.expect("an answer");
    assert_eq!(page.status(), 200);
    assert!(page.text().await.expect("a page").contains("ada"));
    let halt = |origin: Option<String>| {
        let call = http.post(fixture.http("/halt")).header("cookie", &cookie);
        origin.into_iter().fold(call, |call, origin| call.header("origin", origin)).send()
    };
    for origin in [None, Some("http://evil.example".to_owned()), Some("null".to_owned())] {
        assert_eq!(halt(origin).await.expect("an answer").status(), 403);
        assert_eq!(fixture.server().halted(), None);
    }
    let answer = halt(Some(fixture.http(""))).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (303, &"/".parse().expect("a header")));
    assert!(fixture.server().halted().is_some());
    admin.resume("done").await.expect("resumed");
}
