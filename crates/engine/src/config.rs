//! What describes one database server on this host.

use firedrill_model::{ClusterName, Endpoint, NodeName, OperationId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything an [`crate::Instance`] must know of its server. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceConfig {
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// The node it is.
    pub node: NodeName,
    /// Its `server_id`, as in `config_file`.
    pub server_id: u32,
    /// Where clients and replicas reach it; the server binds to this address.
    pub endpoint: Endpoint,
    /// The programs to use; [`crate::preflight`] finds them.
    pub binaries: Binaries,
    /// The server's option file; the server is started with `--defaults-file`.
    pub config_file: PathBuf,
    /// Its data directory. Not a mount point: a clone is moved into its place by rename.
    pub data_dir: PathBuf,
    /// Its unix socket; at most 107 bytes.
    pub socket: PathBuf,
    /// The pid file it writes.
    pub pid_file: PathBuf,
    /// Its error log.
    pub error_log: PathBuf,
    /// The system user it runs as; `None`: the agent's own.
    pub os_user: Option<String>,
    /// The account by which this node replicates from its source; the same on every node.
    pub replication: Login,
    /// The account of the write heartbeat, with rights on the schema `firedrill` only and without `SUPER`, so that a
    /// heartbeat can never write to a server that was just made read-only. `None`: no write heartbeat.
    pub heartbeat: Option<Login>,
    /// Side directories (`clone-*`, `aside-*`, `captured/`), the identity of the server that was started here.
    /// On the same file system as `data_dir`.
    pub work_dir: PathBuf,
    /// The control group in which the server is started.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// Ports on which a clone is received, at `endpoint.address`.
    pub clone_ports: PortRange,
}

/// An account at a database server.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password; at most 32 bytes for replication (a limit of `CHANGE MASTER`).
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("password", &"(kept secret)").finish()
    }
}

/// Ports, both ends included; `0..=0` lets the kernel choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// The MariaDB programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binaries {
    /// The server.
    pub mariadbd: PathBuf,
    /// The physical backup tool.
    pub mariadb_backup: PathBuf,
    /// Unpacks its stream.
    pub mbstream: PathBuf,
    /// Reads binary logs.
    pub mariadb_binlog: PathBuf,
}

impl InstanceConfig {
    /// Where `operation` receives or sends a copy.
    pub(crate) fn clone_dir(&self, operation: &OperationId) -> PathBuf {
        self.side_dir("clone", operation)
    }

    /// Where `operation` keeps the node's earlier data.
    pub(crate) fn aside_dir(&self, operation: &OperationId) -> PathBuf {
        self.side_dir("aside", operation)
    }

    /// Where `operation` puts logs and status of a failed server.
    pub(crate) fn captured_dir(&self, operation: &OperationId) -> PathBuf {
        self.work_dir.join("captured").join(file_name(operation))
    }

    /// What must be read and written while the data's volume hangs: it lies where the pid file does, which is in memory
    /// on a usual host.
    fn beside_pid_file(&self, suffix: &str) -> PathBuf {
        beside(&self.pid_file, suffix)
    }

    /// The identity of the server process that was started here.
    #[must_use]
    pub fn identity_file(&self) -> PathBuf {
        self.beside_pid_file("identity")
    }

    /// How many commands that change it the server had; see [`crate::Admin::turn`].
    pub(crate) fn turns_file(&self) -> PathBuf {
        turns_file(&self.pid_file)
    }

    /// Where it is tried whether the volume takes writes.
    pub(crate) fn disk_probe_file(&self) -> PathBuf {
        self.work_dir.join("disk-probe")
    }

    /// Present while nobody may start the server by himself: it was fenced.
    pub(crate) fn fenced_file(&self) -> PathBuf {
        self.work_dir.join("fenced")
    }

    fn side_dir(&self, prefix: &str, operation: &OperationId) -> PathBuf {
        self.work_dir.join(format!("{prefix}-{}", file_name(operation)))
    }
}

fn beside(pid_file: &Path, suffix: &str) -> PathBuf {
    let mut name = pid_file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".firedrill-{suffix}"));
    pid_file.with_file_name(name)
}

/// As [`InstanceConfig::turns_file`], for a server of which only the pid file is known.
pub(crate) fn turns_file(pid_file: &Path) -> PathBuf {
    beside(pid_file, "turns")
}

/// An operation id as part of a file name: ids come over the wire, a path must not.
fn file_name(operation: &OperationId) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    operation.0.chars().take(80).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_id_cannot_leave_the_work_dir() {
        assert_eq!(file_name(&OperationId("shop-17".into())), "shop-17");
        assert_eq!(file_name(&OperationId("../../etc".into())), "______etc");
    }

    #[test]
    fn a_password_is_not_printed() {
        let login = Login { user: "repl".into(), password: "hush".into() };
        assert!(!format!("{login:?}").contains("hush"));
    }
}
