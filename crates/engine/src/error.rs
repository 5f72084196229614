//! What can go wrong with a database server, and as what class of failure the keeper hears of it.

use firedrill_host::HostError;
use firedrill_model::command::{CommandFailure, FailureKind};
use std::path::{Path, PathBuf};

/// An operation on a database server or its files failed. The text names the object; the cause is the
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Programs that are needed were not found.
    #[error(
        "{programs} not found in PATH, /usr/sbin or /usr/bin; install the packages mariadb-server and mariadb-backup"
    )]
    NotInstalled {
        /// Which, separated by commas.
        programs: String,
    },
    /// A file or directory could not be used.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A program could not be run, or said no.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The server refused a statement.
    #[error("the server answered {code} to `{statement}`: {message}")]
    Refused {
        /// MariaDB's error number.
        code: u16,
        /// The statement, shortened, passwords left out.
        statement: String,
        /// The server's text.
        message: String,
    },
    /// The server could not be reached, or the connection broke.
    #[error("no connection to the server at {at}: {message}")]
    NotConnected {
        /// Its unix socket, or its address.
        at: String,
        /// The client's text.
        message: String,
    },
    /// The server gave an answer that is not understood.
    #[error("the server's answer to `{statement}` is not understood: {message}")]
    Answer {
        /// The statement, shortened.
        statement: String,
        /// What is wrong with it.
        message: String,
    },
    /// The server ended while it was starting.
    #[error("the server of {data_dir} ended with {exit} while it was starting; its log says: {log}")]
    EndedAtStart {
        /// Whose.
        data_dir: PathBuf,
        /// How it ended.
        exit: String,
        /// The last lines of its error log.
        log: String,
    },
    /// The replica cannot go on from where it stands.
    #[error("{node} cannot replicate from {source_endpoint}: {error}; it must be cloned anew")]
    Diverged {
        /// Which replica.
        node: String,
        /// From whom.
        source_endpoint: String,
        /// The replica's error, number in front.
        error: String,
    },
    /// The request makes no sense in the present state.
    #[error("{0}")]
    Invalid(String),
    /// Something did not come to be within its bound.
    #[error("{0}")]
    TimedOut(String),
    /// Anything else that was found wrong.
    #[error("{0}")]
    Failed(String),
}

impl EngineError {
    pub(crate) fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }

    /// The message with its causes appended, for a single line of text.
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

    fn kind(&self) -> FailureKind {
        match self {
            Self::NotConnected { .. } => FailureKind::NotAnswering,
            Self::Diverged { .. } => FailureKind::Diverged,
            Self::Invalid(_) => FailureKind::Invalid,
            Self::TimedOut(_) | Self::Host(HostError::TimedOut { .. }) => FailureKind::TimedOut,
            _ => FailureKind::Failed,
        }
    }
}

impl From<EngineError> for CommandFailure {
    fn from(error: EngineError) -> Self {
        Self { kind: error.kind(), message: error.full() }
    }
}
