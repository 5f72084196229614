//! Time zones: what the clock on the wall says, and which moment that is.

use firedrill_model::Timestamp;
use firedrill_model::evidence::{Wall, Weekday};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A day of the calendar (`2026-11-24`).
pub type Day = Date;

/// Longest accepted name of a zone; the longest in the database has 32 characters.
const NAME_BYTES_MAX: usize = 64;

/// Where the clock hangs: a name of the IANA database such as `Europe/Berlin`, or `UTC`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// A name that the database of zones does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time zone; give a name of the IANA database such as Europe/Berlin, America/New_York or UTC")]
pub struct UnknownZone(pub String);

/// Which of two moments a time on the wall means when it comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coming {
    First,
    Second,
}

impl Zone {
    /// The zone without summer time.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The moment at which the wall shows that time. One that is jumped over means the moment of the jump.
    pub(crate) fn moment(&self, wall: DateTime, coming: Coming) -> Timestamp {
        let ambiguous = self.rules.to_ambiguous_timestamp(wall);
        let chosen = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall),
            AmbiguousOffset::Fold { before, after } => match coming {
                Coming::First => before.to_timestamp(wall),
                Coming::Second => after.to_timestamp(wall),
            },
            // Read with the offset that comes into force, the time lies before the jump.
            AmbiguousOffset::Gap { after, .. } => after.to_timestamp(wall).map(|before_the_jump| {
                self.rules.following(before_the_jump).next().map_or(before_the_jump, |jump| jump.timestamp())
            }),
        };
        // Only years beyond the calendar's end have no moment; none is accepted in a schedule.
        Timestamp(chosen.map_or(i64::MAX, jiff::Timestamp::as_microsecond))
    }

    /// What the wall shows at a moment.
    pub(crate) fn wall(&self, at: Timestamp) -> DateTime {
        self.rules.to_datetime(instant(at))
    }

    /// A moment as people write it: a time of day (`17:00`, of the day of `now`), a day (`2026-12-20`, its beginning), or
    /// both (`2026-12-20 17:00`).
    ///
    /// # Errors
    /// It is none of these.
    pub fn read(&self, text: &str, now: Timestamp) -> Result<Timestamp, String> {
        if let Ok(time) = text.parse::<crate::TimeOfDay>() {
            return Ok(self.moment(time.on(self.day(now)), Coming::First));
        }
        let wall = text.parse::<DateTime>();
        let wall = wall.map_err(|_| format!("{text:?} is no time such as 17:00, 2026-12-20 or 2026-12-20 17:00"))?;
        Ok(self.moment(wall, Coming::First))
    }

    /// The day at a moment.
    #[must_use]
    pub fn day(&self, at: Timestamp) -> Day {
        self.wall(at).date()
    }

    /// The weekday and the hour at a moment.
    #[must_use]
    pub fn weekday_and_hour(&self, at: Timestamp) -> Wall {
        let shown = self.wall(at);
        let monday_first = usize::try_from(shown.weekday().to_monday_zero_offset()).unwrap_or(0);
        Wall {
            weekday: Weekday::ALL.get(monday_first).copied().unwrap_or(Weekday::Monday),
            hour: u8::try_from(shown.hour()).unwrap_or(0),
        }
    }

    /// A period as people write it, each end as for [`Zone::read`]; a day as its end is included.
    ///
    /// # Errors
    /// An end is no time, or the period ends before it begins.
    pub fn period(&self, from: &str, to: &str, now: Timestamp) -> Result<(Timestamp, Timestamp), String> {
        let from_moment = self.read(from, now)?;
        let until = match to.parse::<Day>() {
            Ok(day) if to.len() == "2026-11-24".len() => {
                let next = day.tomorrow().map_err(|_| format!("{to:?} is the last day of the calendar"))?;
                self.start_of(next)
            }
            _ => self.read(to, now)?,
        };
        if until <= from_moment {
            return Err(format!("a period from {from:?} to {to:?} ends before it begins"));
        }
        Ok((from_moment, until))
    }

    /// When a day begins.
    #[must_use]
    pub fn start_of(&self, day: Day) -> Timestamp {
        self.moment(day.at(0, 0, 0, 0), Coming::First)
    }

    /// A moment for people: `Tue 2026-11-24 10:30 CET`.
    #[must_use]
    pub fn show(&self, at: Timestamp) -> String {
        instant(at).to_zoned(self.rules.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    }

    /// The time of day for people: `10:30 CET`.
    #[must_use]
    pub fn show_time(&self, at: Timestamp) -> String {
        instant(at).to_zoned(self.rules.clone()).strftime("%H:%M %Z").to_string()
    }
}

/// Moments outside the calendar (year 9999) become its ends.
fn instant(at: Timestamp) -> jiff::Timestamp {
    let end = if at.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(at.0).unwrap_or(end)
}

impl FromStr for Zone {
    type Err = UnknownZone;
    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone(name.chars().take(NAME_BYTES_MAX).collect());
        if name.len() > NAME_BYTES_MAX {
            return Err(unknown());
        }
        if name.eq_ignore_ascii_case("utc") {
            return Ok(Self::utc());
        }
        let rules = TimeZone::get(name).map_err(|_| unknown())?;
        let known = rules.iana_name().ok_or_else(unknown)?;
        // `Etc/Unknown` is what jiff uses when nobody knows: no schedule can be kept by it.
        if rules.is_unknown() { Err(unknown()) } else { Ok(Self { name: known.to_owned(), rules: rules.clone() }) }
    }
}

