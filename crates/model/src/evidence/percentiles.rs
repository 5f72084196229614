//! Percentiles by nearest rank, of durations by hour and weekday.

use crate::time::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A weekday by some clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All, Monday first.
    pub const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Monday => "Monday",
            Self::Tuesday => "Tuesday",
            Self::Wednesday => "Wednesday",
            Self::Thursday => "Thursday",
            Self::Friday => "Friday",
            Self::Saturday => "Saturday",
            Self::Sunday => "Sunday",
        })
    }
}

/// What the clock on the wall shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wall {
    /// The weekday.
    pub weekday: Weekday,
    /// 0 to 23.
    pub hour: u8,
}

/// The spread of some durations, each of them one that was measured: the nearest rank, nothing in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// How many there are; never 0.
    pub count: usize,
    /// The shortest.
    pub min: Span,
    /// Half of them took no longer.
    pub p50: Span,
    /// 90 of 100 took no longer.
    pub p90: Span,
    /// 99 of 100 took no longer.
    pub p99: Span,
    /// The longest.
    pub max: Span,
}

impl Percentiles {
    /// Of some durations; `None`: there are none, and nothing can be said.
    #[must_use]
    pub fn of(durations: &[Span]) -> Option<Self> {
        let mut sorted = durations.to_vec();
        sorted.sort_unstable();
        Some(Self {
            count: sorted.len(),
            min: *sorted.first()?,
            p50: nearest_rank(&sorted, 50)?,
            p90: nearest_rank(&sorted, 90)?,
            p99: nearest_rank(&sorted, 99)?,
            max: *sorted.last()?,
        })
    }
}

/// The smallest value that at least `percent` of 100 are not above, of values in order.
fn nearest_rank(sorted: &[Span], percent: usize) -> Option<Span> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Durations as a whole, and by the hour and the weekday in which each began. Hours and days without any are absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// All together; `None`: there is no data.
    pub all: Option<Percentiles>,
    /// By the hour, 0 to 23.
    pub by_hour: BTreeMap<u8, Percentiles>,
    /// By the weekday.
    pub by_weekday: BTreeMap<Weekday, Percentiles>,
}

impl Spread {
    /// Of durations with the moments at which they began.
    #[must_use]
    pub fn of(durations: &[(Timestamp, Span)], wall: &dyn Fn(Timestamp) -> Wall) -> Self {
        let all: Vec<Span> = durations.iter().map(|(_, length)| *length).collect();
        Self {
            all: Percentiles::of(&all),
            by_hour: grouped(durations, |at| wall(at).hour),
            by_weekday: grouped(durations, |at| wall(at).weekday),
        }
    }
}

fn grouped<K: Ord>(durations: &[(Timestamp, Span)], key: impl Fn(Timestamp) -> K) -> BTreeMap<K, Percentiles> {
    let mut groups: BTreeMap<K, Vec<Span>> = BTreeMap::new();
    for (at, length) in durations {
        groups.entry(key(*at)).or_default().push(*length);
    }
    groups.into_iter().filter_map(|(key, lengths)| Some((key, Percentiles::of(&lengths)?))).collect()
}
