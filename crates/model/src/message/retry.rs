//! When a message is tried again, and when it is given up.

use crate::time::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// After the first failure; it doubles each time. A receiver that restarts is back within seconds.
pub const FIRST_WAIT: Span = Span::secs(5);
/// No wait is longer, and no receiver can ask for a longer one.
pub const WAIT_MAX: Span = Span::secs(3600);
/// More tries than fit into [`AGE_MAX`] by the schedule; bounds receivers that ask for short waits.
pub const ATTEMPTS_MAX: u32 = 40;
/// A message that is a day old tells nobody anything new.
pub const AGE_MAX: Span = Span::secs(24 * 3600);

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tried {
    /// The receiver has taken it.
    Taken,
    /// It may work later: no connection, no answer, the receiver is busy or broken.
    Later {
        /// What was seen.
        why: String,
        /// So long the receiver asks to be left alone.
        after: Option<Span>,
    },
    /// It will never work as things are: wrong address, refused credentials, an answer that says no.
    Never {
        /// What was seen.
        why: String,
    },
}

/// What becomes of a message after a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing more.
    Done,
    /// Tried again then.
    Again {
        /// When.
        due: Timestamp,
        /// What was seen.
        why: String,
    },
    /// Given up; a person can send it again.
    Dead {
        /// What was seen, and which bound was reached.
        why: String,
    },
}

/// What becomes of a message that was put into the queue at `enqueued`, after its `attempts`-th try (from 1). `chance` is
/// a random number: waits are spread over three quarters to five quarters of their length, so that messages which
/// failed together do not come back together.
#[must_use]
pub fn next(tried: Tried, attempts: u32, enqueued: Timestamp, now: Timestamp, chance: u16) -> Next {
    let (why, asked) = match tried {
        Tried::Taken => return Next::Done,
        Tried::Never { why } => return Next::Dead { why },
        Tried::Later { why, after } => (why, after),
    };
    if attempts >= ATTEMPTS_MAX {
        return Next::Dead { why: format!("{why}; given up after {attempts} tries") };
    }
    let wait = wait(attempts, chance).max(asked.unwrap_or(Span::ZERO).min(WAIT_MAX));
    let due = now + wait;
    if due.since(enqueued) > AGE_MAX {
        return Next::Dead { why: format!("{why}; given up after {AGE_MAX}, and {attempts} tries") };
    }
    Next::Again { due, why }
}

/// The wait after so many failures.
fn wait(attempts: u32, chance: u16) -> Span {
    // 5 s doubled ten times is above the longest wait already.
    let doubled = FIRST_WAIT.duration() * 2_u32.pow(attempts.saturating_sub(1).min(10));
    let most = WAIT_MAX.duration();
    let plain = doubled.min(most);
    let spread = plain / 2 * u32::from(chance) / u32::from(u16::MAX);
    Span((plain * 3 / 4 + spread).min(most))
}
