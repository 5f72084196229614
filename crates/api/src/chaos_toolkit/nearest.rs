//! For what is refused: what comes nearest.

/// Beginnings of functions and of programs, the more exact first, and what to use instead. `probe` and `action` alike.
pub(super) const NEAREST: &[(&str, &str)] = &[
    ("chaosaws.ec2.actions.terminate", "attack `power-off`: firedrill breaks machines, it throws none away"),
    ("chaosaws.ec2.actions.start", "a person switches a machine on again; leave it out"),
    (
        "chaosaws.rds.actions",
        "attack `kill` or `reboot` on `role: primary`, and `operation: {kind: promotion}` expected",
    ),
    ("chaosaws.rds.probes", "probes `cluster-healthy`, `one-primary`, `role-count`"),
    ("chaosaws.", "attacks on the hosts: `power-off`, `partition`, `latency`, `cpu`"),
    ("chaosk8s.pod.actions", "attack `kill` with `container`, or `power-off` of a node"),
    ("chaosk8s.node.actions", "attack `reboot` or `power-off`"),
    ("chaosk8s.pod.probes", "probe `role-count` for database nodes, or `http` for what the pods serve"),
    ("chaosk8s.", "attacks on the hosts: `kill`, `pause`, `partition`; probes `http`, `tcp`, `cluster-healthy`"),
    ("chaosazure.", "attacks on the hosts: `power-off`, `partition`, `latency`, `cpu`"),
    ("chaosgcp.", "attacks on the hosts: `power-off`, `partition`, `latency`, `cpu`"),
    ("chaostoxi.", "attack `latency`, `bandwidth`, `loss`, `reset` or `connection-limit` on the host behind the proxy"),
    ("chaosgremlin.", "the attack of the same family: `cpu`, `memory`, `disk-io`, `shutdown`, `latency`, `dns`"),
    ("chaosistio.", "attack `latency` or `reset` with `local_ports`"),
    ("chaosspring.", "attack `latency`, `cpu` or `kill` on the application's host"),
    ("chaosprometheus.", "probe `prometheus`"),
    ("chaosreliably.", "probe `http`, `tcp` or `prometheus`"),
    ("chaosk6.", "`workload:` of the experiment, which makes a load and counts what is lost"),
    ("os.", "attack `storage-error` for files that fail; probe `command` for what is on a host"),
    ("shutil.", "attack `storage-error` for files that fail"),
    ("socket.", "probe `tcp`"),
    ("urllib.", "probe `http`"),
    ("requests.", "probe `http`"),
    ("mysql", "attacks inside the database (`kill-sessions`, `read-only`, `row-lock` and others); probe `sql`"),
    ("mariadb", "attacks inside the database (`kill-sessions`, `read-only`, `row-lock` and others); probe `sql`"),
    ("pkill", "attack `kill` or `pause` with `process`"),
    ("killall", "attack `kill` or `pause` with `process`"),
    ("kill", "attack `kill` with `process`, which finds the process when its time comes"),
    ("systemctl", "attack `kill` with `signal: SIGTERM`; what is stopped so is started again by whoever starts it"),
    ("service", "attack `kill` with `signal: SIGTERM`; what is stopped so is started again by whoever starts it"),
    ("docker", "attack `pause`, `kill` or `crash-loop` with `container`"),
    ("kubectl", "attack `kill` or `pause` with `container`"),
    ("ip", "attack `partition`"),
    ("ifdown", "attack `partition`"),
    ("nft", "attack `partition`, `loss` or `reset`"),
    ("ufw", "attack `partition`"),
    ("dd", "attack `disk-fill` or `disk-io`"),
    ("fio", "attack `disk-io`"),
    ("date", "attack `host-clock`, or `time-skew` for one process"),
    ("umount", "attack `storage-error`"),
    ("iptables", "attack `reset` for what is rejected, `partition` for what is dropped"),
    ("stress", "attacks `cpu`, `memory`, `disk-io`, each with a `timeout`"),
    ("tc", "attacks `latency`, `loss`, `bandwidth`, `corruption`, `duplication`"),
    ("curl", "probe `http`"),
    ("ssh", "the program itself, with its host as target"),
    ("bash", "the program itself, without a shell"),
    ("sh", "the program itself, without a shell"),
];

const ATTACKS: &str = "`firedrill attack kinds` lists what can be done to a host";
const PROBES: &str = "there are the probes `sql`, `http`, `tcp`, `prometheus`, `command` and those of the cluster";

fn find(name: &str) -> Option<&'static str> {
    let known = |begin: &str| match begin.strip_suffix('.') {
        Some(_) => name.starts_with(begin),
        None if begin.contains('.') => name.starts_with(begin),
        None => name.split(['.', '-', '_']).next() == Some(begin),
    };
    NEAREST.iter().find(|(begin, _)| known(begin)).map(|(_, instead)| *instead)
}

/// Instead of a function of Python that acts.
pub(super) fn function(name: &str) -> String {
    find(name).map_or_else(|| ATTACKS.to_owned(), |near| format!("nearest: {near}"))
}

/// Instead of a program that acts.
pub(super) fn program(name: &str) -> String {
    let near = find(name).map_or_else(|| ATTACKS.to_owned(), |near| format!("nearest: {near}"));
    format!("{near} (hosts run no programs for an experiment)")
}

/// Instead of a function of Python that asks.
pub(super) fn probe(name: &str) -> String {
    find(name).map_or_else(|| PROBES.to_owned(), |near| format!("nearest: {near}"))
}
