//! Real servers for one test, ended and removed with it, also when it panics.

use firedrill_engine::install::{self, Accounts, Settings};
use firedrill_engine::{Instance, InstanceConfig, Login, PortRange, preflight};
use firedrill_host::process::{Identity, Pidfd, Signal};
use firedrill_model::{
    CommandFailure, Endpoint, GtidPos, NodeCommand, NodeName, NodeObservation, NodeReply, OperationId, Span,
};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
pub(crate) const WITHIN: Span = Span::secs(30);

/// Servers of one cluster.
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Instance>,
    _directory: TempDir,
}

fn login(user: &str) -> Login {
    Login { user: user.into(), password: format!("{user}-secret") }
}

fn accounts() -> Accounts {
    Accounts {
        replication: login("repl"),
        heartbeat: login("beat"),
        application: login("app"),
        database: "shop".into(),
    }
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a free port").port()
}

impl Fleet {
    /// So many servers, started, read-only, replicating from nobody.
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_with(count, &Settings::default()).await
    }

    /// As [`Fleet::start`], with settings of the servers.
    pub(crate) async fn start_with(count: usize, settings: &Settings) -> Self {
        let fleet = Self::place(count, settings).await;
        let starts = fleet
            .nodes
            .iter()
            .map(|node| async move { ask(node, NodeCommand::Start { node: name(node) }).await.expect("starts") });
        futures_util::future::join_all(starts).await;
        fleet
    }

    /// So many data directories and option files.
    async fn place(count: usize, settings: &Settings) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests start servers as another user: run them as root");
        let found = preflight().expect("MariaDB is installed");
        let cache = std::env::temp_dir().join("firedrill-engine-test-templates");
        std::fs::create_dir_all(&cache).expect("cache");
        let template = install::template(&cache, &found, Some("mysql"), &accounts()).await.expect("template");
        let directory = tempfile::Builder::new().prefix("fde-").tempdir().expect("temp dir");
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("permissions");
        let mut nodes = Vec::new();
        for index in 1..=count {
            let config = config(directory.path(), u32::try_from(index).expect("small"), &found.binaries);
            install::place(&template, &config, settings).await.expect("placed");
            nodes.push(Instance::new(config));
        }
        Self { nodes, _directory: directory }
    }

    /// The first opened with semi-sync, all others its ackers.
    pub(crate) async fn replicating(count: usize) -> Self {
        let fleet = Self::start(count).await;
        let (primary, replicas) = fleet.nodes.split_first().expect("at least one");
        ask(primary, NodeCommand::Open { node: name(primary), semi_sync: true }).await.expect("opens");
        let source = primary.config().endpoint;
        let follows = replicas.iter().map(|node| async move {
            ask(node, NodeCommand::Follow { node: name(node), source, acker: true }).await.expect("follows")
        });
        futures_util::future::join_all(follows).await;
        query(primary, "CREATE TABLE shop.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, token VARCHAR(64) UNIQUE)").await;
        fleet
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for node in &self.nodes {
            let identity = Identity::load(&node.config().identity_file()).ok().flatten();
            end_processes_below(&node.config().data_dir, identity);
            end_processes_below(&node.config().work_dir, None);
        }
    }
}

/// Kills what works in a directory: servers and copying tools of this test, whoever started them.
fn end_processes_below(directory: &Path, server: Option<Identity>) {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let works_there = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        let identity_says_so = server.is_some_and(|identity| identity.pid == pid && identity.alive());
        if (works_there || identity_says_so)
            && let Ok(pidfd) = Pidfd::open(pid)
        {
            let _gone = pidfd.signal(Signal::SIGKILL);
        }
    }
}

