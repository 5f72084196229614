//! When the next operation is due. Pure: the present moment is handed in.

use std::time::Duration;

/// An operation that is overdue by more than this is skipped. Up to it the client catches up, so that latencies from
/// the scheduled start show the whole wait; beyond it the burst after a long outage would be a load of its own.
pub(crate) const OVERDUE_MAX: Duration = Duration::from_secs(1);

/// A fixed schedule: the n-th operation is due at `offset + n * period`, whether or not earlier ones have ended.
#[derive(Debug)]
pub(crate) struct Schedule {
    next: Duration,
    period: Duration,
}

/// The next operation to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Its scheduled moment, since the start of the load.
    pub(crate) at: Duration,
    /// How many before it were skipped because they are overdue for too long.
    pub(crate) skipped: u64,
}

impl Schedule {
    /// Spreads `per_second` operations evenly over `clients`; this is the schedule of client number `index`.
    pub(crate) fn new(per_second: u32, clients: u32, index: u32) -> Self {
        let period = Duration::from_secs(1) * clients / per_second.max(1);
        Self { next: period * index / clients.max(1), period: period.max(Duration::from_micros(1)) }
    }

    /// Takes the next operation off the schedule.
    pub(crate) fn take(&mut self, now: Duration) -> Due {
        let mut skipped = 0;
        if let Some(overdue) = now.checked_sub(self.next + OVERDUE_MAX) {
            let periods = overdue.as_nanos().div_ceil(self.period.as_nanos());
            skipped = u64::try_from(periods).unwrap_or(u64::MAX);
            self.next += self.period * u32::try_from(skipped).unwrap_or(u32::MAX);
        }
        let at = self.next;
        self.next += self.period;
        Due { at, skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn clients_share_the_rate_evenly() {
        let mut firsts = Vec::new();
        for index in 0..4 {
            let mut schedule = Schedule::new(100, 4, index);
            firsts.push(schedule.take(millis(0)).at);
            assert_eq!(schedule.take(millis(0)).at - firsts[index as usize], millis(40));
        }
        assert_eq!(firsts, [millis(0), millis(10), millis(20), millis(30)]);
    }

    #[test]
    fn a_late_client_catches_up_to_a_bound() {
        let mut schedule = Schedule::new(100, 1, 0);
        assert_eq!(schedule.take(millis(0)), Due { at: millis(0), skipped: 0 });
        assert_eq!(schedule.take(millis(1010)), Due { at: millis(10), skipped: 0 });
        assert_eq!(schedule.take(millis(1500)), Due { at: millis(500), skipped: 48 });
        assert_eq!(schedule.take(millis(1500)), Due { at: millis(510), skipped: 0 });
    }
}
