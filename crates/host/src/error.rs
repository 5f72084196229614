//! What can go wrong on a host, always with the object it happened to.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A host operation failed. The text names the object; the kernel's answer is the [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A system call on a named thing failed.
    #[error("cannot {action} {object}")]
    System {
        /// What was tried, as a verb (`open`, `move a process into`).
        action: &'static str,
        /// On what.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A tool ran and said no.
    #[error("`{command}` ended with {status}: {stderr}")]
    Tool {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// A tool is not installed.
    #[error("{program} is not installed or not in PATH; {remedy}")]
    NotInstalled {
        /// The tool.
        program: String,
        /// What to do.
        remedy: String,
    },
    /// Something did not happen in time; what had been started was stopped.
    #[error("{what} did not end within {within:?}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        within: Duration,
    },
    /// There is no such process (any more).
    #[error("process {pid} does not exist")]
    NoProcess {
        /// Its id.
        pid: u32,
    },
    /// There is no such user on this system.
    #[error("the system has no user {name:?}; create it or install the package that does")]
    NoUser {
        /// The name.
        name: String,
    },
    /// No container of that name runs here.
    #[error(
        "there is no running container {name:?} on this host; {}",
        if running.is_empty() { "none runs".to_owned() } else { format!("these run: {running}") }
    )]
    NoContainer {
        /// What was looked for.
        name: String,
        /// Those that run, for people.
        running: String,
    },
    /// A name, or the beginning of an id, fits several containers.
    #[error("{name:?} can mean several containers: {candidates}; give more of the id")]
    SeveralContainers {
        /// What was looked for.
        name: String,
        /// What it can mean, for people.
        candidates: String,
    },
    /// A kernel file did not have the expected form.
    #[error("{path} reads {text:?}, which is not understood")]
    Format {
        /// The file.
        path: PathBuf,
        /// What it said.
        text: String,
    },
}

impl HostError {
    pub(crate) fn system(action: &'static str, object: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { action, object: object.into(), source: source.into() }
    }

    pub(crate) fn at(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::system(action, path.display().to_string(), source)
    }

    /// The kernel's error number, when it was the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The message with the kernel's answer appended, for a single line of text.
    #[must_use]
    pub fn full(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}
