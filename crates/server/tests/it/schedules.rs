//! Experiments that start by themselves. The clock of the looks is the test's: it looks at moments to come.

use crate::fixture::{Fixture, until};
use crate::keeper::{register, shop};
use firedrill_api::client::{CalendarQuery, ClientError, TimelineQuery};
use firedrill_api::http::SaveTemplate;
use firedrill_api::schedules::{AddClosure, SayPresence};
use firedrill_model::{ScheduleName, Span, Timestamp, Verdict};
use firedrill_schedule::programme::Programme;
use firedrill_schedule::{Obstacle, Occurrence, Outcome, Planned, Schedule, Scope, TemplateUse, Timing};
use firedrill_server::{clock, schedules};
use firedrill_store::OccurrenceFilter;
use std::collections::BTreeMap;

/// It needs no agent, strikes nothing, and ends at once.
const HARMLESS: &str = "name: harmless\ntitle: Nothing is done\nhypothesis: Nothing happens.\n\
    warm_up: 0s\ncool_down: 0s\nsteps:\n  - wait: 1ms\nexpect:\n  - no-promotion\n";
const FIVE_MINUTES: Span = Span::secs(300);

fn name() -> ScheduleName {
    "often".parse().expect("a name")
}

fn often() -> Schedule {
    let text = r#"{"name": "often", "file": "", "groups": [{"clusters": ["shop"]}], "when": {"cron": "*/5 * * * *"},
                   "pause_on": ["failed"]}"#;
    let schedule: Schedule = serde_json::from_str(text).expect("a schedule");
    Schedule { file: Some(HARMLESS.to_owned()), ..schedule }
}

async fn with_shop() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    fixture
}

/// Adds a schedule and gives a due time of it that is not too near for the test.
async fn added(fixture: &Fixture, schedule: &Schedule) -> Planned {
    let next = fixture.client.put_schedule(schedule).await.expect("added").next.expect("a due time");
    Planned { due: next.due + FIVE_MINUTES, ..next }
}

/// Looks at the schedule as if it had been looked at until just before a moment.
async fn look(fixture: &Fixture, at: Timestamp) {
    fixture.server().store.looked_at_schedule(&name(), at - Span::secs(30)).await.expect("stored");
    schedules::tick(fixture.server(), at).await;
}

async fn outcomes(fixture: &Fixture) -> Vec<Occurrence> {
    let filter = OccurrenceFilter { from: Timestamp(0), until: Timestamp(i64::MAX), schedule: None };
    fixture.server().store.occurrences(filter, 100).await.expect("read")
}

async fn ended(fixture: &Fixture, at: Timestamp) -> Occurrence {
    until("the end of the run", async || {
        schedules::tick(fixture.server(), at).await;
        outcomes(fixture).await.into_iter().find(|one| one.outcome.is_final())
    })
    .await
}

fn code(error: &ClientError) -> &str {
    match error {
        ClientError::Problem(problem) => &problem.code,
        other => panic!("not a problem: {other}"),
    }
}

async fn told(fixture: &Fixture, words: &str) -> bool {
    let lines = fixture.client.timeline(&TimelineQuery::default()).await.expect("lines");
    lines.iter().any(|line| line.text.contains(words))
}

const OWN: &str = "{name: own, title: Own, about: A wait., parameters: [{name: wait, about: How long, type: duration, default: 1s}], \
    experiment: '{name: own, title: Own, hypothesis: Nothing happens., steps: [{wait: \"${wait}\"}], expect: [no-divergence]}'}";

#[tokio::test]
async fn a_template_is_filled_in_at_each_due_time() {
    let fixture = with_shop().await;
    let of = |value: &str| {
        let values = BTreeMap::from([("wait".to_owned(), value.to_owned())]);
        Schedule { file: None, template: Some(TemplateUse { name: "own".into(), values }), ..often() }
    };
    let unknown = fixture.client.put_schedule(&of("1s")).await.expect_err("no such template");
    assert_eq!(code(&unknown), "S001");
    fixture.client.save_template(&SaveTemplate::File { yaml: OWN.to_owned() }).await.expect("saved");
    assert_eq!(code(&fixture.client.put_schedule(&of("soon")).await.expect_err("no duration")), "S002");
    let due = added(&fixture, &of("2s")).await.due;
    look(&fixture, due + Span::secs(1)).await;
    let came = outcomes(&fixture).await.remove(0);
    assert!(matches!(came.outcome, Outcome::Running { .. }) && came.experiment == "own", "{came:?}");
    // Without the template nothing can be started, and the schedule says so.
    fixture.client.remove_template("own").await.expect("removed");
    look(&fixture, due + FIVE_MINUTES).await;
    let came = outcomes(&fixture).await.remove(0);
    assert!(matches!(&came.outcome, Outcome::Broken { code, .. } if code == "S001"), "{came:?}");
}

