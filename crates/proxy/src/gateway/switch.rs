//! The change of route: cut everywhere, and only when that is done, connect anywhere.

use super::config::GatewayConfig;
use super::state_file;
use super::stats::Stats;
use super::worker::Handle;
use crate::control::{Refusal, Refused, Routed, Status, Switch};
use firedrill_model::command::Route;
use firedrill_model::{ClusterName, Endpoint, Generation, Span, Timestamp};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What a request to set the route asks for, once it is known that the sender may.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// The route is in force already. Sessions stay: a server that was killed asks again.
    None,
    /// Another route.
    Switch,
}

/// The rule by which an order is taken or refused.
fn admit(
    (cluster, known, present): (&ClusterName, Generation, &Route),
    (asked, offered, wanted): (&ClusterName, Generation, &Route),
) -> Result<Change, Refusal> {
    if asked != cluster {
        return Err(Refusal::Cluster { actual: cluster.clone(), asked: asked.clone() });
    }
    if offered < known {
        return Err(Refusal::Stale { cluster: cluster.clone(), known, offered });
    }
    Ok(if same_target(present, wanted) { Change::None } else { Change::Switch })
}

/// The name of a node is for logs; where the bytes go is what counts.
fn same_target(one: &Route, other: &Route) -> bool {
    target(one) == target(other)
}

fn target(route: &Route) -> Option<Endpoint> {
    match route {
        Route::Hold => None,
        Route::Primary { endpoint, .. } => Some(*endpoint),
    }
}

/// Holds the route and changes it. One at a time: it lives behind a lock.
#[derive(Debug)]
pub(super) struct Switchboard {
    config: Arc<GatewayConfig>,
    listen: Endpoint,
    workers: Vec<Handle>,
    stats: Arc<Stats>,
    generation: Generation,
    route: Route,
    last_switch: Option<Switch>,
    problem: Option<String>,
}

impl Switchboard {
    pub(super) fn new(
        config: &Arc<GatewayConfig>,
        listen: Endpoint,
        generation: Generation,
        workers: Vec<Handle>,
        stats: Arc<Stats>,
    ) -> Self {
        let config = Arc::clone(config);
        Self { config, listen, workers, stats, generation, route: Route::Hold, last_switch: None, problem: None }
    }

    /// Changes the route, if the sender may. When it answers, no session to any other target exists and none can come
    /// to exist, and the new route is in force in every event loop.
    pub(super) fn set_route(
        &mut self,
        cluster: &ClusterName,
        generation: Generation,
        route: Route,
    ) -> Result<Routed, Refusal> {
        let begun = Instant::now();
        let present = (&self.config.cluster, self.generation, &self.route);
        let change = admit(present, (cluster, generation, &route))?;
        let previous = self.route.clone();
        let mut sessions_cut = 0;
        if change == Change::None {
            self.adopt(generation);
        } else {
            let (cut, all_cut) = mpsc::channel();
            for worker in &self.workers {
                worker.cut(cut.clone());
            }
            drop(cut);
            // While the loops cut. From here on the gateway holds, whatever comes.
            self.route = Route::Hold;
            self.adopt(generation);
            sessions_cut = self.gather(&all_cut)?;
            if let Some(endpoint) = target(&route) {
                let (opened, all_opened) = mpsc::channel();
                for worker in &self.workers {
                    worker.open(endpoint, opened.clone());
                }
                drop(opened);
                self.gather(&all_opened)?;
            }
        }
        self.route = route;
        let took = Span(begun.elapsed());
        if change == Change::Switch {
            tracing::info!(%cluster, %generation, route = ?self.route, ?previous, sessions_cut, %took, "route changed");
            self.last_switch = Some(Switch { at: wall_clock(), took, sessions_cut });
        }
        Ok(Routed { previous, sessions_cut, took })
    }

    /// One answer from each event loop, summed. A loop that is gone has dropped its end.
    fn gather(&self, answers: &mpsc::Receiver<u64>) -> Result<u64, Refusal> {
        let answered: Vec<u64> = answers.iter().take(self.workers.len()).collect();
        if answered.len() < self.workers.len() {
            return Err(Refusal::Ending { cluster: self.config.cluster.clone() });
        }
        Ok(answered.iter().sum())
    }

    /// Takes the sender's generation as the newest. When it cannot be stored the route is changed all the same: the
    /// memory of this process still guards it, and applications wait.
    fn adopt(&mut self, generation: Generation) {
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let stored = state_file::write(&self.config.state, &self.config.cluster, generation);
        self.problem = stored.err().map(|problem| {
            let path = self.config.state.display();
            format!("generation {generation} could not be stored in {path} ({problem}): make room or fix its directory")
        });
        if let Some(problem) = &self.problem {
            tracing::error!(cluster = %self.config.cluster, "{problem}");
        }
    }

    pub(super) fn status(&self) -> Status {
        let stats = &self.stats;
        Status {
            cluster: self.config.cluster.clone(),
            pid: std::process::id(),
            listen: self.listen,
            generation: self.generation,
            route: self.route.clone(),
            sessions: stats.sessions.load(Relaxed),
            held: stats.held.load(Relaxed),
            accepted: stats.accepted.load(Relaxed),
            refused: Refused {
                too_many_held: stats.too_many_held.load(Relaxed),
                too_many_sessions: stats.too_many_sessions.load(Relaxed),
                hold_expired: stats.hold_expired.load(Relaxed),
            },
            cut: stats.cut.load(Relaxed),
            connect_failures: stats.connect_failures.load(Relaxed),
            bytes_from_clients: self.workers.iter().map(|worker| worker.moved().from_clients.load(Relaxed)).sum(),
            bytes_from_primary: self.workers.iter().map(|worker| worker.moved().from_primary.load(Relaxed)).sum(),
            last_switch: self.last_switch.clone(),
            problem: self.problem.clone(),
        }
    }

    pub(super) fn cluster(&self) -> &ClusterName {
        &self.config.cluster
    }
}

fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(node: &str, port: u16) -> Route {
        let endpoint = Endpoint { address: [127, 0, 0, 1].into(), port };
        Route::Primary { node: node.parse().expect("a name"), endpoint }
    }

    #[test]
    fn older_generations_and_foreign_clusters_are_refused() {
        let shop: ClusterName = "shop".parse().expect("a name");
        let other: ClusterName = "other".parse().expect("a name");
        let (a, b) = (to("a", 1), to("b", 2));
        let present = (&shop, Generation(5), &a);
        assert!(matches!(admit(present, (&shop, Generation(4), &b)), Err(Refusal::Stale { .. })));
        assert!(matches!(admit(present, (&shop, Generation(4), &a)), Err(Refusal::Stale { .. })), "even if the same");
        assert!(matches!(admit(present, (&other, Generation(6), &b)), Err(Refusal::Cluster { .. })));
        assert_eq!(admit(present, (&shop, Generation(5), &b)), Ok(Change::Switch));
        assert_eq!(admit(present, (&shop, Generation(6), &Route::Hold)), Ok(Change::Switch));
    }

    #[test]
    fn the_same_target_is_no_switch() {
        let shop: ClusterName = "shop".parse().expect("a name");
        let (a, renamed) = (to("a", 1), to("a2", 1));
        assert_eq!(admit((&shop, Generation(5), &a), (&shop, Generation(6), &renamed)), Ok(Change::None));
        let hold = (&shop, Generation(0), &Route::Hold);
        assert_eq!(admit(hold, (&shop, Generation(0), &Route::Hold)), Ok(Change::None));
    }
}
