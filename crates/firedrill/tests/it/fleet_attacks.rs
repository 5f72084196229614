//! Every attack on a live fleet: it lands, the agent that holds it is killed with SIGKILL, and the host is as it was
//! before within the lease. And a loss of power, end to end.

use crate::fleet::{Fleet, block_on, told};
use firedrill_api::http::StartAttack;
use firedrill_fault::kinds::{KINDS, Kind};
use firedrill_fault::storage::Layer;
use firedrill_model::attack::{AttackState, Fault};
use firedrill_model::experiment::AttackStep;
use firedrill_model::guard::GuardPolicy;
use firedrill_model::{Selector, Span, Verdict};
use firedrill_sandbox::{Home, HostStatus, Profile, SandboxStatus};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// An agent's lease, and the time that a busy machine may take beside it.
const AS_BEFORE_WITHIN: Duration = Duration::from_secs(30);

/// A replica is made anew within seconds; a busy machine takes longer.
const REPAIRED_WITHIN: Duration = Duration::from_secs(120);

/// Attacks that are over at once, that take their agent down, or that destroy data, are not held by anybody; and the
/// database of a sandbox has no cgroup of its own whose memory could be limited, nor its hosts a clock.
const NOT_HELD: [&str; 12] = [
    "host-clock",
    "memory-limit",
    "kill",
    "power-loss",
    "shutdown",
    "reboot",
    "power-off",
    "delete-rows",
    "diverged-row",
    "drop-database",
    "drop-table",
    "errant-transaction",
];

/// How each kind is tried: on which host, with which parameters.
fn trial(kind: &str, work: &Path) -> (&'static str, Fault) {
    const REPLICA: &str = "west-3";
    const PRIMARY: &str = "east-1";
    let fault = Fault::new(kind);
    let path = work.display().to_string();
    match kind {
        "latency" => (REPLICA, fault.with("delay", "20ms")),
        "loss" | "corruption" | "duplication" => (REPLICA, fault.with("percent", 10)),
        "bandwidth" => (REPLICA, fault.with("rate", "10Mbit/s")),
        "dns" => (REPLICA, fault.with("servers", json!(["10.255.255.1"])).with("failure", "refused")),
        "storage-latency" => (REPLICA, fault.with("delay", "5ms")),
        "storage-error" => (REPLICA, fault.with("files", json!(["nothing-has-this-name"]))),
        "storage-corruption" => (REPLICA, fault.with("files", json!(["nothing-has-this-name"]))),
        "lost-sync" => (REPLICA, fault.with("percent", 50)),
        "cpu" => (REPLICA, fault.with("load", 20)),
        "memory" => (REPLICA, fault.with("amount", "64MiB")),
        "disk-fill" => (REPLICA, fault.with("path", path).with("amount", "64MiB").with("journal_volume", true)),
        "disk-io" => (REPLICA, fault.with("path", path).with("write", "1MiB")),
        "inodes" => (REPLICA, fault.with("path", path).with("amount", 200).with("journal_volume", true)),
        // That of one process needs CAP_SYS_RESOURCE, which not every root has.
        "file-descriptors" => (REPLICA, fault.with("host", true).with("amount", 100)),
        "threads" => (REPLICA, fault.with("amount", 50)),
        "cpu-quota" => (REPLICA, fault.with("cores", 0.5)),
        "io-throttle" => (REPLICA, fault.with("path", path).with("write", "50MiB")),
        "time-skew" => (REPLICA, fault.with("offset", "1h")),
        "connection-limit" => (REPLICA, fault.with("per_second", 100)),
        "crash-loop" => (REPLICA, fault.with("every", "1s")),
        "delay-replication" => (REPLICA, fault.with("delay", "2s")),
        "kill-sessions" => (PRIMARY, fault.with("user", "app")),
        "id-exhaustion" => (PRIMARY, fault.with("table", "app.numbers")),
        "relay-log-purge" | "stop-replication" | "wrong-credentials" | "pause" | "partition" | "reset" => {
            (REPLICA, fault)
        }
        _ => (PRIMARY, fault),
    }
}

fn host<'a>(status: &'a SandboxStatus, name: &str) -> &'a HostStatus {
    status.hosts.iter().find(|host| host.name == name).expect("a host of the sandbox")
}

