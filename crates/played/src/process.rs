//! A real server as a child process: it is killed, or measured.

#![allow(clippy::disallowed_methods, reason = "the program is started as a user does, with nothing of ours in between")]

use crate::until;
use anyhow::{Context, ensure};
use firedrill_api::client::Client;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server with its state directory, always at the same addresses.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    http: SocketAddr,
    link: SocketAddr,
    /// The database that it shares with others, if any.
    store: Option<String>,
    child: Child,
}

/// What a start found.
#[derive(Debug)]
pub(crate) struct Restarted {
    /// A run that the killed server had under way was given its end.
    pub(crate) runs_interrupted: bool,
}

impl Server {
    pub(crate) async fn start(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        let server = Self::spawn(program, dir, None)?;
        server.answers().await?;
        Ok(server)
    }

    /// Starts it and does not wait for it; with others when there is a `store`.
    pub(crate) fn spawn(program: &Path, dir: &Path, store: Option<String>) -> anyhow::Result<Self> {
        let (data, log) = (dir.join("data"), dir.join("server.log"));
        let (http, link) = (free_address()?, free_address()?);
        let child = spawn(program, &data, &log, (http, link), store.as_deref())?;
        Ok(Self { program: program.to_owned(), data, log, http, link, store, child })
    }

    /// Starts it again and does not wait for it.
    pub(crate) fn spawn_again(&mut self) -> anyhow::Result<()> {
        let addresses = (self.http, self.link);
        self.child = spawn(&self.program, &self.data, &self.log, addresses, self.store.as_deref())?;
        Ok(())
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn link(&self) -> SocketAddr {
        self.link
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&format!("http://{}", self.http))?)
    }

    /// The certificate of its authority, PEM.
    pub(crate) fn authority(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(self.data.join("authority/authority.pem")).context("the server has no authority")
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill the server")?;
        self.child.wait().context("the server does not end")?;
        Ok(())
    }

    /// Starts it again on what the killed one has left.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<Restarted> {
        self.spawn_again()?;
        self.answers().await?;
        Restarted::seen(&self.client()?).await
    }

    pub(crate) async fn answers(&self) -> anyhow::Result<()> {
        let client = self.client()?;
        until("the server answers", || async { Ok(client.status().await.ok().map(drop)) })
            .await
            .with_context(|| format!("its log is {}", self.log.display()))
    }
}

impl Restarted {
    /// Looks at what the server that acts has put on the timeline.
    pub(crate) async fn seen(client: &Client) -> anyhow::Result<Self> {
        let newest = client.timeline(&firedrill_api::client::TimelineQuery::default()).await?;
        let start = |text: &str| text.ends_with(" started") || text.contains(" acts (epoch ");
        let own = newest.iter().rev().skip_while(|line| !start(&line.text)).skip(1);
        // Settled before the line of the start.
        let runs_interrupted = own.take(1).any(|line| line.text.contains("was interrupted"));
        Ok(Self { runs_interrupted })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The kernel gives a port that nobody has; it is free until somebody else asks for this very one.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn spawn(
    program: &Path,
    data: &Path,
    log: &Path,
    (http, link): (SocketAddr, SocketAddr),
    store: Option<&str>,
) -> anyhow::Result<Child> {
    let log: File = OpenOptions::new().create(true).append(true).open(log)?;
    Command::new(program)
        .arg("server")
        .arg("--data-dir")
        .arg(data)
        .args(["--http", &http.to_string(), "--link", &link.to_string()])
        .args(store.map(|store| format!("--store={store}")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// The sum of one gauge of the server's metrics over all its labels: lists come page by page, this is of everything.
pub(crate) async fn gauge(http: SocketAddr, name: &str) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(http).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    ensure!(text.contains("firedrill_build"), "no metrics but {text}");
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    text.lines().filter(of_name).map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<u64>()?)).sum()
}
