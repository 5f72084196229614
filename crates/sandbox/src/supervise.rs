//! Keeps the server and the agents running: what systemd does on a real host.
//!
//! Each process has a keeper task: it finds the process by what the kernel knows, or starts it; waits for its end by
//! pidfd; starts it again, a little later each time it dies early. Killing the supervisor harms nothing: what it
//! started lives in sessions of its own, and a new supervisor finds it.

use crate::error::SandboxError;
use crate::hold_back;
use crate::layout::{HostLayout, Layout, Profile};
use crate::name::HOME_VARIABLE;
use crate::power;
use crate::running::{self, Kind};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::process::{Pidfd, Spawn, Stream};
use firedrill_host::{HostError, netns};
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How often it is looked whether a process may be started yet.
const WANTED_EVERY: Duration = Duration::from_millis(20);
/// The wait before the second start in a row; doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two starts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A process that lived this long is not in a row with its next start.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// How long to wait before starting a process again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Backoff {
    /// Ends in a row after a short life.
    early_ends: u32,
}

impl Backoff {
    /// The wait after an end, given how long the process had lived. The first restart is immediate: most ends are a
    /// test's or an operator's kill.
    fn ended(&mut self, lived: Duration) -> Duration {
        if lived >= STEADY_AFTER {
            self.early_ends = 0;
        }
        let wait = match self.early_ends {
            0 => Duration::ZERO,
            // 2^10 times the first wait is beyond the longest by far.
            row => (BACKOFF_FIRST * 2_u32.pow((row - 1).min(10))).min(BACKOFF_MAX),
        };
        self.early_ends += 1;
        wait
    }
}

/// One process that is kept running.
#[derive(Debug, Clone)]
struct Kept {
    kind: Kind,
    /// For the log.
    name: String,
    cgroup: String,
    netns: Option<PathBuf>,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    /// Not started before this file is there.
    wanted_by: Option<PathBuf>,
    /// Not started while this file is there.
    held_by: Option<PathBuf>,
}

impl Kept {
    fn server(layout: &Layout) -> Self {
        Self {
            kind: Kind::Server,
            name: "server".to_owned(),
            cgroup: layout.server_cgroup(),
            netns: None,
            program: layout.choices.program.clone(),
            arguments: server_arguments(layout),
            log: layout.log("server"),
            wanted_by: None,
            held_by: None,
        }
    }

    fn agent(layout: &Layout, host: &HostLayout) -> Self {
        Self {
            kind: Kind::Agent,
            name: format!("agent of {}", host.name),
            cgroup: host.cgroup.clone(),
            netns: Some(netns::path(&host.netns)),
            program: layout.choices.program.clone(),
            arguments: vec!["agent".to_owned(), "--config".to_owned(), host.agent_config.display().to_string()],
            log: layout.log(&format!("agent-{}", host.name)),
            wanted_by: Some(host.agent_config.clone()),
            held_by: Some(host.power_switch()),
        }
    }

    /// The running process, found or started now.
    fn find_or_start(&self) -> Result<Pidfd, SandboxError> {
        if let Some(pid) = running::find(self.kind, &self.cgroup)?
            && let Ok(found) = Pidfd::open(pid)
        {
            tracing::info!(process = self.name, pid, "found running");
            return Ok(found);
        }
        let started = self.start().map_err(SandboxError::step(format!("start the {}", self.name)))?;
        tracing::info!(process = self.name, pid = started.pid(), "started");
        Ok(started)
    }

    fn start(&self) -> Result<Pidfd, HostError> {
        let mut spawn = Spawn::new(&self.program)
            .args(&self.arguments)
            .cgroup(Cgroup::create(&self.cgroup)?.dir())
            .stdout(Stream::Append(self.log.clone()))
            .stderr(Stream::Append(self.log.clone()))
            .new_session();
        if let Some(netns) = &self.netns {
            spawn = spawn.netns(netns);
        }
        spawn.spawn()?.pidfd().try_clone()
    }