/// All that could be left on a host, as text that must not change.
fn snapshot(fleet: &Fleet, name: &str) -> String {
    let directory = Home::from_environment().sandbox(&fleet.name).join("hosts").join(name);
    let netns = &host(&fleet.status, name).netns;
    let script = "nft list ruleset; cat /proc/net/netfilter/nfnetlink_queue";
    let filter = Command::new("ip").args(["netns", "exec", netns, "sh", "-c", script]).output().expect("runs");
    let journal = files(&directory.join("agent/attacks"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "attack"));
    let journal: Vec<PathBuf> = journal.collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("reads");
    let mut mounts: Vec<&str> =
        mounts.lines().filter(|line| directory.to_str().is_some_and(|path| line.contains(path))).collect();
    mounts.sort_unstable();
    let groups = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", "firedrill-*"]).output();
    let groups = String::from_utf8_lossy(&groups.expect("runs").stdout).into_owned();
    let stopped: Vec<String> = processes().into_iter().filter(|(_, state)| *state == 'T').map(|(pid, _)| pid).collect();
    format!(
        "{}\njournal {journal:?}\nstopped {stopped:?}\nmounts {mounts:?}\ngroups {groups}",
        String::from_utf8_lossy(&filter.stdout)
    )
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn processes() -> Vec<(String, char)> {
    let stat = |pid: String| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, text.rsplit(')').next()?.trim_start().chars().next()?))
    };
    let pids =
        std::fs::read_dir("/proc").expect("lists").flatten().filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter_map(stat).collect()
}

/// Attacks one host, kills its agent, and waits until the host is as it was.
async fn strike(fleet: &Fleet, kind: &Kind, work: &Path) {
    let (on, fault) = trial(kind.name, work);
    let before = snapshot(fleet, on);
    let target = Selector { hosts: vec![on.parse().expect("a name")], ..Selector::default() };
    let attack = AttackStep { name: None, fault, target, duration: Span::secs(120) };
    let start = StartAttack::new(fleet.cluster.clone(), attack);
    let report = fleet.client.start_attack(&start).await.unwrap_or_else(|problem| panic!("{}: {problem}", kind.name));
    let report = report.first().expect("one host");
    // A fault may find nothing to strike at here; it is in place all the same.
    let landed = matches!(report.state, AttackState::Active | AttackState::NoEffect);
    assert!(landed, "{}: {:?}: {}", kind.name, report.state, report.evidence);
    eprintln!("{}: {:?}: {}", kind.name, report.state, report.evidence);

    let status = firedrill_sandbox::status(&Home::from_environment(), &fleet.name).await.expect("a status");
    let agent = host(&status, on).agent_pid.expect("an agent");
    assert!(Command::new("kill").args(["-9", &agent.to_string()]).status().expect("runs").success());
    let what = format!("{on} as it was before {}", kind.name);
    fleet.until(&what, AS_BEFORE_WITHIN, async || (snapshot(fleet, on) == before).then_some(())).await;
    let point = Home::from_environment().sandbox(&fleet.name).join("hosts").join(on).join("volume");
    let layer = Layer::over(&point).expect("mounts are listed").expect("a storage layer");
    fleet
        .until(&format!("a storage layer without rules after {}", kind.name), AS_BEFORE_WITHIN, async || {
            layer.status().await.ok().filter(|status| status.rules.is_empty() && !status.keeps)
        })
        .await;
    assert_eq!(files(work), BTreeSet::new(), "{} left files", kind.name);
    fleet.until_redundant().await;
}

#[test]
fn a_killed_agent_leaves_nothing_of_any_attack() {
    block_on(async {
        let fleet = Fleet::up_on_layers("attacks", &[]).await;
        fleet.until_redundant().await;
        // What is struck is what guards protect: a cluster whose agents die one after the other.
        fleet.client.set_guards(&GuardPolicy::all_off()).await.expect("set");
        let work = tempfile::tempdir().expect("a directory");
        sql(&fleet, "east-1", "CREATE TABLE app.numbers (id INT AUTO_INCREMENT PRIMARY KEY, x INT)");
        let mut tried = 0;
        for kind in KINDS.iter().filter(|kind| !NOT_HELD.contains(&kind.name)) {
            strike(&fleet, kind, work.path()).await;
            tried += 1;
        }
        eprintln!("{tried} kinds of attacks, {tried} agents killed, 0 leftovers");
    });
}

#[test]
fn a_person_on_the_spot_attacks_and_what_is_expendable_is_destroyed() {
    block_on(async {
        let fleet = Fleet::up("spot", Profile::Safe).await;
        fleet.until_redundant().await;
        sql(&fleet, "east-1", "CREATE TABLE app.numbers (id INT AUTO_INCREMENT PRIMARY KEY, x INT)");
        on_the_spot(&fleet);
        destroys_what_is_expendable(&fleet).await;
    });
}

