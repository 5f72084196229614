//! Weeks, and the times within one in which something may start.

use crate::decide::Closure;
use crate::spec::Schedule;
use crate::zone::{Coming, Day, Zone};
use firedrill_model::Timestamp;
use jiff::ToSpan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Due times are whole minutes: nobody plans finer.
pub(crate) const MINUTE: i64 = 60_000_000;

/// A week from Monday to Sunday in the zone of a schedule, named by its Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Week(Day);

impl Week {
    /// The week of a moment.
    #[must_use]
    pub fn of(zone: &Zone, at: Timestamp) -> Self {
        let day = zone.day(at);
        let since_monday = day.weekday().to_monday_zero_offset();
        Self(day.saturating_sub(i32::from(since_monday).days()))
    }

    /// The week after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(7.days()))
    }

    /// Its days, Monday first.
    #[must_use]
    pub fn days(self) -> [Day; 7] {
        [0, 1, 2, 3, 4, 5, 6].map(|days: i32| self.0.saturating_add(days.days()))
    }

    /// When it begins.
    #[must_use]
    pub fn start(self, zone: &Zone) -> Timestamp {
        zone.start_of(self.0)
    }

    /// Days from the Unix epoch to its Monday.
    pub(crate) fn number(self) -> i64 {
        self.0.duration_since(Day::constant(1970, 1, 1)).as_hours() / 24
    }

    /// Its Monday.
    #[must_use]
    pub fn monday(self) -> Day {
        self.0
    }
}

impl fmt::Display for Week {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A stretch of whole minutes in which something may start: from `from`, before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Of which day.
    pub day: Day,
    /// Minutes since the Unix epoch.
    pub from: i64,
    /// Minutes since the Unix epoch.
    pub until: i64,
}

impl Opening {
    /// How many minutes there are to choose from.
    #[must_use]
    pub const fn minutes(self) -> i64 {
        self.until - self.from
    }

    /// Whether a due time lies in it.
    #[must_use]
    pub const fn contains(self, at: Timestamp) -> bool {
        let minute = at.0.div_euclid(MINUTE);
        self.from <= minute && minute < self.until
    }
}

/// The openings of a week: its windows, without holidays, without the black-outs of the schedule and without the
/// closures that are for everything. In order, and no two share a minute.
#[must_use]
pub fn openings(schedule: &Schedule, week: Week, closures: &[Closure]) -> Vec<Opening> {
    let zone = &schedule.zone;
    let windows = schedule.windows();
    let mut open = Vec::new();
    for day in week.days() {
        if schedule.holidays.contains(&day) {
            continue;
        }
        let of_day = windows.iter().filter(|window| window.days.iter().any(|name| name.is(day)));
        for window in of_day {
            let from = minute_up(zone.moment(window.from.on(day), Coming::First));
            let until = minute_down(zone.moment(window.until.on(day), Coming::Second));
            open.push(Opening { day, from, until });
        }
    }
    let closed = closed_minutes(schedule, closures);
    united(open).into_iter().flat_map(|opening| without(opening, &closed)).collect()
}

/// Sorted; where two share minutes, the later one loses them.
fn united(mut open: Vec<Opening>) -> Vec<Opening> {
    open.sort_by_key(|opening| (opening.from, opening.until));
    let mut end = i64::MIN;
    open.retain_mut(|opening| {
        opening.from = opening.from.max(end);
        end = end.max(opening.until);
        opening.minutes() > 0
    });
    open
}

/// What is closed whatever the cluster, in minutes, sorted.
fn closed_minutes(schedule: &Schedule, closures: &[Closure]) -> Vec<(i64, i64)> {
    let of_schedule = schedule.blackouts.iter().map(|blackout| blackout.moments(&schedule.zone));
    let of_all = closures.iter().filter(|closure| closure.is_for_all()).map(|closure| closure.moments());
    let mut closed: Vec<(i64, i64)> =
        of_schedule.chain(of_all).map(|(from, until)| (minute_down(from), minute_up(until))).collect();
    closed.sort_unstable();
    closed
}

/// What of an opening is left.
fn without(opening: Opening, closed: &[(i64, i64)]) -> Vec<Opening> {
    let mut left = Vec::new();
    let mut from = opening.from;
    for (begin, end) in closed {
        if *begin > from {
            left.push(Opening { from, until: opening.until.min(*begin), ..opening });
        }
        from = from.max(*end);
        if from >= opening.until {
            break;
        }
    }
    left.push(Opening { from, ..opening });
    left.retain(|opening| opening.minutes() > 0);
    united(left)
}

fn minute_up(at: Timestamp) -> i64 {
    -(-at.0).div_euclid(MINUTE)
}

