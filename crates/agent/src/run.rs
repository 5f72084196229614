//! Puts the parts of an agent together and takes them apart again.

use crate::answers::Answers;
use crate::attacks::Attacks;
use crate::config::AgentConfig;
use crate::dispatch::Dispatcher;
use crate::epoch::{Epochs, NotAdmitted};
use crate::error::AgentError;
use crate::gateway::Gateway;
use crate::generations::Generations;
use crate::link::{self, Link, Session};
use crate::nodes::Nodes;
use crate::outbox::Outbox;
use crate::presence::Presence;
use crate::probes::Probes;
use crate::workload::{Surroundings, Workloads};
use crate::{enrol, identity, observe, storage, watchdog};
use firedrill_api::LINK_VERSION;
use firedrill_api::link::{Hello, Instruction};
use firedrill_model::{ClusterName, NodeName};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Threads for files beside the one that does everything, made when needed: enough that moving a clone into place does
/// not delay the record of a generation.
const FILE_THREADS: usize = 8;
/// An idle file thread ends after this long and gives its memory back.
const FILE_THREAD_KEPT: Duration = Duration::from_secs(2);
/// The last reports may take this long.
const FAREWELL_WITHIN: Duration = Duration::from_millis(500);
/// At the end of the agent, what is under way (an undo, a fence) may take this long.
const WIND_UP_WITHIN: Duration = Duration::from_secs(5);

/// The runtime that an agent is made for: one thread, and few short-lived ones for files.
///
/// # Errors
/// When the kernel refuses an event queue.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(FILE_THREADS)
        .thread_keep_alive(FILE_THREAD_KEPT)
        .build()
}

/// Runs the agent until `shutdown` is cancelled. Then faults are taken out; databases, gateway and loads are left
/// running, to be found again by the next agent.
///
/// # Errors
/// When the agent cannot start (files, token), or when it and the server do not accept each other. A server that
/// cannot be reached is no error, however long.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    let unusable = |problem: String| AgentError::Part { part: "configuration", problem };
    config.check().map_err(unusable)?;
    let servers = config.link_servers().map_err(unusable)?;
    let dir = &config.data_dir;
    storage::make_private_dir(dir).map_err(AgentError::storage("make", dir))?;
    let outbox = Arc::new(Outbox::default());
    // Before anything that needs the server: faults that an earlier agent left behind come out even without one.
    let nodes = Arc::new(Nodes::new(config.instances.clone()));
    let attacks = Arc::new(Attacks::open(&config, Arc::clone(&nodes), Arc::clone(&outbox)).await?);
    let (tls, identity) = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        enrolled = enrol::enrolled(&config, &servers) => enrolled?,
    };
    let around = Surroundings { outbox, servers: servers.clone(), tls: Arc::clone(&tls) };
    let (agent, answers) = Agent::assemble(config, nodes, attacks, around)?;
    let mut watchers = agent.watch();
    let link = Link { servers, tls, identity, agent: Arc::clone(&agent) };
    // The link outlives the shutdown by what it takes to report the faults out.
    let leave = CancellationToken::new();
    let (ended, ()) = tokio::join!(
        async {
            let ended = link::run(&link, &leave).await;
            leave.cancel();
            ended
        },
        agent.say_farewell(&shutdown, &leave),
    );
    watchers.shutdown().await;
    agent.wind_up(answers).await;
    ended
}

/// All parts of a running agent.
pub(crate) struct Agent {
    pub(crate) config: AgentConfig,
    boot_id: String,
    epochs: Epochs,
    dispatcher: Arc<Dispatcher>,
}

impl Agent {
    fn assemble(
        config: AgentConfig,
        nodes: Arc<Nodes>,
        attacks: Arc<Attacks>,
        around: Surroundings,
    ) -> Result<(Arc<Self>, crate::answers::Writer), AgentError> {
        let dir = config.data_dir.clone();
        let boot_id = firedrill_host::clock::boot_id()
            .map_err(|error| AgentError::Part { part: "clock", problem: error.full() })?;
        let epochs = Epochs::open(enrol::epochs_file(&config))?;
        let generations = Arc::new(Generations::open(dir.join("generations"))?);
        let gateway = match &config.gateway {
            None => None,
            Some(gateway) => {
                let (program, dir) = (config.program.clone(), dir.join("gateway"));
                Some(Arc::new(Gateway::new(gateway.clone(), program, dir, Arc::clone(&generations))?))
            }
        };
        let outbox = Arc::clone(&around.outbox);
        let workloads = Arc::new(Workloads::open(dir.join("workloads"), config.program.clone(), around)?);
        let (answers, writer) = Answers::open(dir.join("answers.ndjson"))?;
        let probes = Arc::new(Probes::new(Arc::clone(&nodes), config.allowed_commands.clone()));
        let dispatcher = Arc::new(Dispatcher {
            answers,
            presence: Arc::new(Presence::new(Instant::now(), config.lease.map(|lease| lease.duration()))),
            nodes,
            generations,
            outbox,
            gateway,
            attacks,
            probes,
            node_commands: config.allow.as_ref().is_none_or(|allow| allow.node_commands),
            workloads,
            under_way: Default::default(),
            tasks: Default::default(),
        });
        Ok((Arc::new(Self { config, boot_id, epochs, dispatcher }), writer))
    }

