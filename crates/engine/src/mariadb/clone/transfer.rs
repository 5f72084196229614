//! The stream from donor to recipient.
//!
//! The donor connects, says [`GREETING`] and its token in one line, and hands the connection to `mariadb-backup` as its
//! standard output; the recipient hands it to `mbstream` as its standard input. At the end the recipient answers with
//! one line: how many bytes it has on disk, or what went wrong. Only that line makes a copy whole.

use super::record::Record;
use super::tool::{self, Tool};
use crate::error::EngineError;
use crate::install::{blocking, user_ids};
use crate::mariadb::Server;
use firedrill_host::process::{Spawn, Stream};
use firedrill_model::{Endpoint, NodeReply, OperationId, Span};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// First word of the sender's line.
const GREETING: &str = "firedrill-clone-1";

/// The sender's line and the recipient's answer are shorter than this.
const LINE_BYTES_MAX: usize = 512;

/// How long a recipient listens before it gives up.
const LISTEN_WITHIN: Duration = Duration::from_secs(600);

/// How long a caller may take to say its line, and a donor to reach the recipient.
const GREET_WITHIN: Duration = Duration::from_secs(5);

/// How long the recipient may take from the end of the stream to its answer: it writes out what it has in memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Unacknowledged data for this long means that the other host is gone, milliseconds; without it a tool would write
/// into a dead connection for a quarter of an hour.
const PEER_SILENT_MS: u32 = 15_000;

/// Threads that copy on the donor. More than one keeps the disk busy while the other end writes; more than two take
/// the processor from the server that is being copied.
const COPY_THREADS: u32 = 2;

impl Server {
    /// [`firedrill_model::NodeCommand::CloneReceive`].
    pub(crate) async fn clone_receive(self: &Arc<Self>, operation: &OperationId) -> Result<NodeReply, EngineError> {
        let _arranging = self.arranging.lock().await;
        let directory = self.config.clone_dir(operation);
        if Record::load(&directory)?.is_some_and(|record| record.activated_over().is_some()) {
            return Err(EngineError::Invalid(format!(
                "clone {operation} is in the node's place already; finish or abort it before it is received anew"
            )));
        }
        self.receiving.end(operation);
        tool::end_all(&directory).await?;
        let owner = self.config.os_user.as_deref().map(user_ids).transpose()?;
        empty_side_directory(directory.clone(), owner).await?;
        let listener = self.listen().await?;
        let local =
            listener.local_addr().map_err(|problem| socket_error("listen on", self.config.endpoint, problem))?;
        let token = token()?;
        let task = tokio::spawn({
            let (server, token, operation) = (Arc::clone(self), token.clone(), operation.clone());
            async move {
                if let Err(error) = server.receive(listener, &token, &directory).await {
                    tracing::warn!(%operation, node = %server.config.node, error = error.full(), "a copy was not received");
                }
            }
        });
        self.receiving.begun(operation, task.abort_handle());
        Ok(NodeReply::Listening { at: Endpoint { address: local.ip(), port: local.port() }, token })
    }

    async fn listen(&self) -> Result<TcpListener, EngineError> {
        let (address, ports) = (self.config.endpoint.address, self.config.clone_ports);
        let mut refused = None;
        for port in ports.first..=ports.last {
            match TcpListener::bind(SocketAddr::new(address, port)).await {
                Ok(listener) => return Ok(listener),
                Err(problem) => refused = Some(problem),
            }
        }
        let problem = refused.unwrap_or_else(|| std::io::ErrorKind::InvalidInput.into());
        Err(EngineError::Failed(format!(
            "no port of {}-{} at {address} can be listened on for a clone: {problem}",
            ports.first, ports.last
        )))
    }

    async fn receive(&self, listener: TcpListener, token: &str, directory: &Path) -> Result<(), EngineError> {
        let accept = accept(&listener, token);
        let stream = tokio::time::timeout(LISTEN_WITHIN, accept)
            .await
            .map_err(|_| EngineError::TimedOut(format!("no donor has connected within {LISTEN_WITHIN:?}")))??;
        drop(listener);
        let outcome = self.unpack(&stream, directory).await;
        let answer = match &outcome {
            Ok(bytes) => format!("ok {bytes}\n"),
            Err(error) => format!("failed {}\n", error.full().replace('\n', " ")),
        };
        let mut stream = into_tokio(stream)?;
        let answer = answer.as_bytes();
        let answer = &answer[..answer.len().min(LINE_BYTES_MAX)];
        stream.write_all(answer).await.map_err(|problem| {
            EngineError::Failed(format!("the donor cannot be told how its copy ended: {problem}"))
        })?;
        outcome.map(drop)
    }

