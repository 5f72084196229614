//! The long-running roles: server, agent, and the processes that an agent starts.

use crate::args::Server;
use crate::exit::Outcome;
use anyhow::Context;
use serde::de::DeserializeOwned;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(crate) async fn server(args: Server) -> anyhow::Result<Outcome> {
    let config = firedrill_server::ServerConfig::new(args.data_dir, args.http, args.link);
    firedrill_server::run(config, stopped_by_signal()?).await?;
    Ok(Outcome::done())
}

pub(crate) async fn agent(config: &Path) -> anyhow::Result<Outcome> {
    let config: firedrill_agent::AgentConfig = read(config)?;
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

pub(crate) async fn rescue(_journal: &Path) -> anyhow::Result<Outcome> {
    anyhow::bail!("not wired yet")
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
