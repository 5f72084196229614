//! Which runs are under way, and how each is told to stop.

use crate::problem::{BUSY, refusal};
use firedrill_api::http::Problem;
use firedrill_model::{ClusterName, RunId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The runs under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RunRegistry {
    running: Arc<Mutex<BTreeMap<RunId, Running>>>,
}

#[derive(Debug)]
struct Running {
    cluster: ClusterName,
    halt: watch::Sender<Option<String>>,
}

/// A run's place among those under way; dropped, the run is over.
#[derive(Debug)]
pub struct RunGuard {
    registry: RunRegistry,
    run: RunId,
    halt: watch::Receiver<Option<String>>,
}

impl RunRegistry {
    /// Enters a run.
    ///
    /// # Errors
    /// Another run is under way on that cluster: two at once could tell nothing apart.
    pub fn begin(&self, run: &RunId, cluster: &ClusterName) -> Result<RunGuard, Problem> {
        let mut running = self.lock();
        if let Some((other, _)) = running.iter().find(|(_, other)| other.cluster == *cluster) {
            return Err(refusal(
                BUSY,
                format!(
                    "run {other} is under way on cluster {cluster}; wait for its end, or stop it with `firedrill experiment halt {other}`"
                ),
            ));
        }
        let (sender, halt) = watch::channel(None);
        running.insert(run.clone(), Running { cluster: cluster.clone(), halt: sender });
        Ok(RunGuard { registry: self.clone(), run: run.clone(), halt })
    }

    /// Tells one run to stop. False when it is not under way.
    pub fn halt(&self, run: &RunId, reason: &str) -> bool {
        self.lock().get(run).map(|running| tell(running, reason)).is_some()
    }

    /// Tells all runs to stop; gives those that were under way.
    pub fn halt_all(&self, reason: &str) -> Vec<RunId> {
        let running = self.lock();
        running.values().for_each(|running| tell(running, reason));
        running.keys().cloned().collect()
    }

    /// The runs under way.
    #[must_use]
    pub fn running(&self) -> Vec<RunId> {
        self.lock().keys().cloned().collect()
    }

    /// The cluster of a run under way.
    #[must_use]
    pub fn cluster_of(&self, run: &RunId) -> Option<ClusterName> {
        self.lock().get(run).map(|running| running.cluster.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Running>> {
        // Changed by single inserts and removes only; a panic elsewhere leaves it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first reason stands.
fn tell(running: &Running, reason: &str) {
    running.halt.send_if_modified(|halted| {
        let first = halted.is_none();
        halted.get_or_insert_with(|| reason.to_owned());
        first
    });
}

impl RunGuard {
    /// Which run.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Why the run is to stop, when it is.
    #[must_use]
    pub fn halted(&self) -> Option<String> {
        self.halt.borrow().clone()
    }

    /// Resolves, with the reason, when the run is to stop.
    pub async fn until_halted(&self) -> String {
        let mut halt = self.halt.clone();
        // The sender lives in the registry until this guard is dropped.
        let reason = halt.wait_for(Option::is_some).await.map(|reason| reason.clone());
        match reason {
            Ok(reason) => reason.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_per_cluster_and_the_first_reason_stands() {
        let registry = RunRegistry::default();
        let cluster: ClusterName = "shop".parse().expect("a name");
        let (one, two) = (RunId("one".into()), RunId("two".into()));
        let guard = registry.begin(&one, &cluster).expect("free");
        let refused = registry.begin(&two, &cluster).expect_err("busy");
        assert!(refused.refused && refused.message.contains("one"), "{refused:?}");
        assert_eq!(registry.halt_all("first"), std::slice::from_ref(&one));
        assert!(registry.halt(&one, "second"));
        assert_eq!(guard.halted().as_deref(), Some("first"));
        drop(guard);
        assert!(!registry.halt(&one, "third"));
        registry.begin(&two, &cluster).expect("free again");
    }
}
