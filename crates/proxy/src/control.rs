//! How the gateway is told where to go: JSON, one value per line, over a unix socket that only its owner may open.
//!
//! A connection carries requests and replies in strict turn. A request that was sent is carried out even when its
//! connection breaks before the answer; asking again is always safe, because every request is idempotent.

use firedrill_model::command::{FailureKind, Route};
use firedrill_model::{ClusterName, CommandFailure, Endpoint, Generation, Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// How long [`Client`] waits for an answer. A switch takes well under 100 ms even with thousands of sessions; a gateway
/// that needs longer than this is stopped or gone.
pub const REPLY_WITHIN: Duration = Duration::from_secs(5);

/// Longest line that either side accepts. A status is below 2 KiB.
pub const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What can be asked of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum Request {
    /// Go there. Answered with [`Reply::Routed`] when no session to anywhere else exists any more and the route is in
    /// force.
    SetRoute {
        /// Whose gateway the sender takes this for.
        cluster: ClusterName,
        /// The sender's authority.
        generation: Generation,
        /// Where to.
        route: Route,
    },
    /// How do you do. Answered with [`Reply::Status`].
    Status,
}

/// What a gateway answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum Reply {
    /// The route is in force.
    Routed(Routed),
    /// The present state.
    Status(Box<Status>),
    /// Nothing was changed.
    Refused(Refusal),
}

/// The outcome of a route change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routed {
    /// The route before.
    pub previous: Route,
    /// Sessions that were cut; zero when the route was in force already.
    pub sessions_cut: u64,
    /// From the request's arrival until the new route was in force.
    pub took: Span,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Refusal {
    /// A newer authority has spoken before.
    #[error(
        "the gateway of {cluster} follows generation {known} and refused the older {offered}: another server has taken over"
    )]
    Stale {
        /// Whose gateway.
        cluster: ClusterName,
        /// The newest it has seen.
        known: Generation,
        /// What was offered.
        offered: Generation,
    },
    /// The sender talks to the wrong gateway.
    #[error("this is the gateway of {actual}, not of {asked}: check which control socket is used")]
    Cluster {
        /// Whose gateway it is.
        actual: ClusterName,
        /// Whose gateway the sender wanted.
        asked: ClusterName,
    },
    /// The line was not a request.
    #[error("the gateway did not understand the request: {problem}")]
    Malformed {
        /// What was wrong with it.
        problem: String,
    },
    /// An event loop of the gateway is gone; the process ends and must be started again.
    #[error(
        "the gateway of {cluster} is shutting down and did not change its route: start it again and repeat the request"
    )]
    Ending {
        /// Whose gateway.
        cluster: ClusterName,
    },
}

/// What a gateway says of itself. Counters count from the start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whose gateway.
    pub cluster: ClusterName,
    /// Its process id.
    pub pid: u32,
    /// Where it takes connections.
    pub listen: Endpoint,
    /// The newest authority it has seen, restarts included.
    pub generation: Generation,
    /// Where it sends connections.
    pub route: Route,
    /// Connections of clients that are open now, those held included.
    pub sessions: u64,
    /// Of those, how many wait for a primary.
    pub held: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections turned away with an error packet, by reason.
    pub refused: Refused,
    /// Sessions cut by route changes.
    pub cut: u64,
    /// Attempts to connect to a primary that failed.
    pub connect_failures: u64,
    /// Bytes taken from clients.
    pub bytes_from_clients: u64,
    /// Bytes taken from primaries.
    pub bytes_from_primary: u64,
    /// The last change of route.
    pub last_switch: Option<Switch>,
    /// Something that works but should be looked at, e.g. the state file cannot be written.
    pub problem: Option<String>,
}

/// Connections turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refused {
    /// As many connections as allowed were held already.
    pub too_many_held: u64,
    /// As many sessions as allowed were open already.
    pub too_many_sessions: u64,
    /// No primary could be reached within the hold time.
    pub hold_expired: u64,
}

/// One change of route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// When it was in force.
    pub at: Timestamp,
    /// How long it took from the request.
    pub took: Span,
    /// Sessions cut.
    pub sessions_cut: u64,
}

