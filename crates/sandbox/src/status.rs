//! What `firedrill sandbox status --json` prints. Scripts rely on these names: fields may be added, never renamed.

use crate::layout::Profile;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// One sandbox now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// The sandbox's name.
    pub name: String,
    /// Safe, or set up to lose writes.
    pub profile: Profile,
    /// The cluster's name, for `--cluster`.
    pub cluster: String,
    /// Where its data and logs are.
    pub directory: PathBuf,
    /// The process that restarts server and agents; `None`: it does not run.
    pub supervisor_pid: Option<u32>,
    /// The firedrill server.
    pub server: ServerStatus,
    /// Where applications connect.
    pub gateway: GatewayStatus,
    /// The database servers.
    pub nodes: Vec<NodeStatus>,
    /// All hosts, those without a database too.
    pub hosts: Vec<HostStatus>,
}

/// The firedrill server of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its address for people, scripts and the command line.
    pub url: String,
    /// Its process; `None`: it does not run.
    pub pid: Option<u32>,
}

/// The gateway of a sandbox's cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Reachable from the machine itself and from every host of the sandbox.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
    /// A database user with all rights on `database`.
    pub user: String,
    /// Its password.
    pub password: String,
    /// A database (schema) for applications.
    pub database: String,
    /// Its process; `None`: it does not run.
    pub pid: Option<u32>,
}

/// One database server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// The host it lives on.
    pub host: String,
    /// Its region.
    pub region: String,
    /// The server's word while it answers, else the role at the beginning: `primary`, `replica`, `pseudo-primary`,
    /// `pseudo-replica` or `out-of-service`.
    pub role: String,
    /// Its address.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
    /// The database server process; `None`: it does not run.
    pub pid: Option<u32>,
    /// Its data.
    pub data_dir: PathBuf,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its address.
    pub address: IpAddr,
    /// Its network namespace, as `ip netns` lists it.
    pub netns: String,
    /// Its agent; `None`: it does not run.
    pub agent_pid: Option<u32>,
}
