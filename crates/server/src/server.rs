//! What all parts of a running server share.

use crate::access::AccessControl;
use crate::attacks::Changes;
use crate::authority::Authority;
use crate::clock::now;
use crate::config::ServerConfig;
use crate::fleet::Fleet;
use crate::keepers::Keepers;
use crate::live::LiveFeed;
use crate::messages::Messages;
use crate::orphans::Orphans;
use crate::probes::Prober;
use crate::problem::not_found;
use crate::runs::RunRegistry;
use crate::series::Series;
use crate::timeline::Timeline;
use crate::traces::Traces;
use crate::workload_feed::WorkloadFeed;
use firedrill_api::http::{Problem, RunEntry, Status};
use firedrill_model::attack::AttackReport;
use firedrill_model::report::LagSample;
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{RunId, Severity, Timestamp};
use firedrill_store::{Epoch, RunSummary, Store};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A running server.
pub struct Server {
    /// How it was set up.
    pub config: ServerConfig,
    /// What it remembers.
    pub store: Store,
    /// Since which take-over it acts, among servers that share a store; 0 on a file of its own.
    pub epoch: Epoch,
    /// The hosts and the links to their agents.
    pub fleet: Arc<Fleet>,
    /// The clusters and their keepers.
    pub keepers: Keepers,
    /// What happened.
    pub timeline: Timeline,
    /// What happens, for everybody who watches.
    pub live: LiveFeed,
    /// The runs under way.
    pub runs: RunRegistry,
    /// What the workloads of runs say.
    pub workloads: WorkloadFeed,
    /// Rate, latency and lag of the last day.
    pub(crate) series: Series,
    /// Cancelled when the server stops.
    pub shutdown: CancellationToken,
    /// The last change of any attack, after it was stored.
    pub(crate) attack_reports: watch::Sender<Option<AttackReport>>,
    /// One change of an attack after the other: its answer and its report come together and must count once.
    pub(crate) attack_changes: Changes,
    /// One look at the schedules, or change of one, at a time.
    pub(crate) schedule_looks: tokio::sync::Mutex<()>,
    /// One start at a time from the guards' look to the record of what begins, so that no two see the same room.
    pub(crate) starting: tokio::sync::Mutex<()>,
    pub(crate) orphans: Orphans,
    pub(crate) access: AccessControl,
    pub(crate) prober: Prober,
    pub(crate) messages: Messages,
    pub(crate) traces: Traces,
    authority: Authority,
    link_address: SocketAddr,
    halted: Mutex<Option<String>>,
    started: Timestamp,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).field("started", &self.started).finish_non_exhaustive()
    }
}

/// What a server is put together from.
pub(crate) struct Parts {
    pub(crate) config: ServerConfig,
    pub(crate) store: Store,
    pub(crate) epoch: Epoch,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) keepers: Keepers,
    pub(crate) timeline: Timeline,
    pub(crate) live: LiveFeed,
    pub(crate) shutdown: CancellationToken,
    pub(crate) authority: Authority,
    pub(crate) link_address: SocketAddr,
    pub(crate) halted: Option<String>,
    pub(crate) access: AccessControl,
    pub(crate) messages: Messages,
    pub(crate) attack_changes: Changes,
}

impl Server {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            config,
            store,
            epoch,
            fleet,
            keepers,
            timeline,
            live,
            shutdown,
            authority,
            link_address,
            halted,
            access,
            messages,
            attack_changes,
        } = parts;
        let traces = Traces::new(config.otlp.is_some());
        let prober = Prober::new(config.probe_destinations.clone());
        Self {
            config,
            prober,
            traces,
            store,
            epoch,
            fleet,
            keepers,
            timeline,
            live,
            shutdown,
            authority,
            link_address,
            runs: RunRegistry::default(),
            workloads: WorkloadFeed::new(),
            series: Series::default(),
            attack_reports: watch::Sender::new(None),
            attack_changes,
            schedule_looks: tokio::sync::Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            orphans: Orphans::default(),
            access,
            messages,
            halted: Mutex::new(halted),
            started: now(),
        }
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// What agents connect to.
    #[must_use]
    pub fn link_address(&self) -> SocketAddr {
        self.link_address
    }

    /// Why starts are blocked, when they are.
    #[must_use]
    pub fn halted(&self) -> Option<String> {
        // A single assignment; a panic elsewhere leaves it whole.
        self.halted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Blocks starts (the first reason stands) or allows them.
    pub(crate) fn set_halted(&self, reason: Option<&str>) {
        let mut halted = self.halted.lock().unwrap_or_else(PoisonError::into_inner);
        *halted = match (halted.take(), reason) {
            (Some(first), Some(_)) => Some(first),
            (_, reason) => reason.map(str::to_owned),
        };
    }

    /// Puts on the timeline that it acts from now on, and after whom.
    pub(crate) async fn say_started(&self, before: Option<&str>) {
        let version = env!("CARGO_PKG_VERSION");
        let text = match (self.epoch, before) {
            (Epoch(0), _) => format!("server {version} started"),
            (epoch, None) => format!("server {version} acts (epoch {epoch})"),
            (epoch, Some(before)) => format!("server {version} acts (epoch {epoch}); before it, {before} did"),
        };
        self.timeline.append(Severity::Info, EventKind::Server, text, Scope::default()).await;
    }

    /// The server itself, for pages and lists.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            halted: self.halted(),
            running: self.runs.running(),
            epoch: (self.epoch != Epoch(0)).then_some(self.epoch.0),
        }
    }

    /// How far each replica is behind on the cluster of a run under way; nothing when that is not known.
    #[must_use]
    pub fn lags_of(&self, run: &RunId) -> Vec<LagSample> {
        let lags = self.runs.cluster_of(run).and_then(|cluster| self.keepers.lags(&cluster).ok());
        lags.unwrap_or_default()
    }

    /// Where the recorded history of a run is, once it was taken in.
    ///
    /// # Errors
    /// There cannot be one: the run id is not one of ours.
    pub fn history_path(&self, run: &RunId) -> Result<PathBuf, Problem> {
        crate::link::history_path(&self.config.data_dir, run)
            .ok_or_else(|| not_found("run", run, "`firedrill experiment list` names those that are known"))
    }

    /// The last change of any attack and whenever one changes; what was changed is in the store already. Changes in
    /// quick succession may be seen as one: read the store.
    #[must_use]
    pub fn attack_changes(&self) -> watch::Receiver<Option<AttackReport>> {
        self.attack_reports.subscribe()
    }
}

/// A run as in lists.
#[must_use]
pub fn run_entry(summary: RunSummary) -> RunEntry {
    let RunSummary { run, experiment, cluster, state, began, verdict, reason } = summary;
    RunEntry { run, experiment, cluster, state, began, verdict, reason }
}
