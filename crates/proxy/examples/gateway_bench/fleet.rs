//! The server and whoever stands between it and the clients; all gone when dropped.

use firedrill_host::HostError;
use firedrill_host::process::{self, Child, Signal, Spawn, Stream};
use firedrill_model::command::Route;
use firedrill_model::{ClusterName, Endpoint, Generation};
use firedrill_proxy::control::Client;
use firedrill_proxy::gateway::GatewayConfig;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// With this flag and a file the benchmark's own program is a gateway.
pub(crate) const GATEWAY_FLAG: &str = "--gateway";

/// How long a process may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A process that ends with us.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; nothing of it is needed any more either way.
        let _ = self.0.signal(Signal::SIGKILL);
    }
}

/// One way to reach the server.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    process: Option<Process>,
}

impl Contender {
    /// Processor time that the process in between has used: its own and the kernel's on its behalf.
    pub(crate) fn processor_seconds(&self) -> f64 {
        /// `getconf CLK_TCK` on every Linux of the last decades.
        const TICKS_PER_SECOND: f64 = 100.0;
        let Some(process) = &self.process else { return 0.0 };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0.pid())).unwrap_or_default();
        // Behind the name in parentheses: fields 14 and 15 of proc(5) are user and system time.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
    }
}

/// Everything that runs.
pub(crate) struct Fleet {
    contenders: Vec<Contender>,
    database: SocketAddr,
    _server: Process,
    // Last: removed when its users are gone.
    _directory: TempDir,
}

impl Fleet {
    pub(crate) async fn start() -> Result<Self, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let (server, database) = start_server(directory.path()).await?;
        let mut contenders = vec![Contender { name: "direct".to_owned(), address: database, process: None }];
        contenders.push(start_haproxy(directory.path(), database).await?);
        contenders.push(start_gateway(directory.path(), database).await?);
        Ok(Self { contenders, database, _server: server, _directory: directory })
    }

    pub(crate) fn contenders(&self) -> &[Contender] {
        &self.contenders
    }

    pub(crate) fn database(&self) -> SocketAddr {
        self.database
    }
}

fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn logged(program: impl Into<PathBuf>, log: PathBuf) -> Spawn {
    Spawn::new(program).stdout(Stream::Append(log.clone())).stderr(Stream::Append(log)).new_session()
}

async fn until_open(address: SocketAddr, log: &Path) -> Result<(), String> {
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        if begun.elapsed() > STARTS_WITHIN {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            return Err(format!("nothing listens on {address} after {STARTS_WITHIN:?}; its log: {said}"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A server without the cost of disk flushes: what is compared is the way to it.
async fn start_server(directory: &Path) -> Result<(Process, SocketAddr), Box<dyn Error>> {
    let data = format!("--datadir={}", directory.join("data").display());
    let install = Spawn::new("mariadb-install-db").args([
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--user=root",
        &data,
    ]);
    process::run(install, STARTS_WITHIN * 2).await?;
    let (address, log) = (free_port()?, directory.join("mariadbd.log"));
    let server = logged("mariadbd", log.clone())
        .args(["--no-defaults", "--user=root", "--skip-name-resolve", "--bind-address=127.0.0.1", &data])
        .args(["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=256M", "--performance-schema=OFF"])
        .args([format!("--port={}", address.port()), format!("--socket={}", directory.join("socket").display())])
        .spawn()?;
    let server = Process(server);
    until_open(address, &log).await?;
    sql(address, "CREATE DATABASE bench").await?;
    Ok((server, address))
}

async fn sql(at: SocketAddr, statement: &str) -> Result<(), HostError> {
    let client = Spawn::new("mariadb")
        .args(["--no-defaults", "--user=root", "--protocol=tcp", &format!("--host={}", at.ip())])
        .args([&format!("--port={}", at.port()), "--execute", statement]);
    process::run(client, STARTS_WITHIN).await.map(drop)
}

async fn start_haproxy(directory: &Path, database: SocketAddr) -> Result<Contender, Box<dyn Error>> {
    let (address, log) = (free_port()?, directory.join("haproxy.log"));
    let file = directory.join("haproxy.cfg");
    let config = format!(
        "global\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  \
         option tcpka\nlisten bench\n  bind {address}\n  server primary {database}\n"
    );
    std::fs::write(&file, config)?;
    let process = logged("haproxy", log.clone()).args(["-db", "-f"]).arg(&file).spawn()?;
    let process = Some(Process(process));
    until_open(address, &log).await?;
    Ok(Contender { name: "HAProxy (TCP mode)".to_owned(), address, process })
}

async fn start_gateway(directory: &Path, database: SocketAddr) -> Result<Contender, Box<dyn Error>> {
    let endpoint = |address: SocketAddr| Endpoint { address: address.ip(), port: address.port() };
    let (address, file) = (free_port()?, directory.join("gateway.json"));
    let at = |suffix| file.with_extension(suffix);
    let cluster: ClusterName = "bench".parse()?;
    let config = GatewayConfig::new(cluster.clone(), endpoint(address), at("control"), at("state"));
    std::fs::write(&file, serde_json::to_vec(&config)?)?;
    let log = at("log");
    let process = logged(std::env::current_exe()?, log.clone()).arg(GATEWAY_FLAG).arg(&file).spawn()?;
    let process = Some(Process(process));
    until_open(address, &log).await?;
    let route = Route::Primary { node: "primary".parse()?, endpoint: endpoint(database) };
    Client::connect(&config.control).await?.set_route(&cluster, Generation(1), &route).await?;
    Ok(Contender { name: "gateway".to_owned(), address, process })
}
