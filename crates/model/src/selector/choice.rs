//! Which of the hosts that match: all, so many, a share, at random, one in each zone.

use super::Target;
use crate::quantity::Percent;
use schemars::JsonSchema;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Which of the matches. Written as `all`, `2`, `50%`, `random`, `random:2`, `random:50%` or `one-per-zone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// All of them.
    All,
    /// The first by name (by lag, where the selector orders by it).
    First(Amount),
    /// At random.
    Random(Amount),
    /// The first of each zone; hosts of no known zone count as one more zone.
    OnePerZone,
}

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many, or all when there are fewer.
    Count(u32),
    /// So many of a hundred, rounded down, but at least one.
    Share(Percent),
}

impl Amount {
    /// How many of `all` that is.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => all.min(count as usize),
            Self::Share(share) => {
                let part = all.saturating_mul(share.thousandths() as usize) / 100_000;
                part.max(1).min(all)
            }
        }
    }
}

impl Choice {
    /// Those that are chosen of `matches`, which come in the order that counts.
    pub(super) fn of(self, mut matches: Vec<&Target>, draw: u64) -> Vec<&Target> {
        match self {
            Self::All => {}
            Self::First(amount) => matches.truncate(amount.of(matches.len())),
            Self::Random(amount) => {
                let wanted = amount.of(matches.len());
                matches.sort_by_key(|target| (lot(draw, target.host.as_str()), target.host.clone()));
                matches.truncate(wanted);
            }
            Self::OnePerZone => {
                let mut seen = BTreeSet::new();
                matches.retain(|target| seen.insert(target.zone()));
            }
        }
        matches
    }
}

/// The lot that a host draws: hosts that come or go do not change what the others have drawn.
fn lot(draw: u64, host: &str) -> u64 {
    host.bytes().fold(mix(draw), |lot, byte| mix(lot ^ u64::from(byte)))
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Share(share) => write!(f, "{}%", f64::from(*share)),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::First(amount) => amount.fmt(f),
            Self::Random(Amount::Count(1)) => f.write_str("random"),
            Self::Random(amount) => write!(f, "random:{amount}"),
            Self::OnePerZone => f.write_str("one-per-zone"),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(number) = text.strip_suffix('%') {
            let share = number.trim().parse::<f64>().ok().and_then(|share| Percent::try_from(share).ok());
            let share = share.filter(|share| *share > Percent::default());
            let wrong = || format!("{text:?} is no share; give one above 0% and up to 100%");
            return share.map(Self::Share).ok_or_else(wrong);
        }
        match text.parse::<u32>() {
            Ok(0) => Err("0 leaves nobody; give 1 or more".to_owned()),
            Ok(count) => Ok(Self::Count(count)),
            Err(_) => Err(format!("{text:?} is neither a number nor a share such as 50%")),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "random" => Ok(Self::Random(Amount::Count(1))),
            "one-per-zone" => Ok(Self::OnePerZone),
            _ => match text.strip_prefix("random:") {
                Some(amount) => amount.parse().map(Self::Random),
                None => text.parse().map(Self::First).map_err(|error| {
                    format!("{error}; a choice is all, a number, a share, random, random:N, random:P% or one-per-zone")
                }),
            },
        }
    }
}

impl Serialize for Choice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::First(Amount::Count(count)) => serializer.serialize_u32(*count),
            other => serializer.collect_str(other),
        }
    }
}

struct ChoiceVisitor;

impl Visitor<'_> for ChoiceVisitor {
    type Value = Choice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all, a number, a share such as 50%, random, random:N, random:P% or one-per-zone")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Choice, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Choice, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Choice, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoiceVisitor)
    }
}

impl JsonSchema for Choice {
    fn schema_name() -> Cow<'static, str> {
        "Choice".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "integer"] })
    }
}
