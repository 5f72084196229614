//! Tokens are good once, for one host, for a while.

use crate::Fixture;
use firedrill_model::{HostName, Timestamp};
use firedrill_store::TokenUse;

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
        async move { store.use_token(hash, &host, &format!("fingerprint-{now}"), Timestamp(now)).await.expect("answered") }
    };
    assert_eq!(used("wrong", east.clone(), 1).await, TokenUse::Unknown);
    assert_eq!(used("hash", west.clone(), 2).await, TokenUse::OtherHost(east.clone()));
    assert_eq!(used("hash", east.clone(), 101).await, TokenUse::Expired(east.clone(), Timestamp(100)));
    assert_eq!(store.certificate_of(&east).await.expect("read"), None, "a refused token makes no certificate");
    assert_eq!(used("hash", east.clone(), 3).await, TokenUse::Accepted);
    assert_eq!(used("hash", east.clone(), 4).await, TokenUse::Used(east.clone(), Timestamp(3)));
    assert_eq!(store.certificate_of(&east).await.expect("read").as_deref(), Some("fingerprint-3"));
}

#[tokio::test]
pub(crate) async fn of_two_at_once_one_is_accepted() {
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    let east = host("east-1");
    store.add_token("hash", &east, Timestamp(100), Timestamp(0)).await.expect("stored");
    let tries: Vec<_> = (0..8)
        .map(|number| {
            let (store, east) = (store.clone(), east.clone());
            tokio::spawn(async move { store.use_token("hash", &east, &format!("f{number}"), Timestamp(1)).await })
        })
        .collect();
    let mut accepted = 0;
    for one in tries {
        accepted += usize::from(one.await.expect("ended").expect("answered") == TokenUse::Accepted);
    }
    assert_eq!(accepted, 1);
}

#[tokio::test]
pub(crate) async fn the_newest_certificate_counts() {
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    let east = host("east-1");
    for (hash, fingerprint) in [("one", "first"), ("two", "second")] {
        store.add_token(hash, &east, Timestamp(100), Timestamp(0)).await.expect("stored");
        // At the same microsecond, even.
        store.use_token(hash, &east, fingerprint, Timestamp(1)).await.expect("answered");
    }
    assert_eq!(store.certificate_of(&east).await.expect("read").as_deref(), Some("second"));
}
