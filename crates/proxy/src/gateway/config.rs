//! What a gateway is told when it starts, and why it may not start.

use firedrill_model::{ClusterName, Endpoint, Span};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::thread;

/// Descriptors beside those of sessions: standard streams, listener, control connections, one epoll and one eventfd
/// per loop; generous.
const DESCRIPTORS_SPARE: u64 = 256;

/// Most event loops: a bound on what a slip in a configuration can start.
const THREADS_MAX: usize = 64;

/// The configuration of one gateway process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Whose gateway it is.
    pub cluster: ClusterName,
    /// Where applications connect. Port 0 lets the kernel choose; the status says what it chose.
    pub listen: Endpoint,
    /// The unix socket for orders; created with mode 0600, a stale one is replaced.
    pub control: PathBuf,
    /// Where the newest generation is kept over restarts.
    pub state: PathBuf,
    /// Connections that may wait for a primary at once; one more is refused at once.
    #[serde(default = "default_max_held")]
    pub max_held: u64,
    /// How long a connection may wait for a primary before it gets an error.
    #[serde(default = "default_hold_for")]
    pub hold_for: Span,
    /// Client connections in all, those held included; one more is refused at once.
    #[serde(default = "default_max_sessions")]
    pub max_sessions: u64,
    /// How long one attempt to connect to the primary may take. The default lets one lost SYN be sent again (after 1 s).
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Span,
    /// Event loops; 0: one per core.
    #[serde(default)]
    pub threads: usize,
}

fn default_max_held() -> u64 {
    1000
}

fn default_hold_for() -> Span {
    Span::secs(30)
}

fn default_max_sessions() -> u64 {
    4000
}

fn default_connect_timeout() -> Span {
    Span::millis(1500)
}

impl GatewayConfig {
    /// A gateway of `cluster` at `listen` with default limits.
    #[must_use]
    pub fn new(cluster: ClusterName, listen: Endpoint, control: PathBuf, state: PathBuf) -> Self {
        Self {
            cluster,
            listen,
            control,
            state,
            max_held: default_max_held(),
            hold_for: default_hold_for(),
            max_sessions: default_max_sessions(),
            connect_timeout: default_connect_timeout(),
            threads: 0,
        }
    }

    /// Checks the limits against each other.
    ///
    /// # Errors
    /// The first field that makes no sense.
    pub fn validate(&self) -> Result<(), GatewayError> {
        let invalid = |field, problem| Err(GatewayError::Invalid { field, problem });
        if self.max_sessions == 0 {
            return invalid("max_sessions", "0 would refuse every connection");
        }
        if self.connect_timeout.duration().is_zero() {
            return invalid("connect_timeout", "0 would make every attempt fail");
        }
        if self.threads > THREADS_MAX {
            return invalid("threads", "more than 64 event loops; use 0 for one per core");
        }
        Ok(())
    }

    /// How many event loops to start.
    pub(super) fn thread_count(&self) -> usize {
        match self.threads {
            0 => thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX),
            count => count,
        }
    }

    /// How many open files the process may come to need.
    pub(super) fn descriptors_needed(&self) -> u64 {
        self.max_sessions.saturating_mul(2).saturating_add(DESCRIPTORS_SPARE)
    }
}

/// Why a gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A field makes no sense.
    #[error("gateway configuration: {field}: {problem}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// Why not.
        problem: &'static str,
    },
    /// Another process has the address.
    #[error(
        "the gateway cannot listen on {endpoint}: the address is in use; see who has it with `ss -ltnp 'sport = :{}'` \
         in the same network namespace (a gateway from before?), stop that or choose another port",
        endpoint.port
    )]
    InUse {
        /// The address.
        endpoint: Endpoint,
    },
    /// The kernel refused the address.
    #[error("the gateway cannot listen on {endpoint}: {source}; is the address one of this host's (`ip address`)?")]
    Listen {
        /// The address.
        endpoint: Endpoint,
        /// What the kernel said.
        source: io::Error,
    },
    /// The control socket cannot be made.
    #[error(
        "the gateway cannot open its control socket {path}: {source}; does the directory exist and is it writable?"
    )]
    Control {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The state file cannot be used.
    #[error(
        "the gateway cannot use its state file {path}: {problem}; when no other server controls this cluster, remove it"
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The limit of open files is too low.
    #[error(
        "max_sessions needs {needed} open files but the limit is {allowed}: raise it (`ulimit -n`, LimitNOFILE=) or \
         lower max_sessions"
    )]
    Descriptors {
        /// What max_sessions needs.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// The kernel refused a basic service (thread, epoll, eventfd).
    #[error("the gateway cannot start: the kernel refused a thread, epoll or eventfd: {0}")]
    Kernel(#[source] io::Error),
    /// A thread ended that never should.
    #[error("the gateway's thread {thread} ended; its log says why. Start the gateway again: it begins in hold")]
    Ended {
        /// Which.
        thread: &'static str,
    },
}

impl GatewayError {
    /// What to say of a failed `listen`.
    pub(super) fn listen(endpoint: Endpoint, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { endpoint },
            _ => Self::Listen { endpoint, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GatewayConfig {
        let listen = Endpoint { address: [127, 0, 0, 1].into(), port: 3306 };
        GatewayConfig::new("shop".parse().expect("a name"), listen, "/run/c".into(), "/run/s".into())
    }

    #[test]
    fn a_short_file_gets_the_defaults() {
        let text =
            r#"{"cluster":"shop","listen":{"address":"127.0.0.1","port":3306},"control":"/run/c","state":"/run/s"}"#;
        assert_eq!(serde_json::from_str::<GatewayConfig>(text).expect("reads"), config());
    }

    #[test]
    fn nonsense_is_named() {
        for (change, field) in [
            ((|c| c.max_sessions = 0) as fn(&mut GatewayConfig), "max_sessions"),
            (|c| c.connect_timeout = Span::ZERO, "connect_timeout"),
            (|c| c.threads = 65, "threads"),
        ] {
            let mut changed = config();
            change(&mut changed);
            let problem = changed.validate().expect_err(field).to_string();
            assert!(problem.contains(field), "{problem}");
        }
        assert!(config().validate().is_ok());
    }
}
