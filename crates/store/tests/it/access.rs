//! Users, sessions, API tokens and the audit log.

use crate::Fixture;
use firedrill_model::Timestamp;
use firedrill_model::access::{Grant, Role};
use firedrill_store::{AuditRow, SessionRecord, TokenRecord, UserRecord};
use sqlx::{Connection, SqliteConnection};

fn ada() -> UserRecord {
    UserRecord {
        name: "ada".parse().expect("a name"),
        password: "a hash".to_owned(),
        grants: vec![Grant::everywhere(Role::Admin)],
        disabled: false,
        totp: None,
        totp_on: false,
        created: Timestamp(1),
        last_login: None,
    }
}

fn session(created: i64) -> SessionRecord {
    let (created, expires) = (Timestamp(created), Timestamp(created + 100));
    SessionRecord { owner: ada().name, created, expires, last_used: created }
}

#[tokio::test]
pub(crate) async fn a_user_is_added_once_and_a_change_ends_their_sessions() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    assert!(!store.has_users().await.expect("read"));
    assert!(store.add_user(&ada()).await.expect("stored"));
    assert!(!store.add_user(&UserRecord { password: "another".into(), ..ada() }).await.expect("there is one"));
    store.add_session(&session(5), "one", 10).await.expect("stored");
    let seen = fixture.reopened().await.user(&ada().name).await.expect("read").expect("there");
    assert_eq!(seen, UserRecord { last_login: Some(Timestamp(5)), ..ada() });
    store.save_user(&UserRecord { disabled: true, ..ada() }).await.expect("stored");
    assert_eq!(store.session("one").await.expect("read"), None);
    assert!(store.users().await.expect("read")[0].disabled);
}

#[tokio::test]
pub(crate) async fn of_a_users_sessions_the_newest_are_kept() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.add_user(&ada()).await.expect("stored");
    for (at, hash) in [(1, "one"), (2, "two"), (3, "three")] {
        store.add_session(&session(at), hash, 2).await.expect("stored");
    }
    assert_eq!(store.session("one").await.expect("read"), None);
    assert_eq!(store.session("three").await.expect("read"), Some(session(3)));
    store.add_session(&session(1000), "late", 2).await.expect("stored");
    assert_eq!(store.session("three").await.expect("read"), None, "it was over");
}

#[tokio::test]
pub(crate) async fn a_token_reads_back_and_a_code_is_used_once() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.add_user(&ada()).await.expect("stored");
    let token = TokenRecord {
        id: "t-1".to_owned(),
        label: "nightly".to_owned(),
        owner: ada().name,
        grants: ada().grants,
        created: Timestamp(1),
        expires: Timestamp(9),
        last_used: None,
        revoked: false,
    };
    store.add_api_token(&token, "hash").await.expect("stored");
    store.api_token_used("t-1", Timestamp(3)).await.expect("stored");
    store.revoke_api_token("t-1").await.expect("stored");
    let token = TokenRecord { last_used: Some(Timestamp(3)), revoked: true, ..token };
    assert_eq!(store.api_token_by_hash("hash").await.expect("read"), Some(token.clone()));
    assert_eq!(store.api_tokens(Some(&ada().name)).await.expect("read"), [token]);
    assert_eq!(store.api_tokens(Some(&"bob".parse().expect("a name"))).await.expect("read"), []);
    let steps = [(5, true), (5, false), (4, false), (6, true)];
    for (step, first) in steps {
        assert_eq!(store.use_totp_step(&ada().name, step).await.expect("stored"), first, "{step}");
    }
}

#[tokio::test]
async fn the_audit_log_only_grows() {
    let fixture = Fixture::new().await;
    for text in ["first", "second"] {
        let make = |newest: Option<&AuditRow>| AuditRow {
            sequence: newest.map_or(1, |row| row.sequence + 1),
            entry: text.to_owned(),
            hash: newest.map_or_else(String::new, |row| format!("after {}", row.entry)),
        };
        fixture.store.append_audit(make).await.expect("stored");
    }
    let rows = fixture.store.audit_after(0, 10).await.expect("read");
    assert_eq!(
        rows.iter().map(|row| (row.sequence, row.hash.as_str())).collect::<Vec<_>>(),
        [(1, ""), (2, "after first")]
    );
    assert_eq!(fixture.store.newest_audit(1).await.expect("read"), rows[1..]);
    let url = format!("sqlite://{}", fixture.path().display());
    let mut other = SqliteConnection::connect(&url).await.expect("opened");
    for statement in ["UPDATE audit SET entry = 'forged'", "DELETE FROM audit WHERE sequence = 2"] {
        let refused = sqlx::query(statement).execute(&mut other).await.expect_err("append-only");
        assert!(refused.to_string().contains("append-only"), "{statement}: {refused}");
    }
}