impl TryFrom<String> for Zone {
    type Error = UnknownZone;
    fn try_from(name: String) -> Result<Self, UnknownZone> {
        name.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Zones with jumps of an hour, of half an hour, over a whole day, at midnight, and none.
    pub(crate) const ZONES: [&str; 8] = [
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Pacific/Apia",
        "Africa/Casablanca",
        "Asia/Tehran",
        "UTC",
    ];

    pub(crate) fn zone(name: &str) -> Zone {
        name.parse().expect("a zone")
    }

    pub(crate) fn wall(text: &str) -> DateTime {
        text.parse().expect("a time")
    }

    #[test]
    fn an_unknown_zone_is_refused_by_name() {
        for name in ["Europe/Atlantis", "", "CEST!", "Etc/Unknown", &"x".repeat(1000)] {
            let refused = name.parse::<Zone>().expect_err("no zone");
            assert!(refused.to_string().contains("Europe/Berlin"), "{refused}");
        }
        assert_eq!(zone("europe/berlin").name(), "Europe/Berlin");
    }

    #[test]
    fn a_time_that_does_not_exist_is_the_moment_of_the_jump() {
        let berlin = zone("Europe/Berlin");
        let jump = berlin.moment(wall("2026-03-29 03:00"), Coming::First);
        for missing in ["2026-03-29 02:00", "2026-03-29 02:30", "2026-03-29 02:59"] {
            assert_eq!(berlin.moment(wall(missing), Coming::First), jump, "{missing}");
            assert_eq!(berlin.moment(wall(missing), Coming::Second), jump, "{missing}");
        }
        assert_eq!(berlin.show(jump), "Sun 2026-03-29 03:00 CEST");
        // A whole day was left out.
        let apia = zone("Pacific/Apia");
        let missing = apia.moment(wall("2011-12-30 12:00"), Coming::First);
        assert_eq!(missing, apia.moment(wall("2011-12-31 00:00"), Coming::First));
    }

    #[test]
    fn a_time_that_comes_twice_has_two_moments() {
        let berlin = zone("Europe/Berlin");
        let twice = wall("2026-10-25 02:30");
        let (first, second) = (berlin.moment(twice, Coming::First), berlin.moment(twice, Coming::Second));
        assert_eq!(second.since(first), firedrill_model::Span::secs(3600));
        assert_eq!((berlin.show_time(first), berlin.show_time(second)), ("02:30 CEST".into(), "02:30 CET".into()));
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        let berlin = zone("Europe/Berlin");
        let now = berlin.moment(wall("2026-11-24 09:00"), Coming::First);
        let read = |text: &str| berlin.read(text, now).map(|at| berlin.show(at));
        assert_eq!(read("17:00"), Ok("Tue 2026-11-24 17:00 CET".into()));
        assert_eq!(read("2026-12-20"), Ok("Sun 2026-12-20 00:00 CET".into()));
        assert_eq!(read("2026-12-20 08:30"), Ok("Sun 2026-12-20 08:30 CET".into()));
        assert!(read("5pm").is_err());
    }

    #[test]
    fn a_period_includes_its_last_day() {
        let berlin = zone("Europe/Berlin");
        let shown = |from: &str, to: &str| {
            let (from, until) = berlin.period(from, to, Timestamp(0)).expect("a period");
            (berlin.show(from), berlin.show(until))
        };
        let autumn = ("Sun 2026-10-25 00:00 CEST".to_owned(), "Mon 2026-10-26 00:00 CET".to_owned());
        assert_eq!(shown("2026-10-25", "2026-10-25"), autumn);
        assert_eq!(shown("2026-10-25", "2026-10-26 00:00"), autumn);
        for (from, to) in [("2026-10-25", "2026-10-24"), ("soon", "2026-10-24"), ("2026-10-25", "later"), ("", "")] {
            assert!(berlin.period(from, to, Timestamp(0)).is_err(), "{from:?} to {to:?}");
        }
        let noon = berlin.read("2026-10-25 12:30", Timestamp(0)).expect("a moment");
        assert_eq!(berlin.weekday_and_hour(noon), Wall { weekday: Weekday::Sunday, hour: 12 });
    }

    proptest! {
        #[test]
        fn later_on_the_wall_is_never_earlier(
            name in prop::sample::select(&ZONES[..]),
            minute in 0_i64..(366 * 24 * 60),
            more in 0_i64..(3 * 24 * 60),
        ) {
            let zone = zone(name);
            let start = wall("2026-01-01 00:00");
            let one = start.checked_add(jiff::SignedDuration::from_mins(minute)).expect("in the calendar");
            let two = one.checked_add(jiff::SignedDuration::from_mins(more)).expect("in the calendar");
            for coming in [Coming::First, Coming::Second] {
                prop_assert!(zone.moment(one, coming) <= zone.moment(two, coming));
            }
            prop_assert!(zone.moment(one, Coming::First) <= zone.moment(one, Coming::Second));
            // What exists is shown again.
            if zone.wall(zone.moment(one, Coming::First)) != one {
                prop_assert!(zone.wall(zone.moment(one, Coming::First)) > one, "only what is jumped over");
            }
        }
    }
}
