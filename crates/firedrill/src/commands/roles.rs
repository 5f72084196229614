//! The long-running roles: server, agent, and the processes that an agent starts.

use crate::args::Server;
use crate::exit::Outcome;
use anyhow::Context;
use firedrill_host::process::Spawn;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(crate) async fn server(args: Server) -> anyhow::Result<Outcome> {
    let mut config = firedrill_server::ServerConfig::new(args.data_dir, args.http, args.link);
    config.shared = args.store;
    config.link_advertised = args.link_advertised;
    config.http_advertised = args.http_advertised;
    config.behind_tls_proxy = args.behind_tls_proxy;
    config.probe_destinations = firedrill_server::Destinations::only(args.probe_destination);
    config.otlp = args.otlp;
    config.link_connections = allow_many_connections();
    firedrill_server::run(config, stopped_by_signal()?).await?;
    Ok(Outcome::done())
}

/// The description of the API on standard output.
pub(crate) fn api() -> Outcome {
    crate::output::text(firedrill_server::openapi().trim_end());
    Outcome::done()
}

/// Descriptors of the server that are no connections of agents: the store, watchers, pages.
const OTHER_DESCRIPTORS: u64 = 200;
/// Most connections of agents: four of each in the largest fleet that one server holds.
const CONNECTIONS_MAX: u64 = 40_000;

/// Raises the limit on open files as far as is allowed without asking; gives how many agents' connections fit below.
fn allow_many_connections() -> usize {
    let wanted = CONNECTIONS_MAX + OTHER_DESCRIPTORS;
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, hard)| {
        let raised = hard.min(wanted).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, raised, hard).map_or(soft, |()| raised)
    });
    let connections = allowed.saturating_sub(OTHER_DESCRIPTORS).clamp(64, CONNECTIONS_MAX);
    if connections < CONNECTIONS_MAX {
        tracing::info!(
            "{allowed} files may be open: that is enough for {} agents; raise the limit (LimitNOFILE) for more",
            connections / 4
        );
    }
    usize::try_from(connections).unwrap_or(usize::MAX)
}

pub(crate) async fn agent(config: &Path) -> anyhow::Result<Outcome> {
    let config = firedrill_agent::AgentConfig::load(config)?;
    firedrill_agent::run(config, stopped_by_signal()?).await?;
    Ok(Outcome::done())
}

pub(crate) async fn gateway(config: &Path) -> anyhow::Result<Outcome> {
    let config: firedrill_proxy::gateway::GatewayConfig = read(config)?;
    tokio::task::spawn_blocking(move || firedrill_proxy::gateway::run(config)).await??;
    Ok(Outcome::done())
}

pub(crate) async fn workload(spec: &Path, dir: &Path) -> anyhow::Result<Outcome> {
    let spec: firedrill_model::workload::WorkloadSpec = read(spec)?;
    firedrill_workload::run(spec, dir).await?;
    Ok(Outcome::done())
}

/// One of the two processes of a storage layer, until it is unmounted.
pub(crate) async fn storage_layer(arguments: Vec<OsString>) -> anyhow::Result<Outcome> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let again = move || Spawn::new(&program).arg("storage-layer");
    tokio::task::spawn_blocking(move || firedrill_fault::storage::run(arguments, &again)).await??;
    Ok(Outcome::done())
}

/// Takes over when the agent at the other end of standard input is gone.
pub(crate) async fn rescue(journal: &Path) -> anyhow::Result<Outcome> {
    let pipe = std::io::stdin().as_fd().try_clone_to_owned().context("standard input is not the agent's pipe")?;
    let rescued = firedrill_fault::rescue::rescue(journal, pipe).await?;
    let mut outcome = Outcome::done();
    for attack in rescued {
        match attack.outcome {
            Ok(evidence) => tracing::info!(attack = %attack.id, evidence, "taken out for a lost agent"),
            Err(problem) => {
                tracing::error!(attack = %attack.id, problem, "NOT taken out for a lost agent");
                outcome = Outcome(crate::exit::TOOL_ERROR);
            }
        }
    }
    Ok(outcome)
}

/// Does its job until the agent at the other end of standard input lets go of it.
pub(crate) fn worker(job: &str) -> Outcome {
    firedrill_fault::worker::work(job);
    Outcome::done()
}

fn read<T: DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what this command reads", file.display()))
}

/// Cancelled by SIGTERM or SIGINT.
fn stopped_by_signal() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stopped = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopped.cancel();
    });
    Ok(token)
}
