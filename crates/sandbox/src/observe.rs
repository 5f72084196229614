//! The status of a sandbox: its plan, and what the kernel and the server say now.

use crate::error::SandboxError;
use crate::layout::{HostLayout, Layout};
use crate::running::{self, Kind};
use crate::status::{GatewayStatus, HostStatus, NodeStatus, SandboxStatus, ServerStatus};
use firedrill_api::client::Client;
use firedrill_model::{NodeName, Role};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A server that does not answer this soon is stopped or hung; the status is given without it.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Looks at everything.
///
/// # Errors
/// [`SandboxError::Step`] when the kernel's lists cannot be read.
pub(crate) async fn status(layout: &Layout) -> Result<SandboxStatus, SandboxError> {
    let roles = roles(layout).await;
    let nodes = layout.databases().map(|host| node(host, &roles)).collect::<Result<Vec<_>, _>>()?;
    let hosts = layout.hosts.iter().map(host).collect::<Result<_, _>>()?;
    Ok(SandboxStatus {
        name: layout.name().to_string(),
        profile: layout.choices.profile,
        cluster: Layout::cluster_name().to_string(),
        directory: layout.directory.clone(),
        supervisor_pid: running::supervisor(layout)?,
        server: ServerStatus { url: layout.url(), pid: running::find(Kind::Server, &layout.server_cgroup())? },
        gateway: gateway(layout)?,
        nodes: nodes.into_iter().flatten().collect(),
        hosts,
    })
}

/// Roles as the keeper gave them; empty while the server does not answer.
async fn roles(layout: &Layout) -> BTreeMap<NodeName, Role> {
    let Ok(client) = Client::new(&layout.url()) else { return BTreeMap::new() };
    match tokio::time::timeout(ANSWER_WITHIN, client.cluster(&Layout::cluster_name())).await {
        Ok(Ok(view)) => view.nodes.into_iter().map(|node| (node.name, node.role)).collect(),
        _ => BTreeMap::new(),
    }
}

fn node(host: &HostLayout, roles: &BTreeMap<NodeName, Role>) -> Result<Option<NodeStatus>, SandboxError> {
    let Some(node) = host.node() else { return Ok(None) };
    Ok(Some(NodeStatus {
        name: node.name.to_string(),
        host: node.host.to_string(),
        region: node.region.to_string(),
        role: roles.get(&node.name).copied().unwrap_or(node.initial_role).to_string(),
        address: node.endpoint.address,
        port: node.endpoint.port,
        pid: running::find(Kind::Database, &host.cgroup)?,
        data_dir: host.data_dir(),
    }))
}

fn host(host: &HostLayout) -> Result<HostStatus, SandboxError> {
    Ok(HostStatus {
        name: host.name.to_string(),
        region: host.region.to_string(),
        address: IpAddr::V4(host.address),
        netns: host.netns.clone(),
        agent_pid: running::agent(host)?,
    })
}

fn gateway(layout: &Layout) -> Result<GatewayStatus, SandboxError> {
    let host = layout.gateway();
    let endpoint = host.endpoint();
    let login = &layout.choices.login;
    Ok(GatewayStatus {
        address: endpoint.address,
        port: endpoint.port,
        user: login.user.clone(),
        password: login.password.clone(),
        database: login.database.clone(),
        pid: running::find(Kind::Gateway, &host.cgroup)?,
    })
}