    /// Unpacks what comes, and answers with the bytes on disk.
    async fn unpack(&self, stream: &std::net::TcpStream, directory: &Path) -> Result<u64, EngineError> {
        let data = directory.join("data");
        let mut spawn = Spawn::new(&self.config.binaries.mbstream)
            .args(["-x", "-p"])
            .arg(COPY_THREADS.to_string())
            .arg("-C")
            .arg(&data)
            .dir(&data)
            .stdin(Stream::Fd(duplicate(stream)?));
        if let Some(user) = &self.config.os_user {
            spawn = spawn.user(user);
        }
        Tool::start(tool::RECEIVE, directory, spawn).await?.finish().await?;
        let bytes = blocking(move || {
            // Written by the donor's tool at its very end.
            if !["xtrabackup_checkpoints", "mariadb_backup_checkpoints"].iter().any(|name| data.join(name).is_file()) {
                return Err(EngineError::Failed("the stream ended before the copy was whole".to_owned()));
            }
            size(&data)
        })
        .await?;
        Record::Received.save(directory)?;
        Ok(bytes)
    }

    /// [`firedrill_model::NodeCommand::CloneSend`].
    pub(crate) async fn clone_send(
        &self,
        operation: &OperationId,
        to: Endpoint,
        token: &str,
    ) -> Result<NodeReply, EngineError> {
        let begun = Instant::now();
        let config = &self.config;
        let directory = config.clone_dir(operation);
        tool::end_all(&directory).await?;
        let scratch = directory.join("scratch");
        std::fs::create_dir_all(&scratch).map_err(|problem| EngineError::file("make", &scratch, problem))?;
        let stream = connect(to, token).await?;
        let spawn = Spawn::new(&config.binaries.mariadb_backup)
            .arg(format!("--defaults-file={}", config.config_file.display()))
            .args(["--backup", "--stream=xbstream", "--user=root"])
            .arg(format!("--socket={}", config.socket.display()))
            .arg(format!("--target-dir={}", scratch.display()))
            .arg(format!("--parallel={COPY_THREADS}"))
            .dir(&scratch)
            .stdout(Stream::Fd(duplicate(&stream)?));
        if let Err(error) = Tool::start(tool::SEND, &directory, spawn).await?.finish().await {
            // A reset, not an orderly end: the recipient must not take half a copy for a whole one.
            if let Err(problem) = setsockopt(&stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }) {
                tracing::info!(%problem, "the connection to the recipient could not be reset; it sees an incomplete copy");
            }
            return Err(error);
        }
        let bytes = answer(stream, to).await?;
        Ok(NodeReply::Copied { bytes, took: Span(begun.elapsed()) })
    }
}

/// Waits for the one caller that knows the token; others are sent away.
async fn accept(listener: &TcpListener, token: &str) -> Result<std::net::TcpStream, EngineError> {
    loop {
        let accepted = listener.accept().await;
        let (mut stream, peer) =
            accepted.map_err(|problem| EngineError::Failed(format!("no donor can be accepted: {problem}")))?;
        match tokio::time::timeout(GREET_WITHIN, greeted(&mut stream, token)).await {
            Ok(Ok(true)) => return into_blocking(stream),
            Ok(Ok(false)) => tracing::warn!(%peer, "a caller without the clone's token was sent away"),
            Ok(Err(problem)) => tracing::warn!(%peer, %problem, "a caller left before it said the clone's token"),
            Err(_) => tracing::warn!(%peer, "a caller did not say the clone's token in time"),
        }
    }
}

/// Reads the sender's line byte by byte: what comes after it belongs to the tool.
async fn greeted(stream: &mut TcpStream, token: &str) -> std::io::Result<bool> {
    let expected = format!("{GREETING} {token}");
    let mut line = Vec::new();
    while line.len() < LINE_BYTES_MAX {
        match stream.read_u8().await? {
            b'\n' => return Ok(line == expected.as_bytes()),
            byte => line.push(byte),
        }
    }
    Ok(false)
}

