//! What must hold after each kill, and at the end.

use super::Scene;
use super::truth::Known;
use crate::process::{Server, gauge};
use crate::until;
use anyhow::{Context, bail, ensure};
use firedrill_api::client::TimelineQuery;
use firedrill_model::report::RunState;
use firedrill_model::{AttackId, TimelineEvent, Verdict};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A fault whose deadline is nearer than this is one by hand, which its own deadline takes out.
const BY_HAND_WITHIN: Duration = Duration::from_secs(5);
/// Lines asked for at once; the server gives no more.
const PAGE: u32 = 1000;

/// What there was to lose.
pub(crate) struct Seen {
    pub(crate) faults: usize,
}

pub(crate) fn before(scene: &Scene) -> Seen {
    Seen { faults: scene.hosts.iter().map(|host| host.standing().in_place.len()).sum() }
}

/// After a kill and a start. Nobody asks anything of the server meanwhile.
pub(crate) async fn after(scene: &Scene) -> anyhow::Result<()> {
    settings(scene).await?;
    runs(scene).await?;
    until("every host is back", || async {
        Ok(scene.hosts.iter().all(|host| host.standing().session.is_some()).then_some(()))
    })
    .await?;
    until("no fault of an interrupted run is left", || async {
        let long = |(_, deadline): &(_, Instant)| deadline.saturating_duration_since(Instant::now()) > BY_HAND_WITHIN;
        Ok((!scene.hosts.iter().any(|host| host.standing().in_place.values().any(long))).then_some(()))
    })
    .await?;
    attacks(scene).await?;
    let from = scene.truth.told().lines_checked;
    lines(scene, from).await
}

/// The halt and the schedule are as they were last acknowledged.
async fn settings(scene: &Scene) -> anyhow::Result<()> {
    let halted = scene.client().status().await?.halted.is_some();
    let schedules = scene.client().schedules().await?;
    let schedule = schedules.into_iter().next().map(|view| view.paused);
    let mut told = scene.truth.told();
    ensure!(told.halted.allows(&halted), "halted is {halted}, acknowledged was {:?}", told.halted);
    ensure!(told.schedule.allows(&schedule), "the schedule is {schedule:?}, acknowledged was {:?}", told.schedule);
    told.halted = Known::Is(halted);
    told.schedule = Known::Is(schedule);
    Ok(())
}

/// Every run has its end, and says why.
async fn runs(scene: &Scene) -> anyhow::Result<()> {
    let new = std::mem::take(&mut scene.truth.told().new_runs);
    for run in new {
        let report = scene.client().run(&run).await.with_context(|| format!("run {run} is gone"))?;
        ensure!(report.state != RunState::Running, "run {run} still counts as running");
        let verdict = report.verdict.with_context(|| format!("run {run} has ended without a verdict"))?;
        let told = verdict == Verdict::Passed || !report.reasons.is_empty();
        ensure!(told, "run {run} is {verdict} without a reason");
        let interrupted = report.reasons.first().is_some_and(|reason| reason.contains("the server was stopped"));
        ensure!(!interrupted || verdict == Verdict::Error, "run {run} was interrupted and is {verdict}");
    }
    ensure!(scene.client().status().await?.running.is_empty(), "a run goes on that nobody has started");
    Ok(())
}

/// Every attack that a client was told of, and every one that a host has, is known.
async fn attacks(scene: &Scene) -> anyhow::Result<()> {
    let mut new: BTreeSet<AttackId> = std::mem::take(&mut scene.truth.told().new_attacks).into_iter().collect();
    for host in &scene.hosts {
        new.extend(host.standing().in_place.keys().cloned());
    }
    let known: BTreeSet<AttackId> = scene.client().attacks().await?.into_iter().map(|report| report.id).collect();
    // The list has the newest 200 changes; between two kills there are fewer.
    if let Some(forgotten) = new.iter().find(|attack| known.len() < 200 && !known.contains(*attack)) {
        bail!("attack {forgotten} is forgotten");
    }
    Ok(())
}

/// Every line that the watcher has had is there, with the same number.
async fn lines(scene: &Scene, from: u64) -> anyhow::Result<()> {
    let had: Vec<(u64, TimelineEvent)> =
        scene.truth.told().lines.range(from + 1..).map(|(number, line)| (*number, line.clone())).collect();
    let mut after = from;
    let mut stored = Vec::new();
    let newest = had.last().map_or(from, |(number, _)| *number);
    while after < newest {
        let query = TimelineQuery { after: Some(after), limit: Some(PAGE), ..TimelineQuery::default() };
        let page = scene.client().timeline(&query).await?;
        after = page.last().context("the timeline is shorter than what the watcher has had")?.sequence;
        stored.extend(page);
    }
    for (number, line) in had {
        let place = stored.binary_search_by_key(&number, |line| line.sequence);
        let place = place.ok().with_context(|| format!("line {number} is lost: {}", line.text))?;
        ensure!(stored[place] == line, "line {number} was {line:?} and is {:?}", stored[place]);
    }
    scene.truth.told().lines_checked = newest;
    Ok(())
}

/// When everything has come to rest: no fault anywhere, and the server knows.
pub(crate) async fn at_the_end(scene: &Scene, server: &Server) -> anyhow::Result<()> {
    // A run that is under way ends by itself or with the halt.
    scene.client().halt("the end").await?;
    until("no fault is left", || async {
        Ok(scene.hosts.iter().all(|host| host.standing().in_place.is_empty()).then_some(()))
    })
    .await?;
    until("the server counts no attack as open", || async {
        Ok((gauge(server.http(), "firedrill_attacks_open").await? == 0).then_some(()))
    })
    .await?;
    until("every run has ended", || async { Ok(scene.client().status().await?.running.is_empty().then_some(())) })
        .await?;
    runs(scene).await?;
    for host in &scene.hosts {
        let standing = host.standing();
        let left = standing.history.iter().find(|(_, out)| out.is_none());
        ensure!(left.is_none(), "host {} still has {left:?}", host.name());
    }
    lines(scene, 0).await
}
