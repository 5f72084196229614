//! What an agent is started with: one JSON file.

use crate::error::AgentError;
use crate::link::Server;
use crate::tls::Fingerprint;
use firedrill_engine::InstanceConfig;
use firedrill_model::{AllowList, HostName, RegionName, Span};
use firedrill_proxy::gateway::GatewayConfig;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Everything that differs between two agents.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Where servers listen for agents, `address:port` (an `https://` in front is allowed); tried in turn.
    pub servers: Vec<String>,
    /// For the first start only; ignored once the agent has its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
    /// The agent's own files: certificate, journal of faults, recorded answers. Made when missing, closed to others.
    pub data_dir: PathBuf,
    /// This host; must be the name that the token was made for.
    pub host: HostName,
    /// The address by which other hosts reach this one.
    pub address: IpAddr,
    /// Its region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The database servers that it looks after.
    #[serde(default)]
    pub instances: Vec<InstanceConfig>,
    /// The gateway that it runs, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayConfig>,
    /// Overrides the lease that the server gives: without a sign of it for this long, faults are taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Span>,
    /// A file that whoever runs this host watches: an order left there takes the host down. Without it, shutdown, reboot
    /// and power-off are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_switch: Option<PathBuf>,
    /// The programs that a server may have run here to see how they end (`command` probes); none unless named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_commands: Vec<AllowedCommand>,
    /// What a server may have done here; absent: every attack that the host can bear, and every command of keepers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<AllowList>,
    /// The firedrill program, started as gateway, workload and rescue; by default the one that runs.
    #[serde(default = "own_program")]
    pub program: PathBuf,
}

/// One program that may be run, with exactly these arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedCommand {
    /// Its whole path.
    pub program: PathBuf,
    /// Its arguments, all of them.
    #[serde(default)]
    pub args: Vec<String>,
    /// The system user it runs as; absent: the agent's own, which may be root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What the first start needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Good once, for this host.
    pub token: String,
    /// SHA-256 of the authority's certificate in DER form, 64 hexadecimal digits; came with the token.
    pub authority_sha256: String,
}

fn own_program() -> PathBuf {
    // Resolved by the kernel at each start of a child, so that an upgraded program file does not matter.
    PathBuf::from("/proc/self/exe")
}

impl AgentConfig {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`AgentError::Config`] when it cannot be read or used; names the file and the problem.
    pub fn load(path: &Path) -> Result<Self, AgentError> {
        let problem = |problem: String| AgentError::Config { path: path.to_owned(), problem };
        let text = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
        let config: Self = serde_json::from_slice(&text).map_err(|error| problem(error.to_string()))?;
        config.check().map_err(problem)?;
        Ok(config)
    }

    /// Checks what the types cannot: a server to connect to, a readable fingerprint, no node twice.
    ///
    /// # Errors
    /// One sentence on what is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.link_servers()?;
        if let Some(enrolment) = &self.enrolment {
            enrolment.fingerprint()?;
        }
        let mut nodes = BTreeSet::new();
        for instance in &self.instances {
            if !nodes.insert(&instance.node) {
                return Err(format!("the node {} is listed twice in \"instances\"", instance.node));
            }
        }
        if let Some(allowed) = self.allowed_commands.iter().find(|allowed| !allowed.program.is_absolute()) {
            return Err(format!(
                "\"allowed_commands\": {} is not the whole path of a program",
                allowed.program.display()
            ));
        }
        let mut named = self.allow.iter().flat_map(AllowList::named_kinds);
        if let Some(unknown) = named.find(|kind| firedrill_fault::kinds::find(kind).is_none()) {
            // A typing error in an exception would allow what was to be forbidden.
            return Err(format!(
                "\"allow\": there is no attack of kind {unknown:?}; `firedrill attack kinds` lists them"
            ));
        }
        if let Some(gateway) = &self.gateway {
            gateway.validate().map_err(|error| format!("\"gateway\": {error}"))?;
        }
        Ok(())
    }

    pub(crate) fn link_servers(&self) -> Result<Vec<Server>, String> {
        if self.servers.is_empty() {
            return Err("\"servers\" is empty; it needs at least one address:port of a server's agent link".to_owned());
        }
        let parse = |text: &String| {
            Server::parse(text).ok_or_else(|| format!("{text:?} in \"servers\" is not of the form address:port"))
        };
        self.servers.iter().map(parse).collect()
    }
}

impl Enrolment {
    pub(crate) fn fingerprint(&self) -> Result<Fingerprint, String> {
        Fingerprint::parse(&self.authority_sha256).ok_or_else(|| {
            "\"authority_sha256\" is not 64 hexadecimal digits; copy it from where the token was made".to_owned()
        })
    }
}
