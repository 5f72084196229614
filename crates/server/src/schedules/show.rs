//! What people read: schedules and how they stand, the calendar, the message of the day.

use super::{Facts, Subject, attempts, of_rung, plan_of, rungs, services, subject};
use crate::Server;
use crate::clock::now;
use crate::problem::{MALFORMED, not_found, problem, store_failed};
use firedrill_api::http::Problem;
use firedrill_api::schedules::{Calendar, CalendarEntry, Ladder, ScheduleView, TodayMessage};
use firedrill_model::{ClusterName, ScheduleName, Span, Timestamp, Verdict};
use firedrill_schedule::programme::{Attempt, Choice, Programme};
use firedrill_schedule::{
    Circumstances, Obstacle, PROGRAMME, Paused, Planned, PlannedStart, Recap, Schedule, Timing, Today, Week, Zone,
    obstacle,
};
use firedrill_store::{OccurrenceFilter, ROWS_MAX, ScheduleRecord, StoreError};
use std::collections::BTreeMap;

const DAY: Span = Span::secs(24 * 3600);
/// Days of a calendar to come, when nothing else was asked for.
const DAYS: u32 = 14;
/// Days of a calendar that are over, when nothing else was asked for.
const BACK: u32 = 7;
/// Most days either way: a quarter, as far as people plan.
pub(crate) const DAYS_MAX: u32 = 92;
/// A next due time is looked for in so many weeks; a rarer one is seen in the calendar.
const WEEKS_AHEAD: u32 = 6;
/// Due times of a preview: enough to see the pattern.
const PREVIEW_ROWS: usize = 10;

/// All schedules by name.
///
/// # Errors
/// The store cannot be read.
pub async fn views(server: &Server) -> Result<Vec<ScheduleView>, Problem> {
    let records = server.store.schedules().await.map_err(|error| store_failed(&error))?;
    let mut views = Vec::with_capacity(records.len());
    for record in records {
        views.push(view_of(server, record).await.map_err(|error| store_failed(&error))?);
    }
    Ok(views)
}

/// One schedule.
///
/// # Errors
/// There is none of that name.
pub async fn view(server: &Server, name: &ScheduleName) -> Result<ScheduleView, Problem> {
    let record = server.store.schedule(name).await.map_err(|error| store_failed(&error))?;
    let next = "`firedrill schedule list` shows those that are there";
    let record = record.ok_or_else(|| not_found("schedule", name, next))?;
    view_of(server, record).await.map_err(|error| store_failed(&error))
}

async fn view_of(server: &Server, record: ScheduleRecord) -> Result<ScheduleView, StoreError> {
    let now = now();
    let closures = server.store.closures(now).await?;
    let mut week = Week::of(&record.schedule.zone, now);
    let this_week = plan_of(server, &record, week, &closures).await?;
    let note = this_week.note.clone();
    let mut next = this_week.planned.into_iter().find(|planned| planned.due > now);
    for _ in 0..WEEKS_AHEAD {
        if next.is_some() {
            break;
        }
        week = week.next();
        next = plan_of(server, &record, week, &closures).await?.planned.into_iter().next();
    }
    let filter =
        OccurrenceFilter { from: Timestamp(0), until: Timestamp(i64::MAX), schedule: Some(&record.schedule.name) };
    let last = server.store.occurrences(filter, 1).await?.pop();
    let mut ladders = Vec::new();
    if let Timing::Programme(programme) = &record.schedule.when {
        for cluster in record.schedule.clusters() {
            let history = attempts(server, cluster).await?;
            ladders.push(Ladder { cluster: cluster.clone(), rungs: programme.standings(rungs(), &history) });
        }
    }
    let ScheduleRecord { schedule, seed, paused, .. } = record;
    Ok(ScheduleView { schedule, seed, paused, next, last, note, ladders })
}

