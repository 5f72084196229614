//! Why a server does not start.

use crate::authority::AuthorityError;
use firedrill_store::{Place, StoreError};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a server does not start, or stopped. Codes have pages in `docs/errors/`.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody listens there already.
    #[error(
        "the address {address} ({setting}) is in use by another process; stop that one (`ss -ltnp` names it), or choose another address with {setting}"
    )]
    PortInUse {
        /// Which address.
        address: SocketAddr,
        /// The setting that it comes from.
        setting: &'static str,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {address} ({setting}); the address must belong to this host (`ip address` lists them)")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// The setting that it comes from.
        setting: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// As long as there is no user, nobody has to log in.
    #[error(
        "{address} (--http) is not a loopback address, and there is no user yet, so everybody who reaches it could do everything; start on 127.0.0.1, add the first user (`firedrill user add NAME --role admin`), then start again with this address"
    )]
    NotLoopback {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The data directory cannot be made or written.
    #[error("the data directory {path} (--data-dir) cannot be written; it must belong to the user of the server")]
    DataDir {
        /// Which directory.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// There is no room.
    #[error("the disk that holds {path} (in --data-dir) is full; free some space, then start again")]
    DiskFull {
        /// Which file or directory.
        path: PathBuf,
    },
    /// Another server uses the data directory.
    #[error(
        "the data directory {path} is in use by another firedrill server (pid {pid}); stop that one, or choose another directory with --data-dir"
    )]
    Locked {
        /// Which directory.
        path: PathBuf,
        /// The other's process id, as it wrote it down.
        pid: String,
    },
    /// The authority's key or certificate cannot be read or made.
    #[error("the certificate authority in {path} cannot be used")]
    Authority {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: AuthorityError,
    },
    /// The key of what is encrypted cannot be read or made.
    #[error("the key file of the server's secrets cannot be used")]
    Secrets(#[source] crate::access::KeyError),
    /// The settings of log-in by OpenID Connect cannot be used.
    #[error("log-in by OpenID Connect cannot be set up: {0}; set it right, or take the file away")]
    OpenId(crate::openid::SettingsError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(StoreError),
    /// A stored cluster breaks the rules.
    #[error("{0}; the stored registration was damaged or made by another version of firedrill")]
    Cluster(firedrill_model::cluster::ClusterError),
    /// Servers of one store have one authority and one key.
    #[error(
        "the servers of this database have another authority or another key than {data_dir}: agents would not trust this server, and it could not read their secrets; copy authority/ and secrets.key from the data directory of the server at {other} into {data_dir}, readable by its owner only, then start again"
    )]
    OtherKeys {
        /// Of this server.
        data_dir: PathBuf,
        /// Who acts, or did last.
        other: String,
    },
    /// A keeper's stored state does not fit this version.
    #[error(
        "the stored state of cluster {cluster} cannot be read; it was written by another version of firedrill; start that version"
    )]
    KeeperState {
        /// Which cluster.
        cluster: String,
        /// Where it does not fit.
        source: serde_json::Error,
    },
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull { place: Place::File(path), .. } => Self::DiskFull { path },
            error => Self::Store(error),
        }
    }
}

impl StartError {
    /// Its code, with a page in `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => crate::problem::STORE,
            Self::PortInUse { .. } | Self::Listen { .. } => "S030",
            Self::NotLoopback { .. } => "S031",
            Self::DataDir { .. } => "S032",
            Self::DiskFull { .. } => "S033",
            Self::Locked { .. } => "S034",
            Self::Authority { .. } => "S035",
            Self::Secrets(_) => "S037",
            Self::OtherKeys { .. } => "S038",
            Self::OpenId(_) => "S140",
            Self::Cluster(_) | Self::KeeperState { .. } => "S036",
        }
    }

    /// Tells a full disk from a directory that cannot be written.
    pub(crate) fn data_dir(path: &std::path::Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == std::io::ErrorKind::StorageFull {
            Self::DiskFull { path }
        } else {
            Self::DataDir { path, source }
        }
    }
}
