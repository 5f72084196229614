//! Control groups: a named set of processes that can be ended as one, whatever they forked.

use crate::HostError;
use crate::process::{Pidfd, Signal};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the end of killed processes is looked for: they take about a millisecond each.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Deepest nesting below a group that is walked when it is ended: container runtimes use 3.
const DEPTH_MAX: usize = 8;

/// A group below the host's cgroup mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    dir: PathBuf,
}

/// The mount that groups are made in: version 2 where there is one (`/sys/fs/cgroup`, or `unified` on hybrid systems),
/// otherwise version 1's `pids`. `None` when no cgroups are mounted.
#[must_use]
pub fn mount() -> Option<PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/systemd"]
        .iter()
        .map(PathBuf::from)
        .find(|candidate| candidate.join("cgroup.procs").exists())
}

/// The mount of version 2 alone, which is the only one that packets know; `None` when there is none.
#[must_use]
pub fn mount_of_version_2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    // `id parent major:minor root mount-point options … - type source super-options`
    let place = |line: &str| {
        let (first, second) = line.split_once(" - ")?;
        second.starts_with("cgroup2 ").then(|| first.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts.lines().find_map(place)
}

impl Cgroup {
    /// The group of this path below the mount (`firedrill/default/east-1`), made with its parents when missing.
    pub fn create(name: &str) -> Result<Self, HostError> {
        let group = Self::at(name)?;
        fs::create_dir_all(&group.dir).map_err(|problem| HostError::at("create the cgroup", &group.dir, problem))?;
        Ok(group)
    }

    /// The group of this path, whether or not it exists.
    pub fn at(name: &str) -> Result<Self, HostError> {
        let mount = mount().ok_or_else(|| {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            HostError::at("find a cgroup mount at", Path::new("/sys/fs/cgroup"), missing)
        })?;
        Ok(Self { dir: mount.join(name) })
    }

    pub(crate) const fn of_dir(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Its directory, for [`crate::process::Spawn::cgroup`].
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dir.exists()
    }

    /// Moves a process into it.
    pub fn add(&self, pid: u32) -> Result<(), HostError> {
        let procs = self.dir.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).map_err(|problem| match problem.raw_os_error() {
            Some(libc::ESRCH) => HostError::NoProcess { pid },
            _ => HostError::at("move a process into", &procs, problem),
        })
    }

    /// Ids of the processes in it and below it. A group that is gone has none.
    pub fn processes(&self) -> Result<Vec<u32>, HostError> {
        let mut found = Vec::new();
        for dir in self.tree()? {
            found.extend(read_processes(&dir)?);
        }
        Ok(found)
    }

    /// Ends (SIGKILL) every process in it and below it and waits until they are gone. No process is no error.
    pub async fn kill_all(&self, within: Duration) -> Result<(), HostError> {
        let deadline = Instant::now() + within;
        loop {
            let left = self.processes()?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!("killing {} processes of {} (first: {})", left.len(), self.dir.display(), left[0]);
                return Err(HostError::TimedOut { what, within });
            }
            self.kill_once(&left)?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Removes it and the groups below it; processes inside are an error (`EBUSY`), a group that is gone is not.
    pub fn remove(&self) -> Result<(), HostError> {
        for dir in self.tree()?.iter().rev() {
            match fs::remove_dir(dir) {
                Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
                    return Err(HostError::at("remove the cgroup", dir, problem));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `cgroup.kill` (version 2, Linux 5.14) cannot miss a process that forks meanwhile; without it each is signalled,
    /// and the caller looks again.
    fn kill_once(&self, left: &[u32]) -> Result<(), HostError> {
        let kill = self.dir.join("cgroup.kill");
        if kill.exists() {
            return match fs::write(&kill, "1") {
                Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
                    Err(HostError::at("write", &kill, problem))
                }
                _ => Ok(()),
            };
        }
        for pid in left {
            match Pidfd::open(*pid).and_then(|process| process.signal(Signal::SIGKILL)) {
                Ok(()) | Err(HostError::NoProcess { .. }) => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok(())
    }

    /// The group and all below it, parents first.
    fn tree(&self) -> Result<Vec<PathBuf>, HostError> {
        let mut all = Vec::new();
        let mut level = vec![self.dir.clone()];
        for _ in 0..DEPTH_MAX {
            let mut next = Vec::new();
            for dir in level {
                let entries = match fs::read_dir(&dir) {
                    Err(problem) if problem.kind() == io::ErrorKind::NotFound => continue,
                    other => other.map_err(|problem| HostError::at("list", &dir, problem))?,
                };
                next.extend(entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
                all.push(dir);
            }
            level = next;
        }
        Ok(all)
    }
}

fn read_processes(dir: &Path) -> Result<Vec<u32>, HostError> {
    let procs = dir.join("cgroup.procs");
    match fs::read_to_string(&procs) {
        // ENODEV: the group was removed between open and read.
        Err(problem) if matches!(problem.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(Vec::new()),
        other => {
            let text = other.map_err(|problem| HostError::at("read", &procs, problem))?;
            Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
        }
    }
}