#[tokio::test]
async fn a_due_time_starts_one_run_also_over_a_restart() {
    let mut fixture = with_shop().await;
    let due = added(&fixture, &often()).await.due;
    look(&fixture, due - Span::secs(1)).await;
    assert_eq!(outcomes(&fixture).await, []);
    look(&fixture, due + Span::secs(1)).await;
    look(&fixture, due + Span::secs(2)).await;
    let came = ended(&fixture, due + Span::secs(3)).await;
    assert_eq!((came.due, came.experiment.as_str()), (due, "harmless"));
    let Outcome::Ended { run, stopped: false, .. } = &came.outcome else { panic!("{came:?}") };
    fixture.restart().await;
    look(&fixture, due + Span::secs(4)).await;
    assert_eq!(outcomes(&fixture).await, std::slice::from_ref(&came));
    let runs = fixture.client.runs().await.expect("runs");
    assert_eq!(runs.iter().map(|entry| &entry.run).collect::<Vec<_>>(), [run]);
    assert!(told(&fixture, "schedule often has started harmless").await);
}

#[tokio::test]
async fn a_start_that_a_killed_server_left_behind_is_not_repeated() {
    let mut fixture = with_shop().await;
    let planned = added(&fixture, &often()).await;
    let left = Occurrence {
        schedule: name(),
        cluster: shop(),
        due: planned.due,
        experiment: "harmless".into(),
        at: clock::now(),
        outcome: Outcome::Starting,
    };
    assert!(fixture.server().store.claim_occurrence(&left).await.expect("claimed"));
    fixture.restart().await;
    look(&fixture, planned.due + Span::secs(1)).await;
    let came = outcomes(&fixture).await.remove(0);
    assert!(matches!(came.outcome, Outcome::Skipped { obstacle: Obstacle::Missed, .. }), "{came:?}");
    assert_eq!(fixture.client.runs().await.expect("runs"), []);
    assert!(told(&fixture, "it is not started again").await);
}

#[tokio::test]
async fn what_was_missed_is_said_and_not_made_up_for() {
    let fixture = with_shop().await;
    let due = added(&fixture, &often()).await.due;
    fixture.server().store.looked_at_schedule(&name(), due - Span::secs(1)).await.expect("stored");
    schedules::tick(fixture.server(), due + FIVE_MINUTES + FIVE_MINUTES + Span::secs(1)).await;
    let came = outcomes(&fixture).await;
    let missed = |one: &&Occurrence| matches!(one.outcome, Outcome::Skipped { obstacle: Obstacle::Missed, .. });
    assert_eq!((came.len(), came.iter().filter(missed).count()), (3, 2), "{came:#?}");
    assert!(matches!(came[0].outcome, Outcome::Running { .. }), "the last one is in time: {came:#?}");
    assert!(told(&fixture, "schedule often missed 2 due times").await);
}

#[tokio::test]
async fn halt_blackout_and_absence_are_in_the_way() {
    let fixture = with_shop().await;
    let mut due = added(&fixture, &Schedule { presence: true, ..often() }).await.due;
    let mut next = async || {
        due = due + FIVE_MINUTES;
        look(&fixture, due).await;
        outcomes(&fixture).await.remove(0).outcome
    };
    let obstacle = |outcome: &Outcome| match outcome {
        Outcome::Skipped { obstacle, .. } => Some(*obstacle),
        _ => None,
    };
    assert_eq!(obstacle(&next().await), Some(Obstacle::NobodyThere));
    let until = clock::now() + Span::secs(24 * 3600);
    let ann = SayPresence { person: "ann".into(), cluster: None, until };
    fixture.client.say_presence(&ann).await.expect("said");
    let out = AddClosure { scope: Scope::Cluster(shop()), from: None, until: None, reason: "a migration".into() };
    let out = fixture.client.add_blackout(&out).await.expect("added");
    assert_eq!(obstacle(&next().await), Some(Obstacle::OptedOut));
    fixture.client.remove_blackout(&out.id).await.expect("removed");
    fixture.client.halt("enough").await.expect("halted");
    assert_eq!(obstacle(&next().await), Some(Obstacle::Halted));
    fixture.client.resume("go on").await.expect("resumed");
    assert!(matches!(next().await, Outcome::Running { .. }));
    assert!(told(&fixture, "nobody has said to be there for shop").await);
}

#[tokio::test]
async fn a_verdict_that_it_names_pauses_it() {
    let fixture = with_shop().await;
    let all = vec![Verdict::Passed, Verdict::Failed, Verdict::Inconclusive, Verdict::Error];
    let due = added(&fixture, &Schedule { pause_on: all, ..often() }).await.due;
    look(&fixture, due).await;
    ended(&fixture, due + Span::secs(1)).await;
    let view = fixture.client.schedule(&name()).await.expect("there");
    let why = view.paused.expect("paused");
    assert!(why.contains("on shop"), "{why}");
    assert!(told(&fixture, "schedule often has paused itself").await);
    look(&fixture, due + FIVE_MINUTES).await;
    assert_eq!(outcomes(&fixture).await.len(), 1, "nothing starts while it is paused");
    let today = fixture.client.today(None).await.expect("a message");
    assert!(today.text.contains("PAUSED often: run"), "{}", today.text);

    let error = fixture.client.pause_schedule(&name(), "again").await.expect_err("paused already");
    assert_eq!((code(&error), error.refused()), ("S084", true));
    assert_eq!(fixture.client.resume_schedule(&name(), "mended").await.expect("resumed").paused, None);
    fixture.client.remove_schedule(&name()).await.expect("removed");
    assert_eq!(code(&fixture.client.schedule(&name()).await.expect_err("gone")), "S001");
}

