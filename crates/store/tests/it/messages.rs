//! The queue of messages: one row for an event and a receiver, taken by one, and given back by a killed process.

use crate::Fixture;
use firedrill_api::messages::{Daily, MessageState};
use firedrill_model::message::{Notice, NoticeKind, Rule};
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{Severity, TimelineEvent, Timestamp};
use firedrill_store::{NewMessage, ReceiverRecord};

fn new(id: &str, receiver: &str, key: &str) -> NewMessage {
    let notice = Notice {
        key: key.to_owned(),
        kind: NoticeKind::Unexpected,
        severity: Severity::Warning,
        at: Timestamp(1),
        title: "it happened".to_owned(),
        text: String::new(),
        cluster: None,
        run: None,
        trouble: None,
    };
    NewMessage { id: id.to_owned(), receiver: receiver.parse().expect("a name"), notice }
}

fn ids(messages: &[firedrill_store::QueuedMessage]) -> Vec<&str> {
    let mut ids: Vec<&str> = messages.iter().map(|message| message.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
pub(crate) async fn an_event_is_put_in_once_for_each_receiver() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    assert_eq!(store.message_progress(7).await.expect("set"), 7);
    assert_eq!(store.message_progress(9).await.expect("kept"), 7);
    store.enqueue(&[new("a", "one", "event/8"), new("b", "two", "event/8")], 8, Timestamp(10)).await.expect("in");
    // The same line is looked at again, by another process.
    let other = fixture.reopened().await;
    other.enqueue(&[new("c", "one", "event/8"), new("d", "two", "event/9")], 9, Timestamp(11)).await.expect("in");
    assert_eq!(ids(&store.messages(None, 10).await.expect("read")), ["a", "b", "d"]);
    assert_eq!(store.message_progress(0).await.expect("kept"), 9);
    store.enqueue(&[], 3, Timestamp(12)).await.expect("in");
    assert_eq!(store.message_progress(0).await.expect("never back"), 9);
}

#[tokio::test]
pub(crate) async fn what_a_killed_process_had_taken_is_taken_again_with_the_same_id() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let queue = [new("a", "one", "event/1"), new("b", "one", "event/2"), new("c", "two", "event/1")];
    for (message, at) in queue.iter().zip(10..) {
        store.enqueue(std::slice::from_ref(message), 1, Timestamp(at)).await.expect("in");
    }
    let taken = store.claim_messages(Timestamp(20), Timestamp(50)).await.expect("taken");
    assert_eq!(ids(&taken), ["a", "c"], "the oldest of each receiver");
    // Killed here. Until the claim runs out others go on with what is left.
    let other = fixture.reopened().await;
    assert_eq!(ids(&other.claim_messages(Timestamp(30), Timestamp(60)).await.expect("taken")), ["b"]);
    assert_eq!(ids(&other.claim_messages(Timestamp(49), Timestamp(99)).await.expect("taken")), [""; 0]);
    let again = other.claim_messages(Timestamp(50), Timestamp(90)).await.expect("taken");
    assert_eq!((ids(&again), again[0].attempts), (vec!["a", "c"], 2));
    // The first one comes back and says that it was sent: too late, somebody else has it.
    let mut late = taken[0].clone();
    late.state = MessageState::Sent;
    store.settle_message(&late).await.expect("stored");
    let now = store.messages(Some(MessageState::Sending), 10).await.expect("read");
    assert_eq!(ids(&now), ["a", "b", "c"]);
    let mut done = again[0].clone();
    done.state = MessageState::Sent;
    store.settle_message(&done).await.expect("stored");
    assert_eq!(ids(&store.messages(Some(MessageState::Sent), 10).await.expect("read")), [done.id.as_str()]);
}