/// What ran and what comes. The plan of every week that is shown is decided with that.
///
/// # Errors
/// Too many days are asked for, or there is no such schedule.
pub async fn calendar(
    server: &Server,
    days: Option<u32>,
    back: Option<u32>,
    only: Option<&ScheduleName>,
) -> Result<Calendar, Problem> {
    let (days, back) = (days.unwrap_or(DAYS), back.unwrap_or(BACK));
    if days > DAYS_MAX || back > DAYS_MAX {
        return Err(problem(MALFORMED, format!("a calendar has at most {DAYS_MAX} days either way")));
    }
    if let Some(name) = only {
        view(server, name).await?;
    }
    let now = now();
    between(server, now - long(back), now + long(days), only).await
}

/// What ran and what comes between two moments. What comes is foreseen from now on, also when the period begins later: a
/// programme's rungs follow from each other.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn between(
    server: &Server,
    from: Timestamp,
    until: Timestamp,
    only: Option<&ScheduleName>,
) -> Result<Calendar, Problem> {
    let now = now();
    let over = past(server, from, now.min(until), only).await.map_err(|error| store_failed(&error))?;
    let mut ahead = match now < until {
        true => coming(server, now, until, only).await.map_err(|error| store_failed(&error))?,
        false => Vec::new(),
    };
    ahead.retain(|(entry, _)| entry.due >= from);
    let most = ROWS_MAX as usize;
    let truncated = over.len() >= most || ahead.len() > most;
    let entries = over.into_iter().chain(ahead.into_iter().take(most).map(|(entry, _)| entry)).collect();
    Ok(Calendar { entries, truncated })
}

/// When a schedule would start something.
#[derive(Debug, Default)]
pub(crate) struct Preview {
    /// The next due times, with what is in the way of each as things stand.
    pub(crate) entries: Vec<CalendarEntry>,
    /// Why this week has fewer than the schedule says.
    pub(crate) note: Option<String>,
    /// There is a seed already, so the times are those that will be; otherwise they are drawn when it is added.
    pub(crate) firm: bool,
}

/// The next due times of a schedule that is not kept yet, or not like that. Nothing is kept.
///
/// # Errors
/// It breaks a rule, a cluster or what it starts is not known, or the store cannot be read.
pub(crate) async fn preview(server: &Server, schedule: &Schedule) -> Result<Preview, Problem> {
    let now = now();
    super::refuse_broken(schedule, now)?;
    for cluster in schedule.clusters() {
        server.keepers.record(cluster)?;
    }
    let of_all = match schedule.when {
        Timing::Programme(_) => None,
        _ => Some(subject(server, schedule).await?),
    };
    let failed = |error: StoreError| store_failed(&error);
    let before = server.store.schedule(&schedule.name).await.map_err(failed)?;
    let facts = Facts::gather(server, now).await.map_err(failed)?;
    let mut lives: BTreeMap<ClusterName, Vec<Attempt>> = BTreeMap::new();
    if of_all.is_none() {
        for cluster in schedule.clusters() {
            lives.insert(cluster.clone(), attempts(server, cluster).await.map_err(failed)?);
        }
    }
    let (seed, paused) = before.map_or((0, None), |record| (record.seed, record.paused));
    let firm = seed != 0 || matches!(schedule.when, Timing::Cron(_)) && !has_lots(schedule);
    let record = ScheduleRecord { seed, paused, added: now, looked: now, schedule: schedule.clone() };
    let mut preview = Preview { firm, ..Preview::default() };
    let mut week = Week::of(&schedule.zone, now);
    for nth in 0..=WEEKS_AHEAD {
        let plan = firedrill_schedule::plan(schedule, week, seed, &facts.closures);
        if nth == 0 {
            preview.note = plan.note;
        }
        let due = plan.planned.iter().filter(|planned| planned.due > now);
        let room = PREVIEW_ROWS.saturating_sub(preview.entries.len());
        let seen = due.filter_map(|planned| foresee(server, &record, planned, &facts, of_all.as_ref(), &mut lives));
        preview.entries.extend(seen.take(room).map(|(entry, _)| entry));
        week = week.next();
    }
    Ok(preview)
}

