//! The plan of a week: which clusters are struck when. It is made once for each week, from a seed, and stored.

use crate::cron;
use crate::decide::Closure;
use crate::draw::{self, Lot};
use crate::spec::{Group, Schedule, Timing};
use crate::week::{MINUTE, Opening, Week, openings};
use firedrill_model::{ClusterName, Span, Timestamp};
use jiff::ToSpan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most due times of a week: a cron line every five minutes, and one more.
pub const PLANNED_MAX: usize = 2100;

/// A due time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// When; a whole minute.
    pub due: Timestamp,
    /// On which cluster.
    pub cluster: ClusterName,
}

/// The due times of a week, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WeekPlan {
    /// Which week.
    pub week: Week,
    /// Its due times.
    pub planned: Vec<Planned>,
    /// Why there are fewer than the schedule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Makes the plan of a week. The same schedule, week, seed and closures give the same plan; each group draws for itself,
/// so that adding one at the end changes nothing for the others.
#[must_use]
pub fn plan(schedule: &Schedule, week: Week, seed: u64, closures: &[Closure]) -> WeekPlan {
    let open = openings(schedule, week, closures);
    let (mut planned, mut note) = (Vec::new(), None);
    for (group, number) in schedule.groups.iter().zip(0_i64..) {
        let mut lot = Lot::new(seed, &[week.number(), number]);
        let due = match &schedule.when {
            Timing::Cron(line) => cron_times(schedule, line, week, &open),
            Timing::Random(random) => {
                let minutes = draw::minutes(&mut lot, &open, random.times, spread_minutes(random.spread));
                if minutes.len() < usize::try_from(random.times).unwrap_or(usize::MAX) {
                    let (came, wanted) = (minutes.len(), random.times);
                    note = Some(format!("{came} of {wanted} times: holidays or black-outs leave no room for more"));
                }
                minutes
            }
            Timing::Programme(_) => one_each_day(&mut lot, &open),
        };
        planned.extend(due.into_iter().filter_map(|minute| struck(&mut lot, group, minute)));
    }
    planned.sort();
    planned.truncate(PLANNED_MAX);
    WeekPlan { week, planned, note }
}

/// In whole minutes, rounded up, at least one.
pub(crate) fn spread_minutes(spread: Span) -> i64 {
    let seconds = i64::try_from(spread.duration().as_secs()).unwrap_or(i64::MAX / 2);
    (seconds.saturating_add(59) / 60).clamp(1, 1 << 32)
}

/// Whether a time counts for a group, and for which of its clusters.
fn struck(lot: &mut Lot, group: &Group, minute: i64) -> Option<Planned> {
    let counts = lot.below(100_000) < u64::from(group.probability.thousandths());
    let at = usize::try_from(lot.below(group.clusters.len().max(1) as u64)).ok()?;
    let cluster = group.clusters.get(at)?.clone();
    counts.then_some(Planned { due: Timestamp(minute * MINUTE), cluster })
}

fn cron_times(schedule: &Schedule, line: &str, week: Week, open: &[Opening]) -> Vec<i64> {
    // A line that is none was refused when the schedule was added.
    let Ok(cron) = cron::read(line) else { return Vec::new() };
    let from = week.monday().at(0, 0, 0, 0);
    let moments = cron::moments(&cron, &schedule.zone, from, from.saturating_add(7.days()));
    let anywhere = schedule.windows.is_empty();
    let closed = |at: Timestamp| {
        let black = schedule.blackouts.iter().any(|blackout| {
            let (from, until) = blackout.moments(&schedule.zone);
            from <= at && at < until
        });
        black || schedule.holidays.contains(&schedule.zone.day(at))
    };
    let counts = |at: &Timestamp| {
        if anywhere { !closed(*at) } else { open.iter().any(|opening| opening.contains(*at)) }
    };
    moments.into_iter().filter(counts).map(|at| at.0.div_euclid(MINUTE)).collect()
}

