//! How a server is set up.

use crate::probes::Destinations;
use crate::traces::Collector;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Without a sign of the server for this long agents take their faults out.
pub const LEASE: Duration = Duration::from_secs(10);

/// Enough for a thousand agents, without asking how many files may be open.
const LINK_CONNECTIONS: usize = 4096;

/// The settings of one server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Everything durable lives here; made when missing, for the owner only.
    pub data_dir: PathBuf,
    /// Where people and scripts connect; must be a loopback address as long as there is no user.
    pub http: SocketAddr,
    /// Where agents connect (mutual TLS).
    pub link: SocketAddr,
    /// What agents are told to connect to, when it is not `link` itself (an unspecified address, a translated one).
    pub link_advertised: Option<SocketAddr>,
    /// Without a sign of the server for this long agents take their faults out.
    pub lease: Duration,
    /// Connections of agents that are open at once; an agent holds three or four.
    pub link_connections: usize,
    /// A proxy in front ends TLS and names the caller's address: cookies are for TLS alone.
    pub behind_tls_proxy: bool,
    /// Where probes of experiments may lead this server.
    pub probe_destinations: Destinations,
    /// Where traces go; absent: nowhere.
    pub otlp: Option<Collector>,
}

impl ServerConfig {
    /// With the usual lease, and probes to everywhere but link-local addresses.
    #[must_use]
    pub fn new(data_dir: PathBuf, http: SocketAddr, link: SocketAddr) -> Self {
        Self {
            data_dir,
            http,
            link,
            link_advertised: None,
            lease: LEASE,
            link_connections: LINK_CONNECTIONS,
            behind_tls_proxy: false,
            probe_destinations: Destinations::default(),
            otlp: None,
        }
    }
}
