//! The gateway process of this host: kept running, found again after a restart of the agent, told where to go.

use crate::backoff::Backoff;
use crate::error::AgentError;
use crate::generations::Generations;
use crate::storage;
use firedrill_host::process::{Child, Identity, Pidfd, Signal, Spawn, Stream};
use firedrill_model::command::{FailureKind, Route};
use firedrill_model::{ClusterName, CommandFailure, Generation};
use firedrill_proxy::control::{Client, ControlError};
use firedrill_proxy::gateway::GatewayConfig;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

/// One that ran this long was in order; the next wait is the first again.
const RESTART_FORGIVEN_AFTER: Duration = Duration::from_secs(10);
/// How often a gateway that is starting is tried; it takes some milliseconds to open its control socket.
const CONTROL_RETRY: Duration = Duration::from_millis(10);
/// How long a gateway may take to open its control socket before that is said.
const CONTROL_WITHIN: Duration = Duration::from_secs(5);

/// Looks after the gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    config: GatewayConfig,
    program: PathBuf,
    dir: PathBuf,
    generations: Arc<Generations>,
    orders: Mutex<Orders>,
}

#[derive(Debug)]
struct Orders {
    last: Option<Order>,
    client: Option<Client>,
}

/// The last thing the gateway was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    generation: Generation,
    route: Route,
}

/// The gateway's process: a child of this agent, which tells how it ended, or that of an earlier one.
enum Process {
    Own(Child),
    Found(Pidfd),
}

impl Process {
    fn pidfd(&self) -> &Pidfd {
        match self {
            Self::Own(child) => child.pidfd(),
            Self::Found(pidfd) => pidfd,
        }
    }
}

impl Gateway {
    /// Reads what the gateway was told last; `dir` is made when missing. Nothing is started yet.
    ///
    /// # Errors
    /// [`AgentError::Storage`] when the agent's files cannot be used.
    pub(crate) fn new(
        config: GatewayConfig,
        program: PathBuf,
        dir: PathBuf,
        generations: Arc<Generations>,
    ) -> Result<Self, AgentError> {
        storage::make_private_dir(&dir).map_err(AgentError::storage("make", &dir))?;
        let path = dir.join("route.json");
        let content = storage::read_if_there(&path).map_err(AgentError::storage("read", &path))?;
        // A route that is not understood is as good as none: the gateway holds until the keeper says it again.
        let last = content.and_then(|content| serde_json::from_slice(&content).ok());
        Ok(Self { config, program, dir, generations, orders: Mutex::new(Orders { last, client: None }) })
    }

    /// Sets the route and remembers it for the next gateway process. A gateway that is being restarted is waited for.
    pub(crate) async fn set_route(
        &self,
        cluster: &ClusterName,
        generation: Generation,
        route: Route,
        within: Duration,
    ) -> Result<(), CommandFailure> {
        if *cluster != self.config.cluster {
            let message = format!("this host runs the gateway of {}, not of {cluster}", self.config.cluster);
            return Err(CommandFailure { kind: FailureKind::Invalid, message });
        }
        let order = Order { generation, route };
        // The control client allows to be given up at any point.
        timeout(within, self.keep_and_tell(&order, within)).await.unwrap_or_else(|_| {
            let message = format!(
                "the gateway of {cluster} has not confirmed the route within {within:?}; it may still take effect",
            );
            Err(CommandFailure { kind: FailureKind::TimedOut, message })
        })
    }

    async fn keep_and_tell(&self, order: &Order, within: Duration) -> Result<(), CommandFailure> {
        let mut orders = self.orders.lock().await;
        // The keeper says the route again and again; only a change is worth a write.
        if orders.last.as_ref() != Some(order) {
            self.keep(order).await?;
            orders.last = Some(order.clone());
        }
        self.tell(&mut orders, order, within).await.map_err(CommandFailure::from)
    }

    async fn keep(&self, order: &Order) -> Result<(), CommandFailure> {
        let path = self.dir.join("route.json");
        let failed = |problem: String| CommandFailure {
            kind: FailureKind::Failed,
            message: format!("the route of {} was not changed: cannot record it: {problem}", self.config.cluster),
        };
        let content = serde_json::to_vec(order).map_err(|error| failed(error.to_string()))?;
        let written = tokio::task::spawn_blocking(move || storage::replace_unsynced(&path, &content)).await;
        written.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }

