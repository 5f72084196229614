//! Who a process is: its id together with the moment it started, so that a reused id is never mistaken for it.

use super::Pidfd;
use crate::HostError;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A process beyond doubt within one boot: ids are reused, an id with a start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// Start, in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_time: u64,
}

impl Identity {
    /// The process that has this id now.
    pub fn of(pid: u32) -> Result<Self, HostError> {
        let stat = Stat::read(pid)?;
        Ok(Self { pid, start_time: stat.start_time })
    }

    /// This very process.
    pub fn current() -> Result<Self, HostError> {
        Self::of(std::process::id())
    }

    /// Whether it still runs (or is stopped); a zombie is not alive.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.state().is_some_and(|state| !matches!(state, State::Zombie | State::Dead))
    }

    /// Its state; `None` when it is gone, also when another process has its id.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        Stat::read(self.pid).ok().filter(|stat| stat.start_time == self.start_time).map(|stat| stat.state)
    }

    /// A handle on it; `None` when it is gone. The identity is checked after the handle was taken, so the handle
    /// cannot be on a successor with the same id.
    pub fn open(&self) -> Result<Option<Pidfd>, HostError> {
        let handle = match Pidfd::open(self.pid) {
            Err(HostError::NoProcess { .. }) => return Ok(None),
            other => other?,
        };
        Ok(self.alive().then_some(handle))
    }

    /// Writes it to a file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), HostError> {
        let draft = path.with_extension("tmp");
        std::fs::write(&draft, format!("{} {}\n", self.pid, self.start_time))
            .and_then(|()| std::fs::rename(&draft, path))
            .map_err(|problem| HostError::at("write", path, problem))
    }

    /// Reads it back; `None` when there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>, HostError> {
        let text = match std::fs::read_to_string(path) {
            Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|problem| HostError::at("read", path, problem))?,
        };
        let mut words = text.split_whitespace().map(str::parse::<u64>);
        match (words.next(), words.next()) {
            (Some(Ok(pid)), Some(Ok(start_time))) if u32::try_from(pid).is_ok() =>
            {
                #[allow(clippy::cast_possible_truncation, reason = "checked by the guard")]
                Ok(Some(Self { pid: pid as u32, start_time }))
            }
            _ => Err(HostError::Format { path: path.to_owned(), text }),
        }
    }
}

/// What a process or thread is doing, as the kernel says it in one letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// `R`: on a processor or ready.
    Running,
    /// `S`: waiting, can be interrupted.
    Sleeping,
    /// `D`: waiting for a device, cannot be interrupted.
    DiskSleep,
    /// `T`: stopped by a signal.
    Stopped,
    /// `t`: held by a debugger.
    Traced,
    /// `Z`: ended, not yet collected by its parent.
    Zombie,
    /// `X`: ended.
    Dead,
    /// `I` and others that only kernel threads have.
    Other(char),
}

impl From<char> for State {
    fn from(letter: char) -> Self {
        match letter {
            'R' => Self::Running,
            'S' => Self::Sleeping,
            'D' => Self::DiskSleep,
            'T' => Self::Stopped,
            't' => Self::Traced,
            'Z' => Self::Zombie,
            'X' | 'x' => Self::Dead,
            other => Self::Other(other),
        }
    }
}

/// The state of the process with this id; `None` when there is none.
#[must_use]
pub fn state(pid: u32) -> Option<State> {
    Stat::read(pid).ok().map(|stat| stat.state)
}

/// The states of all threads of a process. Threads that end meanwhile are left out.
pub fn thread_states(pid: u32) -> Result<Vec<State>, HostError> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let entries = std::fs::read_dir(&tasks).map_err(|problem| gone_or("list", pid, &tasks, problem))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| Stat::parse_file(&entry.path().join("stat")).ok())
        .map(|s| s.state)
        .collect())
}

struct Stat {
    state: State,
    start_time: u64,
}

impl Stat {
    fn read(pid: u32) -> Result<Self, HostError> {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        Self::parse_file(&path).map_err(|problem| match problem {
            HostError::System { source, .. } => gone_or("read", pid, &path, source),
            other => other,
        })
    }

    fn parse_file(path: &Path) -> Result<Self, HostError> {
        let text = std::fs::read_to_string(path).map_err(|problem| HostError::at("read", path, problem))?;
        Self::parse(&text).ok_or_else(|| HostError::Format { path: path.to_owned(), text })
    }

    /// The command (field 2) may hold blanks and parentheses, so fields are counted from its last `)`:
    /// field 3 is the state, field 22 the start time.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let state = State::from(fields.next()?.chars().next()?);
        let start_time = fields.nth(18)?.parse().ok()?;
        Some(Self { state, start_time })
    }
}

/// `ENOENT` before and `ESRCH` after opening a file of `/proc/<pid>` both mean that the process is gone.
fn gone_or(action: &'static str, pid: u32, path: &Path, problem: std::io::Error) -> HostError {
    match problem.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => HostError::NoProcess { pid },
        _ => HostError::at(action, path, problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_and_parentheses_is_read() {
        let text = "42 (a) b) (c) T 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 1 2 3";
        let stat = Stat::parse(text).expect("reads");
        assert_eq!((stat.state, stat.start_time), (State::Stopped, 777));
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        let me = Identity::current().expect("exists");
        assert!(me.alive());
        assert!(!Identity { start_time: me.start_time + 1, ..me }.alive());
        assert!(Identity { start_time: me.start_time + 1, ..me }.open().expect("no error").is_none());
        assert!(thread_states(me.pid).expect("exists").len() >= 2, "a test runs beside the main thread");
    }

    #[test]
    fn an_identity_is_kept_in_a_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("x.pid");
        assert_eq!(Identity::load(&path).expect("no file is no error"), None);
        let me = Identity::current().expect("exists");
        me.save(&path).expect("writes");
        assert_eq!(Identity::load(&path).expect("reads"), Some(me));
        std::fs::write(&path, "12").expect("writes");
        assert!(matches!(Identity::load(&path), Err(HostError::Format { .. })));
    }
}