/// One time on each day that has an opening.
fn one_each_day(lot: &mut Lot, open: &[Opening]) -> Vec<i64> {
    open.chunk_by(|one, two| one.day == two.day).flat_map(|of_day| draw::minutes(lot, of_day, 1, 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::{cron, ladder, random, window};
    use crate::zone::tests::{ZONES, zone};
    use firedrill_model::Percent;
    use proptest::prelude::*;

    fn week(number: i64) -> Week {
        Week::of(&zone("UTC"), Timestamp(1_795_000_000_000_000 + number * 7 * 24 * 60 * MINUTE))
    }

    fn name(name: &str) -> ClusterName {
        name.parse().expect("a name")
    }

    #[test]
    fn a_holiday_leaves_fewer_times_and_says_so() {
        let mut schedule = random(3);
        schedule.windows = vec![window("mon tue", "09:00", "10:30")];
        let seven = week(0).days().to_vec();
        assert_eq!(plan(&schedule, week(0), 1, &[]).planned.len(), 3);
        schedule.holidays = seven[..1].to_vec();
        let fewer = plan(&schedule, week(0), 1, &[]);
        assert_eq!(fewer.planned.len(), 2);
        assert!(fewer.note.expect("a note").starts_with("2 of 3 times"));
        schedule.holidays = seven;
        assert_eq!(plan(&schedule, week(0), 1, &[]).planned, []);
    }

    #[test]
    fn a_cron_line_keeps_to_its_windows_and_holidays() {
        let mut schedule = cron("0 10 * * *");
        assert_eq!(plan(&schedule, week(0), 1, &[]).planned.len(), 7);
        schedule.holidays = week(0).days()[..2].to_vec();
        assert_eq!(plan(&schedule, week(0), 1, &[]).planned.len(), 5);
        schedule.windows = vec![window("tue wed thu", "09:00", "15:00")];
        assert_eq!(plan(&schedule, week(0), 1, &[]).planned.len(), 2);
    }

    #[test]
    fn probability_thins_out_and_a_group_gives_one_cluster_at_a_time() {
        let mut schedule = cron("0 * * * *");
        schedule.groups[0].probability = Percent::whole(25);
        schedule.groups[0].clusters = vec![name("one"), name("two")];
        let counts: Vec<usize> = (0..50).map(|at| plan(&schedule, week(at), 9, &[]).planned.len()).collect();
        let mean = counts.iter().sum::<usize>() / 50;
        assert!((36..=48).contains(&mean), "a quarter of 168 is 42: {mean}");
        let planned = plan(&schedule, week(0), 9, &[]).planned;
        assert!(planned.windows(2).all(|pair| pair[0].due < pair[1].due));
        assert!(["one", "two"].iter().all(|one| planned.iter().any(|at| at.cluster == name(one))));
    }

    #[test]
    fn a_programme_has_one_time_each_working_day() {
        let planned = plan(&ladder(), week(0), 3, &[]).planned;
        let days: Vec<_> = planned.iter().map(|at| zone("UTC").day(at.due)).collect();
        assert_eq!(days, week(0).days()[..5]);
    }

    proptest! {
        #[test]
        fn a_week_is_decided_once(
            zone_name in prop::sample::select(&ZONES[..]), seed: u64, at in 0_i64..106, times in 1_u32..12,
        ) {
            let mut schedule = random(times);
            schedule.zone = zone(zone_name);
            schedule.groups.push(Group { clusters: vec![name("bank")], probability: Percent::whole(100) });
            let made = plan(&schedule, week(at), seed, &[]);
            prop_assert_eq!(&made, &plan(&schedule, week(at), seed, &[]));
            let open = openings(&schedule, week(at), &[]);
            for cluster in ["shop", "bank"] {
                let of_group: Vec<&Planned> = made.planned.iter().filter(|one| one.cluster == name(cluster)).collect();
                prop_assert_eq!(of_group.len(), times as usize);
                prop_assert!(of_group.windows(2).all(|pair| pair[1].due.since(pair[0].due) >= Span::secs(3600)));
                prop_assert!(of_group.iter().all(|one| open.iter().any(|opening| opening.contains(one.due))));
            }
            schedule.groups.pop();
            let alone = plan(&schedule, week(at), seed, &[]).planned;
            prop_assert!(alone.iter().all(|one| made.planned.contains(one)), "the other group has changed nothing");
        }
    }
}
