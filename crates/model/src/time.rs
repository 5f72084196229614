//! Moments and lengths of time. The crate has no clock: both are handed in.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

/// A moment: microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// How long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span(Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0)))
    }
    /// Whole milliseconds since the epoch.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.0.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.0.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// A length of time; text such as `250ms`, `1m 30s` in files, on the wire and in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);
    /// From whole milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
    /// From whole seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
    /// As milliseconds with a fraction, for charts and figures.
    #[must_use]
    pub fn as_millis_f64(self) -> f64 {
        self.0.as_secs_f64() * 1000.0
    }
    /// The standard library's duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Span {
    type Err = humantime::DurationError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

impl fmt::Display for Span {
    /// For people: at most three significant parts are kept (`83.4ms`, `2.31s`, `4m 12s`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let text = if self.0.is_zero() {
            "0s".to_owned()
        } else if seconds < 0.001 {
            format!("{}us", self.0.as_micros())
        } else if seconds < 1.0 {
            format!("{}ms", trim(seconds * 1000.0))
        } else if seconds < 60.0 {
            format!("{}s", trim(seconds))
        } else {
            humantime::format_duration(Duration::from_secs(self.0.as_secs())).to_string()
        };
        f.pad(&text)
    }
}

fn trim(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&humantime::format_duration(self.0).to_string())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|problem| {
            serde::de::Error::custom(format!("{text:?} is not a duration such as 250ms, 30s or 5m ({problem})"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_back_exactly() {
        for text in ["1us", "250ms", "1m 30s", "0s"] {
            let span: Span = text.parse().expect(text);
            let json = serde_json::to_string(&span).expect("serialises");
            assert_eq!(serde_json::from_str::<Span>(&json).expect("reads back"), span);
        }
    }

    #[test]
    fn people_read_three_digits() {
        assert_eq!(Span(Duration::from_micros(83_412)).to_string(), "83.4ms");
        assert_eq!(Span(Duration::from_micros(2_310_000)).to_string(), "2.31s");
        assert_eq!(Span::millis(100).to_string(), "100ms");
        assert_eq!(Span::secs(252).to_string(), "4m 12s");
        assert_eq!(Span::ZERO.to_string(), "0s");
    }
}
