//! How often somebody may ask: a token bucket per key (each try takes one, one comes back from time to time), for a
//! bounded number of keys. Pure: the moment comes in.

use firedrill_model::{Span, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Keys that are remembered at once; beyond that the one that has used least is forgotten, which gives it at most what
/// it would have had soon.
const KEYS_MAX: usize = 4096;

/// How much and how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// So many at once.
    pub(super) burst: u32,
    /// After this one more.
    pub(super) every: Span,
}

impl Pace {
    /// Calls of one person or token: more than pages and scripts make, less than what keeps the server from its work.
    pub(super) const CALLS: Self = Self { burst: 600, every: Span::millis(10) };
    /// Wrong passwords for one name: a person who has forgotten one tries less, a program that guesses gets 1,440 a day.
    pub(super) const TRIES_BY_USER: Self = Self { burst: 10, every: Span::secs(60) };
    /// Tries from one address, behind which may be a whole company.
    pub(super) const TRIES_BY_ADDRESS: Self = Self { burst: 30, every: Span::secs(10) };
}

/// When a bucket will be full again. This one number is the whole bucket: what is missing is the time until then.
type FullAt = i64;

/// The buckets.
#[derive(Debug)]
pub(super) struct Limiter {
    pace: Pace,
    buckets: BTreeMap<String, FullAt>,
}

impl Limiter {
    pub(super) const fn new(pace: Pace) -> Self {
        Self { pace, buckets: BTreeMap::new() }
    }

    /// Takes one for the key.
    ///
    /// # Errors
    /// There is none; how long until there is.
    pub(super) fn take(&mut self, key: &str, now: Timestamp) -> Result<(), Span> {
        self.wait(key, now).map_or(Ok(()), Err)?;
        let every = self.every();
        let full_at = self.buckets.get(key).copied().unwrap_or(now.0).max(now.0) + every;
        if !self.buckets.contains_key(key) && self.buckets.len() >= KEYS_MAX {
            self.forget(now);
        }
        self.buckets.insert(key.to_owned(), full_at);
        Ok(())
    }

    /// How long until there is one; `None`: there is.
    pub(super) fn wait(&self, key: &str, now: Timestamp) -> Option<Span> {
        let full_at = *self.buckets.get(key)?;
        let room = i64::from(self.pace.burst) * self.every();
        let over = full_at + self.every() - now.0 - room;
        (over > 0).then(|| Duration::from_micros(u64::try_from(over).unwrap_or_default()).into())
    }

    /// Fills the bucket of a key.
    pub(super) fn pardon(&mut self, key: &str) {
        self.buckets.remove(key);
    }

    fn every(&self) -> i64 {
        i64::try_from(self.pace.every.duration().as_micros()).unwrap_or(i64::MAX >> 20)
    }

    fn forget(&mut self, now: Timestamp) {
        self.buckets.retain(|_, full_at| *full_at > now.0);
        if self.buckets.len() >= KEYS_MAX {
            let fullest = self.buckets.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, _)| key.clone());
            fullest.and_then(|key| self.buckets.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACE: Pace = Pace { burst: 3, every: Span::secs(10) };

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_what_came_back(gaps in prop::collection::vec(0..20_000_000_i64, 1..200)) {
            let mut limiter = Limiter::new(PACE);
            let (mut now, mut taken) = (0, 0);
            for gap in gaps {
                now += gap;
                taken += i64::from(limiter.take("ada", Timestamp(now)).is_ok());
                prop_assert!(taken <= 3 + now / 10_000_000);
            }
        }

        #[test]
        fn memory_is_bounded(keys in prop::collection::vec(0..20_000_u32, 0..6000)) {
            let mut limiter = Limiter::new(PACE);
            for key in keys {
                let _ = limiter.take(&key.to_string(), Timestamp(0));
            }
            prop_assert!(limiter.buckets.len() <= KEYS_MAX);
        }
    }

    #[test]
    fn one_who_has_tried_too_often_waits_and_nobody_else() {
        let mut limiter = Limiter::new(PACE);
        let now = Timestamp(1_000_000);
        assert!((0..3).all(|_| limiter.take("ada", now).is_ok()));
        assert_eq!(limiter.take("ada", now), Err(Span::secs(10)));
        assert!(limiter.take("bob", now).is_ok());
        assert!(limiter.take("ada", Timestamp(11_000_000)).is_ok());
        assert!(limiter.take("ada", Timestamp(11_000_000)).is_err());
        limiter.pardon("ada");
        assert!(limiter.take("ada", Timestamp(11_000_000)).is_ok());
    }
}
