//! The option file of a sandbox server. Pure.

use super::{Profile, Settings};
use crate::config::InstanceConfig;
use crate::mariadb::SEMI_SYNC_TIMEOUT_MS;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Size of the redo log, mebibytes; the template is made with the same, or the server would rebuild it at its first
/// start. Small, because it is copied for each node.
pub(crate) const REDO_LOG_MIB: u32 = 32;

/// What every server gets. A server starts as a harmless replica-to-be: the manager alone opens it, starts its
/// replication and makes it an acker.
const COMMON: &str = "\
skip-name-resolve
skip-slave-start
read-only=1
log-bin=binlog
relay-log=relay
log-slave-updates=1
binlog-format=ROW
gtid-strict-mode=1
gtid-domain-id=0
slave-parallel-threads=2
slave-parallel-mode=optimistic
# A lost source is noticed within 4 s; the default is a minute.
slave-net-timeout=4
# Crash recovery drops the tail of the binary log that was not committed; an acker may have it (MDEV-33465, 10.11.9).
loose-init-rpl-role=SLAVE
# Not 1, which is an fsync for every event, some five to a write, in the one thread that receives and acknowledges:
# a quarter of the writes per second. It would guard what an acker has received against a crash of its system, but a
# restarted server throws its relay log away all the same (MDEV-4698), and is counted on for nothing that it held.
sync-relay-log=10000
rpl-semi-sync-master-enabled=0
rpl-semi-sync-slave-enabled=0
rpl-semi-sync-master-wait-point=AFTER_SYNC
rpl-semi-sync-master-wait-no-slave=ON
# The shortest there is: how long a stopping acker tries to call its silent source.
rpl-semi-sync-slave-kill-conn-timeout=1
performance-schema=OFF
innodb-fast-shutdown=1
innodb-flush-method=O_DIRECT
table-open-cache=400
table-definition-cache=400
max-connections=300
";

/// The server's own directory for temporary tables.
pub(super) fn temporary_dir(config: &InstanceConfig) -> PathBuf {
    config.work_dir.join("tmp")
}

/// The text of the option file.
pub(crate) fn text(config: &InstanceConfig, settings: &Settings) -> String {
    let mut text =
        format!("# {} of cluster {}; written once, by firedrill.\n[mariadbd]\n", config.node, config.cluster);
    let mut set = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{name}={value}");
    };
    set("datadir", &config.data_dir.display());
    set("socket", &config.socket.display());
    set("pid-file", &config.pid_file.display());
    set("log-error", &config.error_log.display());
    // A starting server deletes the temporary tables of all others that share its directory.
    set("tmpdir", &temporary_dir(config).display());
    set("bind-address", &config.endpoint.address);
    set("port", &config.endpoint.port);
    set("server-id", &config.server_id);
    set("innodb-buffer-pool-size", &format!("{}M", settings.buffer_pool_mib));
    set("innodb-log-file-size", &format!("{REDO_LOG_MIB}M"));
    set("rpl-semi-sync-master-timeout", &SEMI_SYNC_TIMEOUT_MS);
    let durability: [(&str, u32); 3] = match settings.profile {
        Profile::Safe => [("sync-binlog", 1), ("innodb-flush-log-at-trx-commit", 1), ("read-binlog-speed-limit", 0)],
        Profile::Unsafe { receive_kib_per_second } => [
            ("sync-binlog", 0),
            ("innodb-flush-log-at-trx-commit", 0),
            ("read-binlog-speed-limit", receive_kib_per_second),
        ],
    };
    for (name, value) in durability {
        set(name, &value);
    }
    text.push_str(COMMON);
    for line in &settings.extra {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Binaries, Login, PortRange};

    fn config() -> InstanceConfig {
        InstanceConfig {
            cluster: "shop".parse().expect("a name"),
            node: "east-1".parse().expect("a name"),
            server_id: 11,
            endpoint: firedrill_model::Endpoint { address: [127, 0, 0, 1].into(), port: 3306 },
            binaries: Binaries {
                mariadbd: "/usr/sbin/mariadbd".into(),
                mariadb_backup: "/usr/bin/mariadb-backup".into(),
                mbstream: "/usr/bin/mbstream".into(),
                mariadb_binlog: "/usr/bin/mariadb-binlog".into(),
            },
            config_file: "/n/my.cnf".into(),
            data_dir: "/n/data".into(),
            socket: "/n/s".into(),
            pid_file: "/n/p".into(),
            error_log: "/n/e".into(),
            os_user: None,
            replication: Login { user: "repl".into(), password: "x".into() },
            heartbeat: None,
            work_dir: "/n/work".into(),
            cgroup: None,
            clone_ports: PortRange { first: 0, last: 0 },
        }
    }

    #[test]
    fn a_server_starts_harmless_and_flushes_before_it_acknowledges() {
        let text = text(&config(), &Settings::default());
        for line in ["read-only=1", "skip-slave-start", "server-id=11", "sync-binlog=1"] {
            assert!(text.lines().any(|found| found == line), "{line} is missing");
        }
        assert!(!text.contains("password"));
    }

    #[test]
    fn the_unsafe_profile_loses_what_it_should() {
        let profile = Profile::Unsafe { receive_kib_per_second: 64 };
        let text = text(&config(), &Settings { profile, extra: vec!["x=1".into()], ..Settings::default() });
        for line in ["sync-binlog=0", "innodb-flush-log-at-trx-commit=0", "read-binlog-speed-limit=64"] {
            assert!(text.lines().any(|found| found == line), "{line} is missing");
        }
        assert!(text.ends_with("x=1\n"));
    }
}
