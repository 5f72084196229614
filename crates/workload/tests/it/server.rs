//! A private MariaDB server on a loopback port, gone when dropped.
#![expect(clippy::disallowed_methods, reason = "a test's own server needs none of what the host crate is for")]

use firedrill_model::Endpoint;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server is up in a quarter of a second; a machine under full load may need much longer.
const START_WITHIN: Duration = Duration::from_secs(60);

/// The login that a workload gets, with the rights that the crate's documentation names and no other.
pub(crate) const USER: &str = "app";
pub(crate) const PASSWORD: &str = "secret'\\word";
pub(crate) const DATABASE: &str = "shop";

pub(crate) struct Server {
    dir: PathBuf,
    port: u16,
    id: u32,
    /// Settings of this server beside the common ones.
    settings: Vec<String>,
    process: Option<Child>,
    _home: tempfile::TempDir,
}

impl Server {
    /// Makes a data directory and starts a server on it.
    pub(crate) async fn start(id: u32, settings: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("firedrill-workload-").tempdir().expect("a temporary directory");
        let dir = home.path().join("data");
        let installed = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--datadir={}", dir.display()))
            // Not a shared place: every server that starts removes the temporary tables that it finds there.
            .arg(format!("--tmpdir={}", home.path().display()))
            .output()
            .expect("mariadb-install-db is installed (apt install mariadb-server)");
        assert!(installed.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&installed.stderr));
        let settings = settings.iter().map(ToString::to_string).collect();
        let mut server = Self { dir, port: free_port(), id, settings, process: None, _home: home };
        server.run().await;
        let mut root = server.root().await;
        for statement in [
            format!("CREATE DATABASE IF NOT EXISTS {DATABASE}"),
            format!("CREATE USER {USER}@'%' IDENTIFIED BY '{}'", PASSWORD.replace('\\', "\\\\").replace('\'', "''")),
            format!("GRANT SELECT, INSERT, CREATE ON {DATABASE}.* TO {USER}@'%'"),
        ] {
            root.query_drop(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        server
    }

    /// Starts the process and waits until it answers.
    pub(crate) async fn run(&mut self) {
        let log = std::fs::File::create(self.dir.with_extension("log")).expect("a log file");
        let process = Command::new("mariadbd")
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args(["--performance-schema=OFF", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M"])
            .args(["--log-bin=binlog", "--log-slave-updates", "--gtid-strict-mode=1", "--skip-slave-start"])
            .arg(format!("--datadir={}", self.dir.display()))
            .arg(format!("--tmpdir={}", self.dir.display()))
            .arg(format!("--socket={}", self.dir.join("sock").display()))
            .arg(format!("--pid-file={}", self.dir.join("pid").display()))
            .args([format!("--port={}", self.port), format!("--server-id={}", self.id)])
            .args(&self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mariadbd is installed (apt install mariadb-server)");
        self.process = Some(process);
        let by = Instant::now() + START_WITHIN;
        while let Err(error) = self.connect_root().await {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().expect("a child"));
            let log = || std::fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < by, "mariadbd does not answer: {error}\n{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the process as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killed");
            process.wait().expect("reaped");
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: self.port }
    }

    pub(crate) async fn root(&self) -> Conn {
        self.connect_root().await.expect("the server answers")
    }

    async fn connect_root(&self) -> mysql_async::Result<Conn> {
        let opts = OptsBuilder::default().socket(Some(socket(&self.dir))).user(Some("root"));
        Conn::new(opts).await
    }

    /// Makes this server follow another, from wherever that one is now; this one must be fresh.
    pub(crate) async fn follow(&self, primary: &Self, delay_seconds: u32) {
        let mut root = primary.root().await;
        root.query_drop("CREATE USER IF NOT EXISTS repl@'%' IDENTIFIED BY 'repl'").await.expect("a user");
        root.query_drop("GRANT REPLICATION SLAVE ON *.* TO repl@'%'").await.expect("its right");
        let at: Option<String> = root.query_first("SELECT @@gtid_binlog_pos").await.expect("a position");
        let mut own = self.root().await;
        own.query_drop("RESET MASTER").await.expect("a clean log");
        own.query_drop(format!("SET GLOBAL gtid_slave_pos = '{}'", at.unwrap_or_default())).await.expect("a position");
        own.query_drop(format!(
            "CHANGE MASTER TO master_host='127.0.0.1', master_port={}, master_user='repl', master_password='repl', \
             master_use_gtid=slave_pos, master_connect_retry=1, master_delay={delay_seconds}",
            primary.port
        ))
        .await
        .expect("a primary");
        own.query_drop("START SLAVE").await.expect("replication");
        own.query_drop("SET GLOBAL read_only = 1").await.expect("read-only");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn socket(dir: &Path) -> String {
    dir.join("sock").display().to_string()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
