//! A real MariaDB server in the agent's hands.

use crate::agent::{Agent, config};
use crate::link_server::{Heard, LinkServer, instruction};
use firedrill_agent::AgentConfig;
use firedrill_api::link::{Answer, Order, Upward};
use firedrill_engine::install::{self, Accounts, Settings};
use firedrill_engine::{Instance, InstanceConfig, Login, PortRange, preflight};
use firedrill_host::process::{Identity, Pidfd, Signal};
use firedrill_model::observation::ProcessState;
use firedrill_model::probe::{HostProbe, HostSeen};
use firedrill_model::{Endpoint, NodeCommand, NodeObservation, NodeReply, Span, workload};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A node that is not started yet; its server ends with the test.
struct Database {
    config: InstanceConfig,
    dir: tempfile::TempDir,
}

impl Database {
    async fn place() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test starts a server as another user: run it as root");
        let found = preflight().expect("MariaDB is installed");
        let cache = std::env::temp_dir().join("firedrill-agent-test-templates");
        std::fs::create_dir_all(&cache).expect("a cache");
        let login = |user: &str| Login { user: user.to_owned(), password: format!("{user}-secret") };
        let accounts = Accounts {
            replication: login("repl"),
            heartbeat: login("beat"),
            application: login("app"),
            database: "shop".to_owned(),
        };
        let template = install::template(&cache, &found, Some("mysql"), &accounts).await.expect("a template");
        let dir = tempfile::Builder::new().prefix("fda-").tempdir().expect("temp dir");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("permissions");
        let home = dir.path().join("n");
        std::fs::create_dir(&home).expect("home");
        let user = nix::unistd::User::from_name("mysql").expect("looked up").expect("MariaDB made it");
        std::os::unix::fs::chown(&home, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("chown");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a port");
        let config = InstanceConfig {
            cluster: "shop".parse().expect("a name"),
            node: "east-1".parse().expect("a name"),
            server_id: 1,
            endpoint: Endpoint { address: Ipv4Addr::LOCALHOST.into(), port: port.port() },
            binaries: found.binaries.clone(),
            config_file: home.join("my.cnf"),
            data_dir: home.join("data"),
            socket: home.join("s"),
            pid_file: home.join("server.pid"),
            error_log: home.join("error.log"),
            os_user: Some("mysql".to_owned()),
            replication: accounts.replication,
            heartbeat: Some(accounts.heartbeat),
            work_dir: home.join("work"),
            cgroup: None,
            clone_ports: PortRange { first: 0, last: 0 },
        };
        install::place(&template, &config, &Settings::default()).await.expect("placed");
        Self { config, dir }
    }

    fn agent_config(&self, server: &LinkServer, dir: &Path) -> AgentConfig {
        AgentConfig { instances: vec![self.config.clone()], ..config(server, dir) }
    }

    fn command(&self, command: &str) -> Order {
        let node = self.config.node.clone();
        let command = match command {
            "start" => NodeCommand::Start { node },
            "fence" => NodeCommand::Fence { node },
            "open" => NodeCommand::Open { node, semi_sync: false },
            other => panic!("{other}"),
        };
        Order::Node { command }
    }

    fn process(&self) -> Pidfd {
        let identity = Identity::load(&self.config.identity_file()).expect("read").expect("started");
        identity.open().expect("no error").expect("alive")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Ok(Some(identity)) = Identity::load(&self.config.identity_file())
            && let Ok(Some(process)) = identity.open()
        {
            let _ = process.signal(Signal::SIGKILL);
        }
        // Kept until the server is gone.
        let _ = &self.dir;
    }
}

fn looks(heard: &Heard) -> Vec<NodeObservation> {
    let look = |item: &Upward| match item {
        Upward::Observation { observation } => Some((**observation).clone()),
        _ => None,
    };
    heard.items.iter().filter_map(look).collect()
}

async fn until_answering(server: &LinkServer) {
    server.until("an answering server", |heard| looks(heard).last()?.status.as_ref().map(|_| ())).await;
}

