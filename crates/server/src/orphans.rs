//! Workloads whose run is not under way, so that each is told to stop once in a while and not at every sample.

use firedrill_model::{HostName, RunId, Span, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A stop that has not worked is tried again after this long.
const AGAIN_AFTER: Span = Span::secs(15);
/// Remembered at once; there is one workload per run, and runs are few.
const REMEMBERED_MAX: usize = 1000;

/// When each was told last.
#[derive(Debug, Default)]
pub(crate) struct Orphans(Mutex<HashMap<(HostName, RunId), Timestamp>>);

impl Orphans {
    /// True when it is time to tell this one.
    pub(crate) fn insert(&self, host: &HostName, run: &RunId, now: Timestamp) -> bool {
        // Whatever a panic left is as good as nothing remembered.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED_MAX {
            told.retain(|_, at| now.since(*at) < AGAIN_AFTER);
        }
        let key = (host.clone(), run.clone());
        if told.get(&key).is_some_and(|at| now.since(*at) < AGAIN_AFTER) {
            return false;
        }
        told.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_in_a_while() {
        let (orphans, host, run) = (Orphans::default(), "app".parse().expect("a name"), RunId("one".into()));
        assert!(orphans.insert(&host, &run, Timestamp(0)));
        assert!(!orphans.insert(&host, &run, Timestamp(0) + Span::secs(14)));
        assert!(orphans.insert(&host, &run, Timestamp(0) + Span::secs(16)));
    }
}
