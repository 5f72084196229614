//! The rules that a well-formed schedule must also keep.

use crate::cron;
use crate::draw;
use crate::spec::{DayName, Group, Schedule, Timing, Window};
use crate::week::{self, Week};
use crate::zone::Zone;
use firedrill_model::{Percent, Timestamp};
use jiff::ToSpan;
use jiff::civil::DateTime;
use std::collections::BTreeSet;

/// Most groups of a schedule, and clusters of a group: beyond that, it is several schedules.
const GROUPS_MAX: usize = 100;
/// Most windows, black-outs and holidays: some years of a company's calendar.
const CALENDAR_MAX: usize = 400;
/// Longest experiment file: the library's are below 3 KiB.
const FILE_BYTES_MAX: usize = 256 << 10;
/// Most times a week: an experiment takes minutes and the cluster must be whole again before the next.
const TIMES_MAX: u32 = 100;
/// Between two times of a cron line lies at least this, for the same reason.
const CRON_EVERY_MIN: i64 = 5;
/// So many times of a cron line are looked at to find how close they come.
const CRON_LOOKED_AT: usize = 600;
/// A cron line comes within so many years, or it counts as never: 29 February can be eight years away.
const COMES_WITHIN_YEARS: i64 = 8;
/// So many times of a cron line are held against windows and black-outs: a year of the closest line there may be.
const CRON_TRIED: usize = 120_000;

/// What kind of rule is broken; each has a page in `docs/errors/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Something in it is wrong or missing.
    Malformed,
    /// Its times contradict each other: it could never start, or not as often as it says.
    Contradiction,
    /// The time zone is not known.
    Zone,
    /// The cron line never comes.
    Never,
}

impl Code {
    /// As in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "S080",
            Self::Contradiction => "S081",
            Self::Zone => "S082",
            Self::Never => "S083",
        }
    }
}

/// A rule that a schedule breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Problem {
    /// Which rule.
    pub code: Code,
    /// Where: `windows[1]`.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Checks the rules beyond the form. `now` is where the search for a first due time begins.
#[must_use]
pub fn check(schedule: &Schedule, now: Timestamp) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut say = |code: Code, place: String, message: String| problems.push(Problem { code, place, message });
    subject(schedule, &mut say);
    groups(&schedule.groups, &mut say);
    calendar(schedule, &mut say);
    if problems.is_empty() {
        let mut say = |code: Code, place: String, message: String| problems.push(Problem { code, place, message });
        match &schedule.when {
            Timing::Cron(line) => cron_line(schedule, line, now, &mut say),
            Timing::Random(random) => times(schedule, random.times, random.spread, &mut say),
            Timing::Programme(programme) => programme.problems(&mut say),
        }
    }
    problems
}

type Say<'a> = dyn FnMut(Code, String, String) + 'a;

fn subject(schedule: &Schedule, say: &mut Say<'_>) {
    let programme = matches!(schedule.when, Timing::Programme(_));
    let given = [schedule.experiment.is_some(), schedule.file.is_some(), schedule.template.is_some()];
    let message = match (programme, given.into_iter().filter(|given| *given).count()) {
        (true, 0) | (false, 1) => None,
        (true, _) => Some("a programme climbs the ladder; leave `experiment`, `file` and `template` out"),
        (false, 0) => {
            Some("name an experiment of the library, a `template`, or give the text of an experiment as `file`")
        }
        (false, _) => Some("give one of `experiment`, `file` and `template`, not several"),
    };
    if let Some(message) = message {
        say(Code::Malformed, "experiment".into(), message.to_owned());
    }
    if schedule.file.as_ref().is_some_and(|file| file.len() > FILE_BYTES_MAX) {
        say(Code::Malformed, "file".into(), format!("longer than {FILE_BYTES_MAX} bytes"));
    }
    if programme && schedule.groups.iter().any(|group| group.clusters.len() > 1) {
        let message = "a programme follows one cluster: give each cluster a group of its own";
        say(Code::Malformed, "groups".into(), message.to_owned());
    }
}

fn groups(groups: &[Group], say: &mut Say<'_>) {
    if groups.is_empty() || groups.len() > GROUPS_MAX {
        say(Code::Malformed, "groups".into(), format!("{} groups; give 1 to {GROUPS_MAX}", groups.len()));
    }
    let mut seen = BTreeSet::new();
    for (index, group) in groups.iter().enumerate() {
        let place = format!("groups[{index}]");
        if group.clusters.is_empty() || group.clusters.len() > GROUPS_MAX {
            let message = format!("{} clusters; give 1 to {GROUPS_MAX}", group.clusters.len());
            say(Code::Malformed, format!("{place}.clusters"), message);
        }
        if group.probability == Percent::whole(0) {
            let message = "0 % never comes; leave the group out, or opt its clusters out";
            say(Code::Contradiction, format!("{place}.probability"), message.to_owned());
        }
        for cluster in &group.clusters {
            if !seen.insert(cluster) {
                say(Code::Malformed, format!("{place}.clusters"), format!("{cluster} is named twice"));
            }
        }
    }
}