#[tokio::test]
pub(crate) async fn dead_messages_come_back_when_a_person_says_so() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.enqueue(&[new("a", "one", "event/1")], 1, Timestamp(10)).await.expect("in");
    let mut taken = store.claim_messages(Timestamp(20), Timestamp(50)).await.expect("taken").remove(0);
    (taken.state, taken.problem) = (MessageState::Dead, Some("404".to_owned()));
    store.settle_message(&taken).await.expect("stored");
    assert_eq!(store.claim_messages(Timestamp(99), Timestamp(100)).await.expect("none"), []);
    assert_eq!(store.retry_messages(Some("b"), Timestamp(100)).await.expect("none"), 0);
    assert_eq!(store.retry_messages(None, Timestamp(100)).await.expect("one"), 1);
    let again = store.claim_messages(Timestamp(100), Timestamp(150)).await.expect("taken").remove(0);
    assert_eq!(
        (again.id.as_str(), again.attempts, again.since, again.enqueued),
        ("a", 1, Timestamp(100), Timestamp(10))
    );
    store.remove_receiver(&again.receiver).await.expect("removed");
    assert_eq!(store.messages_by_state().await.expect("counted"), [("dead".to_owned(), 1)]);
    store.forget_messages(Timestamp(11)).await.expect("forgotten");
    assert_eq!(store.messages(None, 10).await.expect("read"), []);
}

#[tokio::test]
pub(crate) async fn a_receiver_that_is_away_does_not_fill_the_store() {
    let fixture = Fixture::new().await;
    let many: Vec<_> = (0..1003).map(|at| new(&format!("m{at}"), "one", &format!("event/{at}"))).collect();
    fixture.store.enqueue(&many, 1, Timestamp(10)).await.expect("in");
    let mut counted = fixture.store.messages_by_state().await.expect("counted");
    counted.sort();
    assert_eq!(counted, [("dead".to_owned(), 3), ("waiting".to_owned(), 1000)]);
}

#[tokio::test]
pub(crate) async fn receivers_rules_and_the_time_of_the_daily_message_are_kept() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let record = ReceiverRecord {
        name: "chat".parse().expect("a name"),
        added: Timestamp(5),
        kind: "slack-app".to_owned(),
        shown: "#drills".to_owned(),
        sealed: "00ff".to_owned(),
    };
    store.save_receiver(&record).await.expect("stored");
    let rule: Rule = serde_json::from_str(r#"{"name": "all", "to": "chat", "kinds": ["daily"]}"#).expect("a rule");
    store.save_rule(&rule).await.expect("stored");
    let daily = Daily { at: "08:30".parse().expect("a time"), zone: "Europe/Berlin".parse().expect("a zone") };
    store.set_daily(Some(&daily), Timestamp(5)).await.expect("stored");
    let day: firedrill_schedule::Day = "2026-11-24".parse().expect("a day");
    store.enqueue_daily(&[new("a", "chat", "daily/2026-11-24")], day, Timestamp(6)).await.expect("in");
    let store = fixture.reopened().await;
    assert_eq!(store.receivers().await.expect("read"), [record]);
    assert_eq!(store.rules().await.expect("read"), std::slice::from_ref(&rule));
    assert_eq!(store.daily().await.expect("read"), Some((daily, Timestamp(5), Some(day))));
    assert!(store.remove_rule(&rule.name).await.expect("removed"));
    assert!(!store.remove_rule(&rule.name).await.expect("gone"));
    store.set_daily(None, Timestamp(6)).await.expect("stored");
    assert_eq!(store.daily().await.expect("read"), None);
}

#[tokio::test]
pub(crate) async fn what_lasts_begins_and_ends_once() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let event = TimelineEvent {
        sequence: 0,
        at: Timestamp(1),
        severity: Severity::Warning,
        kind: EventKind::Health,
        text: "short of a node".to_owned(),
        scope: Scope::default(),
    };
    assert!(store.begin_trouble("redundancy/shop", &event).await.expect("stored").is_some());
    assert_eq!(store.begin_trouble("redundancy/shop", &event).await.expect("stored"), None);
    assert_eq!(store.troubles().await.expect("read"), ["redundancy/shop"]);
    assert!(store.end_trouble("redundancy/shop", &event).await.expect("stored").is_some());
    assert_eq!(store.end_trouble("redundancy/shop", &event).await.expect("stored"), None);
    assert_eq!(store.newest_sequence().await.expect("read"), 2, "one line for its beginning and one for its end");
}