    async fn tell(&self, orders: &mut Orders, order: &Order, within: Duration) -> Result<(), ControlError> {
        let give_up = Instant::now() + within;
        loop {
            match self.tell_once(orders, order).await {
                Err(ControlError::Connect { .. }) if Instant::now() + CONTROL_RETRY < give_up => {}
                outcome => return outcome,
            }
            sleep(CONTROL_RETRY).await;
        }
    }

    async fn tell_once(&self, orders: &mut Orders, order: &Order) -> Result<(), ControlError> {
        let client = match &mut orders.client {
            Some(client) => client,
            none => none.insert(Client::connect(&self.config.control).await?),
        };
        let routed = client.set_route(&self.config.cluster, order.generation, &order.route).await?;
        if routed.previous != order.route {
            tracing::info!(cluster = %self.config.cluster, generation = %order.generation, route = ?order.route,
                sessions_cut = routed.sessions_cut, took = %routed.took, "the gateway goes there");
        }
        Ok(())
    }

    /// Keeps the gateway running, for ever. Dropped, it leaves the gateway running.
    pub(crate) async fn supervise(&self) {
        let mut backoff = Backoff::process();
        loop {
            let began = Instant::now();
            match self.find_or_start().await {
                Ok(process) => {
                    let cared_for = async {
                        self.repeat_order().await;
                        std::future::pending::<Infallible>().await
                    };
                    let ended = tokio::select! {
                        ended = process.pidfd().exited() => ended,
                        never = cared_for => match never {},
                    };
                    let how = ended.map_or_else(|error| error.full(), |exit| exit.to_string());
                    tracing::warn!(pid = process.pidfd().pid(), how, log = %self.log().display(), "the gateway ended; starting it again");
                }
                Err(error) => tracing::error!(%error, "cannot start the gateway; trying again"),
            }
            if began.elapsed() >= RESTART_FORGIVEN_AFTER {
                backoff.reset();
            }
            sleep(backoff.next()).await;
        }
    }

    /// Tells a gateway that was just found or started what the last one was told, unless a newer authority has spoken
    /// since: then the last route may be to a primary that is being replaced, and the keeper will say the new one.
    async fn repeat_order(&self) {
        let mut orders = self.orders.lock().await;
        let Some(order) = orders.last.clone() else { return };
        let newest = self.generations.newest(&self.config.cluster);
        if order.generation < newest {
            tracing::info!(last = %order.generation, %newest, "the gateway holds: its last route is of an older generation");
            return;
        }
        if let Err(error) = self.tell(&mut orders, &order, CONTROL_WITHIN).await {
            tracing::error!(%error, "the gateway does not take its last route");
        }
    }

    async fn find_or_start(&self) -> Result<Process, AgentError> {
        let (identity_file, config_file) = (self.dir.join("identity"), self.dir.join("config.json"));
        let content = serde_json::to_vec_pretty(&self.config).map_err(|error| self.failed(&error.to_string()))?;
        let before = storage::read_if_there(&config_file).map_err(AgentError::storage("read", &config_file))?;
        let known = Identity::load(&identity_file).map_err(|error| self.failed(&error.full()))?;
        let running = match known {
            Some(identity) => identity.open().map_err(|error| self.failed(&error.full()))?,
            None => None,
        };
        if let Some(running) = running {
            if before.as_deref() == Some(&content) {
                tracing::info!(pid = running.pid(), "the gateway runs already");
                return Ok(Process::Found(running));
            }
            tracing::warn!(pid = running.pid(), "the gateway's configuration was changed; starting it anew");
            running.signal(Signal::SIGKILL).map_err(|error| self.failed(&error.full()))?;
            running.exited().await.map_err(|error| self.failed(&error.full()))?;
        }
        storage::replace(&config_file, &content).map_err(AgentError::storage("write", &config_file))?;
        let child = Spawn::new(&self.program)
            .args(["gateway", "--config"])
            .arg(&config_file)
            .stderr(Stream::Append(self.log()))
            .new_session()
            .spawn()
            .map_err(|error| self.failed(&error.full()))?;
        child.identity().save(&identity_file).map_err(|error| self.failed(&error.full()))?;
        tracing::info!(pid = child.pid(), cluster = %self.config.cluster, "the gateway is started");
        Ok(Process::Own(child))
    }

    fn log(&self) -> PathBuf {
        self.dir.join("gateway.log")
    }

    fn failed(&self, problem: &str) -> AgentError {
        AgentError::Part { part: "gateway", problem: format!("{problem} (gateway of {})", self.config.cluster) }
    }
}
