//! Which of several servers acts, on a real PostgreSQL.

use crate::{cluster, event};
use firedrill_model::Timestamp;
use firedrill_played::Postgres;
use firedrill_store::{AuditRow, Contender, Epoch, KeeperCommit, Lease, PostgresUrl, Store, StoreError};
use std::time::{Duration, Instant};

const LASTING: Duration = Duration::from_millis(700);
const LONG: Duration = Duration::from_secs(600);
/// Nothing here takes longer.
const WITHIN: Duration = Duration::from_secs(20);

fn server(name: &str) -> Contender {
    Contender { id: name.to_owned(), http: format!("http://{name}"), identity: "same".to_owned() }
}

struct Fixture {
    server: Postgres,
    url: PostgresUrl,
}

impl Fixture {
    fn new() -> Self {
        let server = Postgres::start().expect("a server");
        let url = server.database("fd").expect("a database").parse().expect("an address");
        Self { server, url }
    }

    async fn lease(&self) -> Lease {
        Lease::connect(&self.url).await.expect("reached")
    }
}

/// Asks until it is given.
async fn taken(lease: &Lease, by: &str, lasting: Duration) -> Epoch {
    let began = Instant::now();
    loop {
        if let Some(epoch) = lease.take(&server(by), lasting).await.expect("answered") {
            return epoch;
        }
        assert!(began.elapsed() < WITHIN, "waited in vain for the lease");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn one_acts_until_it_says_so_no_more() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.lease().await, fixture.lease().await);
    assert_eq!(one.acting().await.expect("read"), None);
    let first = taken(&one, "one", LASTING).await;
    assert_eq!(first, Epoch(1));
    assert_eq!(two.take(&server("two"), LASTING).await.expect("answered"), None);
    let acting = two.acting().await.expect("read").expect("one does");
    assert!(acting.server == server("one") && acting.epoch == first && acting.remaining > Duration::ZERO, "{acting:?}");

    let began = Instant::now();
    while began.elapsed() < LASTING * 2 {
        assert!(one.renew(first, LASTING).await.expect("answered"));
        assert_eq!(two.take(&server("two"), LASTING).await.expect("answered"), None);
    }
    let stranger = Contender { identity: "other".to_owned(), ..server("stranger") };
    let waited = Instant::now();
    while two.acting().await.expect("read").is_some_and(|acting| !acting.remaining.is_zero()) {
        assert!(waited.elapsed() < WITHIN, "it does not end");
    }
    assert_eq!(two.take(&stranger, LONG).await.expect("answered"), None, "it has other keys");
    assert_eq!(taken(&two, "two", LONG).await, Epoch(2));
    assert!(!one.renew(first, LASTING).await.expect("answered"), "it is over");
    one.release(first).await.expect("answered");
    assert_eq!(
        one.take(&server("one"), LASTING).await.expect("answered"),
        None,
        "the release of an old epoch does nothing"
    );
    two.release(Epoch(2)).await.expect("answered");
    assert_eq!(one.take(&server("one"), LASTING).await.expect("answered"), Some(Epoch(3)), "at once");
}

#[tokio::test]
async fn of_many_at_once_one_is_given_it() {
    let fixture = Fixture::new();
    let mut leases = Vec::new();
    for _ in 0..6 {
        leases.push(fixture.lease().await);
    }
    let tries = leases.into_iter().enumerate().map(|(number, lease)| {
        tokio::spawn(async move { lease.take(&server(&number.to_string()), LONG).await.expect("answered") })
    });
    let tries: Vec<_> = tries.collect();
    let mut given = 0;
    for one in tries {
        given += usize::from(one.await.expect("ran").is_some());
    }
    assert_eq!(given, 1);
}

#[tokio::test]
async fn who_is_deposed_writes_nothing_any_more() {
    let fixture = Fixture::new();
    let lease = fixture.lease().await;
    let first = taken(&lease, "one", Duration::ZERO).await;
    let deposed = Store::open_shared(&fixture.url, first).await.expect("a store");
    deposed.append_event(&event("before", None, None)).await.expect("it acts");
    let second = taken(&lease, "two", LONG).await;
    let acting = Store::open_shared(&fixture.url, second).await.expect("a store");

    let name = cluster("shop");
    let commit = KeeperCommit { cluster: &name, state: Some((7, "{}")), operations: &[], notes: &[] };
    let errors = [
        deposed.append_event(&event("after", None, None)).await.expect_err("an ordinary statement"),
        deposed.commit_keeper(commit).await.expect_err("a decision"),
        deposed.set_halt("why", Timestamp(1)).await.expect_err("a durable statement"),
        deposed.clear_halt().await.expect_err("also when there is nothing to remove"),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::Deposed { .. }), "{error:?}");
        assert!(error.to_string().contains("another server has taken over"), "{error}");
    }
    acting.commit_keeper(commit).await.expect("it acts");
    assert_eq!(deposed.newest_sequence().await.expect("reading is allowed"), 1);
    assert_eq!(acting.halt().await.expect("read"), None);
    // A person with the database's own tools is not kept from anything.
    fixture.server.sql("fd", "DELETE FROM keepers").expect("removed");
}

