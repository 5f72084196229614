//! Who keeps the server busy: each asks for something, notes what it was told, and goes on after each kill.

use super::truth::{Known, Told};
use super::{Scene, cluster};
use firedrill_api::client::TimelineQuery;
use firedrill_api::http::{Live, StartAttack, StartRun};
use firedrill_model::experiment::AttackStep;
use firedrill_model::{Fault, Span};
use futures_util::StreamExt;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// By hand, and over by themselves soon.
const BY_HAND_MS: std::ops::Range<u64> = 300..1500;
/// Pause between two things that one of them does.
const PAUSE_MS: std::ops::Range<u64> = 5..60;
/// The attacks of a run would last much longer than the test waits for them.
const EXPERIMENT: &str = "name: held\ntitle: A replica is held\nhypothesis: Nobody notices.\nwarm_up: 0s\ncool_down: 0s\n\
    steps:\n  - attack: {kind: pause, target: {role: replica, choose: 1}, duration: 300s}\n  - wait: 150ms\n\
    expect:\n  - no-promotion\n";
const SCHEDULE: &str = "{name: yearly, file: 'EXPERIMENT', groups: [{clusters: [shop]}], when: {cron: '0 3 1 1 *'}}";

/// Starts all of them.
pub(crate) fn start(scene: &Arc<Scene>, random: &mut SmallRng) -> Vec<JoinHandle<()>> {
    let mut own = || SmallRng::seed_from_u64(random.random());
    vec![
        tokio::spawn(watch(Arc::clone(scene))),
        tokio::spawn(attack(Arc::clone(scene), own())),
        tokio::spawn(experiment(Arc::clone(scene), own())),
        tokio::spawn(halt(Arc::clone(scene), own())),
        tokio::spawn(schedule(Arc::clone(scene), own())),
    ]
}

async fn rest(random: &mut SmallRng) {
    tokio::time::sleep(Duration::from_millis(random.random_range(PAUSE_MS))).await;
}

/// Follows the timeline, from the last line on after each kill.
async fn watch(scene: Arc<Scene>) {
    loop {
        let after = scene.truth.told().lines.last_key_value().map_or(0, |(number, _)| *number);
        let query = TimelineQuery { after: Some(after), ..TimelineQuery::default() };
        if let Ok(mut stream) = scene.client().events(&query).await {
            while let Some(Ok(message)) = stream.next().await {
                if let (Live::Timeline { event }, Some(number)) = (message.live, message.sequence) {
                    scene.truth.told().lines.insert(number, event);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Attacks by hand, which end at their deadline.
async fn attack(scene: Arc<Scene>, mut random: SmallRng) {
    loop {
        rest(&mut random).await;
        let duration = Span::millis(random.random_range(BY_HAND_MS));
        let (fault, target) = match random.random_range(0..3) {
            0 => (Fault::new("pause"), "role=replica"),
            1 => (Fault::new("cpu").with("load", 10), "tag.kind=played"),
            _ => (Fault::new("pause"), "role=primary"),
        };
        let (Ok(cluster), Ok(target)) = (cluster(), target.parse()) else { return };
        let start = StartAttack::new(cluster, AttackStep { name: None, fault, target, duration });
        let _open = scene.gate.read().await;
        if let Ok(reports) = scene.client().start_attack(&start).await {
            let mut told = scene.truth.told();
            told.attacks.extend(reports.iter().map(|report| report.id.clone()));
            told.new_attacks.extend(reports.into_iter().map(|report| report.id));
        }
    }
}

/// One run after the other: a second one on the cluster is refused.
async fn experiment(scene: Arc<Scene>, mut random: SmallRng) {
    loop {
        rest(&mut random).await;
        let start = StartRun { yaml: EXPERIMENT.to_owned(), ..StartRun::default() };
        let _open = scene.gate.read().await;
        if let Ok(started) = scene.client().start_run(&start).await {
            let mut told = scene.truth.told();
            told.runs.insert(started.run.clone());
            told.new_runs.push(started.run);
        }
    }
}

/// Halts now and then, and allows starts again soon.
async fn halt(scene: Arc<Scene>, mut random: SmallRng) {
    loop {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..800))).await;
        for halted in [true, false] {
            rest(&mut random).await;
            let _open = scene.gate.read().await;
            let before = current(&scene.truth.told().halted);
            scene.truth.told().halted = Known::Either(before, halted);
            let done = if halted {
                scene.client().halt("a test").await.is_ok()
            } else {
                scene.client().resume("a test").await.is_ok()
            };
            if done {
                scene.truth.told().halted = Known::Is(halted);
            }
        }
    }
}

/// Adds a schedule, pauses it for another reason each time, lets it go on, and takes it away.
async fn schedule(scene: Arc<Scene>, mut random: SmallRng) {
    let text = SCHEDULE.replace("EXPERIMENT", &EXPERIMENT.replace('\n', "\n\n"));
    let Ok(schedule) = firedrill_api::schedules::read(&text) else { return };
    let name = schedule.name.clone();
    for round in 0_u64.. {
        rest(&mut random).await;
        let reason = format!("round {round}");
        let next = match round % 4 {
            0 => Some(None),
            1 => Some(Some(reason.clone())),
            2 => Some(None),
            _ => None,
        };
        let _open = scene.gate.read().await;
        let before = current(&scene.truth.told().schedule);
        // What is not there cannot be paused; the round after a cut may come too early.
        if before.is_none() && round % 4 != 0 {
            continue;
        }
        note(&mut scene.truth.told(), before, next.clone(), false);
        let done = match round % 4 {
            0 => scene.client().put_schedule(&schedule).await.is_ok(),
            1 => scene.client().pause_schedule(&name, &reason).await.is_ok(),
            2 => scene.client().resume_schedule(&name, &reason).await.is_ok(),
            _ => scene.client().remove_schedule(&name).await.is_ok(),
        };
        if done {
            note(&mut scene.truth.told(), None, next, true);
        }
    }
}

type Paused = Option<Option<String>>;

fn note(told: &mut Told, before: Paused, next: Paused, done: bool) {
    told.schedule = if done { Known::Is(next) } else { Known::Either(before, next) };
}

/// Settled by the look after each kill.
fn current<T: Clone>(known: &Known<T>) -> T {
    match known {
        Known::Is(value) | Known::Either(value, _) => value.clone(),
    }
}