/// Whether it is drawn which cluster is struck, or whether a time counts.
fn has_lots(schedule: &Schedule) -> bool {
    let lot = |group: &firedrill_schedule::Group| {
        group.clusters.len() > 1 || group.probability != firedrill_model::Percent::whole(100)
    };
    schedule.groups.iter().any(lot)
}

/// So many days; a changed clock does not matter to a calendar's ends.
fn long(days: u32) -> Span {
    Span(DAY.duration() * days)
}

async fn past(
    server: &Server,
    from: Timestamp,
    until: Timestamp,
    only: Option<&ScheduleName>,
) -> Result<Vec<CalendarEntry>, StoreError> {
    let zones: BTreeMap<ScheduleName, Zone> = server
        .store
        .schedules()
        .await?
        .into_iter()
        .map(|record| (record.schedule.name, record.schedule.zone))
        .collect();
    let mut over = server.store.occurrences(OccurrenceFilter { from, until, schedule: only }, ROWS_MAX).await?;
    over.reverse();
    let entry = |occurrence: firedrill_schedule::Occurrence| CalendarEntry {
        local: zones.get(&occurrence.schedule).cloned().unwrap_or_default().show(occurrence.due),
        due: occurrence.due,
        schedule: occurrence.schedule,
        cluster: occurrence.cluster,
        experiment: occurrence.experiment,
        result: Some(occurrence.outcome),
        note: None,
    };
    Ok(over.into_iter().map(entry).collect())
}

/// What comes, in order, with what is expected of it.
async fn coming(
    server: &Server,
    from: Timestamp,
    until: Timestamp,
    only: Option<&ScheduleName>,
) -> Result<Vec<(CalendarEntry, Option<Subject>)>, StoreError> {
    let facts = Facts::gather(server, from).await?;
    let mut ahead = Vec::new();
    for record in server.store.schedules().await? {
        if only.is_some_and(|name| *name != record.schedule.name) {
            continue;
        }
        let mut lives: BTreeMap<ClusterName, Vec<Attempt>> = BTreeMap::new();
        if matches!(record.schedule.when, Timing::Programme(_)) {
            for cluster in record.schedule.clusters() {
                lives.insert(cluster.clone(), attempts(server, cluster).await?);
            }
        }
        let of_all = match record.schedule.when {
            Timing::Programme(_) => None,
            _ => subject(server, &record.schedule).await.ok(),
        };
        let zone = &record.schedule.zone;
        let (mut week, last) = (Week::of(zone, from), Week::of(zone, until));
        while week <= last {
            let plan = plan_of(server, &record, week, &facts.closures).await?;
            let shown = plan.planned.into_iter().filter(|planned| from < planned.due && planned.due < until);
            for planned in shown {
                ahead.extend(foresee(server, &record, &planned, &facts, of_all.as_ref(), &mut lives));
            }
            week = week.next();
        }
    }
    ahead.sort_by(|(one, _), (two, _)| (one.due, &one.schedule).cmp(&(two.due, &two.schedule)));
    Ok(ahead)
}

/// One due time to come; nothing when a programme would rest.
fn foresee(
    server: &Server,
    record: &ScheduleRecord,
    planned: &Planned,
    facts: &Facts,
    of_all: Option<&Subject>,
    lives: &mut BTreeMap<ClusterName, Vec<Attempt>>,
) -> Option<(CalendarEntry, Option<Subject>)> {
    let Planned { due, cluster } = planned;
    let schedule = &record.schedule;
    let found = match (&schedule.when, lives.get_mut(cluster)) {
        (Timing::Programme(programme), Some(history)) => {
            of_rung(foreseen_rung(programme, schedule, *due, history)?).ok()
        }
        _ => of_all.cloned(),
    };
    let note = record.paused.as_ref().map(|reason| format!("paused: {reason}")).or_else(|| {
        let seen = Circumstances {
            now: *due,
            due: *due,
            cluster,
            services: &services(server, cluster),
            halted: None,
            closures: &facts.closures,
            presences: &facts.presences,
        };
        obstacle(schedule, &seen).map(|(kind, why)| match kind {
            // Nobody says days ahead until when they will be there.
            Obstacle::NobodyThere => "only once somebody has said to be there".to_owned(),
            _ => why,
        })
    });
    let entry = CalendarEntry {
        due: *due,
        local: schedule.zone.show(*due),
        schedule: schedule.name.clone(),
        cluster: cluster.clone(),
        experiment: found.as_ref().map_or_else(|| schedule.subject(), |subject| subject.name.clone()),
        result: None,
        note,
    };
    Some((entry, found))
}