fn calendar(schedule: &Schedule, say: &mut Say<'_>) {
    for (what, count) in [
        ("windows", schedule.windows.len()),
        ("holidays", schedule.holidays.len()),
        ("blackouts", schedule.blackouts.len()),
    ] {
        if count > CALENDAR_MAX {
            say(Code::Malformed, what.into(), format!("{count} of them; at most {CALENDAR_MAX}"));
        }
    }
    for (index, window) in schedule.windows.iter().enumerate() {
        let place = format!("windows[{index}]");
        if window.days.is_empty() {
            say(Code::Contradiction, format!("{place}.days"), "names no day, so it is never open".to_owned());
        }
        if window.from >= window.until {
            let message = format!(
                "ends at {} and begins at {}; one that goes over midnight is written as two, until 24:00 and from 00:00",
                window.until, window.from
            );
            say(Code::Contradiction, place, message);
        }
    }
    for (index, blackout) in schedule.blackouts.iter().enumerate() {
        if blackout.from >= blackout.until {
            let message = format!("ends at {} and begins at {}", blackout.until, blackout.from);
            say(Code::Contradiction, format!("blackouts[{index}]"), message);
        }
    }
}

fn times(schedule: &Schedule, times: u32, spread: firedrill_model::Span, say: &mut Say<'_>) {
    if times == 0 || times > TIMES_MAX {
        say(Code::Malformed, "when.random.times".into(), format!("{times} times a week; give 1 to {TIMES_MAX}"));
        return;
    }
    // An ordinary week: no holidays, no changed clock. Where no week is ordinary, fewer times come, and are said.
    let ordinary = Schedule { zone: Zone::utc(), holidays: Vec::new(), blackouts: Vec::new(), ..schedule.clone() };
    let open = week::openings(&ordinary, Week::of(&ordinary.zone, Timestamp(0)), &[]);
    let minutes = crate::plan::spread_minutes(spread);
    let room = draw::room(&open, minutes);
    if i64::from(times) > room {
        let message = format!(
            "{times} times a week, {spread} apart, do not fit into the windows (there is room for {room}); give fewer times, a smaller spread or more windows"
        );
        say(Code::Contradiction, "when.random".into(), message);
    }
}

fn cron_line(schedule: &Schedule, line: &str, now: Timestamp, say: &mut Say<'_>) {
    let cron = match cron::read(line) {
        Ok(cron) => cron,
        Err(why) => {
            let message = format!(
                "{line:?} is no cron line ({}); give minute, hour, day, month and weekday, such as `30 10 * * MON-FRI`",
                why.trim_end_matches('.')
            );
            return say(Code::Malformed, "when.cron".into(), message);
        }
    };
    let start = schedule.zone.wall(now);
    let end = start.saturating_add(COMES_WITHIN_YEARS.years());
    let mut walls = cron::walls(&cron, start).take_while(|wall| *wall < end);
    let Some(first) = walls.next() else {
        let message = format!("{line:?} never comes ({COMES_WITHIN_YEARS} years were looked through)");
        return say(Code::Never, "when.cron".into(), message);
    };
    let close = cron::walls(&cron, first).take(CRON_LOOKED_AT).collect::<Vec<_>>();
    if close.windows(2).any(|pair| pair[0].saturating_add(CRON_EVERY_MIN.minutes()) > pair[1]) {
        let message = format!(
            "{line:?} comes more often than every {CRON_EVERY_MIN} minutes; an experiment takes minutes, and the cluster must be whole again before the next"
        );
        return say(Code::Malformed, "when.cron".into(), message);
    }
    if !std::iter::once(first).chain(walls).take(CRON_TRIED).any(|wall| is_open(schedule, wall)) {
        let message = format!(
            "{line:?} comes only outside the windows, or on holidays or in black-outs; nothing would ever start"
        );
        say(Code::Contradiction, "when.cron".into(), message);
    }
}