fn minute_down(at: Timestamp) -> i64 {
    at.0.div_euclid(MINUTE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::{random, window};
    use crate::zone::tests::{ZONES, wall, zone};
    use crate::{Blackout, Scope};
    use proptest::prelude::*;

    fn week_of(zone_name: &str, day: &str) -> Week {
        let zone = zone(zone_name);
        Week::of(&zone, zone.moment(wall(&format!("{day} 12:00")), Coming::First))
    }

    #[test]
    fn a_week_begins_on_monday() {
        assert_eq!(week_of("Europe/Berlin", "2026-11-29").to_string(), "2026-11-23");
        assert_eq!(week_of("Europe/Berlin", "2026-11-30").to_string(), "2026-11-30");
        assert_eq!(week_of("UTC", "2026-11-29").next(), week_of("UTC", "2026-11-30"));
    }

    #[test]
    fn holidays_blackouts_and_closures_take_time_away() {
        let mut schedule = random(2);
        schedule.windows = vec![window("mon tue wed", "09:00", "15:00")];
        let week = week_of("UTC", "2026-11-23");
        let minutes = |schedule: &Schedule, closures: &[Closure]| -> i64 {
            openings(schedule, week, closures).into_iter().map(Opening::minutes).sum()
        };
        assert_eq!(minutes(&schedule, &[]), 18 * 60);
        schedule.holidays = vec!["2026-11-24".parse().expect("a day")];
        assert_eq!(minutes(&schedule, &[]), 12 * 60);
        schedule.blackouts = vec![Blackout {
            from: wall("2026-11-23 10:00"),
            until: wall("2026-11-23 11:30"),
            reason: "release".into(),
        }];
        assert_eq!(minutes(&schedule, &[]), 12 * 60 - 90);
        let closure = Closure {
            id: "1".into(),
            scope: Scope::All,
            from: Some(schedule.zone.moment(wall("2026-11-25 14:00"), Coming::First)),
            until: None,
            reason: "freeze".into(),
        };
        assert_eq!(minutes(&schedule, &[closure]), 12 * 60 - 150);
    }

    #[test]
    fn an_hour_that_is_jumped_over_opens_nothing() {
        let mut schedule = random(1);
        schedule.zone = zone("Europe/Berlin");
        let length = |schedule: &Schedule, day: &str| -> i64 {
            openings(schedule, week_of("Europe/Berlin", day), &[]).into_iter().map(Opening::minutes).sum()
        };
        schedule.windows = vec![window("sun", "02:00", "03:00")];
        assert_eq!(length(&schedule, "2026-03-29"), 0);
        assert_eq!(length(&schedule, "2026-10-25"), 120);
        schedule.windows = vec![window("sun", "00:00", "24:00")];
        assert_eq!((length(&schedule, "2026-03-29"), length(&schedule, "2026-10-25")), (23 * 60, 25 * 60));
    }

    proptest! {
        #[test]
        fn openings_are_in_order_and_within_their_windows(
            name in prop::sample::select(&ZONES[..]),
            week in 0_i64..53,
            times in prop::collection::vec((0_u16..1440, 1_u16..600), 1..4),
            black in (0_i64..7 * 1440, 1_i64..3000),
        ) {
            let zone = zone(name);
            let mut schedule = random(1);
            schedule.zone = zone.clone();
            let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            schedule.windows = times
                .iter()
                .map(|(from, length)| window("mon tue wed thu fri sat sun", &clock(*from), &clock((from + length).min(1440))))
                .collect();
            let start = wall("2026-01-05 00:00").checked_add(jiff::SignedDuration::from_hours(week * 168)).expect("a time");
            let from = start.checked_add(jiff::SignedDuration::from_mins(black.0)).expect("a time");
            let until = from.checked_add(jiff::SignedDuration::from_mins(black.1)).expect("a time");
            schedule.blackouts = vec![Blackout { from, until, reason: "x".into() }];
            let week = Week::of(&zone, zone.moment(start, Coming::First));
            let open = openings(&schedule, week, &[]);
            prop_assert!(open.windows(2).all(|pair| pair[0].until <= pair[1].from));
            let black = schedule.blackouts[0].moments(&zone);
            for opening in open {
                for minute in [opening.from, opening.until - 1] {
                    let at = Timestamp(minute * MINUTE);
                    prop_assert!(at < black.0 || at >= black.1, "in the black-out");
                    let shown = zone.wall(at);
                    let inside = |window: &crate::Window| {
                        window.from.on(shown.date()) <= shown && shown < window.until.on(shown.date())
                    };
                    prop_assert!(schedule.windows.iter().any(inside), "{shown} is in no window");
                }
            }
        }
    }
}