/// The rung of a due time to come, if each before it passes.
fn foreseen_rung(
    programme: &Programme,
    schedule: &Schedule,
    due: Timestamp,
    history: &mut Vec<Attempt>,
) -> Option<u32> {
    let zone = &schedule.zone;
    let (week, day) = (Week::of(zone, due).start(zone), zone.start_of(zone.day(due)));
    match programme.choose(rungs(), history, week, day) {
        Choice::Run { rung, .. } => {
            history.push(Attempt { rung, at: due, verdict: Verdict::Passed });
            Some(rung)
        }
        Choice::Rest { .. } => None,
    }
}

/// The message of the day by the clock of a zone: the rest of today, and everything since the beginning of yesterday,
/// of those clusters.
///
/// # Errors
/// The store cannot be read.
pub async fn today(
    server: &Server,
    zone: Option<Zone>,
    shown: impl Fn(&ClusterName) -> bool,
) -> Result<TodayMessage, Problem> {
    let mut today = gather_today(server, zone, now()).await.map_err(|error| store_failed(&error))?;
    today.planned.retain(|start| shown(&start.cluster));
    today.recap.retain(|recap| shown(&recap.cluster));
    let text = today.text();
    Ok(TodayMessage { today, text })
}

pub(crate) async fn gather_today(server: &Server, zone: Option<Zone>, now: Timestamp) -> Result<Today, StoreError> {
    let records = server.store.schedules().await?;
    // Without another wish, by the clock of the first schedule: most have all of theirs in one zone.
    let zone = zone.or_else(|| records.first().map(|record| record.schedule.zone.clone())).unwrap_or_default();
    let day = zone.day(now);
    let (yesterday, tomorrow) =
        (zone.day(zone.start_of(day) - Span::secs(1)), zone.day(zone.start_of(day) + DAY_AND_MORE));
    let planned = coming(server, now, zone.start_of(tomorrow), None).await?;
    let filter = OccurrenceFilter { from: zone.start_of(yesterday), until: now + Span::secs(1), schedule: None };
    let mut over = server.store.occurrences(filter, ROWS_MAX).await?;
    over.reverse();
    let paused = records
        .into_iter()
        .filter_map(|record| Some(Paused { schedule: record.schedule.name, reason: record.paused? }));
    Ok(Today {
        day,
        halted: server.halted(),
        planned: planned.into_iter().map(planned_start).collect(),
        recap: over.into_iter().map(recap).collect(),
        paused: paused.collect(),
        present: server.store.presences(now).await?,
        zone,
    })
}

/// From the beginning of any day this leads into the next one: days have 23 to 25 hours.
const DAY_AND_MORE: Span = Span::secs(26 * 3600);

fn planned_start((entry, subject): (CalendarEntry, Option<Subject>)) -> PlannedStart {
    let (title, expected) = subject.map_or_else(
        || (PROGRAMME.to_owned(), String::new()),
        |subject| (subject.title, subject.hypothesis.split_whitespace().collect::<Vec<_>>().join(" ")),
    );
    let CalendarEntry { due, schedule, cluster, experiment, note, .. } = entry;
    PlannedStart { due, schedule, cluster, experiment, title, expected, obstacle: note }
}

fn recap(occurrence: firedrill_schedule::Occurrence) -> Recap {
    let firedrill_schedule::Occurrence { due, schedule, cluster, experiment, outcome, .. } = occurrence;
    Recap { due, schedule, cluster, experiment, outcome }
}
