//! The way to a server for those who change it without a command of the keeper: faults. Every process of this host can
//! take it, so it may stand in a record that outlives its writer.

use crate::config::{InstanceConfig, Login, turns_file};
use crate::error::EngineError;
use crate::mariadb::sql::{Session, Sessions, Table};
use crate::turns::{TurnHeld, Turns};
use firedrill_host::process::Identity;
use firedrill_model::NodeName;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Both questions take milliseconds; one that hangs must not keep a person waiting.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Where a server says it is; relative to its data when the option was.
const PID_FILE: &str = "SELECT IF(@@pid_file LIKE '/%', @@pid_file, CONCAT(@@datadir, @@pid_file))";
/// Whose sessions feed replicas.
const REPLICAS: &str =
    "SELECT DISTINCT USER FROM information_schema.PROCESSLIST WHERE COMMAND IN ('Binlog Dump', 'Binlog Dump GTID')";

/// How to reach one running server as its administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// The node.
    pub node: NodeName,
    /// The server process that was meant. When it has ended, no session and no global setting of it is left.
    pub process: Identity,
    /// Users of our own sessions and of replicas.
    pub own_users: Vec<String>,
    socket: PathBuf,
    turns: PathBuf,
    /// Not for a record: it has a password.
    #[serde(skip)]
    unprivileged: Option<Login>,
}

impl Admin {
    pub(crate) fn new(config: &InstanceConfig, process: Identity) -> Self {
        let logins = [Some(&config.replication), config.heartbeat.as_ref()];
        let own = logins.into_iter().flatten().map(|login| login.user.clone());
        Self {
            node: config.node.clone(),
            process,
            own_users: own.chain([Sessions::ADMINISTRATOR.to_owned()]).collect(),
            socket: config.socket.clone(),
            turns: config.turns_file(),
            unprivileged: config.heartbeat.clone(),
        }
    }

    /// The way to whatever server listens at a unix socket of this host, with nothing configured: for a person on the
    /// spot. What must be known of it, it is asked itself.
    ///
    /// # Errors
    /// When nobody listens there, or the caller is not let in as the administrator.
    pub async fn at_socket(node: NodeName, socket: &Path) -> Result<Self, EngineError> {
        let reached = UnixStream::connect(socket).await.and_then(|stream| stream.peer_cred());
        let listener = reached.map_err(|problem| EngineError::file("connect to", socket, problem))?.pid();
        let pid = listener.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
        let asked = timeout(ANSWERED_WITHIN, async {
            let mut session = Sessions::administrator_at(socket).connect().await?;
            Ok::<_, EngineError>((session.run(PID_FILE).await?, session.run(REPLICAS).await?))
        });
        let late = |_| EngineError::TimedOut(format!("the server at {} does not answer", socket.display()));
        let (answer, dumps) = asked.await.map_err(late)??;
        let pid_file = answer.first().and_then(|table| table.first()?.at(0)).map(PathBuf::from).unwrap_or_default();
        let replicas = dumps.first().into_iter().flat_map(Table::rows).filter_map(|row| row.at(0).map(str::to_owned));
        Ok(Self {
            node,
            process: Identity::of(pid)?,
            own_users: replicas.chain([Sessions::ADMINISTRATOR.to_owned()]).collect(),
            socket: socket.to_owned(),
            turns: turns_file(&pid_file),
            unprivileged: None,
        })
    }

    /// A new session as the administrator. One more than `max_connections` is kept for it by the server.
    ///
    /// # Errors
    /// When the server does not greet within two seconds or has no room left.
    pub async fn connect(&self) -> Result<Session, EngineError> {
        Sessions::administrator_at(&self.socket).connect().await
    }

    /// A new session of an account without any administrative right, for measuring what an application meets; `None`
    /// when there is no such account, or in a process that only read of this.
    pub async fn connect_unprivileged(&self) -> Option<Result<Session, EngineError>> {
        let login = self.unprivileged.clone()?;
        Some(Sessions::at(&self.socket, login).connect().await)
    }

    /// How many commands that change it the server had until now.
    #[must_use]
    pub fn turn(&self) -> u64 {
        Turns::new(self.turns.clone()).count()
    }

    /// Keeps commands from changing the server while the answer is held, if none has since that turn; `None` when one
    /// has: then the server's state is the keeper's, and to put anything back would undo the keeper's work. Held for
    /// no longer than it takes to send statements that do not wait.
    pub async fn hold_turn(&self, turn: u64) -> Option<TurnHeld> {
        Turns::new(self.turns.clone()).hold(turn).await
    }
}