#[tokio::test]
async fn a_guard_of_the_experiment_refuses_as_it_does_to_a_person() {
    let fixture = with_shop().await;
    let mut ladder = Schedule { file: None, when: Timing::Programme(Programme::default()), ..often() };
    ladder.windows = vec!["mon-sun@00:00-24:00".parse().expect("a window")];
    let next = fixture.client.put_schedule(&ladder).await.expect("added").next.expect("a due time");
    look(&fixture, next.due).await;
    let came = outcomes(&fixture).await.remove(0);
    assert_eq!(came.experiment, "kill-replica", "the first rung");
    assert!(matches!(&came.outcome, Outcome::Refused { code, .. } if code == "S021"), "{came:?}");
    let view = fixture.client.schedule(&name()).await.expect("there");
    assert_eq!((view.paused, view.ladders[0].rungs.len()), (None, 6));

    let query = CalendarQuery { days: Some(30), ..CalendarQuery::default() };
    let calendar = fixture.client.calendar(&query).await.expect("a calendar");
    let rungs: std::collections::BTreeSet<&str> =
        calendar.entries.iter().map(|entry| entry.experiment.as_str()).collect();
    assert!(rungs.contains("kill-replica") && rungs.contains("kill-pseudo-primary"), "{rungs:?}");
}

#[tokio::test]
async fn the_calendar_is_the_same_each_time_and_after_a_restart() {
    let mut fixture = with_shop().await;
    let random = serde_json::from_str(r#"{"random": {"times": 3}}"#).expect("a timing");
    added(&fixture, &Schedule { when: random, ..often() }).await;
    let query = CalendarQuery { days: Some(60), ..CalendarQuery::default() };
    let before = fixture.client.calendar(&query).await.expect("a calendar");
    assert!((20..=27).contains(&before.entries.len()), "{}", before.entries.len());
    fixture.restart().await;
    assert_eq!(fixture.client.calendar(&query).await.expect("a calendar"), before);
    let none = CalendarQuery { schedule: Some("nobody".parse().expect("a name")), ..query.clone() };
    assert_eq!(code(&fixture.client.calendar(&none).await.expect_err("unknown")), "S001");
    let endless = CalendarQuery { days: Some(1000), ..query };
    assert_eq!(code(&fixture.client.calendar(&endless).await.expect_err("too long")), "S002");
}

#[tokio::test]
async fn bad_schedules_are_refused_and_not_kept() {
    let fixture = with_shop().await;
    let cases = [
        (r#"{"zone": "Europe/Atlantis"}"#, "S082"),
        (r#"{"when": {"cron": "0 9 30 2 *"}}"#, "S083"),
        (r#"{"windows": [{"days": ["mon"], "from": "15:00", "until": "09:00"}]}"#, "S081"),
        (r#"{"windows": [{"days": ["mon"], "from": "25:00", "until": "26:00"}]}"#, "S080"),
        (r#"{"when": {"cron": "soon"}}"#, "S080"),
        (r#"{"when": {}}"#, "S080"),
        (r#"{"tme": 1}"#, "S080"),
        (r#"{"groups": [{"clusters": ["nowhere"]}]}"#, "S001"),
        (r#"{"file": null, "experiment": "nothing"}"#, "S001"),
        (r#"{"file": "name: x"}"#, "S002"),
        (r#"{"name": "other"}"#, "S002"),
    ];
    for (change, expected) in cases {
        let mut body = serde_json::to_value(often()).expect("JSON");
        let change: serde_json::Value = serde_json::from_str(change).expect("JSON");
        for (key, value) in change.as_object().expect("an object") {
            body[key] = value.clone();
        }
        let url = fixture.http("/api/v1/schedules/often");
        let answer = reqwest::Client::new().put(url).json(&body).send().await.expect("an answer");
        assert!(answer.status().is_client_error(), "{change}");
        let problem: firedrill_api::http::Problem = answer.json().await.expect("a problem");
        assert_eq!(problem.code, expected, "{change}: {}", problem.message);
    }
    assert!(fixture.client.schedules().await.expect("a list").is_empty());
    let over = AddClosure { scope: Scope::All, from: None, until: Some(Timestamp(1)), reason: "x".into() };
    assert_eq!(code(&fixture.client.add_blackout(&over).await.expect_err("over")), "S081");
}
