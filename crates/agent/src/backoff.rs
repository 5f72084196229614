//! Waits between attempts: doubling, bounded, begun anew after a success.

use std::time::Duration;

/// The next wait and its bounds.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// From `min`, doubling up to `max`.
    pub(crate) const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// For a link: a server that was killed and started again is back within a second, and the end of a partition is
    /// to be noticed within one.
    pub(crate) const fn link() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// For the agent's certificate: there are days to renew it in, and the server may be about to come back.
    pub(crate) const fn renewal() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(600))
    }

    /// For a process that should run: one that cannot start (its port is taken) is tried every two seconds.
    pub(crate) const fn process() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound() {
        let mut backoff = Backoff::link();
        let waits: Vec<u128> = (0..7).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next().as_millis(), 50);
    }
}
