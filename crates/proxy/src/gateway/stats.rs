//! Counters that all threads share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts for the status. Each is only a number: nothing is decided by two of them together, so relaxed order does.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Connections of clients open now.
    pub(super) sessions: AtomicU64,
    /// Of those, waiting for a primary.
    pub(super) held: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) too_many_held: AtomicU64,
    pub(super) too_many_sessions: AtomicU64,
    pub(super) hold_expired: AtomicU64,
    pub(super) cut: AtomicU64,
    pub(super) connect_failures: AtomicU64,
}

/// Takes one place of `max`, if there is one.
pub(super) fn take_place(gauge: &AtomicU64, max: u64) -> bool {
    gauge.fetch_update(Relaxed, Relaxed, |taken| (taken < max).then_some(taken + 1)).is_ok()
}

/// Gives a place back.
pub(super) fn give_place(gauge: &AtomicU64) {
    let before = gauge.fetch_sub(1, Relaxed);
    debug_assert!(before > 0, "a place was given back twice");
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Bytes moved by one event loop: written by that loop only.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) from_clients: AtomicU64,
    pub(super) from_primary: AtomicU64,
}

impl Moved {
    /// Adds without a locked instruction: there is one writer.
    pub(super) fn add(counter: &AtomicU64, bytes: u64) {
        counter.store(counter.load(Relaxed).wrapping_add(bytes), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded() {
        let gauge = AtomicU64::new(0);
        assert!(take_place(&gauge, 2) && take_place(&gauge, 2));
        assert!(!take_place(&gauge, 2));
        give_place(&gauge);
        assert!(take_place(&gauge, 2));
    }
}
