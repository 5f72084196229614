//! The server's clock.

use firedrill_model::Timestamp;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now. Read from the wall once, at the first call, and counted on from there by the monotonic clock: a step of the
/// wall clock must not look like a silent primary. Over a day the two drift apart by milliseconds.
#[must_use]
pub fn now() -> Timestamp {
    static START: OnceLock<(Instant, i64)> = OnceLock::new();
    let (instant, micros) = START.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), i64::try_from(wall.as_micros()).unwrap_or(i64::MAX))
    });
    Timestamp(micros.saturating_add(i64::try_from(instant.elapsed().as_micros()).unwrap_or(i64::MAX)))
}
