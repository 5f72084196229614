//! One server as the commands see it: its sessions, its process, and whose turn it is to change it.

use super::sql::{Session, Sessions, Table};
use super::status;
use crate::config::{InstanceConfig, Login};
use crate::error::EngineError;
use crate::process::{self, ServerProcess, Tail};
use crate::turns::Turns;
use firedrill_host::process::Identity;
use firedrill_model::{GtidPos, GtidState, NodeReply};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// From one look to the next while a condition is waited for that nothing reports.
pub(crate) const POLL_EVERY: Duration = Duration::from_millis(2);

/// How often a starting server is asked whether it answers; a start takes 150 ms and more.
const START_POLL_EVERY: Duration = Duration::from_millis(10);

/// Lines of the error log that are quoted when a server does not start.
const LOG_LINES_QUOTED: usize = 8;

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Arc<InstanceConfig>,
    pub(crate) admin: Sessions,
    pub(crate) process: Arc<ServerProcess>,
    /// The observer's session, which must not be killed with the users' sessions.
    pub(crate) observer_session: Arc<AtomicU32>,
    /// Clones that are being received here.
    pub(super) receiving: super::clone::Receiving,
    /// Held while directories of clones are made, moved or removed.
    pub(super) arranging: Mutex<()>,
    /// Sessions of whoever asks questions of their own.
    pub(super) asking: std::sync::Mutex<Option<(Login, Sessions)>>,
    turns: AtomicU64,
    /// The same for other processes and later lives.
    turns_on_disk: Turns,
    changing: Mutex<()>,
    starting: Arc<Mutex<()>>,
}

/// The right to change a server's role or replication; who waits for an effect checks that nobody took the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn(u64);

/// Where a server stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Received or applied: everything it holds.
    pub received: GtidPos,
    /// Applied.
    pub applied: GtidPos,
    /// The first row of `SHOW ALL SLAVES STATUS`.
    pub replica: Option<Table>,
}

impl Standing {
    pub(crate) fn reply(self) -> NodeReply {
        NodeReply::Position { received: self.received, applied: self.applied }
    }

    pub(crate) fn replica(&self) -> Option<super::sql::TableRow<'_>> {
        self.replica.as_ref().and_then(Table::first)
    }
}

impl Server {
    pub(crate) fn new(config: Arc<InstanceConfig>) -> Self {
        Self {
            admin: Sessions::admin(&config),
            process: Arc::new(ServerProcess::new(Arc::clone(&config))),
            observer_session: Arc::default(),
            receiving: super::clone::Receiving::default(),
            arranging: Mutex::new(()),
            asking: std::sync::Mutex::default(),
            turns: AtomicU64::new(0),
            turns_on_disk: Turns::new(config.turns_file()),
            changing: Mutex::new(()),
            starting: Arc::default(),
            config,
        }
    }

    /// Takes the turn to change this server, from whoever waits for an earlier change to take effect. Held while
    /// statements are sent, not while their effect is waited for.
    pub(crate) async fn change(&self) -> (Turn, MutexGuard<'_, ()>) {
        let guard = self.changing.lock().await;
        self.turns_on_disk.take().await;
        (Turn(self.turns.fetch_add(1, Ordering::SeqCst) + 1), guard)
    }

