//! The two smallest nouns: which write, and when.

use firedrill_model::Span;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// One write, unique in a history. A writer numbers its writes 1, 2, 3, … without gaps and has at most one of them
/// under way; so the tokens of a writer that are present somewhere are a few intervals, and its acknowledgements are
/// in the order of its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// Which client.
    pub writer: u32,
    /// Which of its writes, from 1.
    pub sequence: u32,
}

impl fmt::Display for Token {
    /// `w3:1024`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}:{}", self.writer, self.sequence)
    }
}

/// A moment of a history: nanoseconds since its start, on the workload's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// How long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span(Duration::from_nanos(self.0.saturating_sub(earlier.0)))
    }
}

impl From<Duration> for Nanos {
    /// The time since the start; the 584 years that fit are not checked.
    fn from(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(Duration::from_nanos(self.0)).fmt(f)
    }
}