async fn connect(to: Endpoint, token: &str) -> Result<std::net::TcpStream, EngineError> {
    let address = SocketAddr::new(to.address, to.port);
    let attempt = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{GREETING} {token}\n").as_bytes()).await?;
        Ok(stream)
    };
    match tokio::time::timeout(GREET_WITHIN, attempt).await {
        Ok(Ok(stream)) => into_blocking(stream),
        Ok(Err(problem)) => Err(socket_error("reach the recipient at", to, problem)),
        Err(_) => Err(EngineError::TimedOut(format!("the recipient at {to} was not reached within {GREET_WITHIN:?}"))),
    }
}

/// Ends the stream and reads the recipient's line.
async fn answer(stream: std::net::TcpStream, to: Endpoint) -> Result<u64, EngineError> {
    let lost = |problem| socket_error("hear the end of the copy from", to, problem);
    stream.shutdown(std::net::Shutdown::Write).map_err(lost)?;
    let mut line = String::new();
    let mut reader = BufReader::new(into_tokio(stream)?).take(LINE_BYTES_MAX as u64);
    let read = tokio::time::timeout(ANSWER_WITHIN, reader.read_line(&mut line)).await;
    read.map_err(|_| EngineError::TimedOut(format!("{to} has not said within {ANSWER_WITHIN:?} how the copy ended")))?
        .map_err(lost)?;
    let bytes = line.trim().strip_prefix("ok ").and_then(|bytes| bytes.parse().ok());
    bytes.ok_or_else(|| match line.trim() {
        "" => EngineError::Failed(format!("{to} closed the connection and did not confirm the copy")),
        said => EngineError::Failed(format!("{to} did not take the copy: {said}")),
    })
}

/// For a tool's standard stream: blocking, and given up when the other host falls silent.
fn into_blocking(stream: TcpStream) -> Result<std::net::TcpStream, EngineError> {
    let failed =
        |problem: std::io::Error| EngineError::Failed(format!("a clone's connection cannot be set up: {problem}"));
    let stream = stream.into_std().map_err(failed)?;
    stream.set_nonblocking(false).map_err(failed)?;
    setsockopt(&stream, sockopt::TcpUserTimeout, &PEER_SILENT_MS).map_err(|problem| failed(problem.into()))?;
    setsockopt(&stream, sockopt::KeepAlive, &true).map_err(|problem| failed(problem.into()))?;
    setsockopt(&stream, sockopt::TcpKeepIdle, &(PEER_SILENT_MS / 1000)).map_err(|problem| failed(problem.into()))?;
    Ok(stream)
}

fn into_tokio(stream: std::net::TcpStream) -> Result<TcpStream, EngineError> {
    let convert = || -> std::io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    };
    convert().map_err(|problem| EngineError::Failed(format!("a clone's connection cannot be watched: {problem}")))
}

fn duplicate(stream: &std::net::TcpStream) -> Result<OwnedFd, EngineError> {
    let copy =
        stream.try_clone().map_err(|problem| EngineError::Failed(format!("no descriptor for a clone: {problem}")))?;
    Ok(copy.into())
}

fn socket_error(action: &str, at: Endpoint, problem: std::io::Error) -> EngineError {
    EngineError::Failed(format!("cannot {action} {at}: {problem}"))
}

/// Proves to the recipient who the sender is; 128 bits from the kernel.
fn token() -> Result<String, EngineError> {
    use std::fmt::Write as _;
    let source = Path::new("/dev/urandom");
    let mut bytes = [0u8; 16];
    std::fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|problem| EngineError::file("read", source, problem))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    }))
}

async fn empty_side_directory(directory: PathBuf, owner: Option<(u32, u32)>) -> Result<(), EngineError> {
    blocking(move || {
        super::activate::remove(&directory)?;
        let data = directory.join("data");
        std::fs::create_dir_all(&data).map_err(|problem| EngineError::file("make", &data, problem))?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&data, Some(uid), Some(gid))
                .map_err(|problem| EngineError::file("change the owner of", &data, problem))?;
        }
        Record::Receiving.save(&directory)
    })
    .await
}

fn size(directory: &Path) -> Result<u64, EngineError> {
    let failed = |problem| EngineError::file("list", directory, problem);
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let meta = entry.metadata().map_err(failed)?;
        bytes += if meta.is_dir() { size(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}
