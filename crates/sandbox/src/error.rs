//! Why a sandbox cannot be brought up, looked at or taken down.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Each names the object, what was seen, and the next step.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No sandbox of that name.
    #[error("there is no sandbox {name:?}; bring one up with `firedrill sandbox up --name {name}`")]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
    /// It runs already; it was left alone.
    #[error(
        "sandbox {name:?} is already up; use it as it is, or take it down with `firedrill sandbox down --name {name}` first"
    )]
    AlreadyUp {
        /// Which.
        name: String,
    },
    /// It has a supervisor.
    #[error("sandbox {name:?} has a supervisor already, process {pid}; one is enough")]
    Supervised {
        /// Which sandbox.
        name: String,
        /// The supervisor.
        pid: u32,
    },
    /// Another command holds the lock.
    #[error("another `firedrill sandbox` command is at work on {what}; wait until it has ended, then try again")]
    Busy {
        /// The sandbox, or the list of networks in use.
        what: String,
    },
    /// The machine lacks something; nothing was made.
    #[error("this machine cannot run a sandbox:\n{}", lines(.missing))]
    Preflight {
        /// One sentence each: what is missing, and what to do.
        missing: Vec<String>,
    },
    /// The port that was asked for is taken.
    #[error("port {port} of 127.0.0.1 is already in use; choose another with --http-port, or leave it out")]
    PortInUse {
        /// Which.
        port: u16,
    },
    /// All of some range are taken.
    #[error("no free {what} is left in {range}; take a sandbox down (`firedrill sandbox down --name …`)")]
    NoneFree {
        /// Of what.
        what: &'static str,
        /// Where it was looked for.
        range: String,
    },
    /// A file or directory could not be used.
    #[error("cannot {doing} {}", .path.display())]
    File {
        /// `read`, `write`, …
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// The operating system's word.
        source: std::io::Error,
    },
    /// The stored plan makes no sense.
    #[error("{} is not the plan of a sandbox; `firedrill sandbox down --name {name}` removes what there is", .path.display())]
    Plan {
        /// Which sandbox.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// One thing that had to be made or asked for was refused.
    #[error("cannot {doing}")]
    Step {
        /// What was tried, with the names of what it was tried on.
        doing: String,
        /// What came back.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something that was started did not become ready.
    #[error("{what} was not ready after {} s ({seen}); its log is {}", .after.as_secs(), .log.display())]
    NotReady {
        /// What was waited for.
        what: String,
        /// For how long.
        after: Duration,
        /// What there was instead.
        seen: String,
        /// Where to look.
        log: PathBuf,
    },
    /// Some things would not go away; everything else is gone.
    #[error("sandbox {name:?} is not gone entirely:\n{}\nrepeat `firedrill sandbox down --name {name}`", lines(.left))]
    Left {
        /// Which sandbox.
        name: String,
        /// One sentence each.
        left: Vec<String>,
    },
}

impl SandboxError {
    /// A guard said no and nothing was touched (exit status 4), as opposed to something that broke.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::AlreadyUp { .. } | Self::Busy { .. } | Self::Supervised { .. })
    }

    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }

    pub(crate) fn step<E>(doing: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Step { doing: doing.into(), source: source.into() }
    }
}

fn lines(sentences: &[String]) -> String {
    sentences.iter().map(|sentence| format!("- {sentence}")).collect::<Vec<_>>().join("\n")
}
