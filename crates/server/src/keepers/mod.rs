//! The keepers: one task per cluster around the pure decision core.
//!
//! **Where to begin**: `runner`, which stores each decision before it is carried out.

mod runner;

use crate::clock::now;
use crate::error::StartError;
use crate::fleet::Fleet;
use crate::live::LiveFeed;
use crate::problem::{CLUSTER, MALFORMED, not_found, problem, refusal, store_failed};
use crate::timeline::Timeline;
use firedrill_api::http::{Accepted, Problem, RegisterCluster};
use firedrill_keeper::{Action, Event, Keeper, KeeperState, Refusal, Request};
use firedrill_model::cluster::ClusterError;
use firedrill_model::report::LagSample;
use firedrill_model::workload::Login;
use firedrill_model::{ClusterName, ClusterSpec, ClusterView, Foreseen, HostName, NodeObservation, OperationId};
use firedrill_store::{ClusterRecord, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Messages that wait for a keeper. Reports wait when it is full, so that nothing is lost and nothing grows.
const INBOX_MAX: usize = 1024;

/// What a keeper says to a request.
type Asked = Result<Option<OperationId>, Refusal>;

/// What a keeper's task is told.
#[derive(Debug)]
enum Message {
    Event(Box<Event>),
    Ask(Request, oneshot::Sender<Asked>),
    Foresee(Request, oneshot::Sender<Option<Foreseen>>),
}

/// What all keepers' tasks need.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) store: Store,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) timeline: Timeline,
    pub(crate) live: LiveFeed,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

#[derive(Debug)]
struct Cluster {
    record: ClusterRecord,
    inbox: mpsc::Sender<Message>,
    view: watch::Receiver<ClusterView>,
}

/// All clusters with their keepers.
#[derive(Debug)]
pub struct Keepers {
    clusters: RwLock<BTreeMap<ClusterName, Arc<Cluster>>>,
    /// One registration at a time: what is checked must still hold when it is stored.
    registering: Mutex<()>,
    around: Surroundings,
}

impl Keepers {
    /// Goes on with every cluster that the store knows.
    pub(crate) async fn restore(around: Surroundings) -> Result<Self, StartError> {
        let keepers = Self { clusters: RwLock::default(), registering: Mutex::default(), around };
        for record in keepers.around.store.clusters().await? {
            let stored = keepers.around.store.keeper_state(&record.spec.name).await?;
            let (keeper, actions) = match stored {
                Some(state) => {
                    let state: KeeperState = serde_json::from_str(&state)
                        .map_err(|source| StartError::KeeperState { cluster: record.spec.name.to_string(), source })?;
                    Keeper::restore(state, now())
                }
                // Registered, and killed before its keeper's first decision.
                None => (new_keeper(&record.spec).map_err(StartError::Cluster)?, Vec::new()),
            };
            keepers.enter(record, keeper, actions);
        }
        Ok(keepers)
    }

    /// Registers a cluster, or changes the login or the policy of one that is there.
    ///
    /// # Errors
    /// It is malformed, shares nodes with another cluster, or is there with other nodes.
    pub async fn register(&self, register: RegisterCluster) -> Result<ClusterView, Problem> {
        let RegisterCluster { spec, login } = register;
        let keeper = new_keeper(&spec).map_err(|error| problem(MALFORMED, error.to_string()))?;
        let _one_at_a_time = self.registering.lock().await;
        let present = self.cluster(&spec.name).ok();
        if let Some(present) = present {
            return self.change(&present, spec, login).await;
        }
        self.free_for(&spec)?;
        let record = ClusterRecord { spec, login };
        self.around.store.save_cluster(&record, now()).await.map_err(|error| store_failed(&error))?;
        let name = record.spec.name.clone();
        let hosts: Vec<HostName> = of(&record.spec).cloned().collect();
        self.enter(record, keeper, Vec::new());
        self.around.fleet.quicken(&hosts);
        // Agents that connected before their cluster was known.
        for host in self.around.fleet.connected() {
            self.tell(&name, Event::HostConnected(host)).await;
        }
        self.view(&name)
    }

    async fn change(&self, present: &Cluster, spec: ClusterSpec, login: Option<Login>) -> Result<ClusterView, Problem> {
        let name = spec.name.clone();
        let same_but_policy = ClusterSpec { policy: present.record.spec.policy.clone(), ..spec.clone() };
        if same_but_policy != present.record.spec {
            let message = format!(
                "cluster {name} is registered with other nodes, hosts or addresses; register the new layout under another name"
            );
            return Err(problem(CLUSTER, message));
        }
        let policy = (spec.policy != self.view(&name)?.policy).then(|| Box::new(spec.policy.clone()));
        let login = login.or_else(|| present.record.login.clone());
        let record = ClusterRecord { spec, login };
        self.around.store.save_cluster(&record, now()).await.map_err(|error| store_failed(&error))?;
        let changed = Cluster { record, inbox: present.inbox.clone(), view: present.view.clone() };
        self.write().insert(name.clone(), Arc::new(changed));
        if let Some(policy) = policy {
            self.ask(&name, Request::SetPolicy { policy }).await?;
        }
        self.view(&name)
    }

    /// No node, host or address of it belongs to another cluster.
    fn free_for(&self, spec: &ClusterSpec) -> Result<(), Problem> {
        for other in self.read().values() {
            for node in &spec.nodes {
                let taken =
                    |known: &&firedrill_model::NodeSpec| known.name == node.name || known.endpoint == node.endpoint;
                if let Some(known) = other.record.spec.nodes.iter().find(taken) {
                    let message = format!(
                        "node {} of cluster {} shares its name or address with node {} of cluster {}",
                        node.name, spec.name, known.name, other.record.spec.name
                    );
                    return Err(problem(CLUSTER, message));
                }
            }
        }
        Ok(())
    }

    fn enter(&self, record: ClusterRecord, keeper: Keeper, actions: Vec<Action>) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let (publish, view) = watch::channel(keeper.view(now()));
        let name = record.spec.name.clone();
        let runner = runner::Runner::new(name.clone(), keeper, self.around.clone(), publish, sender.downgrade());
        self.around.tasks.spawn(runner.run(actions, inbox));
        self.write().insert(name, Arc::new(Cluster { record, inbox: sender, view }));
    }

    /// Asks a cluster's keeper for something.
    ///
    /// # Errors
    /// There is no such cluster, or the keeper refuses and says why.
    pub async fn ask(&self, cluster: &ClusterName, request: Request) -> Result<Accepted, Problem> {
        match self.exchange(cluster, |sender| Message::Ask(request, sender)).await? {
            Ok(operation) => Ok(Accepted { operation }),
            Err(Refusal { code, message }) => Err(refusal(&code, message)),
        }
    }

    /// What a request would come to if a cluster's keeper were asked now; nothing is begun.
    ///
    /// # Errors
    /// There is no such cluster, or the request begins no operation.
    pub async fn foresee(&self, cluster: &ClusterName, request: Request) -> Result<Foreseen, Problem> {
        let foreseen = self.exchange(cluster, |sender| Message::Foresee(request, sender)).await?;
        let what = "only a promotion, a switchover, a clone or a rejoin can be thought through before it is asked for";
        foreseen.ok_or_else(|| problem(MALFORMED, what))
    }

    async fn exchange<A>(
        &self,
        cluster: &ClusterName,
        message: impl FnOnce(oneshot::Sender<A>) -> Message,
    ) -> Result<A, Problem> {
        let inbox = self.cluster(cluster)?.inbox.clone();
        let (sender, answer) = oneshot::channel();
        let stopping = || {
            let message = format!(
                "the keeper of cluster {cluster} has stopped: the server is stopping, or its state cannot be stored; the server's log says which"
            );
            problem(crate::problem::STORE, message)
        };
        inbox.send(message(sender)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    /// An agent looked at a node. Only the agent of the node's own host is believed.
    pub(crate) async fn observed(&self, host: &HostName, observation: NodeObservation) {
        let inbox = {
            let clusters = self.read();
            let mine = |cluster: &&Arc<Cluster>| {
                cluster.record.spec.node(&observation.node).is_some_and(|node| node.host == *host)
            };
            clusters.values().find(mine).map(|cluster| cluster.inbox.clone())
        };
        match inbox {
            Some(inbox) => deliver(&inbox, Event::Observed(observation)).await,
            None => {
                tracing::debug!(%host, node = %observation.node, "an observation of a node that is not registered there")
            }
        }
    }

    /// The link to a host came or went; every keeper is told, because gateways and donors are on hosts too.
    pub(crate) async fn presence(&self, host: &HostName, event: Event) {
        let inboxes: Vec<_> =
            self.read().values().filter(|cluster| cluster.concerns(host)).map(|c| c.inbox.clone()).collect();
        for inbox in inboxes {
            deliver(&inbox, event.clone()).await;
        }
    }

    /// The host carries something of some cluster.
    pub(crate) fn concern(&self, host: &HostName) -> bool {
        self.read().values().any(|cluster| cluster.concerns(host))
    }

    async fn tell(&self, cluster: &ClusterName, event: Event) {
        if let Ok(cluster) = self.cluster(cluster) {
            deliver(&cluster.inbox, event).await;
        }
    }

    /// All clusters as they are now, by name.
    #[must_use]
    pub fn views(&self) -> Vec<ClusterView> {
        self.read().values().map(|cluster| cluster.view.borrow().clone()).collect()
    }

    /// Looks at all clusters as they are now, by name.
    pub(crate) fn each_view(&self, mut look: impl FnMut(&ClusterView)) {
        self.read().values().for_each(|cluster| look(&cluster.view.borrow()));
    }

    /// One cluster as it is now.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn view(&self, cluster: &ClusterName) -> Result<ClusterView, Problem> {
        Ok(self.cluster(cluster)?.view.borrow().clone())
    }

    /// One cluster as it is now and whenever it changes.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn watch(&self, cluster: &ClusterName) -> Result<watch::Receiver<ClusterView>, Problem> {
        Ok(self.cluster(cluster)?.view.clone())
    }

    /// A cluster as registered, with the login for its workloads.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn record(&self, cluster: &ClusterName) -> Result<ClusterRecord, Problem> {
        Ok(self.cluster(cluster)?.record.clone())
    }

    /// All clusters as registered, by name.
    #[must_use]
    pub fn records(&self) -> Vec<ClusterRecord> {
        self.read().values().map(|cluster| cluster.record.clone()).collect()
    }

    /// How far each replica is behind now.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn lags(&self, cluster: &ClusterName) -> Result<Vec<LagSample>, Problem> {
        let at = now();
        let view = self.view(cluster)?;
        let lag = |node: firedrill_model::NodeView| {
            let replication = node.observation?.status?.replication?;
            Some(LagSample { at, node: node.name, behind: node.behind.unwrap_or(0), lag: replication.lag })
        };
        Ok(view.nodes.into_iter().filter_map(lag).collect())
    }

    fn cluster(&self, name: &ClusterName) -> Result<Arc<Cluster>, Problem> {
        let found = self.read().get(name).cloned();
        found.ok_or_else(|| not_found("cluster", name, "`firedrill cluster list` names those that are registered"))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<ClusterName, Arc<Cluster>>> {
        // Changed by single inserts only; a panic elsewhere leaves it whole.
        self.clusters.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<ClusterName, Arc<Cluster>>> {
        self.clusters.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// The host carries a node or the gateway of the cluster.
    fn concerns(&self, host: &HostName) -> bool {
        of(&self.record.spec).any(|own| own == host)
    }
}

/// The hosts that carry something of a cluster.
fn of(spec: &ClusterSpec) -> impl Iterator<Item = &HostName> {
    spec.nodes.iter().map(|node| &node.host).chain(&spec.gateway_host).chain(&spec.application_host)
}

fn new_keeper(spec: &ClusterSpec) -> Result<Keeper, ClusterError> {
    Keeper::new(spec.clone(), now())
}

/// A keeper whose task has ended (the server stops) does not mind.
async fn deliver(inbox: &mpsc::Sender<Message>, event: Event) {
    if inbox.send(Message::Event(Box::new(event))).await.is_err() {
        tracing::debug!("an event came for a keeper that has stopped");
    }
}