    /// Starts everything that goes on by itself.
    fn watch(&self) -> JoinSet<()> {
        let parts = &self.dispatcher;
        let mut watchers = JoinSet::new();
        for node in parts.nodes.iter() {
            watchers.spawn(observe::node(Arc::clone(node), Arc::clone(&parts.outbox)));
        }
        let disk = self.config.instances.first().map_or(&self.config.data_dir, |instance| &instance.work_dir);
        watchers.spawn(observe::host(disk.clone(), Arc::clone(&parts.outbox)));
        watchers.spawn(observe::own_memory());
        watchers.spawn(watchdog::keep());
        if let Some(gateway) = parts.gateway.clone() {
            watchers.spawn(async move { gateway.supervise().await });
        }
        let (attacks, presence) = (Arc::clone(&parts.attacks), Arc::clone(&parts.presence));
        watchers.spawn(async move { attacks.keep_lease(&presence).await });
        watchers
    }

    /// When the agent is to end: faults out, and the server told so if it listens, then `leave`. Returns at once when
    /// the link has ended for another reason.
    async fn say_farewell(&self, shutdown: &CancellationToken, leave: &CancellationToken) {
        tokio::select! {
            () = leave.cancelled() => return,
            () = shutdown.cancelled() => {}
        }
        let told = timeout(WIND_UP_WITHIN, async {
            self.dispatcher.attacks.end().await;
            timeout(FAREWELL_WITHIN, self.dispatcher.outbox.delivered()).await
        });
        if !matches!(told.await, Ok(Ok(()))) {
            tracing::warn!("the server was not told everything; it learns it from the next agent");
        }
        leave.cancel();
    }

    async fn wind_up(&self, answers: crate::answers::Writer) {
        let parts = &self.dispatcher;
        parts.tasks.close();
        let bounded = timeout(WIND_UP_WITHIN, async {
            parts.attacks.end().await;
            parts.tasks.wait().await;
            parts.answers.close();
            answers.await
        });
        match bounded.await {
            Ok(Ok(())) => {
                tracing::info!(host = %self.config.host, "the agent ends; databases, gateway and loads go on")
            }
            Ok(Err(error)) => tracing::error!(%error, "the record of answers was not finished"),
            Err(_) => {
                tracing::warn!("something was still under way after {WIND_UP_WITHIN:?}; the agent ends all the same")
            }
        }
    }
}

impl Session for Agent {
    fn host(&self) -> &firedrill_model::HostName {
        &self.config.host
    }

    fn identity(&self) -> std::path::PathBuf {
        identity::file(&self.config)
    }

    fn outbox(&self) -> &Outbox {
        &self.dispatcher.outbox
    }

    fn presence(&self) -> &Presence {
        &self.dispatcher.presence
    }

    fn hello(&self) -> Hello {
        let node = |instance: &firedrill_engine::InstanceConfig| -> (ClusterName, NodeName) {
            (instance.cluster.clone(), instance.node.clone())
        };
        Hello {
            link_version: LINK_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: self.boot_id.clone(),
            address: self.config.address,
            region: self.config.region.clone(),
            tags: self.config.tags.clone(),
            nodes: self.config.instances.iter().map(node).collect(),
            gateway_of: self.config.gateway.as_ref().map(|gateway| gateway.cluster.clone()),
            attacks: self.dispatcher.attacks.active(),
            allowed: self.config.allow.clone(),
        }
    }

    fn admit(&self, epoch: u64) -> Result<(), NotAdmitted> {
        self.epochs.admit(epoch)
    }

    fn opened(&self) {
        self.dispatcher.workloads.say_again();
        self.dispatcher.attacks.say_again();
    }

    fn instruct(&self, instruction: Instruction) {
        self.dispatcher.take(instruction);
    }
}
