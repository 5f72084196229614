//! Very many agents on one server: what they cost when nothing happens, how long an attack on all of them takes to begin,
//! and how long a halt takes to end it.

use crate::agent::{Agent, Setting, hello, willing};
use crate::identity::{Identity, enrol};
use crate::killing::spec;
use crate::process::{Server, gauge};
use crate::until;
use anyhow::{Context, ensure};
use firedrill_api::client::Client;
use firedrill_api::http::{RegisterCluster, StartAttack};
use firedrill_model::attack::AttackState;
use firedrill_model::experiment::AttackStep;
use firedrill_model::guard::GuardPolicy;
use firedrill_model::{Fault, HostName, Selector, Span};
use futures_util::{StreamExt, TryStreamExt, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections of one played agent.
const CONNECTIONS: u64 = 2;
/// Descriptors of a process that are no connections of agents.
const OTHER_DESCRIPTORS: u64 = 300;
/// Handshakes at once: more would only wait for each other.
const AT_ONCE: usize = 64;
/// Comings and goings are over before anything is measured.
const SETTLE: Duration = Duration::from_secs(5);
const IDLE_FOR: Duration = Duration::from_secs(10);
/// Ticks of /proc/PID/stat in a second, on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program whose `server` is measured.
    pub program: PathBuf,
    /// An empty directory for its state.
    pub dir: PathBuf,
    /// How many are wanted.
    pub agents: u32,
    /// Attacks and halts.
    pub rounds: u32,
}

/// One attack on all, and its halt. Seconds.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct Round {
    /// From the request until the last agent had the fault in place.
    pub in_place: f64,
    /// From the request to the answer, which has every agent's acknowledgement, stored.
    pub acknowledged: f64,
    /// From the request until the last agent had taken the fault out.
    pub out: f64,
    /// As the server says in its answer.
    pub halt_told: f64,
    /// From the request to the answer, with every attack's end stored.
    pub halt_answered: f64,
}

/// What was measured.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Figures {
    /// How many there were: as many as the limit on open files allows.
    pub agents: u32,
    /// The limit on open files of one process here.
    pub descriptors: u64,
    /// Enrolments per second, each with a token of its own.
    pub enrolments_per_second: f64,
    /// From the first hello until the server counted all as connected, seconds.
    pub connected_after: f64,
    /// Resident memory of the server with all connected and nothing going on, MiB.
    pub idle_mib: f64,
    /// The most that it ever was, MiB.
    pub peak_mib: f64,
    /// Processor of the server when nothing goes on, cores.
    pub idle_cores: f64,
    /// The same of this process, which plays the agents.
    pub own_idle_cores: f64,
    /// In their order.
    pub rounds: Vec<Round>,
}

/// Measures.
///
/// # Errors
/// The server did not do what it was asked.
pub async fn run(plan: &Plan) -> anyhow::Result<Figures> {
    let descriptors = allow_descriptors()?;
    let fit = (descriptors - OTHER_DESCRIPTORS.min(descriptors)) / CONNECTIONS;
    let agents = plan.agents.min(u32::try_from(fit).unwrap_or(u32::MAX));
    let server = Server::start(&plan.program, &plan.dir).await?;
    let client = server.client()?;
    client.register_cluster(&RegisterCluster { spec: spec()?, login: None }).await?;
    client.set_guards(&GuardPolicy::all_off()).await?;
    let began = Instant::now();
    let identities = enrol_all(&server, &client, agents).await?;
    let enrolments_per_second = f64::from(agents) / began.elapsed().as_secs_f64();
    let last = Arc::new(Mutex::new(Last::default()));
    let began = Instant::now();
    let _agents = connect_all(&server, identities, &last).await?;
    until("the server counts all as connected", || async {
        Ok((gauge(server.http(), "firedrill_hosts_connected").await? == u64::from(agents)).then_some(()))
    })
    .await?;
    let connected_after = began.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let (pid, own) = (server.pid(), std::process::id());
    let before = (processor_seconds(pid)?, processor_seconds(own)?);
    tokio::time::sleep(IDLE_FOR).await;
    let idle = IDLE_FOR.as_secs_f64();
    let idle_cores = (processor_seconds(pid)? - before.0) / idle;
    let own_idle_cores = (processor_seconds(own)? - before.1) / idle;
    let idle_mib = status_mib(pid, "VmRSS:")?;
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        rounds.push(round(&client, agents as usize, &last).await?);
    }
    let peak_mib = status_mib(pid, "VmHWM:")?;
    Ok(Figures {
        agents,
        descriptors,
        enrolments_per_second,
        connected_after,
        idle_mib,
        peak_mib,
        idle_cores,
        own_idle_cores,
        rounds,
    })
}