/// A signal is on its way when it was sent: every thread stops by itself.
async fn until_stopped(pid: u32) {
    let began = Instant::now();
    let is_stopped = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't']))
    };
    while !std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten().all(is_stopped) {
        assert!(began.elapsed() < Duration::from_secs(10), "process {pid} does not stop");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_exited(server: &LinkServer, exited: u32) {
    let state = ProcessState::Exited { pid: exited };
    server.until("its end", |heard| looks(heard).iter().any(|look| look.process == state).then_some(())).await;
}

#[tokio::test]
async fn it_is_started_watched_and_its_end_is_reported_at_once() {
    let (dir, database) = (tempfile::tempdir().expect("temp dir"), Database::place().await);
    let server = LinkServer::start().await;
    let agent = Agent::start(database.agent_config(&server, dir.path()));
    server.connected().await;
    let hello = server.until("a hello", |heard| heard.hellos.first().cloned()).await;
    assert_eq!(
        hello.nodes.iter().map(|(cluster, node)| format!("{cluster}/{node}")).collect::<Vec<_>>(),
        ["shop/east-1"]
    );
    server.send(instruction("start", 1, database.command("start")));
    let started = server.answer("start", 1).await.expect("started");
    assert!(matches!(started, Answer::Node { result: NodeReply::Started { .. } }), "{started:?}");
    until_answering(&server).await;
    let before = looks(&server.shared.heard.lock().expect("lock")).len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let seen = looks(&server.shared.heard.lock().expect("lock")).len() - before;
    assert!((6..=12).contains(&seen), "{seen} looks in 2 s");

    // Also while a report is under way and its answer is slow.
    *server.shared.report_delay.lock().expect("lock") = Duration::from_secs(3);
    let reports = server.shared.heard.lock().expect("lock").reports;
    server.until("a report that hangs", |heard| (heard.reports > reports).then_some(())).await;
    let process = database.process();
    let began = Instant::now();
    process.signal(Signal::SIGKILL).expect("killed");
    until_exited(&server, process.pid()).await;
    assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
    *server.shared.report_delay.lock().expect("lock") = Duration::ZERO;
    agent.stop().await;
}

#[tokio::test]
async fn a_new_agent_finds_it_again_and_fences_it() {
    let (dir, database) = (tempfile::tempdir().expect("temp dir"), Database::place().await);
    let server = LinkServer::start().await;
    let agent = Agent::start(database.agent_config(&server, dir.path()));
    server.connected().await;
    server.send(instruction("start", 1, database.command("start")));
    server.answer("start", 1).await.expect("started");
    agent.kill().await;
    let process = database.process();

    let agent = Agent::start(database.agent_config(&server, dir.path()));
    server.until("another hello", |heard| heard.hellos.get(1).map(|_| ())).await;
    server.connected().await;
    let running = ProcessState::Running { pid: process.pid(), stopped: false };
    let again = |heard: &Heard| looks(heard).last().is_some_and(|look| look.process == running).then_some(());
    server.until("the same process", again).await;
    // It hangs, and so does a command to it.
    process.signal(Signal::SIGSTOP).expect("stopped");
    server.send(instruction("open", 1, database.command("open")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    server.send(instruction("fence", 2, database.command("fence")));
    let fenced = server.answer("fence", 1).await.expect("fenced");
    assert_eq!(fenced, Answer::Node { result: NodeReply::Fenced { killed: true } });
    assert!(began.elapsed() < Duration::from_secs(1), "it waits for nobody: {:?}", began.elapsed());
    until_exited(&server, process.pid()).await;
    assert!(server.answer("open", 1).await.is_err());
    agent.stop().await;
}

async fn asked(server: &LinkServer, id: &str, query: &str) -> HostSeen {
    let login = workload::Login { user: "app".into(), password: "app-secret".into(), database: "shop".into() };
    let probe = HostProbe::Sql { node: "east-1".parse().expect("a name"), query: query.to_owned(), login };
    server.send(instruction(id, 1, Order::Probe { probe, within: Span::secs(1) }));
    match server.answer(id, 1).await {
        Ok(Answer::Probe { seen }) => seen,
        other => panic!("{query}: {other:?}"),
    }
}

#[tokio::test]
async fn a_probe_reads_one_value_and_cannot_write() {
    let (dir, database) = (tempfile::tempdir().expect("temp dir"), Database::place().await);
    let server = LinkServer::start().await;
    let agent = Agent::start(database.agent_config(&server, dir.path()));
    server.connected().await;
    for command in ["start", "open"] {
        server.send(instruction(command, 1, database.command(command)));
        server.answer(command, 1).await.expect(command);
    }
    let mut root = Instance::new(database.config.clone()).admin().expect("it runs").connect().await.expect("a session");
    let writing = "CREATE FUNCTION shop.taken() RETURNS INT DETERMINISTIC \
                   BEGIN INSERT INTO shop.t VALUES (1); RETURN 1; END";
    for statement in ["CREATE TABLE shop.t (id INT)", "INSERT INTO shop.t VALUES (5), (6)", writing] {
        root.run(statement).await.expect(statement);
    }
    let cell = |value: Option<&str>| HostSeen::Cell { value: value.map(str::to_owned) };
    assert_eq!(asked(&server, "1", "SELECT @@read_only").await, cell(Some("0")));
    assert_eq!(asked(&server, "2", "SELECT id FROM t ORDER BY id;").await, cell(Some("5")));
    assert_eq!(asked(&server, "3", "SELECT NULL").await, cell(None));
    assert_eq!(asked(&server, "4", "SHOW TABLES").await, cell(Some("t")));
    let failed = async |id: &str, query: &str, says: &str| match asked(&server, id, query).await {
        HostSeen::Failed { problem } => assert!(problem.contains(says), "{query}: {problem}"),
        other => panic!("{query}: {other:?}"),
    };
    failed("5", "SELECT taken()", "1792").await;
    failed("6", "SELECT id FROM t WHERE id > 9", "no row").await;
    failed("7", "SELECT REPEAT('x', 5000)", "5000 bytes").await;
    failed("8", "SELECT nothing", "1054").await;
    failed("9", "SELECT SLEEP(5)", "").await;
    failed("10", "SELECT 1 FROM mysql.global_priv", "1142").await;
    let rows = root.run("SELECT COUNT(*) FROM shop.t").await.expect("read");
    assert_eq!(rows[0].first().and_then(|row| row.at(0)), Some("2"));

    let process = database.process();
    process.signal(Signal::SIGSTOP).expect("sent");
    until_stopped(process.pid()).await;
    failed("11", "SELECT 1", "no answer within").await;
    process.signal(Signal::SIGKILL).expect("killed");
    until_exited(&server, process.pid()).await;
    failed("12", "SELECT 1", "no connection").await;
    agent.stop().await;
}
