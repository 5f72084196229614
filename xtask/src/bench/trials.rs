//! How each kind of attack is tried when its speed is measured.

use serde_json::{Value, json};
use std::path::Path;

/// Where nothing happens to the application.
const REPLICA: &str = "west-3";
/// The program's name of the process of no use.
pub(super) const BYSTANDER: &str = "fd-bystander";
/// Long enough for the measurement of every effect.
const DURATION: &str = "60s";

/// What a start has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preparation {
    /// Nothing: these have the targets for speed.
    Nothing,
    /// Something is written, taken or started first, and that takes what it takes.
    First(&'static str),
}

/// One kind, ready to be started.
pub(super) struct Trial {
    pub(super) attack: Value,
    pub(super) preparation: Preparation,
}

/// What is needed on this machine.
pub(super) struct Props<'a> {
    /// An empty directory on a disk.
    pub(super) directory: &'a Path,
    /// A process of no use.
    pub(super) bystander: u32,
}

const HOST_DOWN: &str = "takes the host and its agent down; there is nothing to halt";
const DESTROYS: &str = "destroys data once and has no undo";

/// Why a kind is not measured; `None` when it is.
pub(super) fn left_out(kind: &str) -> Option<&'static str> {
    match kind {
        "shutdown" | "reboot" | "power-off" => Some(HOST_DOWN),
        "host-clock" => Some("is refused in a sandbox, whose hosts share the machine's clock"),
        "power-loss" => Some("takes place at its end: before that it only keeps what writes replace"),
        "memory-limit" => Some("needs a cgroup of the server's own, which those of a sandbox do not have"),
        "delete-rows" | "diverged-row" | "drop-database" | "drop-table" | "errant-transaction" => Some(DESTROYS),
        _ => None,
    }
}

/// How that kind is tried. One that is new here is tried without parameters on the primary's host.
pub(super) fn of(kind: &str, props: &Props<'_>) -> Trial {
    let Props { directory, bystander } = props;
    let path = directory.display().to_string();
    let process = json!({ "select": "pid", "pid": bystander });
    let nothing_else = json!(["nothing-has-this-name"]);
    let on_replica = match kind {
        "kill" => Some(json!({ "process": process })),
        "crash-loop" => Some(json!({ "process": { "select": "name", "name": BYSTANDER } })),
        "latency" => Some(json!({ "delay": "1ms" })),
        "loss" | "corruption" | "duplication" => Some(json!({ "percent": 5 })),
        "bandwidth" => Some(json!({ "rate": "100Mbit/s" })),
        "dns" => Some(json!({ "servers": ["10.255.255.1"], "failure": "refused" })),
        "connection-limit" => Some(json!({ "per_second": 100 })),
        "storage-latency" => Some(json!({ "delay": "1ms" })),
        "storage-error" | "storage-corruption" => Some(json!({ "files": nothing_else })),
        "lost-sync" => Some(json!({ "percent": 1 })),
        "cpu" => Some(json!({ "load": 10, "cores": [0] })),
        "memory" => Some(json!({ "amount": "64MiB" })),
        "disk-fill" => Some(json!({ "path": path, "amount": "64MiB", "journal_volume": true })),
        "disk-io" => Some(json!({ "path": path, "write": "1MiB" })),
        "inodes" => Some(json!({ "path": path, "amount": 200, "journal_volume": true })),
        "file-descriptors" => Some(json!({ "host": true, "amount": 100 })),
        "threads" => Some(json!({ "amount": 50 })),
        "cpu-quota" => Some(json!({ "cores": 0.5 })),
        "io-throttle" => Some(json!({ "path": path, "write": "50MiB" })),
        "pids-limit" => Some(json!({ "leave": 50 })),
        "time-skew" => Some(json!({ "offset": "1h" })),
        "delay-replication" => Some(json!({ "delay": "2s" })),
        "partition" => Some(json!({ "peers": { "nodes": ["west-2"] } })),
        "pause" | "relay-log-purge" | "reset" | "stop-replication" | "wrong-credentials" => Some(json!({})),
        _ => None,
    };
    let (mut attack, target) = match on_replica {
        Some(attack) => (attack, json!({ "nodes": [REPLICA] })),
        None => (on_primary(kind), json!({ "role": "primary" })),
    };
    attack["kind"] = json!(kind);
    attack["target"] = target;
    attack["duration"] = json!(DURATION);
    Trial { attack, preparation: preparation(kind) }
}

fn on_primary(kind: &str) -> Value {
    match kind {
        "kill-sessions" => json!({ "user": "app" }),
        "id-exhaustion" => json!({ "table": "app.numbers" }),
        _ => json!({}),
    }
}

const fn preparation(kind: &str) -> Preparation {
    match kind.as_bytes() {
        b"memory" => Preparation::First("64 MiB are taken"),
        b"disk-fill" => Preparation::First("64 MiB are allocated"),
        b"disk-io" => Preparation::First("its file is written"),
        b"inodes" => Preparation::First("200 files are made"),
        b"file-descriptors" => Preparation::First("100 files are opened"),
        b"threads" => Preparation::First("50 threads are started"),
        b"connections" => Preparation::First("all connections are opened"),
        b"id-exhaustion" => Preparation::First("a table is altered"),
        _ => Preparation::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trial_has_a_kind_a_target_and_an_end() {
        let props = Props { directory: Path::new("/nowhere"), bystander: 7 };
        for kind in ["pause", "read-only", "of-tomorrow"] {
            let trial = of(kind, &props).attack;
            assert_eq!(trial["kind"], kind);
            assert_eq!(trial["duration"], DURATION);
            assert!(trial["target"].is_object(), "{trial}");
        }
        assert!(left_out("reboot").is_some() && left_out("of-tomorrow").is_none());
    }
}
