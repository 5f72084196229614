//! Schedules, and the due times that nobody may act on twice.

use crate::{Fixture, cluster};
use firedrill_model::{RunId, ScheduleName, Timestamp, Verdict};
use firedrill_schedule::{
    Closure, Obstacle, Occurrence, Outcome, Planned, Presence, Schedule, Scope, Week, WeekPlan, Zone,
};
use firedrill_store::{OccurrenceFilter, ScheduleRecord};

fn name() -> ScheduleName {
    "nightly".parse().expect("a name")
}

fn record() -> ScheduleRecord {
    let text = r#"{"name": "nightly", "experiment": "kill-replica", "groups": [{"clusters": ["shop"]}],
                   "zone": "Europe/Berlin", "when": {"random": {"times": 2}}}"#;
    let schedule: Schedule = serde_json::from_str(text).expect("a schedule");
    ScheduleRecord { schedule, seed: u64::MAX, added: Timestamp(5), looked: Timestamp(5), paused: None }
}

fn occurrence(due: i64, outcome: Outcome) -> Occurrence {
    let experiment = "kill-replica".to_owned();
    Occurrence {
        schedule: name(),
        cluster: cluster("shop"),
        due: Timestamp(due),
        experiment,
        at: Timestamp(due),
        outcome,
    }
}

fn all(schedule: Option<&ScheduleName>) -> OccurrenceFilter<'_> {
    OccurrenceFilter { from: Timestamp(0), until: Timestamp(i64::MAX), schedule }
}

#[tokio::test]
pub(crate) async fn a_schedule_is_kept_paused_and_resumed() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.save_schedule(&record()).await.expect("stored");
    store.looked_at_schedule(&name(), Timestamp(9)).await.expect("stored");
    store.looked_at_schedule(&name(), Timestamp(7)).await.expect("an older one");
    assert!(store.pause_schedule(&name(), "it failed").await.expect("paused"));
    assert!(!store.pause_schedule(&name(), "again").await.expect("the first reason stands"));
    let kept = fixture.reopened().await.schedule(&name()).await.expect("read").expect("there");
    assert_eq!(kept, ScheduleRecord { looked: Timestamp(9), paused: Some("it failed".into()), ..record() });
    assert!(store.resume_schedule(&name(), Timestamp(20)).await.expect("resumed"));
    assert!(!store.resume_schedule(&name(), Timestamp(30)).await.expect("it is not paused"));
    assert_eq!(store.schedules().await.expect("read")[0].looked, Timestamp(20));
    assert!(store.remove_schedule(&name()).await.expect("removed"));
    assert!(!store.remove_schedule(&name()).await.expect("gone"));
    assert_eq!(store.schedule(&name()).await.expect("read"), None);
}

#[tokio::test]
pub(crate) async fn the_first_plan_of_a_week_stands_until_the_schedule_changes() {
    let fixture = Fixture::new().await;
    fixture.store.save_schedule(&record()).await.expect("stored");
    let week = Week::of(&Zone::utc(), Timestamp(0));
    let plan = |due: i64| {
        let planned = vec![Planned { due: Timestamp(due), cluster: cluster("shop") }];
        WeekPlan { week, planned, note: None }
    };
    assert_eq!(fixture.store.keep_week_plan(&name(), 1, plan(60)).await.expect("kept"), plan(60));
    assert_eq!(fixture.store.keep_week_plan(&name(), 2, plan(120)).await.expect("kept"), plan(60));
    assert_eq!(fixture.reopened().await.week_plan(&name(), week).await.expect("read"), Some(plan(60)));
    fixture.store.save_schedule(&ScheduleRecord { seed: 3, ..record() }).await.expect("changed");
    assert_eq!(fixture.store.week_plan(&name(), week).await.expect("read"), None);
    assert_eq!(fixture.store.schedule(&name()).await.expect("read").expect("there").seed, u64::MAX);
}

#[tokio::test]
pub(crate) async fn a_due_time_is_taken_once() {
    let fixture = Fixture::new().await;
    let other = fixture.reopened().await;
    let mut starting = occurrence(60, Outcome::Starting);
    let (one, two) = tokio::join!(fixture.store.claim_occurrence(&starting), other.claim_occurrence(&starting));
    assert_eq!(u8::from(one.expect("an answer")) + u8::from(two.expect("an answer")), 1);
    assert_eq!(other.open_occurrences().await.expect("read"), std::slice::from_ref(&starting));
    let run = RunId("run-1".into());
    starting.outcome = Outcome::Ended { run, verdict: Verdict::Passed, stopped: false, reason: None };
    other.save_occurrence(&starting).await.expect("stored");
    let skipped = occurrence(120, Outcome::Skipped { obstacle: Obstacle::Missed, why: "late".into() });
    assert!(other.claim_occurrence(&skipped).await.expect("taken"));
    assert!(!other.claim_occurrence(&occurrence(120, Outcome::Starting)).await.expect("taken before"));
    let store = fixture.reopened().await;
    assert_eq!(store.open_occurrences().await.expect("read"), []);
    assert_eq!(store.occurrences(all(Some(&name())), 10).await.expect("read"), [skipped, starting]);
    let other_name: ScheduleName = "other".parse().expect("a name");
    assert_eq!(store.occurrences(all(Some(&other_name)), 10).await.expect("read"), []);
    assert_eq!(store.occurrences(all(None), 1).await.expect("read").len(), 1);
}

#[tokio::test]
pub(crate) async fn closures_and_presences_end() {
    let fixture = Fixture::new().await;
    let closure = |id: &str, until: Option<i64>| Closure {
        id: id.into(),
        scope: Scope::Service("orders".into()),
        from: None,
        until: until.map(Timestamp),
        reason: "audit".into(),
    };
    fixture.store.save_closure(&closure("a", Some(50))).await.expect("stored");
    fixture.store.save_closure(&closure("b", None)).await.expect("stored");
    assert_eq!(fixture.store.closures(Timestamp(50)).await.expect("read"), [closure("b", None)]);
    assert!(fixture.store.remove_closure("b").await.expect("removed"));
    assert!(!fixture.store.remove_closure("b").await.expect("gone"));
    let presence =
        |until: i64| Presence { person: "ann".into(), cluster: None, since: Timestamp(1), until: Timestamp(until) };
    fixture.store.save_presence(&presence(90)).await.expect("stored");
    fixture.store.save_presence(&presence(70)).await.expect("stored");
    assert_eq!(fixture.store.presences(Timestamp(60)).await.expect("read"), [presence(70)]);
    assert_eq!(fixture.store.presences(Timestamp(70)).await.expect("read"), []);
}