/// By what the wall shows; that is near enough to tell never from sometimes.
fn is_open(schedule: &Schedule, wall: DateTime) -> bool {
    let day = wall.date();
    let within = |window: &Window| {
        let is_day = |name: &DayName| name.is(day);
        window.days.iter().any(is_day) && window.from.on(day) <= wall && wall < window.until.on(day)
    };
    let black = schedule.blackouts.iter().any(|blackout| blackout.from <= wall && wall < blackout.until);
    let windows = schedule.windows();
    !black && !schedule.holidays.contains(&day) && (windows.is_empty() || windows.iter().any(within))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::TemplateUse;
    use crate::spec::tests::{cron, ladder, random, window};
    use crate::zone::tests::wall;
    use crate::{Blackout, programme::Programme};
    use firedrill_model::Span;
    use std::collections::BTreeMap;

    fn codes(schedule: &Schedule) -> Vec<&'static str> {
        let problems = check(schedule, Timestamp(1_795_000_000_000_000));
        problems.iter().for_each(|problem| assert!(problem.message.len() > 10, "{problem}"));
        problems.iter().map(|problem| problem.code.as_str()).collect()
    }

    #[test]
    fn good_ones_pass() {
        for good in [cron("30 10 * * MON-FRI"), cron("0 9 29 2 *"), cron("0 9 L * *"), random(3), ladder()] {
            assert_eq!(codes(&good), [""; 0], "{good:?}");
        }
    }

    #[test]
    fn a_line_that_never_comes_is_told_from_one_that_is_shut_out() {
        assert_eq!(codes(&cron("0 9 30 2 *")), ["S083"]);
        assert_eq!(codes(&cron("0 9 31 4,6 *")), ["S083"]);
        let windows = vec![window("mon", "09:00", "15:00")];
        assert_eq!(codes(&Schedule { windows: windows.clone(), ..cron("0 9 * * TUE") }), ["S081"]);
        assert_eq!(codes(&Schedule { windows, ..cron("0 15 * * MON") }), ["S081"]);
        assert_eq!(codes(&cron("*/3 * * * *")), ["S080"]);
        assert_eq!(codes(&cron("0,4 3 1 * *")), ["S080"]);
        assert_eq!(codes(&cron("every day")), ["S080"]);
    }

    #[test]
    fn contradicting_windows_are_refused() {
        let with =
            |days: &str, from: &str, until: &str| Schedule { windows: vec![window(days, from, until)], ..random(2) };
        assert_eq!(codes(&with("mon", "15:00", "09:00")), ["S081"]);
        assert_eq!(codes(&with("mon", "09:00", "09:00")), ["S081"]);
        assert_eq!(codes(&with("mon", "09:00", "10:00")), ["S081"], "two an hour apart need more than an hour");
        assert_eq!(codes(&with("mon", "09:00", "10:01")), [""; 0]);
        let mut no_day = with("mon", "09:00", "15:00");
        no_day.windows[0].days.clear();
        assert_eq!(codes(&no_day), ["S081"]);
        let backwards =
            Blackout { from: wall("2026-12-02 00:00"), until: wall("2026-12-01 00:00"), reason: "x".into() };
        assert_eq!(codes(&Schedule { blackouts: vec![backwards], ..random(2) }), ["S081"]);
    }

    #[test]
    fn what_and_where_must_be_there_once() {
        assert_eq!(codes(&Schedule { experiment: None, ..random(2) }), ["S080"]);
        assert_eq!(codes(&Schedule { file: Some("name: x".into()), ..random(2) }), ["S080"]);
        let template = Some(TemplateUse { name: "own".into(), values: BTreeMap::new() });
        assert_eq!(codes(&Schedule { template: template.clone(), ..random(2) }), ["S080"]);
        assert_eq!(codes(&Schedule { experiment: None, template, ..random(2) }), [""; 0]);
        assert_eq!(codes(&Schedule { experiment: Some("x".into()), ..ladder() }), ["S080"]);
        assert_eq!(codes(&Schedule { groups: Vec::new(), ..random(2) }), ["S080"]);
        let mut twice = random(2);
        twice.groups.push(twice.groups[0].clone());
        assert_eq!(codes(&twice), ["S080"]);
        twice.groups[1].clusters = vec!["bank".parse().expect("a name")];
        assert_eq!(codes(&twice), [""; 0]);
        twice.groups[1].probability = Percent::whole(0);
        assert_eq!(codes(&twice), ["S081"]);
        assert_eq!(codes(&random(0)), ["S080"]);
        let eager = Programme { climb_after: 3, daily_after: 2, ..Programme::default() };
        assert_eq!(codes(&Schedule { when: Timing::Programme(eager), ..ladder() }), ["S081"]);
        let mut wide = random(2);
        wide.when = Timing::Random(crate::Random { times: 2, spread: Span::secs(1 << 40) });
        assert_eq!(codes(&wide), ["S081"]);
    }
}