/// Why a gateway could not be told or asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there.
    #[error("no gateway answers at {path} ({source}): is it running? The agent of the gateway host starts it")]
    Connect {
        /// The control socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection broke; whether the request was carried out is unknown, and it is safe to repeat.
    #[error("the gateway at {path} broke off the control connection ({source}); repeat the request")]
    Broken {
        /// The control socket.
        path: PathBuf,
        /// What was seen.
        source: io::Error,
    },
    /// No answer in time; whether the request was carried out is unknown, and it is safe to repeat.
    #[error("the gateway at {path} did not answer within {}; is its process stopped?", Span(REPLY_WITHIN))]
    Silent {
        /// The control socket.
        path: PathBuf,
    },
    /// The answer makes no sense here: gateway and agent are of different versions.
    #[error("the gateway at {path} gave an answer that does not fit: {problem}; are agent and gateway of one version?")]
    Unexpected {
        /// The control socket.
        path: PathBuf,
        /// What was wrong with it.
        problem: String,
    },
    /// It said no; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<ControlError> for CommandFailure {
    fn from(error: ControlError) -> Self {
        let kind = match &error {
            ControlError::Refused(Refusal::Stale { .. }) => FailureKind::Stale,
            ControlError::Refused(Refusal::Cluster { .. } | Refusal::Malformed { .. }) => FailureKind::Invalid,
            ControlError::Silent { .. } => FailureKind::TimedOut,
            ControlError::Connect { .. } => FailureKind::NotAnswering,
            ControlError::Broken { .. } | ControlError::Unexpected { .. } | ControlError::Refused(_) => {
                FailureKind::Failed
            }
        };
        Self { kind, message: error.to_string() }
    }
}

/// A connection to a gateway's control socket.
///
/// It connects again by itself when the gateway was restarted. A call may be cancelled (dropped) at any point: the
/// connection is then given up, so that a late answer cannot be taken for the answer to the next request.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

impl Client {
    /// Connects to the control socket at `path`.
    ///
    /// # Errors
    /// [`ControlError::Connect`] when nobody listens there.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ControlError> {
        let path = path.as_ref().to_owned();
        let stream = Some(open(&path).await?);
        Ok(Self { path, stream })
    }

    /// Sets the route. When this returns `Ok`, every session to anywhere else has been cut and `route` is in force.
    ///
    /// # Errors
    /// [`ControlError::Refused`]: nothing was changed. Any other: it may or may not have been carried out; repeat it.
    pub async fn set_route(
        &mut self,
        cluster: &ClusterName,
        generation: Generation,
        route: &Route,
    ) -> Result<Routed, ControlError> {
        let request = Request::SetRoute { cluster: cluster.clone(), generation, route: route.clone() };
        match self.ask(&request).await? {
            Reply::Routed(routed) => Ok(routed),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Asks how the gateway does.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn status(&mut self) -> Result<Status, ControlError> {
        match self.ask(&Request::Status).await? {
            Reply::Status(status) => Ok(*status),
            other => Err(self.unexpected(&other)),
        }
    }

    fn unexpected(&self, reply: &Reply) -> ControlError {
        ControlError::Unexpected { path: self.path.clone(), problem: format!("{reply:?}") }
    }

    /// One request and its reply. A kept connection may have died with an earlier gateway process: then, and only
    /// then, the request is sent once more over a new one.
    async fn ask(&mut self, request: &Request) -> Result<Reply, ControlError> {
        let within = tokio::time::timeout(REPLY_WITHIN, async {
            if let Some(stream) = self.stream.take()
                && let Ok(answered) = exchange(stream, request).await
            {
                return Ok(answered);
            }
            let stream = open(&self.path).await?;
            exchange(stream, request).await.map_err(|source| ControlError::Broken { path: self.path.clone(), source })
        });
        let silent = || ControlError::Silent { path: self.path.clone() };
        let (stream, line) = within.await.map_err(|_elapsed| silent())??;
        self.stream = Some(stream);
        match serde_json::from_str(&line) {
            Ok(Reply::Refused(refusal)) => Err(refusal.into()),
            Ok(reply) => Ok(reply),
            Err(problem) => {
                Err(ControlError::Unexpected { path: self.path.clone(), problem: format!("{problem} in {line:?}") })
            }
        }
    }
}

async fn open(path: &Path) -> Result<BufReader<UnixStream>, ControlError> {
    let connected = UnixStream::connect(path).await;
    connected.map(BufReader::new).map_err(|source| ControlError::Connect { path: path.to_owned(), source })
}

async fn exchange(mut stream: BufReader<UnixStream>, request: &Request) -> io::Result<(BufReader<UnixStream>, String)> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut reply = String::new();
    (&mut stream).take(LINE_BYTES_MAX).read_line(&mut reply).await?;
    if !reply.ends_with('\n') {
        let problem = format!("the reply ended after {} bytes without a line end", reply.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
    }
    Ok((stream, reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_is_one_flat_object_per_line() {
        let request = Request::SetRoute {
            cluster: "shop".parse().expect("a name"),
            generation: Generation(7),
            route: Route::Hold,
        };
        let text = serde_json::to_string(&request).expect("serialises");
        assert_eq!(text, r#"{"request":"set_route","cluster":"shop","generation":7,"route":{"to":"hold"}}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).expect("reads back"), request);
    }

    #[test]
    fn a_stale_refusal_stays_stale_for_the_keeper() {
        let cluster: ClusterName = "shop".parse().expect("a name");
        let refusal = Refusal::Stale { cluster, known: Generation(9), offered: Generation(8) };
        let failure = CommandFailure::from(ControlError::from(refusal));
        assert_eq!(failure.kind, FailureKind::Stale);
        assert!(failure.message.contains("g9") && failure.message.contains("g8"), "{}", failure.message);
    }
}