/// As many as are allowed without asking anybody.
fn allow_descriptors() -> anyhow::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit on open files")?;
    Ok(hard)
}

async fn enrol_all(server: &Server, client: &Client, agents: u32) -> anyhow::Result<Vec<Identity>> {
    let authority = server.authority()?;
    let enrolments = (0..agents).map(|number| {
        let authority = &authority;
        async move {
            let host: HostName = format!("crowd-{number:05}").parse()?;
            let token = client.token(&host).await?;
            enrol(server.link(), authority, &host, &token.token).await
        }
    });
    stream::iter(enrolments).buffer_unordered(AT_ONCE).try_collect().await
}

/// When something was last done by any of them.
#[derive(Debug, Default)]
struct Last {
    /// Faults that went in, and the last of them.
    put_in: (usize, Option<Instant>),
    /// Faults that came out.
    taken_out: (usize, Option<Instant>),
}

fn lock(last: &Mutex<Last>) -> std::sync::MutexGuard<'_, Last> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connect_all(
    server: &Server,
    identities: Vec<Identity>,
    last: &Arc<Mutex<Last>>,
) -> anyhow::Result<Vec<Agent>> {
    let connections = identities.into_iter().enumerate().map(|(number, identity)| {
        let last = Arc::clone(last);
        async move {
            let [_, high, middle, low] = u32::try_from(number)?.to_be_bytes();
            // 127.1.0.0 upwards: on one address there are fewer ports than there are connections.
            let from = IpAddr::V4(Ipv4Addr::new(127, high + 1, middle, low));
            let setting = Setting { link: server.link(), from: Some(from), beat: None };
            let mut greeting = hello(&identity.host);
            greeting.address = from;
            let script = willing(identity.host.clone(), move |report| {
                let mut last = lock(&last);
                let of_state = if report.state == AttackState::Active { &mut last.put_in } else { &mut last.taken_out };
                *of_state = (of_state.0 + 1, Some(Instant::now()));
            });
            Agent::connect(&setting, identity, &greeting, script).await
        }
    });
    stream::iter(connections).buffer_unordered(AT_ONCE).try_collect().await
}

async fn round(client: &Client, agents: usize, last: &Mutex<Last>) -> anyhow::Result<Round> {
    *lock(last) = Last::default();
    let target = Selector { tags: [("kind".to_owned(), "played".to_owned())].into(), ..Selector::default() };
    let fault = Fault::new("cpu").with("load", 10);
    let attack = AttackStep { name: None, fault, target, duration: Span::secs(300) };
    let start = StartAttack::new(crate::killing::cluster()?, attack);
    let began = Instant::now();
    let reports = client.start_attack(&start).await?;
    let acknowledged = began.elapsed().as_secs_f64();
    let active = reports.iter().filter(|report| report.state == AttackState::Active).count();
    ensure!(active == agents, "{active} of {agents} attacks are in place");
    let in_place = seconds(began, lock(last).put_in.1);
    let began = Instant::now();
    let halted = client.halt("a benchmark").await?;
    let halt_answered = began.elapsed().as_secs_f64();
    let undone = halted.attacks.iter().filter(|report| report.state == AttackState::Undone).count();
    ensure!(undone == agents, "{undone} of {agents} attacks are out");
    let out = seconds(began, lock(last).taken_out.1);
    client.resume("a benchmark").await?;
    let halt_told = halted.took.duration().as_secs_f64();
    Ok(Round { in_place, acknowledged, out, halt_told, halt_answered })
}

fn seconds(began: Instant, end: Option<Instant>) -> f64 {
    end.map_or(f64::NAN, |end| end.saturating_duration_since(began).as_secs_f64())
}

fn processor_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the server is gone")?;
    // Behind the name in parentheses: fields 14 and 15 of proc(5) are user and system time.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}

fn status_mib(pid: u32, name: &str) -> anyhow::Result<f64> {
    let path = Path::new("/proc").join(pid.to_string()).join("status");
    let text = std::fs::read_to_string(&path).context("the server is gone")?;
    let kib: Option<f64> =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    Ok(kib.with_context(|| format!("{} has no {name}", path.display()))? / 1024.0)
}
