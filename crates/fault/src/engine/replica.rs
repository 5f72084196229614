//! What a replica says of its replication.

use super::cell;
use firedrill_engine::{EngineError, Session, Table, TableRow, literal};
use serde::{Deserialize, Serialize};

/// The one stream that a replica follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) source: Source,
    pub(super) user: String,
    /// `MASTER_HEARTBEAT_PERIOD`, which every `CHANGE MASTER` without it would change.
    pub(super) heartbeat: String,
    pub(super) receives: bool,
    /// It receives, or tries to.
    pub(super) tries: bool,
    pub(super) applies: bool,
    pub(super) received: String,
    /// Bytes of relay log that are kept.
    pub(super) relay_log_bytes: u64,
    pub(super) receiver_error: Option<String>,
}

/// A replica that keeps up needs milliseconds.
const DRAINED_WITHIN_SECONDS: u32 = 4;

/// From where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    host: String,
    port: String,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The replication of a server; `None` when it is no replica. One with several sources is none that a fault knows.
pub(super) async fn look(session: &mut Session) -> Result<Option<Replica>, EngineError> {
    let statement = "SHOW ALL SLAVES STATUS";
    let tables = session.run(statement).await?;
    let mut rows = tables.iter().flat_map(Table::rows);
    match (rows.next(), rows.next()) {
        (None, _) => Ok(None),
        (Some(row), None) if row.get("Connection_name").unwrap_or_default().is_empty() => Ok(Some(read(row))),
        _ => Err(EngineError::Answer {
            statement: statement.to_owned(),
            message: "several or named replication streams are not supported".to_owned(),
        }),
    }
}

fn read(row: TableRow<'_>) -> Replica {
    let text = |column: &str| row.get(column).unwrap_or_default().to_owned();
    let errno = row.get("Last_IO_Errno").filter(|number| *number != "0");
    Replica {
        source: Source { host: text("Master_Host"), port: text("Master_Port") },
        user: text("Master_User"),
        heartbeat: text("Slave_heartbeat_period"),
        receives: row.get("Slave_IO_Running") == Some("Yes"),
        tries: row.get("Slave_IO_Running").is_some_and(|state| state != "No"),
        applies: row.get("Slave_SQL_Running") == Some("Yes"),
        received: text("Gtid_IO_Pos"),
        relay_log_bytes: text("Relay_Log_Space").parse().unwrap_or_default(),
        receiver_error: errno.map(|number| format!("{number} {}", text("Last_IO_Error"))),
    }
}

/// Waits until everything that was received is applied; the receiver must be stopped.
pub(super) async fn drained(session: &mut Session) -> Result<(), EngineError> {
    let Some(replica) = look(session).await? else { return Ok(()) };
    if replica.received.is_empty() {
        return Ok(());
    }
    let wait = format!("SELECT MASTER_GTID_WAIT({}, {DRAINED_WITHIN_SECONDS})", literal(&replica.received));
    if cell(&session.run(&wait).await?) == Some("0") {
        return Ok(());
    }
    Err(EngineError::TimedOut(format!(
        "what was received up to {} is not applied, and would be dropped; let the applier run",
        replica.received
    )))
}

/// Starts the threads of a replica that are meant and do not run, unless it was given another source since.
pub(super) async fn start_again(
    session: &mut Session,
    source: &Source,
    receiver: bool,
    applier: bool,
) -> Result<(), EngineError> {
    let Some(replica) = look(session).await?.filter(|replica| replica.source == *source) else { return Ok(()) };
    if applier && !replica.applies {
        session.run("START SLAVE SQL_THREAD").await?;
    }
    if receiver && !replica.tries {
        session.run("START SLAVE IO_THREAD").await?;
    }
    Ok(())
}

/// What is seen to run again of them (`Ok`), or that it does not yet.
pub(super) async fn started_again(
    session: &mut Session,
    source: &Source,
    receiver: bool,
    applier: bool,
) -> Result<Result<String, String>, EngineError> {
    let Some(replica) = look(session).await? else {
        return Ok(Ok("it was made something else than a replica since".to_owned()));
    };
    if replica.source != *source {
        return Ok(Ok(format!("it was given another source since, {}", replica.source)));
    }
    if receiver && !replica.tries || applier && !replica.applies {
        return Ok(Err("not running again".to_owned()));
    }
    let unreached = match (receiver, replica.receives, replica.receiver_error) {
        (true, false, Some(error)) => format!(" (the receiver cannot reach its source: {error})"),
        _ => String::new(),
    };
    Ok(Ok(format!("started again{unreached}")))
}
