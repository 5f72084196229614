//! Kills a real server with SIGKILL, again and again, while hosts, runs, attacks, halts and schedules are under way, and
//! looks after each kill whether anything that was acknowledged is gone.
//!
//! **Where to begin**: [`run`].

mod actors;
mod check;
mod promotion;
mod truth;

pub use promotion::{CarriedOn, promotion};

use crate::databases::Databases;
use crate::host::Host;
use crate::pair::Pair;
use crate::process::{Restarted, Server};
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
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// Two servers on one PostgreSQL, of which the one that acts is killed.
    pub pair: bool,
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
    /// Longest time from a kill to the moment when every host was back and no fault of an interrupted
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
             {:.2} s after a kill",
            took.as_secs_f64(),
            settled_max.as_secs_f64()
        )
    }
}

/// What is killed.
#[derive(Debug)]
enum Site {
    One(Server),
    Pair(Box<Pair>),
}

impl Site {
    async fn start(plan: &Plan) -> anyhow::Result<Self> {
        Ok(match plan.pair {
            false => Self::One(Server::start(&plan.program, &plan.dir).await?),
            true => Self::Pair(Box::new(Pair::start(&plan.program, &plan.dir).await?)),
        })
    }

    /// The one that acts.
    fn server(&self) -> &Server {
        match self {
            Self::One(server) => server,
            Self::Pair(pair) => pair.acting(),
        }
    }

    fn links(&self) -> Vec<SocketAddr> {
        match self {
            Self::One(server) => vec![server.link()],
            Self::Pair(pair) => pair.links(),
        }
    }

    /// One for each server: a call that a killed one has not answered must not be made of the next.
    fn clients(&self) -> anyhow::Result<Vec<Client>> {
        match self {
            Self::One(server) => Ok(vec![server.client()?]),
            Self::Pair(pair) => pair.clients(),
        }
    }

    fn acting_number(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Pair(pair) => pair.acting_number(),
        }
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        match self {
            Self::One(server) => server.kill(),
            Self::Pair(pair) => pair.kill(),
        }
    }

    /// Until a server acts again.
    async fn go_on(&mut self) -> anyhow::Result<Restarted> {
        match self {
            Self::One(server) => server.restart().await,
            Self::Pair(pair) => pair.take_over().await,
        }
    }
}

/// Everything that lives through the kills.
pub(crate) struct Scene {
    clients: Vec<Client>,
    /// Whose is asked.
    acting: AtomicUsize,
    pub(crate) hosts: Vec<Host>,
    databases: Databases,
    pub(crate) truth: Truth,
    /// Held for reading while something is asked of the server, for writing while the server is looked at.
    pub(crate) gate: tokio::sync::RwLock<()>,
}

impl Scene {
    /// Asks the server that acts, or did.
    pub(crate) fn client(&self) -> &Client {
        &self.clients[self.acting.load(Ordering::Relaxed)]
    }
}

/// Kills so many times.
///
/// # Errors
/// What was lost or left behind, with the number of the kill.
pub async fn run(plan: &Plan) -> anyhow::Result<Tally> {
    let began = Instant::now();
    let mut random = SmallRng::seed_from_u64(plan.seed);
    let mut site = Site::start(plan).await?;
    let scene = Arc::new(prepare(&site).await?);
    let acting = actors::start(&scene, &mut random);
    let mut tally = Tally::default();
    for kill in 1..=plan.kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(LIVES_MS))).await;
        let failed = || format!("kill {kill} of {}, seed {}", plan.kills, plan.seed);
        let seen = check::before(&scene);
        site.kill()?;
        let killed = Instant::now();
        tally.with_faults += u32::from(seen.faults > 0);
        // Every call that was under way has failed.
        let closed = scene.gate.write().await;
        tally.with_runs += u32::from(site.go_on().await.with_context(failed)?.runs_interrupted);
        scene.acting.store(site.acting_number(), Ordering::Relaxed);
        check::after(&scene).await.with_context(failed)?;
        tally.settled_max = tally.settled_max.max(killed.elapsed());
        tally.kills += 1;
        if let Site::Pair(pair) = &site {
            pair.stands_by().await.with_context(failed)?;
        }
        drop(closed);
    }
    acting.iter().for_each(tokio::task::JoinHandle::abort);
    let closed = scene.gate.write().await;
    check::at_the_end(&scene, site.server()).await.with_context(|| format!("at the end, seed {}", plan.seed))?;
    drop(closed);
    let (attacks, lines, runs) = scene.truth.sizes();
    Ok(Tally { attacks, lines, runs, took: began.elapsed(), ..tally })
}

/// A cluster of three nodes whose keeper has brought it up.
async fn prepare(site: &Site) -> anyhow::Result<Scene> {
    let clients = site.clients()?;
    let client = &clients[0];
    let authority = site.server().authority()?;
    client.register_cluster(&RegisterCluster { spec: spec()?, login: None }).await?;
    // Attack upon attack on a cluster that is never whole is what guards are for.
    client.set_guards(&GuardPolicy::all_off()).await?;
    let databases = Databases::default();
    let mut hosts = Vec::new();
    for name in names() {
        let host: HostName = name.parse()?;
        let token = client.token(&host).await?;
        let identity = enrol(site.server().link(), &authority, &host, &token.token).await?;
        let node = (name != GATEWAY).then(|| name.parse().map(|node| (databases.clone(), node))).transpose()?;
        let links = site.links().into_iter();
        let settings = links.map(|link| Setting { beat: None, ..Setting::new(link) }).collect();
        hosts.push(Host::start(settings, identity, node));
    }
    let scene = Scene {
        clients,
        acting: AtomicUsize::default(),
        hosts,
        databases,
        truth: Truth::default(),
        gate: tokio::sync::RwLock::default(),
    };
    until("the cluster is whole", || async {
        let view = scene.client().cluster(&cluster()?).await?;
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
