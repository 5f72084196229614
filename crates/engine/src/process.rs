//! The server process of one instance: found, watched, started, ended.
//!
//! A server is never known by being a child of this agent: the agent may have been killed and started again. It is
//! known by the identity file that was written when it was started here, by the server's own pid file, and at last by
//! what `/proc` says (the program and the working directory, which for a MariaDB server is its data directory).

use crate::config::InstanceConfig;
use crate::error::EngineError;
use firedrill_host::HostError;
use firedrill_host::process::{Identity, Pidfd, Signal, Spawn, State, Stream, state};
use firedrill_model::observation::ProcessState;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How often a server that does not exist is looked for; each look reads two small files.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often a fence looks for one more server of this data directory after it killed one: something that restarts it
/// must be met, but not for ever.
const FENCE_ROUNDS_MAX: u32 = 5;

/// Options that make a server harmless whatever its option file says.
const HARMLESS: [&str; 4] =
    ["--read-only=1", "--skip-slave-start", "--rpl-semi-sync-master-enabled=0", "--rpl-semi-sync-slave-enabled=0"];

/// The mark of a fence is a small file; a volume that takes longer hangs.
const MARKED_WITHIN: Duration = Duration::from_millis(300);

/// What crash recovery does with the tail of the binary log that the storage engine had only prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Drops it: a replica-to-be, as another node has what was acknowledged of it (MDEV-33465). A server before 10.11.9
    /// does not know the option and commits that tail, which the comparison of binary logs then shows.
    Dropped,
    /// Commits it: the primary itself, when nobody has taken over.
    Kept,
}

impl Tail {
    fn option(self) -> &'static str {
        match self {
            Self::Dropped => "--loose-init-rpl-role=SLAVE",
            Self::Kept => "--loose-init-rpl-role=MASTER",
        }
    }
}

/// The server process of one instance.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    config: Arc<InstanceConfig>,
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    current: Option<Identity>,
    ended: Option<u32>,
    /// An end that [`ServerProcess::exited`] has not answered with yet, whoever noticed it.
    untold: Option<u32>,
}

impl ServerProcess {
    pub(crate) fn new(config: Arc<InstanceConfig>) -> Self {
        Self { config, seen: Mutex::default(), changed: Notify::new() }
    }

    /// What the kernel says of it.
    pub(crate) fn state(&self) -> ProcessState {
        let identity = self.find();
        match identity.and_then(|identity| Some((identity.pid, identity.state()?))) {
            Some((pid, state)) => {
                let stopped = matches!(state, State::Stopped | State::Traced) || self.frozen();
                ProcessState::Running { pid, stopped }
            }
            None => self.seen().ended.map_or(ProcessState::Absent, |pid| ProcessState::Exited { pid }),
        }
    }

    /// The running server, by what is cheap to read: the one last seen, the identity file, the pid file.
    pub(crate) fn find(&self) -> Option<Identity> {
        let known = self.seen().current;
        if let Some(identity) = known {
            if identity.alive() {
                return known;
            }
            self.note_end(identity);
        }
        let found = self.by_identity_file().or_else(|| self.by_pid_file());
        if let Some(identity) = found {
            self.note_start(identity);
        }
        found
    }

    /// As [`Self::find`], and when nothing is found, among all processes: a server that was started by a hand that
    /// was killed before it could write the identity down, and has not written its pid file yet.
    pub(crate) fn search(&self) -> Option<Identity> {
        self.find().or_else(|| {
            let identity = processes().find_map(|pid| self.ours(pid))?;
            self.note_start(identity);
            Some(identity)
        })
    }