    /// Takes the turn again after a wait; fails when it has passed to another command.
    pub(crate) async fn resume(&self, turn: Turn, waited_for: &str) -> Result<MutexGuard<'_, ()>, EngineError> {
        let guard = self.changing.lock().await;
        self.still(turn, waited_for).map(|()| guard)
    }

    /// Fails when another command has changed the server since.
    pub(crate) fn still(&self, turn: Turn, waited_for: &str) -> Result<(), EngineError> {
        if self.turns.load(Ordering::SeqCst) == turn.0 {
            return Ok(());
        }
        Err(EngineError::Failed(format!(
            "{}: a newer command changed the server while this one waited for {waited_for}",
            self.config.node
        )))
    }

    /// Where it stands now.
    pub(crate) async fn standing(&self) -> Result<Standing, EngineError> {
        self.standing_on(None).await
    }

    /// As [`Self::standing`], on a session that the caller has.
    pub(crate) async fn standing_on(&self, session: Option<&mut Session>) -> Result<Standing, EngineError> {
        let statements = "SELECT @@gtid_current_pos; SHOW ALL SLAVES STATUS";
        let mut tables = match session {
            Some(session) => session.run(statements).await?,
            None => self.admin.run(statements).await?,
        };
        let replica = (tables.len() > 1).then(|| tables.swap_remove(1)).filter(|table| table.first().is_some());
        let cell = tables.first().and_then(Table::first).and_then(|row| row.at(0));
        let applied: GtidPos = parse(statements, cell)?;
        let received = match replica.as_ref().and_then(Table::first).and_then(|row| row.get("Gtid_IO_Pos")) {
            Some(text) => parse::<GtidPos>(statements, Some(text))?.union(&applied),
            None => applied.clone(),
        };
        Ok(Standing { received, applied, replica })
    }

    /// Starts it when it does not run, and waits until it answers.
    pub(crate) async fn start(&self, tail: Tail) -> Result<NodeReply, EngineError> {
        let identity = self.start_process(tail).await?;
        self.answering(identity).await?;
        let statement = "SELECT @@gtid_binlog_state, @@gtid_current_pos";
        let tables = self.admin.run(statement).await?;
        let row = tables.first().and_then(Table::first);
        let binlog_state: GtidState = parse(statement, row.and_then(|row| row.at(0)))?;
        let position = parse(statement, row.and_then(|row| row.at(1)))?;
        Ok(NodeReply::Started { binlog_state, position })
    }

    /// On a thread of its own, as the volume may hang; at most one such thread, however often it is asked.
    async fn start_process(&self, tail: Tail) -> Result<Identity, EngineError> {
        let turn = Arc::clone(&self.starting).lock_owned().await;
        let process = Arc::clone(&self.process);
        let work = tokio::task::spawn_blocking(move || {
            let _until_done = turn;
            process.start(tail)
        });
        work.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    async fn answering(&self, identity: Identity) -> Result<(), EngineError> {
        let Some(pidfd) = process::watch(identity)? else { return Err(self.ended_at_start("an unknown status").await) };
        let answers = async {
            loop {
                match self.admin.run("SELECT 1").await {
                    Ok(_) => return Ok(()),
                    Err(EngineError::NotConnected { .. }) => tokio::time::sleep(START_POLL_EVERY).await,
                    // 1040 too many connections, 1053 shutting down: it will pass or the process will end.
                    Err(EngineError::Refused { code: 1040 | 1053, .. }) => tokio::time::sleep(START_POLL_EVERY).await,
                    Err(error) => return Err(error),
                }
            }
        };
        tokio::select! {
            answer = answers => answer,
            exit = pidfd.exited() => Err(self.ended_at_start(&exit?.to_string()).await),
        }
    }

    async fn ended_at_start(&self, exit: &str) -> EngineError {
        let log = log_tail(&self.config.error_log, LOG_LINES_QUOTED).join(" | ");
        EngineError::EndedAtStart { data_dir: self.config.data_dir.clone(), exit: exit.to_owned(), log }
    }

    /// Makes sure that the process is gone.
    pub(crate) async fn fence(&self) -> Result<NodeReply, EngineError> {
        let killed = self.process.fence().await?;
        self.admin.forget();
        Ok(NodeReply::Fenced { killed })
    }
}

/// Reads a cell of an answer.
pub(crate) fn parse<T: std::str::FromStr>(statement: &str, cell: Option<&str>) -> Result<T, EngineError> {
    cell.and_then(|text| text.parse().ok()).ok_or_else(|| EngineError::Answer {
        statement: statement.to_owned(),
        message: format!("{cell:?} is not of the expected form"),
    })
}

/// The last lines of a log; a log that cannot be read says so in its place.
pub(crate) fn log_tail(path: &std::path::Path, lines: usize) -> Vec<String> {
    /// A line of a server's log is rarely longer than 256 bytes.
    const LINE_BYTES: u64 = 512;
    let read = || -> std::io::Result<String> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(lines as u64 * LINE_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(lines as u64 * LINE_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].iter().map(|&line| line.to_owned()).collect()
        }
        Err(problem) => vec![format!("({} cannot be read: {problem})", path.display())],
    }
}

/// The state of a replica's receiver in one word and its last error, for messages.
pub(crate) fn describe(standing: &Standing) -> String {
    let Some(row) = standing.replica() else { return "no replication is set up".to_owned() };
    let thread = |state: &str, number: &str, message: &str| match status::problem(row, number, message) {
        Some(error) => format!("{} ({error})", row.get(state).unwrap_or("?")),
        None => row.get(state).unwrap_or("?").to_owned(),
    };
    format!(
        "receiver {}, applier {}",
        thread("Slave_IO_Running", "Last_IO_Errno", "Last_IO_Error"),
        thread("Slave_SQL_Running", "Last_SQL_Errno", "Last_SQL_Error")
    )
}
