//! Tokens are good once, for one host, for a while.

use crate::Fixture;
use firedrill_model::{HostName, Timestamp};
use firedrill_store::{NewCertificate, Revocation, Store, TokenUse};

fn host(name: &str) -> HostName {
    name.parse().expect("a name")
}

#[tokio::test]
pub(crate) async fn a_token_is_good_once_for_its_host_and_in_time() {
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    let (east, west) = (host("east-1"), host("west-1"));
    store.add_token("hash", &east, Timestamp(100), Timestamp(0)).await.expect("stored");
    let used = |hash: &'static str, host: HostName, now| {
        let store = store.clone();
        async move {
            let certificate = format!("fingerprint-{now}");
            store.use_token(hash, &host, new(&certificate), Timestamp(now)).await.expect("answered")
        }
    };
    assert_eq!(used("wrong", east.clone(), 1).await, TokenUse::Unknown);
    assert_eq!(used("hash", west.clone(), 2).await, TokenUse::OtherHost(east.clone()));
    assert_eq!(used("hash", east.clone(), 101).await, TokenUse::Expired(east.clone(), Timestamp(100)));
    assert!(store.certificates().await.expect("read").is_empty(), "a refused token makes no certificate");
    assert_eq!(used("hash", east.clone(), 3).await, TokenUse::Accepted);
    assert_eq!(used("hash", east.clone(), 4).await, TokenUse::Used(east.clone(), Timestamp(3)));
    assert_eq!(in_force(&store).await, ["fingerprint-3"]);
}

#[tokio::test]
pub(crate) async fn of_two_at_once_one_is_accepted() {
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    let east = host("east-1");
    store.add_token("hash", &east, Timestamp(100), Timestamp(0)).await.expect("stored");
    let tries: Vec<_> = (0..8)
        .map(|number| {
            let (store, east) = (store.clone(), east.clone());
            tokio::spawn(async move { store.use_token("hash", &east, new(&format!("f{number}")), Timestamp(1)).await })
        })
        .collect();
    let mut accepted = 0;
    for one in tries {
        accepted += usize::from(one.await.expect("ended").expect("answered") == TokenUse::Accepted);
    }
    assert_eq!(accepted, 1);
}

/// The fingerprints of all certificates in force.
async fn in_force(store: &Store) -> Vec<String> {
    store.certificates().await.expect("read").into_iter().map(|one| one.fingerprint).collect()
}

fn new(fingerprint: &str) -> NewCertificate<'_> {
    NewCertificate { fingerprint, expires: Timestamp(1000) }
}

async fn enrolled(store: &Store, host: &HostName, token: &str, fingerprint: &str) {
    store.add_token(token, host, Timestamp(100), Timestamp(0)).await.expect("stored");
    let used = store.use_token(token, host, new(fingerprint), Timestamp(1)).await.expect("answered");
    assert_eq!(used, TokenUse::Accepted);
}

#[tokio::test]
pub(crate) async fn enrolling_anew_takes_what_was_before_out_of_force() {
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    let (east, west) = (host("east-1"), host("west-1"));
    enrolled(&store, &west, "zero", "other").await;
    for (token, fingerprint) in [("one", "first"), ("two", "second")] {
        // At the same microsecond, even.
        enrolled(&store, &east, token, fingerprint).await;
    }
    assert_eq!(in_force(&store).await, ["second", "other"]);
}

#[tokio::test]
pub(crate) async fn the_old_certificate_is_good_until_the_new_one_is_used() {
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    let east = host("east-1");
    enrolled(&store, &east, "one", "first").await;
    let renew = async |present: &str, fingerprint: &str| {
        store.renew_certificate(&east, present, new(fingerprint), Timestamp(2)).await.expect("stored")
    };
    assert!(!renew("made-up", "lost").await);
    assert!(renew("first", "second").await);
    assert_eq!(in_force(&store).await, ["first", "second"]);
    // The answer was lost, and the agent asks again.
    assert!(renew("first", "third").await);
    assert_eq!(in_force(&store).await, ["first", "third"]);
    assert!(!store.use_certificate(&east, "second", Timestamp(3)).await.expect("answered"));
    assert!(store.use_certificate(&east, "third", Timestamp(3)).await.expect("answered"));
    assert_eq!(in_force(&store).await, ["third"]);
    assert!(!renew("first", "late").await);
    let third = store.certificate(&east, "third").await.expect("read").expect("in force");
    assert_eq!((third.used, third.expires), (Some(Timestamp(3)), Some(Timestamp(1000))));
    assert_eq!(store.certificate(&host("west-1"), "third").await.expect("read"), None, "it is another host's");
}

#[tokio::test]
pub(crate) async fn a_revoked_host_needs_a_token_that_was_made_later() {
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    let east = host("east-1");
    enrolled(&store, &east, "one", "first").await;
    store.add_token("before", &east, Timestamp(100), Timestamp(2)).await.expect("stored");
    let revocation =
        Revocation { host: east.clone(), at: Timestamp(3), by: "ada".to_owned(), reason: "stolen".to_owned() };
    store.revoke_host(&revocation).await.expect("stored");
    store.revoke_host(&Revocation { by: "bob".to_owned(), ..revocation.clone() }).await.expect("a second time");
    assert!(in_force(&store).await.is_empty());
    assert_eq!(store.revocation(&east).await.expect("read"), Some(revocation.clone()));
    assert_eq!(store.revocations().await.expect("read"), [revocation]);
    let used = store.use_token("before", &east, new("second"), Timestamp(4)).await.expect("answered");
    assert_eq!(used, TokenUse::Expired(east.clone(), Timestamp(2)));
    enrolled(&store, &east, "after", "third").await;
    assert_eq!(in_force(&store).await, ["third"]);
    assert_eq!(store.revocation(&east).await.expect("read"), None);
}
