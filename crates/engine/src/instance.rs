//! One database server on this host: the door to everything else in this crate.

use crate::admin::Admin;
use crate::config::{InstanceConfig, Login};
use crate::error::EngineError;
use crate::mariadb::Server;
use crate::mariadb::observer::Observer;
use crate::process::Tail;
use firedrill_host::process::Identity;
use firedrill_model::command::FailureKind;
use firedrill_model::{CommandFailure, NodeCommand, NodeObservation, NodeReply, Span};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The share of a command's time in which a wait inside it ends with a report of what it saw; past the whole of it the
/// command is cut off with nothing but "timed out".
const WAIT_SHARE: f64 = 0.9;

/// One database server and its data directory. Cheap to clone; all clones are the same instance.
#[derive(Debug, Clone)]
pub struct Instance {
    server: Arc<Server>,
    observer: Arc<Observer>,
}

impl Instance {
    /// Takes a server in hand, whether it runs or not. Touches nothing.
    #[must_use]
    pub fn new(config: InstanceConfig) -> Self {
        let config = Arc::new(config);
        let server = Arc::new(Server::new(Arc::clone(&config)));
        let observer = Observer::new(config, Arc::clone(&server.process), Arc::clone(&server.observer_session));
        Self { server, observer: Arc::new(observer) }
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &InstanceConfig {
        &self.server.config
    }

    /// The server process that runs now, by what is cheap to read; `None` when there is none.
    #[must_use]
    pub fn process(&self) -> Option<Identity> {
        self.server.process.find()
    }

    /// The way to the running server for faults; `None` when there is none.
    #[must_use]
    pub fn admin(&self) -> Option<Admin> {
        self.process().map(|process| Admin::new(&self.server.config, process))
    }

    /// One look at the server. Takes about a millisecond, and never more than a fifth of a second, whatever the state
    /// of the server.
    pub async fn observe(&self) -> NodeObservation {
        self.observer.observe().await
    }

    /// Resolves with the process id when the running server process has ended, within a millisecond. When none runs,
    /// one is waited for first. Cancel-safe; call it again for the next process.
    pub async fn exited(&self) -> u32 {
        self.server.process.exited().await
    }

    /// Puts a question to the server as somebody, over the unix socket: one statement that reads. Gives the first value
    /// of its first row, `None` for NULL. Nothing waits for its turn behind it.
    ///
    /// # Errors
    /// The server does not answer within that time, refuses, or has no row for an answer.
    pub async fn ask(
        &self,
        login: Login,
        database: &str,
        query: &str,
        within: Duration,
    ) -> Result<Option<String>, EngineError> {
        self.server.ask(login, database, query, within).await
    }

    /// Does what a command says and answers as documented there.
    ///
    /// # Errors
    /// As classed by [`FailureKind`]. A command that was cut off by `within` may have had its effect; asking again is
    /// safe.
    pub async fn carry_out(&self, command: NodeCommand, within: Span) -> Result<NodeReply, CommandFailure> {
        if command.node().is_some_and(|node| *node != self.server.config.node) {
            return Err(invalid(format!("this is node {}, the command is for another", self.server.config.node)));
        }
        let name = name_of(&command);
        match tokio::time::timeout(within.duration(), self.dispatch(command, within)).await {
            Ok(answer) => answer.map_err(CommandFailure::from),
            Err(_) => Err(CommandFailure {
                kind: FailureKind::TimedOut,
                message: format!("{}: no end of {name} within {within}", self.server.config.node),
            }),
        }
    }

    async fn dispatch(&self, command: NodeCommand, within: Span) -> Result<NodeReply, EngineError> {
        let server = &self.server;
        let deadline = Instant::now() + within.duration().mul_f64(WAIT_SHARE);
        match command {
            NodeCommand::Fence { .. } => server.fence().await,
            NodeCommand::StopReceiving { .. } => server.stop_receiving().await,
            NodeCommand::Drain { until, .. } => server.drain(&until, deadline).await,
            NodeCommand::CatchUp { source, until, .. } => server.catch_up(source, &until, deadline).await,
            NodeCommand::Open { semi_sync, .. } => server.open(semi_sync).await,
            NodeCommand::CloseWrites { .. } => server.close_writes(deadline).await,
            NodeCommand::ReopenWrites { .. } => server.reopen_writes().await,
            NodeCommand::Follow { source, acker, .. } => server.follow(source, acker, deadline).await,
            NodeCommand::SetAcker { on, .. } => server.set_acker(on, deadline).await,
            NodeCommand::Start { .. } => server.start(Tail::Dropped).await,
            NodeCommand::Recover { .. } => server.start(Tail::Kept).await,
            NodeCommand::AwaitPosition { until, .. } => server.await_position(&until, deadline).await,
            NodeCommand::Capture { operation, .. } => server.capture(&operation).await,
            NodeCommand::ListTransactions { ranges, .. } => server.list_transactions(&ranges).await,
            NodeCommand::Fingerprint { .. } => server.fingerprint().await,
            NodeCommand::CloneReceive { operation, .. } => server.clone_receive(&operation).await,
            NodeCommand::CloneSend { operation, to, token, .. } => server.clone_send(&operation, to, &token).await,
            NodeCommand::ClonePrepare { operation, .. } => server.clone_prepare(&operation).await,
            NodeCommand::CloneActivate { operation, seed, .. } => server.clone_activate(&operation, &seed).await,
            NodeCommand::CloneFinish { operation, .. } => server.clone_finish(&operation).await,
            NodeCommand::CloneAbort { operation, .. } => server.clone_abort(&operation).await,
            other @ NodeCommand::Route { .. } => {
                Err(EngineError::Invalid(format!("a database instance cannot do {}", name_of(&other))))
            }
        }
    }
}

/// The command's name alone: its fields may hold a token.
fn name_of(command: &NodeCommand) -> String {
    format!("{command:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}

fn invalid(message: String) -> CommandFailure {
    CommandFailure { kind: FailureKind::Invalid, message }
}