    async fn keep(self) {
        if let Some(file) = &self.wanted_by {
            while !file.exists() {
                sleep(WANTED_EVERY).await;
            }
        }
        let mut backoff = Backoff::default();
        loop {
            while self.held_by.as_ref().is_some_and(|file| file.exists()) {
                sleep(WANTED_EVERY).await;
            }
            let began = Instant::now();
            match self.find_or_start() {
                Ok(process) => match process.exited().await {
                    Ok(exit) => tracing::warn!(process = self.name, pid = process.pid(), ?exit, "ended"),
                    Err(problem) => tracing::error!(process = self.name, problem = problem.full(), "cannot be watched"),
                },
                Err(problem) => tracing::error!(process = self.name, error = &problem as &dyn std::error::Error),
            }
            sleep(backoff.ended(began.elapsed())).await;
        }
    }
}

/// The command line of the server.
fn server_arguments(layout: &Layout) -> Vec<String> {
    let directory = layout.server_directory().display().to_string();
    let (http, link) = (layout.http().to_string(), layout.link().to_string());
    ["server", "--data-dir", &directory, "--http", &http, "--link", &link].map(str::to_owned).to_vec()
}

/// Starts the supervisor itself, to outlive the caller.
///
/// # Errors
/// [`SandboxError::Step`].
pub(crate) fn start(layout: &Layout) -> Result<(), SandboxError> {
    let failed = || SandboxError::step("start the supervisor");
    let group = Cgroup::create(&layout.supervisor_cgroup()).map_err(failed())?;
    let log = layout.log("supervisor");
    Spawn::new(&layout.choices.program)
        .args(["sandbox", "supervise", "--name", layout.name().as_str()])
        .env(HOME_VARIABLE, &layout.choices.home)
        .cgroup(group.dir())
        .stdout(Stream::Append(log.clone()))
        .stderr(Stream::Append(log))
        .new_session()
        .spawn()
        .map(drop)
        .map_err(failed())
}

/// Makes this process the supervisor: in its control group, however it was started, so that it goes with the sandbox.
///
/// # Errors
/// [`SandboxError::Supervised`] when there is one, [`SandboxError::Step`].
pub(crate) fn take_place(layout: &Layout) -> Result<(), SandboxError> {
    let this = std::process::id();
    if let Some(pid) = running::supervisor(layout)?.filter(|pid| *pid != this) {
        return Err(SandboxError::Supervised { name: layout.name().to_string(), pid });
    }
    Cgroup::create(&layout.supervisor_cgroup())
        .and_then(|group| group.add(this))
        .map_err(SandboxError::step("enter the supervisor's control group"))
}

/// Keeps everything running; does not return before a keeper fails.
///
/// # Errors
/// [`SandboxError::Step`] when replication cannot be held back on an unsafe sandbox.
pub(crate) async fn keep_all(layout: &Layout) -> Result<(), SandboxError> {
    let kept = std::iter::once(Kept::server(layout)).chain(layout.hosts.iter().map(|host| Kept::agent(layout, host)));
    let mut keepers: JoinSet<()> = kept.map(Kept::keep).collect();
    for host in &layout.hosts {
        keepers.spawn(power::watch(layout.clone(), host.clone()));
    }
    if layout.choices.profile == Profile::Unsafe {
        hold_back::begin_when_requested(layout).await?;
    }
    while let Some(ended) = keepers.join_next().await {
        ended.unwrap_or_else(|problem| std::panic::resume_unwind(problem.into_panic()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::choices;

    #[test]
    fn early_deaths_in_a_row_wait_longer_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.ended(Duration::from_millis(1))).collect();
        assert_eq!(waits[..3], [Duration::ZERO, BACKOFF_FIRST, BACKOFF_FIRST * 2]);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(waits.last(), Some(&BACKOFF_MAX));
        assert_eq!(backoff.ended(STEADY_AFTER), Duration::ZERO, "a long life ends the row");
    }

    #[test]
    fn what_is_started_is_what_is_found() {
        let layout = Layout::new(choices("x", Profile::Safe));
        let server = Kept::server(&layout);
        assert_eq!(server.arguments[0], "server");
        let agent = Kept::agent(&layout, &layout.hosts[0]);
        assert_eq!(agent.arguments[0], "agent");
        assert!(agent.netns.is_some() && agent.wanted_by.is_some());
    }
}
