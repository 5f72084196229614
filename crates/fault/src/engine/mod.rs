//! Faults inside a database server, through SQL.
//!
//! Three kinds of them, by how they come out:
//! - **Held by sessions** (locks, transactions, load; [`held`]): the server itself ends what a session holds when the
//!   session's process dies, and within [`held::LEASE`] when that process hangs. Each session holds a named lock by
//!   which any process finds it.
//! - **Settings and replication** ([`owned`]): put back only while no command of the keeper has changed the server
//!   since. A node that the keeper has fenced, promoted or given another source is what the keeper wants it to be.
//! - **Data**: the transactions and rows of [`expendable`] faults cannot be taken back, and are refused unless the
//!   cluster is marked expendable.
//!
//! Sessions are the administrator's, for which the server keeps one connection beyond `max_connections`. None of them
//! writes to the binary log unless that is the fault. Tables that a fault needs for itself stand in a schema of their
//! own that goes with it.

pub(crate) mod connections;
pub(crate) mod deadlocks;
pub(crate) mod delay_replication;
pub(crate) mod expendable;
mod held;
pub(crate) mod id_exhaustion;
pub(crate) mod kill_sessions;
pub(crate) mod long_transaction;
pub(crate) mod metadata_lock;
mod owned;
pub(crate) mod read_only;
pub(crate) mod relay_log_purge;
mod replica;
pub(crate) mod row_lock;
pub(crate) mod semi_sync_off;
pub(crate) mod slow_queries;
pub(crate) mod stop_replication;
mod table;
pub(crate) mod table_lock;
pub(crate) mod wrong_credentials;

use crate::kinds::{Asked, Effect, Failure, Refusal};
use firedrill_engine::{Admin, EngineError, Session, Table};
use firedrill_model::Span;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a probe waits for a lock before it counts as kept from it: a thousand times what a free one takes.
const PROBE_WAITS: Duration = Duration::from_millis(250);

/// A probe that was left waiting gives up by itself.
const PROBE: &str = "SET SESSION lock_wait_timeout=1, innodb_lock_wait_timeout=1, sql_log_bin=0";

/// A question that a preflight asks; a healthy server answers within milliseconds.
const ASKED_WITHIN: Duration = Duration::from_secs(5);
/// A change that waits for running statements, commits and replication threads, but not for ever.
const DONE_WITHIN: Duration = Duration::from_secs(15);
/// A measurement, with what it waits for.
const MEASURED_WITHIN: Duration = Duration::from_secs(10);
/// The end of what was held, and the look whether it is gone.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// See [`connect`].
const ROOM_WITHIN: Duration = Duration::from_secs(2);
const ROOM_EVERY: Duration = Duration::from_millis(5);

/// The server's number for a lock that was not granted in time.
const LOCK_WAIT: u16 = 1205;
/// … for a session that does not exist (any more).
const NO_SESSION: u16 = 1094;
/// … for no room for a connection.
const TOO_MANY: u16 = 1040;

/// How all of them work; whether a server answers is seen when one is aimed at it.
#[allow(clippy::unnecessary_wraps, reason = "the form that a kind wants; nothing of the host can be missing")]
fn by_sql() -> Result<String, String> {
    Ok("SQL in a session of the administrator".to_owned())
}

/// A session of the administrator. Of a server without room for more it gets the one place that is kept, which may be
/// taken for a moment by another one of ours.
async fn connect(admin: &Admin) -> Result<Session, EngineError> {
    let began = Instant::now();
    loop {
        match admin.connect().await {
            Err(EngineError::Refused { code: TOO_MANY, .. }) if began.elapsed() < ROOM_WITHIN => {
                sleep(ROOM_EVERY).await;
            }
            other => return other,
        }
    }
}

/// The way to the server that a fault is aimed at, or why there is none.
fn reach(asked: &Asked) -> Result<Admin, Refusal> {
    let kind = &asked.fault.kind;
    let Some(node) = &asked.node else {
        return Err(Refusal(format!("{kind} is done to a database node; aim it at a host that has one")));
    };
    (asked.context.admin)(node)
        .ok_or_else(|| Refusal(format!("no database server of {node} runs on this host; start it before {kind}")))
}

/// The server's refusal of a preflight's question.
fn unanswered(admin: &Admin, problem: &EngineError) -> Refusal {
    Refusal(format!("the database server of {} could not be asked: {}", admin.node, problem.full()))
}

/// A step that failed at the server.
fn failed(action: &'static str, admin: &Admin, problem: &EngineError) -> Failure {
    Failure(format!("cannot {action} the database server of {}: {}", admin.node, problem.full()))
}

/// What a server is asked, with a bound: a server that hangs takes statements and answers none.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => answer,
        Err(_) => Err(EngineError::TimedOut(format!("the server did not answer within {}", Span(limit)))),
    }
}

/// The first cell of an answer.
fn cell(tables: &[Table]) -> Option<&str> {
    tables.last()?.first()?.at(0)
}

/// The first cell of an answer, as a number.
async fn number(session: &mut Session, query: &str) -> Result<u64, EngineError> {
    let tables = session.run(query).await?;
    cell(&tables).and_then(|text| text.parse().ok()).ok_or_else(|| EngineError::Answer {
        statement: query.to_owned(),
        message: format!("{:?} is no number", cell(&tables)),
    })
}

/// Whether a session of nobody in particular is kept waiting by a lock.
async fn kept_waiting(admin: &Admin, wanted: &str, statement: &str) -> Result<Effect, EngineError> {
    let mut probe = connect(admin).await?;
    probe.run(PROBE).await?;
    let began = Instant::now();
    match tokio::time::timeout(PROBE_WAITS, probe.run(statement)).await {
        Err(_) | Ok(Err(EngineError::Refused { code: LOCK_WAIT, .. })) => {
            let waited = Span(began.elapsed());
            Ok(Effect::Seen(format!("a probe that wanted {wanted} had waited for {waited} without getting it")))
        }
        Ok(Ok(_)) => Ok(Effect::NotSeen(format!("a probe got {wanted} after {}", Span(began.elapsed())))),
        Ok(Err(problem)) => Err(problem),
    }
}
