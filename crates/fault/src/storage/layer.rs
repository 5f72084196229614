//! The layer from outside: mounted, found, asked, unmounted.

use super::control::{Command, Reply, Status};
use firedrill_host::process::{Identity, Spawn, Stream};
use firedrill_host::{HostError, fuse};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// How this program is started so that it calls [`super::run`] with the arguments that are added.
pub type Program = dyn Fn() -> Spawn + Send + Sync;

/// Mounting takes milliseconds.
const UP_WITHIN: Duration = Duration::from_secs(10);
/// Its processes end at once unless files are still open, and then when those are closed.
const DOWN_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A power loss may take its time: operations under way end, processes die, old content is put back.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// What its processes say of themselves.
const LOG: &str = "layer.log";

/// A storage layer. Dropping this changes nothing: it lives until it is unmounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    dir: PathBuf,
    point: PathBuf,
}

impl Layer {
    /// Mounts a layer over a directory; returns when it works. Must be done before the database starts. `dir` is the
    /// layer's own directory, outside of the other. What is left of a layer that lost both its processes is taken off.
    ///
    /// # Errors
    /// Says what is missing: the privilege to mount, the kernel's part, or the directory.
    pub async fn mount(program: &Program, dir: &Path, point: &Path) -> Result<Self, HostError> {
        fuse::available()?;
        take_off_the_dead(point)?;
        let (dir, point) = (make(dir)?, real(point)?);
        if dir.starts_with(&point) || point.starts_with(&dir) {
            let why = io::Error::new(io::ErrorKind::InvalidInput, "one of the two directories is in the other");
            return Err(failed("mount a storage layer over", &point, why));
        }
        let log = dir.join(LOG);
        let guardian = program().arg("guardian").arg(&dir).arg(&point);
        let guardian = guardian.stderr(Stream::Append(log.clone())).dir("/").new_session().spawn()?;
        let layer = Self { dir, point };
        let began = Instant::now();
        loop {
            if layer.mounted()? && layer.status().await.is_ok() {
                return Ok(layer);
            }
            if !guardian.identity().alive() || began.elapsed() > UP_WITHIN {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let last = text.lines().last().unwrap_or("it said nothing").to_owned();
                return Err(failed("mount a storage layer over", &layer.point, io::Error::other(last)));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The layer that is mounted over this directory; `None` when there is none.
    pub fn over(point: &Path) -> Result<Option<Self>, HostError> {
        let mounts = fuse::mounts()?;
        let uppermost = mounts.into_iter().rev().find(|mount| mount.point == point);
        Ok(uppermost.map(|mount| Self { dir: mount.source, point: mount.point }))
    }

    /// The layer that a process has files on; `None` when there is none.
    pub fn used_by(process: Identity) -> Result<Option<Self>, HostError> {
        let mount = fuse::mounts_used_by(process)?.into_iter().next();
        Ok(mount.map(|mount| Self { dir: mount.source, point: mount.point }))
    }

    /// The directory that it is mounted over.
    #[must_use]
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// How it stands.
    pub async fn status(&self) -> Result<Status, HostError> {
        match self.ask(&Command::Status).await? {
            Reply::Status(status) => Ok(*status),
            other => Err(self.misunderstood(&other)),
        }
    }

    /// Takes it off; its processes end. What processes have open of it they keep until they close it.
    pub async fn unmount(&self) -> Result<(), HostError> {
        let processes = self.status().await.ok().map(|status| [status.server, status.guardian]);
        let processes = processes.into_iter().flatten().filter_map(|pid| Identity::of(pid).ok());
        let processes: Vec<Identity> = processes.collect();
        fuse::unmount(&self.point)?;
        let began = Instant::now();
        while processes.iter().any(Identity::alive) && began.elapsed() < DOWN_WITHIN {
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    pub(crate) fn mounted(&self) -> Result<bool, HostError> {
        Ok(fuse::mounts()?.iter().any(|mount| mount.source == self.dir && mount.point == self.point))
    }

    /// Gives a command and waits for the answer.
    pub(crate) async fn ask(&self, command: &Command) -> Result<Reply, HostError> {
        let unreadable = |problem: serde_json::Error| failed("speak with the layer over", &self.point, problem.into());
        let command = serde_json::to_string(command).map_err(unreadable)?;
        serde_json::from_str(&self.ask_raw(&command).await?).map_err(unreadable)
    }

    /// Gives a command as it goes over the control socket, and returns the answer as it comes: for people. A command
    /// that a server died over is given to the next one; all of them may be repeated.
    pub async fn ask_raw(&self, command: &str) -> Result<String, HostError> {
        let conversation = async {
            loop {
                match self.converse(command).await {
                    Err(problem) if is_death(&problem) => sleep(LOOK_EVERY).await,
                    other => return other,
                }
            }
        };
        timeout(ANSWERED_WITHIN, conversation)
            .await
            .map_err(|_| HostError::TimedOut {
                what: format!("the answer of the storage layer over {}", self.point.display()),
                within: ANSWERED_WITHIN,
            })?
            .map_err(|problem| failed("ask the storage layer over", &self.point, problem))
    }

    async fn converse(&self, command: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(self.dir.join("control.sock")).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.trim_end().to_owned())
    }

    /// As [`Layer::ask`], where waiting is bounded and there is no runtime to wait in.
    pub(crate) fn ask_now(&self, command: &Command, within: Duration) -> io::Result<Reply> {
        let mut stream = std::os::unix::net::UnixStream::connect(self.dir.join("control.sock"))?;
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = String::new();
        std::io::BufReader::new(stream).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// To how many operations a rule has applied.
    pub(crate) fn applied(&self, rule: &str, within: Duration) -> io::Result<u64> {
        match self.ask_now(&Command::Status, within)? {
            Reply::Status(status) => Ok(status.rules.iter().find(|one| one.id == rule).map_or(0, |one| one.applied)),
            other => Err(io::Error::other(format!("the storage layer answered {other:?}"))),
        }
    }

    pub(crate) fn misunderstood(&self, reply: &Reply) -> HostError {
        let why = match reply {
            Reply::Failed { why } => why.clone(),
            other => format!("it answered {other:?}"),
        };
        failed("have its way with the storage layer over", &self.point, io::Error::other(why))
    }
}

/// A server was killed while it was spoken to.
fn is_death(problem: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(problem.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// A mount without processes answers nothing any more, and cannot be brought back: nobody has its descriptors.
fn take_off_the_dead(point: &Path) -> Result<(), HostError> {
    /// More than one upon the other there are only when somebody did not look.
    const MOST: usize = 8;
    for _ in 0..MOST {
        let ends = [Some(libc::ENOTCONN), Some(libc::ECONNABORTED)];
        let dead = std::fs::metadata(point).is_err_and(|problem| ends.contains(&problem.raw_os_error()));
        if !dead || Layer::over(point)?.is_none() {
            break;
        }
        tracing::warn!(point = %point.display(), "a storage layer without processes is taken off");
        fuse::unmount(point)?;
    }
    Ok(())
}

fn make(dir: &Path) -> Result<PathBuf, HostError> {
    std::fs::create_dir_all(dir).map_err(|problem| failed("create", dir, problem))?;
    real(dir)
}

fn real(path: &Path) -> Result<PathBuf, HostError> {
    std::fs::canonicalize(path).map_err(|problem| failed("find", path, problem))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> HostError {
    HostError::System { action, object: path.display().to_string(), source }
}