#[tokio::test]
async fn the_audit_log_only_grows() {
    let fixture = Fixture::new();
    let first = taken(&fixture.lease().await, "one", LONG).await;
    let store = Store::open_shared(&fixture.url, first).await.expect("a store");
    let row = |_: Option<&AuditRow>| AuditRow { sequence: 1, entry: "entry".to_owned(), hash: "hash".to_owned() };
    store.append_audit(row).await.expect("stored");
    for statement in ["UPDATE audit SET entry = 'forged'", "DELETE FROM audit", "TRUNCATE audit"] {
        let refused = fixture.server.sql("fd", statement).expect_err("append-only").to_string();
        assert!(refused.contains("append-only"), "{statement}: {refused}");
    }
}

#[tokio::test]
async fn a_server_that_freezes_in_a_transaction_does_not_keep_the_next_one_from_acting() {
    let fixture = Fixture::new();
    let lease = fixture.lease().await;
    let first = taken(&lease, "one", LASTING).await;
    Store::open_shared(&fixture.url, first).await.expect("a store");
    // What a frozen server leaves behind: a transaction of its epoch that has written and never ends.
    let mut frozen = sqlx_connection(&fixture, first).await;
    sqlx::query("BEGIN").execute(&mut frozen).await.expect("begun");
    sqlx::query("DELETE FROM keepers").execute(&mut frozen).await.expect("it acts still");
    let began = Instant::now();
    // While it holds its lock, the question itself ends in vain.
    let epoch = loop {
        match lease.take(&server("two"), LONG).await {
            Ok(Some(epoch)) => break epoch,
            Ok(None) => {}
            Err(error) => assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}"),
        }
        assert!(began.elapsed() < WITHIN, "waited in vain for the lease");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(epoch, Epoch(2));
    assert!(sqlx::query("COMMIT").execute(&mut frozen).await.is_err(), "its session has ended");
}

async fn sqlx_connection(fixture: &Fixture, epoch: Epoch) -> sqlx::PgConnection {
    use sqlx::Connection;
    let socket = fixture.server.sql("fd", "SHOW unix_socket_directories").expect("read");
    let url = format!("postgres://firedrill@localhost/fd?host={socket}");
    let mut connection = sqlx::PgConnection::connect(&url).await.expect("reached");
    let session = format!("SET application_name = 'firedrill/{epoch}'; SET idle_in_transaction_session_timeout = 1500");
    sqlx::raw_sql(sqlx::AssertSqlSafe(session)).execute(&mut connection).await.expect("set up");
    connection
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    let lease = fixture.lease().await;
    let first = taken(&lease, "one", LONG).await;
    Store::open_shared(&fixture.url, first).await.expect("a store");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of tomorrow', true, '', 0)";
    fixture.server.sql("fd", newer).expect("written");
    for error in [
        Store::open_shared(&fixture.url, first).await.expect_err("newer"),
        Lease::connect(&fixture.url).await.expect_err("newer"),
        lease.version().await.expect_err("newer"),
    ] {
        assert!(matches!(error, StoreError::OtherVersion { .. }), "{error:?}");
        assert!(error.to_string().contains("run the newer version"), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_named_without_its_password() {
    let url: PostgresUrl = "postgres://drill:hush@127.0.0.1:1/fd".parse().expect("an address");
    let error = Lease::connect(&url).await.expect_err("nobody listens");
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(
        error.to_string().contains("postgres://drill@127.0.0.1:1/fd") && !error.to_string().contains("hush"),
        "{error}"
    );
}

#[tokio::test]
async fn connections_come_back_after_the_database_did() {
    let mut fixture = Fixture::new();
    let lease = fixture.lease().await;
    let first = taken(&lease, "one", LONG).await;
    let store = Store::open_shared(&fixture.url, first).await.expect("a store");
    store.append_event(&event("before", None, None)).await.expect("stored");
    fixture.server.stop();
    assert!(store.append_event(&event("meanwhile", None, None)).await.is_err());
    fixture.server.run().expect("starts");
    store.append_event(&event("after", None, None)).await.expect("stored");
    assert!(lease.renew(first, LONG).await.expect("answered"));
}
