//! Decisions of keepers: whole or not at all, and never back.

use crate::{Fixture, cluster, event, texts};
use firedrill_model::operation::OperationState;
use firedrill_model::{Operation, OperationId, OperationKind, Timestamp};
use firedrill_store::{KeeperCommit, StoreError, TimelineFilter};

fn operation(number: u32, state: OperationState) -> Operation {
    Operation {
        id: OperationId(format!("shop-{number}")),
        cluster: cluster("shop"),
        kind: OperationKind::Promotion,
        subject: "east-1".parse().expect("a name"),
        partner: None,
        cause: "its process ended".to_owned(),
        state,
        reason: None,
        failure_at: None,
        began: Timestamp(i64::from(number)),
        ended: None,
        steps: Vec::new(),
    }
}

#[tokio::test]
pub(crate) async fn a_decision_is_there_after_a_kill() {
    let fixture = Fixture::new().await;
    let shop = cluster("shop");
    let (operations, notes) = ([operation(1, OperationState::Running)], [event("one", Some("shop"), None)]);
    let commit = KeeperCommit { cluster: &shop, state: Some((1, "{\"a\":1}")), operations: &operations, notes: &notes };
    let numbered = fixture.store.commit_keeper(commit).await.expect("stored");
    assert_eq!(texts(&numbered), [(1, "one")]);

    let store = fixture.reopened().await;
    assert_eq!(store.keeper_state(&shop).await.expect("read").as_deref(), Some("{\"a\":1}"));
    assert_eq!(store.operation(&operations[0].id).await.expect("read").as_ref(), Some(&operations[0]));
    let lines = store.events_after(0, &TimelineFilter::default(), 10).await.expect("read");
    assert_eq!(lines, numbered);
}

#[tokio::test]
pub(crate) async fn an_older_decision_changes_nothing() {
    let fixture = Fixture::new().await;
    let shop = cluster("shop");
    let newer = KeeperCommit { cluster: &shop, state: Some((5, "5")), operations: &[], notes: &[] };
    fixture.store.commit_keeper(newer).await.expect("stored");
    // A commit whose answer was lost is repeated.
    fixture.store.commit_keeper(newer).await.expect("stored again");

    let (operations, notes) = ([operation(1, OperationState::Running)], [event("late", Some("shop"), None)]);
    let older = KeeperCommit { cluster: &shop, state: Some((4, "4")), operations: &operations, notes: &notes };
    let refused = fixture.store.commit_keeper(older).await.expect_err("superseded");
    assert!(matches!(refused, StoreError::Superseded { revision: 4, .. }), "{refused}");
    assert_eq!(fixture.store.keeper_state(&shop).await.expect("read").as_deref(), Some("5"));
    assert_eq!(fixture.store.operation(&operations[0].id).await.expect("read"), None, "all or nothing");
    assert_eq!(fixture.store.newest_sequence().await.expect("read"), 0, "all or nothing");
}

#[tokio::test]
pub(crate) async fn operations_are_replaced_whole_and_listed_newest_first() {
    let fixture = Fixture::new().await;
    let shop = cluster("shop");
    for state in [OperationState::Running, OperationState::Finished] {
        let operations = [operation(1, state), operation(2, OperationState::Running)];
        let commit = KeeperCommit { cluster: &shop, state: None, operations: &operations, notes: &[] };
        fixture.store.commit_keeper(commit).await.expect("stored");
    }
    let listed = fixture.store.operations(Some(&shop), 10).await.expect("read");
    let seen: Vec<_> = listed.iter().map(|operation| (operation.id.0.as_str(), operation.state)).collect();
    assert_eq!(seen, [("shop-2", OperationState::Running), ("shop-1", OperationState::Finished)]);
    assert_eq!(fixture.store.operations(None, 1).await.expect("read").len(), 1);
    assert!(fixture.store.operations(Some(&cluster("other")), 10).await.expect("read").is_empty());
}

#[tokio::test]
pub(crate) async fn a_reader_by_number_misses_nothing_of_two_writers() {
    const LINES: u64 = 100;
    let fixture = Fixture::new().await;
    let appender = {
        let store = fixture.store.clone();
        tokio::spawn(async move {
            for _ in 0..LINES {
                store.append_event(&event("ordinary", None, None)).await.expect("appended");
            }
        })
    };
    let keeper = {
        let store = fixture.store.clone();
        tokio::spawn(async move {
            let (shop, notes) = (cluster("shop"), [event("durable", Some("shop"), None)]);
            for revision in 1..=LINES {
                let state = Some((revision, "{}"));
                let commit = KeeperCommit { cluster: &shop, state, operations: &[], notes: &notes };
                store.commit_keeper(commit).await.expect("stored");
            }
        })
    };
    let mut seen = Vec::new();
    // Until everything was read, or both writers have ended (one of them because it failed) and nothing more comes.
    loop {
        let ended = appender.is_finished() && keeper.is_finished();
        let after = seen.last().copied().unwrap_or(0);
        let lines = fixture.store.events_after(after, &TimelineFilter::default(), 7).await.expect("read");
        seen.extend(lines.iter().map(|line| line.sequence));
        if ended && lines.is_empty() {
            break;
        }
        tokio::task::yield_now().await;
    }
    appender.await.expect("appended");
    keeper.await.expect("stored");
    assert_eq!(seen, (1..=2 * LINES).collect::<Vec<_>>());
}