fn config(directory: &Path, number: u32, binaries: &firedrill_engine::Binaries) -> InstanceConfig {
    let home = directory.join(format!("n{number}"));
    std::fs::create_dir_all(&home).expect("home");
    nix::unistd::User::from_name("mysql").ok().flatten().map_or_else(
        || panic!("the system has no user mysql"),
        |user| std::os::unix::fs::chown(&home, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("chown"),
    );
    let file = |name: &str| home.join(name);
    InstanceConfig {
        cluster: "test".parse().expect("a name"),
        node: format!("node-{number}").parse().expect("a name"),
        server_id: number,
        endpoint: Endpoint { address: Ipv4Addr::LOCALHOST.into(), port: free_port() },
        binaries: binaries.clone(),
        config_file: file("my.cnf"),
        data_dir: file("data"),
        socket: file("s"),
        pid_file: file("server.pid"),
        error_log: file("error.log"),
        os_user: Some("mysql".into()),
        replication: accounts().replication,
        heartbeat: Some(accounts().heartbeat),
        work_dir: file("work"),
        cgroup: None,
        clone_ports: PortRange { first: 0, last: 0 },
    }
}

pub(crate) fn name(node: &Instance) -> NodeName {
    node.config().node.clone()
}

pub(crate) fn operation(id: &str) -> OperationId {
    OperationId(id.to_owned())
}

pub(crate) async fn ask(node: &Instance, command: NodeCommand) -> Result<NodeReply, CommandFailure> {
    node.carry_out(command, WITHIN).await
}

/// What a [`NodeReply::Position`] says.
pub(crate) fn position(reply: NodeReply) -> (GtidPos, GtidPos) {
    match reply {
        NodeReply::Position { received, applied } => (received, applied),
        other => panic!("not a position: {other:?}"),
    }
}

/// A connection over TCP as the application.
pub(crate) async fn application(node: &Instance) -> Result<Conn, mysql_async::Error> {
    let (endpoint, login) = (node.config().endpoint, accounts().application);
    let opts = OptsBuilder::default()
        .ip_or_hostname(endpoint.address.to_string())
        .tcp_port(endpoint.port)
        .user(Some(login.user))
        .pass(Some(login.password))
        .db_name(Some("shop"))
        .prefer_socket(false);
    Conn::new(opts).await
}

/// A connection over the unix socket as the administrator.
pub(crate) async fn administrator(node: &Instance) -> Conn {
    let socket = node.config().socket.display().to_string();
    let opts = OptsBuilder::default().socket(Some(socket)).user(Some("root")).prefer_socket(false);
    let began = std::time::Instant::now();
    loop {
        match Conn::new(opts.clone()).await {
            // A full server keeps one place for administrators, which another of them may just be leaving.
            Err(mysql_async::Error::Server(full)) if full.code == 1040 && began.elapsed() < LEFT_WITHIN => {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            other => return other.expect("an administrator's session"),
        }
    }
}

/// An administrator's session lasts milliseconds.
const LEFT_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Runs a statement as the administrator.
pub(crate) async fn query(node: &Instance, statement: &str) {
    administrator(node).await.query_drop(statement).await.unwrap_or_else(|problem| panic!("{statement}: {problem}"));
}

/// The first column of a query, as the administrator.
pub(crate) async fn column(node: &Instance, statement: &str) -> Vec<String> {
    administrator(node).await.query(statement).await.unwrap_or_else(|problem| panic!("{statement}: {problem}"))
}

/// Looks until the observation is as wanted; the last one is in the panic otherwise.
pub(crate) async fn seen(node: &Instance, what: &str, wanted: impl Fn(&NodeObservation) -> bool) -> NodeObservation {
    let begun = Instant::now();
    loop {
        let observation = node.observe().await;
        if wanted(&observation) {
            return observation;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "not seen: {what}; last: {observation:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The process id of the running server.
pub(crate) async fn pid(node: &Instance) -> u32 {
    match node.observe().await.process {
        firedrill_model::observation::ProcessState::Running { pid, .. } => pid,
        other => panic!("{} does not run: {other:?}", name(node)),
    }
}

pub(crate) async fn signal(node: &Instance, signal: Signal) {
    Pidfd::open(pid(node).await).expect("exists").signal(signal).expect("is ours");
}
