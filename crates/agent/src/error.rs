//! Why an agent cannot go on. Everything else (a lost link, a dead gateway) it survives.

use firedrill_model::HostName;
use std::path::PathBuf;

/// Why the agent ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration file cannot be used.
    #[error("the agent's configuration {path}: {problem}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The server does not give this host a certificate.
    #[error(
        "the server at {server} does not enrol host {host}: {reason}. Nothing was changed. Make a new token for this \
         host (`firedrill host token {host}`), put it into the agent's configuration and start the agent again"
    )]
    EnrolmentRefused {
        /// This host.
        host: HostName,
        /// The server asked.
        server: String,
        /// What it said.
        reason: String,
    },
    /// What answers at the server's address is not our server.
    #[error(
        "host {host} does not trust what answers at {server}: {reason}. No token or data was sent. Check the address, \
         and that authority_sha256 in the agent's configuration is the one that came with the token; after the \
         server's authority was replaced, remove {identity} and enrol again"
    )]
    ServerNotTrusted {
        /// This host.
        host: HostName,
        /// The address.
        server: String,
        /// What the certificate check said.
        reason: String,
        /// Where this agent keeps its certificate.
        identity: PathBuf,
    },
    /// The server does not accept this agent's certificate or version.
    #[error(
        "the server at {server} refuses the agent of host {host}: {reason}. If its certificate is the cause, remove \
         {identity} and enrol again with a new token (`firedrill host token {host}`)"
    )]
    Refused {
        /// This host.
        host: HostName,
        /// The server.
        server: String,
        /// What it said.
        reason: String,
        /// Where this agent keeps its certificate.
        identity: PathBuf,
    },
    /// This agent was away for longer than its certificate is good.
    #[error(
        "S131: the certificate of host {host} has expired by the clock of the server at {server}: the agent could not \
         renew it, because it was not connected for days. Its faults are taken out. Make a token (`firedrill host token \
         {host}`), put it into the agent's configuration, remove {identity}, and start the agent again"
    )]
    CertificateExpired {
        /// This host.
        host: HostName,
        /// The server.
        server: String,
        /// Where this agent keeps its certificate.
        identity: PathBuf,
    },
    /// There is neither a certificate nor a token.
    #[error(
        "host {host} has no certificate in {identity} and no token to ask for one. Make a token (`firedrill host \
         token {host}`) and put token and authority_sha256 into the agent's configuration"
    )]
    NotEnrolled {
        /// This host.
        host: HostName,
        /// Where the certificate would be.
        identity: PathBuf,
    },
    /// The agent's own files cannot be read or written.
    #[error("cannot {action} {path}")]
    Storage {
        /// `read`, `write` ….
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A part of the agent could not be set up.
    #[error("the agent's {part} cannot be set up: {problem}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What was seen.
        problem: String,
    },
}

impl AgentError {
    /// A failed access to one of the agent's own files, for `map_err`.
    pub(crate) fn storage(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Storage { action, path, source }
    }
}
