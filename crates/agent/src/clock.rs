//! What time it is at the server, judged from the times it sends. Deadlines are moments of the server's clock; the
//! host's own wall clock may be wrong, and an experiment may even shift it.

use firedrill_model::Timestamp;
use std::collections::VecDeque;
use std::time::Instant;

/// Signs of the server that are remembered: 8 s at two a second, so that a server clock that was set back is
/// believed after that long.
const SIGNS_MAX: usize = 16;

/// The difference between the server's wall clock and this process's monotonic one.
///
/// Each sign arrives late by the time it travelled, so each one alone makes the server's clock look too early; the
/// largest difference among the last [`SIGNS_MAX`] is the one that travelled fastest, and is used.
#[derive(Debug)]
pub(crate) struct ServerClock {
    began: Instant,
    /// Server's clock minus microseconds since `began`, one per sign, newest last.
    differences: VecDeque<i64>,
}

impl ServerClock {
    /// Knows nothing yet.
    pub(crate) fn new(began: Instant) -> Self {
        Self { began, differences: VecDeque::with_capacity(SIGNS_MAX) }
    }

    /// A sign stamped `server` arrived at `now`.
    pub(crate) fn heard(&mut self, server: Timestamp, now: Instant) {
        if self.differences.len() == SIGNS_MAX {
            self.differences.pop_front();
        }
        self.differences.push_back(server.0.saturating_sub(self.micros(now)));
    }

    /// A new server may have another clock: earlier signs no longer count.
    pub(crate) fn forget(&mut self) {
        self.differences.clear();
    }

    /// The server's clock at `now`; `None` before the first sign. Never later than it really is.
    pub(crate) fn at(&self, now: Instant) -> Option<Timestamp> {
        let fastest = self.differences.iter().max()?;
        Some(Timestamp(fastest.saturating_add(self.micros(now))))
    }

    fn micros(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.began).as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_fastest_sign_counts() {
        let began = Instant::now();
        let mut clock = ServerClock::new(began);
        assert_eq!(clock.at(began), None);
        // Sent at server time 1 000 000 and 1 500 000, travelling 300 ms and 1 ms.
        clock.heard(Timestamp(1_000_000), began + Duration::from_millis(300));
        clock.heard(Timestamp(1_500_000), began + Duration::from_millis(501));
        assert_eq!(clock.at(began + Duration::from_millis(601)), Some(Timestamp(1_600_000)));
    }

    #[test]
    fn a_clock_set_back_is_believed_after_a_while() {
        let began = Instant::now();
        let mut clock = ServerClock::new(began);
        clock.heard(Timestamp(10_000_000), began);
        for _ in 0..SIGNS_MAX {
            clock.heard(Timestamp(5_000_000), began);
        }
        assert_eq!(clock.at(began), Some(Timestamp(5_000_000)));
        clock.forget();
        assert_eq!(clock.at(began), None);
    }
}
