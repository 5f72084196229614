//! Makes the fleet known to its server, as an operator would: the cluster registered, a token per host, and the
//! configuration of each agent.

use crate::error::SandboxError;
use crate::layout::{HostLayout, Layout, Part};
use crate::plan_file;
use crate::side_by_side;
use firedrill_agent::{AgentConfig, AllowedCommand, Enrolment};
use firedrill_api::client::Client;
use firedrill_api::http::RegisterCluster;
use firedrill_engine::InstanceConfig;
use firedrill_model::HostName;
use firedrill_proxy::gateway::GatewayConfig;
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio::task::JoinSet;

/// Registers the cluster, then lets the agents start.
///
/// # Errors
/// [`SandboxError::Step`] or [`SandboxError::File`].
pub(crate) async fn enlist(
    layout: &Layout,
    client: &Client,
    mut instances: BTreeMap<HostName, InstanceConfig>,
) -> Result<(), SandboxError> {
    let register = RegisterCluster { spec: layout.cluster(), login: Some(layout.choices.login.clone()) };
    client.register_cluster(&register).await.map_err(SandboxError::step("register the cluster with the server"))?;
    let mut enlisting = JoinSet::new();
    for host in &layout.hosts {
        let (client, instance) = (client.clone(), instances.remove(&host.name));
        let (layout, host) = (layout.clone(), host.clone());
        enlisting.spawn(async move { enlist_host(&layout, &host, &client, instance).await });
    }
    side_by_side::all(enlisting).await.map(drop)
}

async fn enlist_host(
    layout: &Layout,
    host: &HostLayout,
    client: &Client,
    instance: Option<InstanceConfig>,
) -> Result<(), SandboxError> {
    let token =
        client.token(&host.name).await.map_err(SandboxError::step(format!("get a token for host {}", host.name)))?;
    let enrolment = Enrolment { token: token.token, authority_sha256: token.authority_sha256 };
    let config = agent_config(layout, host, instance, enrolment);
    let text = serde_json::to_vec_pretty(&config).map_err(SandboxError::step("write an agent's configuration"))?;
    // It holds passwords and the token.
    plan_file::write_durably(&host.agent_config, &text, 0o600)
}

fn agent_config(
    layout: &Layout,
    host: &HostLayout,
    instance: Option<InstanceConfig>,
    enrolment: Enrolment,
) -> AgentConfig {
    AgentConfig {
        servers: vec![layout.link().to_string()],
        enrolment: Some(enrolment),
        data_dir: host.directory.join("agent"),
        host: host.name.clone(),
        address: IpAddr::V4(host.address),
        region: Some(host.region.clone()),
        tags: host.tags(),
        instances: instance.into_iter().collect(),
        gateway: (host.part == Part::Gateway).then(|| gateway_config(host)),
        lease: None,
        power_switch: Some(host.power_switch()),
        allowed_commands: allowed_commands(),
        allow: None,
        program: layout.choices.program.clone(),
    }
}

/// A sandbox lets probes see how programs end that do nothing.
fn allowed_commands() -> Vec<AllowedCommand> {
    let harmless = |program: &str| AllowedCommand { program: program.into(), args: vec![], user: None };
    ["/bin/true", "/bin/false"].map(harmless).into()
}

fn gateway_config(host: &HostLayout) -> GatewayConfig {
    let control = host.directory.join("gateway.sock");
    GatewayConfig::new(Layout::cluster_name(), host.endpoint(), control, host.directory.join("gateway-state.json"))
}
