//! Kills a real server with SIGKILL, again and again, while hosts, runs, attacks, halts and schedules are under way, and
//! looks after each kill whether anything that was acknowledged is gone.
//!
//! **Where to begin**: [`run`].

mod actors;
mod check;
mod truth;

use crate::databases::Databases;
use crate::host::Host;
use crate::process::Server;
use crate::{Setting, enrol, until};
use anyhow::Context;
use firedrill_api::client::Client;
use firedrill_api::http::RegisterCluster;
use firedrill_model::cluster::{Endpoint, NodeSpec, Policy};
use firedrill_model::guard::GuardPolicy;
use firedrill_model::{ClusterName, ClusterSpec, HostName, Role};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use truth::Truth;

/// From the end of one look to the next kill: often within the first run, sometimes behind its end.
const LIVES_MS: std::ops::Range<u64> = 20..700;
/// Database hosts.
const NODES: u32 = 3;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program whose `server` is killed.
    pub program: PathBuf,
    /// An empty directory for its state.
    pub dir: PathBuf,
    /// How often.
    pub kills: u32,
    /// All moments and choices come from it.
    pub seed: u64,
}

/// What was looked at in vain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Kills.
    pub kills: u32,
    /// Kills that found faults in place.
    pub with_faults: u32,
    /// Kills that found a run under way.
    pub with_runs: u32,
    /// Attacks that were begun.
    pub attacks: usize,
    /// Lines of the timeline that a watcher had.
    pub lines: usize,
    /// Runs that were begun.
    pub runs: usize,
    /// Longest time from the start of a server to the moment when every host was back and no fault of an interrupted
    /// run was left.
    pub settled_max: Duration,
    /// All of it.
    pub took: Duration,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kills, with_faults, with_runs, attacks, lines, runs, settled_max, took } = self;
        write!(
            f,
            "{kills} kills of the server ({with_faults} with faults in place, {with_runs} with a run under way) in {:.0} s: \
             {attacks} attacks, {runs} runs and {lines} lines of the timeline, 0 lost, 0 left behind; settled at most \
             {:.2} s after a start",
            took.as_secs_f64(),
            settled_max.as_secs_f64()
        )
    }
}

/// Everything that lives through the kills.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) http: SocketAddr,
    pub(crate) hosts: Vec<Host>,
    pub(crate) truth: Truth,
    /// Held for reading while something is asked of the server, for writing while the server is looked at.
    pub(crate) gate: tokio::sync::RwLock<()>,
}

/// Kills so many times.
///
/// # Errors
/// What was lost or left behind, with the number of the kill.
pub async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let began = Instant::now();
    let mut random = SmallRng::seed_from_u64(plan.seed);
    let mut server = Server::start(&plan.program, &plan.dir).await?;
    let scene = Arc::new(prepare(&server).await?);
    let acting = actors::start(&scene, &mut random);
    let mut tally = Tally::default();
    for kill in 1..=plan.kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(LIVES_MS))).await;
        let failed = || format!("kill {kill} of {}, seed {}", plan.kills, plan.seed);
        let seen = check::before(&scene);
        server.kill()?;
        tally.with_faults += u32::from(seen.faults > 0);
        // Every call that was under way has failed.
        let closed = scene.gate.write().await;
        let started = Instant::now();
        tally.with_runs += u32::from(server.restart().await.with_context(failed)?.runs_interrupted);
        check::after(&scene).await.with_context(failed)?;
        tally.settled_max = tally.settled_max.max(started.elapsed());
        tally.kills += 1;
        drop(closed);
    }
    acting.iter().for_each(tokio::task::JoinHandle::abort);
    let closed = scene.gate.write().await;
    check::at_the_end(&scene).await.with_context(|| format!("at the end, seed {}", plan.seed))?;
    drop(closed);
    let (attacks, lines, runs) = scene.truth.sizes();
    Ok(Tally { attacks, lines, runs, took: began.elapsed(), ..tally })
}

/// A cluster of three nodes whose keeper has brought it up.
async fn prepare(server: &Server) -> anyhow::Result<Scene> {
    let client = server.client()?;
    let authority = server.authority()?;
    client.register_cluster(&RegisterCluster { spec: spec()?, login: None }).await?;
    // Attack upon attack on a cluster that is never whole is what guards are for.
    client.set_guards(&GuardPolicy::all_off()).await?;
    let databases = Databases::default();
    let mut hosts = Vec::new();
    for name in names() {
        let host: HostName = name.parse()?;
        let token = client.token(&host).await?;
        let identity = enrol(server.link(), &authority, &host, &token.token).await?;
        let node = (name != GATEWAY).then(|| name.parse().map(|node| (databases.clone(), node))).transpose()?;
        let setting = Setting { beat: None, ..Setting::new(server.link()) };
        hosts.push(Host::start(setting, identity, node));
    }
    let scene =
        Scene { client, http: server.http(), hosts, truth: Truth::default(), gate: tokio::sync::RwLock::default() };
    until("the cluster is whole", || async {
        let view = scene.client.cluster(&cluster()?).await?;
        Ok(view.fully_redundant.then_some(()))
    })
    .await?;
    Ok(scene)
}

const GATEWAY: &str = "gateway";

fn names() -> Vec<String> {
    (1..=NODES).map(|number| format!("east-{number}")).chain([GATEWAY.to_owned()]).collect()
}

pub(crate) fn cluster() -> anyhow::Result<ClusterName> {
    Ok("shop".parse()?)
}

/// A cluster that nobody needs to play for a crowd.
pub(crate) fn spec() -> anyhow::Result<ClusterSpec> {
    let node = |number: u32| -> anyhow::Result<NodeSpec> {
        let name = format!("east-{number}");
        Ok(NodeSpec {
            name: name.parse()?,
            host: name.parse()?,
            region: "east".parse()?,
            endpoint: Endpoint { address: format!("10.9.0.{number}").parse()?, port: 3306 },
            initial_role: if number == 1 { Role::Primary } else { Role::Replica },
            server_id: number,
        })
    };
    Ok(ClusterSpec {
        name: cluster()?,
        nodes: (1..=NODES).map(node).collect::<anyhow::Result<_>>()?,
        gateway_host: Some(GATEWAY.parse()?),
        gateway: None,
        application_host: None,
        policy: Policy::default(),
    })
}
