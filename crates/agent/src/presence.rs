//! The server's presence, as the agent perceives it: when it was last heard, what time it has, how long its silence
//! may last before faults are taken out.

use crate::clock::ServerClock;
use firedrill_model::{Span, Timestamp};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The lease before a server has said another: five missed pings and as much again.
const LEASE_DEFAULT: Duration = Duration::from_secs(5);

/// Shared by the session (which hears) and those who depend on it (deadlines, lease).
#[derive(Debug)]
pub(crate) struct Presence {
    state: Mutex<State>,
    /// Overrides what the server says.
    fixed_lease: Option<Duration>,
}

#[derive(Debug)]
struct State {
    clock: ServerClock,
    heard: Instant,
    lease: Duration,
}

impl Presence {
    /// The agent's start counts as a sign: attacks found in the journal get one lease for the server to appear.
    pub(crate) fn new(now: Instant, fixed_lease: Option<Duration>) -> Self {
        let lease = fixed_lease.unwrap_or(LEASE_DEFAULT);
        Self { state: Mutex::new(State { clock: ServerClock::new(now), heard: now, lease }), fixed_lease }
    }

    /// A session was opened at `server` time, with this lease.
    pub(crate) fn welcomed(&self, server: Timestamp, lease: Duration, now: Instant) {
        let mut state = self.lock();
        state.clock.forget();
        state.lease = self.fixed_lease.unwrap_or(lease);
        state.clock.heard(server, now);
        state.heard = now;
    }

    /// The server sent something that has no time in it.
    pub(crate) fn heard(&self, now: Instant) {
        self.lock().heard = now;
    }

    /// The server sent its time.
    pub(crate) fn heard_time(&self, server: Timestamp, now: Instant) {
        let mut state = self.lock();
        state.clock.heard(server, now);
        state.heard = now;
    }

    /// How long after `now` the server's clock shows `deadline`; `None` when it has passed. Without any sign of the
    /// server there is no instruction either, so an unknown clock counts as passed.
    pub(crate) fn until(&self, deadline: Timestamp, now: Instant) -> Option<Span> {
        let server = self.lock().clock.at(now)?;
        (server < deadline).then(|| deadline.since(server))
    }

    /// When the lease runs out unless the server is heard again.
    pub(crate) fn lease_ends(&self) -> Instant {
        let state = self.lock();
        state.heard + state.lease
    }

    /// The lease in force.
    pub(crate) fn lease(&self) -> Duration {
        self.lock().lease
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a plain assignment; a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_of_the_servers_clock() {
        let now = Instant::now();
        let presence = Presence::new(now, None);
        assert_eq!(presence.until(Timestamp(i64::MAX), now), None, "no server, no time");
        presence.welcomed(Timestamp(1_000_000), Duration::from_secs(3), now);
        assert_eq!(presence.until(Timestamp(1_250_000), now), Some(Span::millis(250)));
        assert_eq!(presence.until(Timestamp(1_250_000), now + Duration::from_millis(250)), None);
    }

    #[test]
    fn the_lease_runs_from_the_last_sign() {
        let now = Instant::now();
        let presence = Presence::new(now, None);
        assert_eq!(presence.lease_ends(), now + LEASE_DEFAULT);
        presence.welcomed(Timestamp(0), Duration::from_secs(2), now);
        presence.heard(now + Duration::from_secs(1));
        assert_eq!(presence.lease_ends(), now + Duration::from_secs(3));
    }

    #[test]
    fn a_fixed_lease_is_not_overridden() {
        let now = Instant::now();
        let presence = Presence::new(now, Some(Duration::from_secs(9)));
        presence.welcomed(Timestamp(0), Duration::from_secs(2), now);
        assert_eq!(presence.lease(), Duration::from_secs(9));
    }
}
