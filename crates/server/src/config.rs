//! How a server is set up.

use crate::probes::Destinations;
use crate::traces::Collector;
use firedrill_store::PostgresUrl;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Without a sign of the server for this long agents take their faults out.
pub const LEASE: Duration = Duration::from_secs(10);

/// The file in the data directory.
pub(crate) const DATABASE_FILE: &str = "firedrill.db";

/// An agent's certificate is good for so long. A host that was off over a long weekend comes back by itself; a key that was
/// copied from one is good for a week at most, should nobody notice and revoke it.
pub const AGENT_CERTIFICATE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

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
    /// A database that several servers share; `None`: a file of this server's own, in `data_dir`.
    pub shared: Option<PostgresUrl>,
    /// What people and scripts of other servers are told to call, as a URL, when it is not `http` itself.
    pub http_advertised: Option<String>,
    /// Without a sign of the server for this long agents take their faults out.
    pub lease: Duration,
    /// For how long an agent's certificate is good; agents renew theirs from a third of that on.
    pub agent_certificate_life: Duration,
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
            shared: None,
            http_advertised: None,
            lease: LEASE,
            agent_certificate_life: AGENT_CERTIFICATE_LIFE,
            link_connections: LINK_CONNECTIONS,
            behind_tls_proxy: false,
            probe_destinations: Destinations::default(),
            otlp: None,
        }
    }
}