fn socket(fleet: &Fleet, node: &str) -> PathBuf {
    Home::from_environment().sandbox(&fleet.name).join("hosts").join(node).join("run/mariadbd.sock")
}

fn asked(fleet: &Fleet, node: &str, statements: &str) -> Result<String, String> {
    let client = Command::new("mariadb").arg("--socket").arg(socket(fleet, node)).args(["-Ne", statements]).output();
    let answer = client.expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if answer.status.success() { Ok(text(&answer.stdout)) } else { Err(text(&answer.stderr)) }
}

fn sql(fleet: &Fleet, node: &str, statements: &str) -> String {
    asked(fleet, node, statements).unwrap_or_else(|problem| panic!("{statements}: {problem}"))
}

/// A person on a database host attacks the server there, with no platform.
fn on_the_spot(fleet: &Fleet) {
    let journal = tempfile::tempdir().expect("a directory");
    let attack = |words: &[&str]| {
        let ended = Command::new(crate::fleet::program())
            .args(["attack", "start"])
            .args(words)
            .arg("--socket")
            .arg(socket(fleet, "west-3"))
            .args(["--duration", "1s", "--json", "--data"])
            .arg(journal.path())
            .output()
            .expect("runs");
        (
            ended.status.success(),
            format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr)),
        )
    };
    for words in [&["stop-replication"][..], &["pause"], &["connections"]] {
        let (done, told) = attack(words);
        assert!(done && told.contains("\"active\"") && told.contains("\"undone\""), "{words:?}: {told}");
    }
    let (done, told) = attack(&["delete-rows", "--table", "app.numbers", "--rows", "1"]);
    assert!(!done && told.contains("--expendable"), "{told}");
}

/// The hosts of a sandbox are expendable. What is destroyed on the primary is gone on all; what a replica has alone is
/// seen or not, as the documentation of each says.
async fn destroys_what_is_expendable(fleet: &Fleet) {
    let primary = fleet.primary().await;
    let strike = async |on: &str, fault: Fault| {
        let target = Selector { hosts: vec![on.parse().expect("a name")], ..Selector::default() };
        let attack = AttackStep { name: None, fault, target, duration: Span::secs(1) };
        let start = StartAttack::new(fleet.cluster.clone(), attack);
        let report = fleet.client.start_attack(&start).await.expect("starts").remove(0);
        assert_eq!(report.state, AttackState::Active, "{}: {}", report.fault, report.evidence);
        eprintln!("{}: {}", report.fault, report.evidence);
    };
    sql(
        fleet,
        &primary,
        "CREATE DATABASE lost; CREATE TABLE lost.t (id INT PRIMARY KEY); INSERT INTO lost.t VALUES (1), (2), (3)",
    );
    let until = async |node: &str, question: &str, wanted: &str| {
        let what = format!("{wanted} as the answer of {node} to {question}");
        let answered = async || (asked(fleet, node, question).as_deref() == Ok(wanted)).then_some(());
        fleet.until(&what, REPAIRED_WITHIN, answered).await;
    };
    let rows = "SELECT COUNT(*) FROM lost.t";
    until("west-3", rows, "3").await;
    strike(&primary, Fault::new("delete-rows").with("table", "lost.t").with("rows", 1)).await;
    until("west-3", rows, "2").await;
    strike("west-3", Fault::new("diverged-row").with("table", "lost.t")).await;
    assert_eq!([sql(fleet, "west-3", rows), sql(fleet, &primary, rows)], ["1", "2"]);
    strike(&primary, Fault::new("drop-table").with("table", "lost.t")).await;
    strike(&primary, Fault::new("drop-database").with("database", "lost")).await;
    let gone = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='lost'";
    until("west-3", gone, "0").await;
    strike("west-3", Fault::new("errant-transaction")).await;
    // The keeper sees what nobody else has, and makes it anew.
    let errant = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE '%errant%'";
    until("west-3", errant, "0").await;
    fleet.until_redundant().await;
}

#[test]
fn a_primary_that_loses_power_is_replaced_and_nothing_is_lost() {
    block_on(async {
        let fleet = Fleet::up_on_layers("power", &[]).await;
        fleet.until_redundant().await;
        let report = fleet.run(&fleet.library("power-loss-primary").await).await;
        assert_eq!(report.verdict, Some(Verdict::Passed), "{}", told(&report));
    });
}
