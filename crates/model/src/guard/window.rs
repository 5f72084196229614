//! Hours of the week, in UTC.

use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_PER_DAY: u16 = 24 * 60;
/// The first day of the epoch was a Thursday.
const EPOCH_DAY: i64 = 3;
const MICROS_PER_MINUTE: i64 = 60_000_000;

/// Hours on some days of the week, in UTC; text such as `mon-fri 09:00-17:00`. Hours that end before they begin go over
/// midnight, into the day after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    first: u8,
    last: u8,
    /// Minutes after midnight, this one included.
    from: u16,
    /// Minutes after midnight, this one not included; 24:00 is the day's end.
    to: u16,
}

impl Window {
    /// Whether the moment lies in it.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        let (day, minute) = day_and_minute(at);
        let on = |day: u8| match self.first <= self.last {
            true => (self.first..=self.last).contains(&day),
            false => day >= self.first || day <= self.last,
        };
        if self.from < self.to {
            return on(day) && (self.from..self.to).contains(&minute);
        }
        (on(day) && minute >= self.from) || (on((day + 6) % 7) && minute < self.to)
    }
}

/// The day of the week (Monday is 0) and the minute of the day, in UTC.
fn day_and_minute(at: Timestamp) -> (u8, u16) {
    let minutes = at.0.div_euclid(MICROS_PER_MINUTE);
    let day = (minutes.div_euclid(i64::from(MINUTES_PER_DAY)) + EPOCH_DAY).rem_euclid(7);
    let minute = minutes.rem_euclid(i64::from(MINUTES_PER_DAY));
    (u8::try_from(day).unwrap_or(0), u16::try_from(minute).unwrap_or(0))
}

/// A moment as windows see it: `mon 14:05 UTC`.
pub(super) fn shown(at: Timestamp) -> String {
    let (day, minute) = day_and_minute(at);
    format!("{} {} UTC", DAYS[usize::from(day)], clock(minute))
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DAYS[usize::from(self.first)])?;
        if self.first != self.last {
            write!(f, "-{}", DAYS[usize::from(self.last)])?;
        }
        write!(f, " {}-{}", clock(self.from), clock(self.to))
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no window; write it like `mon-fri 09:00-17:00` (UTC)");
        let day = |name: &str| DAYS.iter().position(|day| *day == name).and_then(|day| u8::try_from(day).ok());
        let minute = |text: &str| {
            let (hours, minutes) = text.split_once(':')?;
            let whole = |text: &str| text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
            let (hours, minutes) = (whole(hours)?, whole(minutes)?);
            let minute = (minutes < 60 && hours <= 24).then_some(hours * 60 + minutes)?;
            (minute <= MINUTES_PER_DAY).then_some(minute)
        };
        let (days, hours) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (from, to) = hours.trim().split_once('-').ok_or_else(wrong)?;
        let window = Self {
            first: day(first).ok_or_else(wrong)?,
            last: day(last).ok_or_else(wrong)?,
            from: minute(from).ok_or_else(wrong)?,
            to: minute(to).ok_or_else(wrong)?,
        };
        if window.from == window.to || window.from == MINUTES_PER_DAY {
            return Err(format!("the window {text:?} has no length; for a whole day write 00:00-24:00"));
        }
        Ok(window)
    }
}

impl TryFrom<String> for Window {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}
