//! One writing client: its schedule, its connection, its tokens.

use crate::connection::{connect, pause};
use crate::load::Load;
use crate::outcome;
use crate::schedule::Schedule;
use firedrill_ledger::Token;
use firedrill_ledger::history::Outcome;
use firedrill_model::Gtid;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// Writes until the load is stopped; the operation that is under way then is brought to its end.
pub(crate) async fn write(load: Arc<Load>, writer: u32) {
    let mut schedule = Schedule::new(load.spec.load.writes_per_second, load.spec.load.writers, writer);
    let mut process = load.recorder.process();
    let mut connection = None;
    loop {
        let now = load.recorder.elapsed().saturating_sub(load.began);
        let due = schedule.take(now);
        load.recorder.skip(due.skipped, 0);
        let scheduled = load.began + due.at;
        tokio::select! {
            biased;
            () = load.stop.cancelled() => return,
            () = tokio::time::sleep_until(load.recorder.instant(scheduled)) => {}
        }
        let token = Token { writer, sequence: load.next_sequence(writer) };
        load.recorder.begin_write(process, token);
        let outcome = attempt(&load, &mut connection, token).await;
        let dead = matches!(outcome, Outcome::Unknown { .. });
        load.recorder.end_write(process, outcome, scheduled);
        if dead {
            process = load.recorder.process();
        }
    }
}

/// One write. It is sent at most once: nothing here repeats a statement.
async fn attempt(load: &Load, connection: &mut Option<Conn>, token: Token) -> Outcome {
    let mut conn = match connection.take() {
        Some(conn) => conn,
        None => match connected(load).await {
            Ok(conn) => conn,
            // Nothing was sent, so nothing can have happened.
            Err(reason) => return Outcome::Failed { reason },
        },
    };
    let (outcome, usable) = insert(load, &mut conn, token, Instant::now() + load.timeout()).await;
    if usable {
        *connection = Some(conn);
    }
    outcome
}

/// Connects within one time-out, giving up early when the load ends.
async fn connected(load: &Load) -> Result<Conn, String> {
    let by = Instant::now() + load.timeout();
    loop {
        let problem = match connect(&load.gateway, by).await {
            Ok(conn) => return Ok(conn),
            Err(problem) => problem,
        };
        if load.stop.is_cancelled() || Instant::now() >= by {
            return Err(format!("no connection: {problem}"));
        }
        tokio::time::sleep(pause()).await;
    }
}

/// Sends the write and the question who took it in one round trip; answers whether the connection is fit for more.
async fn insert(load: &Load, conn: &mut Conn, token: Token, by: Instant) -> (Outcome, bool) {
    let statement = format!(
        "INSERT INTO {} (writer, sequence, payload) VALUES ({}, {}, '{}'); SELECT @@server_id, @@last_gtid",
        load.table, token.writer, token.sequence, load.payload
    );
    let mut answer = match timeout_at(by, conn.query_iter(statement)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return (outcome::of_write(&error), false),
        Err(_) => {
            let reason = format!("no answer within {}", load.spec.load.timeout);
            return (Outcome::Unknown { reason }, false);
        }
    };
    // The first OK is here: from now on the write is acknowledged, whatever happens to the question behind it.
    let served = timeout_at(by, async {
        answer.collect::<Row>().await?;
        answer.collect::<(u32, String)>().await
    })
    .await;
    match served {
        Ok(Ok(rows)) => {
            let (server, gtid) = rows
                .into_iter()
                .next()
                .map_or((None, None), |(server, gtid)| (Some(server), gtid.parse::<Gtid>().ok()));
            (Outcome::Written { server, gtid }, true)
        }
        Ok(Err(_)) | Err(_) => (Outcome::Written { server: None, gtid: None }, false),
    }
}
