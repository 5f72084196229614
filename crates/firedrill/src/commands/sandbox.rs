//! `firedrill sandbox`.

use crate::args::Sandbox;
use crate::exit::Outcome;
use crate::output;
use anyhow::Context;
use firedrill_sandbox::{Home, Profile, Progress, SandboxName, SandboxStatus, ServerSetting, UpOptions};

pub(crate) async fn run(command: Sandbox, json: bool) -> anyhow::Result<Outcome> {
    let home = Home::from_environment();
    match command {
        Sandbox::Up { name, profile, http_port, storage_layer, set } => {
            let status = up(name, profile.into(), http_port, storage_layer, set).await?;
            print(&status, json)?;
        }
        Sandbox::Status { name } => print(&firedrill_sandbox::status(&home, &name).await?, json)?,
        Sandbox::Down { name } => {
            let removed = firedrill_sandbox::down(&home, &name, &progress()).await?;
            if json {
                output::json(&removed)?;
            } else if removed.anything {
                output::text(&format!(
                    "sandbox {name} is down: {} processes and {} namespaces removed",
                    removed.processes, removed.namespaces
                ));
            } else {
                output::text(&format!("there was no sandbox {name}"));
            }
        }
        Sandbox::Supervise { name } => firedrill_sandbox::supervise(&home, &name).await?,
    }
    Ok(Outcome::done())
}

/// Brings one up with progress on standard error.
pub(crate) async fn up(
    name: SandboxName,
    profile: Profile,
    http_port: Option<u16>,
    storage_layer: bool,
    settings: Vec<ServerSetting>,
) -> anyhow::Result<SandboxStatus> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let home = Home::from_environment();
    let options = UpOptions { name, profile, http_port, storage_layer, settings, program, home, progress: progress() };
    Ok(firedrill_sandbox::up(options).await?)
}

pub(crate) fn progress() -> Progress {
    Box::new(|line| eprintln!("  {line}"))
}

fn print(status: &SandboxStatus, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(status);
    }
    let pid = |pid: Option<u32>| pid.map_or_else(|| "not running".to_owned(), |pid| pid.to_string());
    output::text(&format!(
        "sandbox {}, cluster {}\nserver   {} (pid {})\ngateway  {}:{} user {} password {} database {} (pid {})\n",
        status.name,
        status.cluster,
        status.server.url,
        pid(status.server.pid),
        status.gateway.address,
        status.gateway.port,
        status.gateway.user,
        status.gateway.password,
        status.gateway.database,
        pid(status.gateway.pid),
    ));
    let rows = status.nodes.iter().map(|node| {
        vec![
            node.name.clone(),
            node.region.clone(),
            node.role.clone(),
            format!("{}:{}", node.address, node.port),
            pid(node.pid),
            node.data_dir.display().to_string(),
        ]
    });
    output::table(&["NODE", "REGION", "ROLE", "ADDRESS", "PID", "DATA"], rows.collect())
}
