//! Cron lines. They are read on the wall: `croner` walks the calendar without a zone, and each time on the wall becomes
//! a moment by the rule of this crate, so that a changed clock has one meaning for cron lines and windows.

use crate::zone::{Coming, Zone};
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use firedrill_model::Timestamp;
use jiff::civil::DateTime;

/// A line, or why it is none.
pub(crate) fn read(line: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
    parser.parse(line).map_err(|error| error.to_string())
}

/// The times on the wall at which a line comes, from `start` on.
pub(crate) fn walls(cron: &Cron, start: DateTime) -> impl Iterator<Item = DateTime> + '_ {
    let first = cron.find_next_occurrence(&start, true).ok();
    std::iter::successors(first, |last| cron.find_next_occurrence(last, false).ok())
}

/// The moments at which a line comes from `from` to before `until`, in order, each once.
pub(crate) fn moments(cron: &Cron, zone: &Zone, from: DateTime, until: DateTime) -> Vec<Timestamp> {
    let mut moments: Vec<Timestamp> =
        walls(cron, from).take_while(|wall| *wall < until).map(|wall| zone.moment(wall, Coming::First)).collect();
    // Those that are jumped over fall together.
    moments.dedup();
    moments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::tests::{ZONES, wall, zone};
    use proptest::prelude::*;

    fn shown(line: &str, zone_name: &str, day: &str) -> Vec<String> {
        let zone = zone(zone_name);
        let from = wall(&format!("{day} 00:00"));
        let until = from.checked_add(jiff::SignedDuration::from_hours(24)).expect("in the calendar");
        let cron = read(line).expect("a cron line");
        moments(&cron, &zone, from, until).into_iter().map(|at| zone.show_time(at)).collect()
    }

    #[test]
    fn a_jump_runs_what_it_jumped_over_once() {
        assert_eq!(shown("30 2 * * *", "Europe/Berlin", "2026-03-29"), ["03:00 CEST"]);
        assert_eq!(shown("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29"), ["03:00 CEST", "03:30 CEST"]);
    }

    #[test]
    fn an_hour_that_comes_twice_counts_once() {
        assert_eq!(shown("30 2 * * *", "Europe/Berlin", "2026-10-25"), ["02:30 CEST"]);
        assert_eq!(
            shown("0,30 2,3 * * *", "Europe/Berlin", "2026-10-25"),
            ["02:00 CEST", "02:30 CEST", "03:00 CET", "03:30 CET"]
        );
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for bad in ["", "x", "61 * * * *", "* * * *", "0 0 0 1 1 * 2026 1", "*/5 * * * * *", "0 0 * * MUN"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn each_time_on_the_wall_comes_once_and_in_order(
            name in prop::sample::select(&ZONES[..]),
            minute in 0_u8..60, step in 1_u8..12, day in 0_i64..366,
        ) {
            let zone = zone(name);
            let cron = read(&format!("{minute} */{step} * * *")).expect("a cron line");
            let from = wall("2026-01-01 00:00").checked_add(jiff::SignedDuration::from_hours(24 * day)).expect("a time");
            let until = from.checked_add(jiff::SignedDuration::from_hours(48)).expect("a time");
            let found = moments(&cron, &zone, from, until);
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
            let expected: Vec<_> = walls(&cron, from).take_while(|at| *at < until).collect();
            prop_assert!(found.len() <= expected.len());
            // What the wall shows is what the line says, or the end of a jump.
            for at in &found {
                let shown = zone.wall(*at);
                let before = zone.wall(Timestamp(at.0 - 1)).checked_add(jiff::SignedDuration::from_micros(1));
                prop_assert!(expected.contains(&shown) || before.expect("a time") != shown, "{shown}");
            }
        }
    }
}