    /// Waits until the running server has ended, and answers with its process id. One that was seen to run and has
    /// ended since counts, once; when there is none such, waits for one first. Cancel-safe, for one caller at a time.
    pub(crate) async fn exited(&self) -> u32 {
        loop {
            let handle = self.find().and_then(|identity| Some((identity, identity.open().ok()??)));
            // An end between two looks is noticed by whoever looks next: here, or an observation beside this.
            if let Some(pid) = self.seen().untold.take() {
                return pid;
            }
            if let Some((identity, pidfd)) = handle {
                // A handle that cannot be watched is as good as none: look again below.
                if pidfd.exited().await.is_ok() {
                    self.note_end(identity);
                    self.seen().untold = None;
                    return identity.pid;
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Kills it and waits until it is gone. False: none was running.
    pub(crate) async fn fence(&self) -> Result<bool, EngineError> {
        self.mark_fenced().await?;
        let mut killed = false;
        for _ in 0..FENCE_ROUNDS_MAX {
            let Some(identity) = self.search() else { return Ok(killed) };
            killed |= kill(identity).await?;
            self.note_end(identity);
        }
        match self.search() {
            None => Ok(killed),
            Some(identity) => Err(EngineError::Failed(format!(
                "something restarts the server of {} (process {} now, {FENCE_ROUNDS_MAX} were killed); stop that first",
                self.config.data_dir.display(),
                identity.pid
            ))),
        }
    }

    /// Starts it, when it does not run, harmless (read-only, not replicating); does not wait until it answers.
    pub(crate) fn start(&self, tail: Tail) -> Result<Identity, EngineError> {
        self.make_work_dir()?;
        let marker = self.config.fenced_file();
        match std::fs::remove_file(&marker) {
            Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => {
                return Err(EngineError::file("remove", &marker, problem));
            }
            _ => {}
        }
        if let Some(identity) = self.search() {
            return Ok(identity);
        }
        let config = &self.config;
        let mut spawn = Spawn::new(&config.binaries.mariadbd)
            .arg(format!("--defaults-file={}", config.config_file.display()))
            .args(HARMLESS)
            .arg(tail.option())
            .dir("/")
            // The server opens its error log itself; here goes only what it says before that.
            .stderr(Stream::Append(config.work_dir.join("start.log")))
            .new_session();
        if let Some(user) = &config.os_user {
            spawn = spawn.user(user);
        }
        if let Some(cgroup) = &config.cgroup {
            spawn = spawn.cgroup(cgroup);
        }
        let child = spawn.spawn()?;
        let identity = child.identity();
        identity.save(&config.identity_file())?;
        self.note_start(identity);
        Ok(identity)
    }

    /// Leaves the mark of a fence. A volume that hangs must not keep the server alive: after a moment it goes without.
    async fn mark_fenced(&self) -> Result<(), EngineError> {
        let marker = self.config.fenced_file();
        let config = Arc::clone(&self.config);
        let written = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&config.work_dir)?;
            std::fs::write(config.fenced_file(), "")
        });
        match tokio::time::timeout(MARKED_WITHIN, written).await {
            Ok(Ok(Ok(()))) => {}
            // Read-only, full, broken: what is to be killed may be what has such a disk.
            Ok(Ok(Err(problem))) => {
                tracing::warn!(marker = %marker.display(), %problem, "fenced without a mark");
            }
            Ok(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => tracing::warn!(marker = %marker.display(), "fenced without a mark: the volume does not answer"),
        }
        Ok(())
    }

    fn make_work_dir(&self) -> Result<(), EngineError> {
        let dir = &self.config.work_dir;
        std::fs::create_dir_all(dir).map_err(|problem| EngineError::file("make", dir, problem))
    }

    fn by_identity_file(&self) -> Option<Identity> {
        // An unreadable file says as little as none; the server's own pid file is asked next.
        Identity::load(&self.config.identity_file()).ok().flatten().filter(Identity::alive)
    }

    fn by_pid_file(&self) -> Option<Identity> {
        let text = std::fs::read_to_string(&self.config.pid_file).ok()?;
        self.ours(text.trim().parse().ok()?)
    }

    /// The identity of a process when it is a MariaDB server of this data directory.
    fn ours(&self, pid: u32) -> Option<Identity> {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        if !matches!(name.trim(), "mariadbd" | "mysqld") {
            return None;
        }
        let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        let data_dir = std::fs::canonicalize(&self.config.data_dir).ok()?;
        let identity = Identity::of(pid).ok()?;
        (directory == data_dir && identity.alive()).then_some(identity)
    }

    /// A frozen control group stops a process without changing its state letter.
    fn frozen(&self) -> bool {
        let Some(cgroup) = &self.config.cgroup else { return false };
        let reads =
            |file: &str, what: &str| std::fs::read_to_string(cgroup.join(file)).is_ok_and(|text| text.contains(what));
        reads("cgroup.events", "frozen 1") || reads("freezer.state", "FROZEN")
    }

    fn note_start(&self, identity: Identity) {
        self.seen().current = Some(identity);
        self.changed.notify_waiters();
    }

    fn note_end(&self, identity: Identity) {
        let mut seen = self.seen();
        seen.ended = Some(identity.pid);
        if seen.current == Some(identity) {
            seen.current = None;
            seen.untold = Some(identity.pid);
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills a process and waits until it is gone. False: it was gone already.
pub(crate) async fn kill(identity: Identity) -> Result<bool, EngineError> {
    let Some(pidfd) = identity.open()? else { return Ok(false) };
    match pidfd.signal(Signal::SIGKILL) {
        Err(HostError::NoProcess { .. }) => return Ok(false),
        other => other?,
    }
    pidfd.exited().await?;
    Ok(true)
}

/// Kills the process whose identity stands in a file and removes the file. False: there was none.
pub(crate) async fn kill_by_file(path: &Path) -> Result<bool, EngineError> {
    let Some(identity) = Identity::load(path)? else { return Ok(false) };
    let killed = kill(identity).await?;
    match std::fs::remove_file(path) {
        // Who had started it has seen it end and removed the file meanwhile.
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => Ok(killed),
        other => other.map(|()| killed).map_err(|problem| EngineError::file("remove", path, problem)),
    }
}

/// A handle that resolves when the process of this identity has ended.
pub(crate) fn watch(identity: Identity) -> Result<Option<Pidfd>, EngineError> {
    Ok(identity.open()?)
}

fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| state(*pid).is_some_and(|state| !matches!(state, State::Zombie | State::Dead)))
}
