//! Sessions of the application killed.

use super::held::{self, Ground, Hold, Work};
use super::{NO_SESSION, connect, number};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{EngineError, Session, Table, literal};
use firedrill_model::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// More often than this the killing itself would be the load.
const EVERY_MIN: Duration = Duration::from_millis(10);
const EVERY_MAX: Duration = Duration::from_secs(3600);
/// A killed session is gone within milliseconds, unless it has much to roll back.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The watcher speaks to the server at least this often, for its lease.
const SPEAK_EVERY: Duration = Duration::from_secs(1);

/// What is never killed: replication, the server's own threads, and our sessions.
const SPARED: &str = "COMMAND NOT IN ('Binlog Dump', 'Slave_IO', 'Slave_SQL', 'Slave_worker', 'Daemon') \
     AND USER NOT IN ('system user', 'event_scheduler') AND ID<>CONNECTION_ID()";

/// Sessions of the application are killed in the server: connections break in the middle of a transaction, which is
/// rolled back, and pools have to fill anew. Which ones is told by user, by host, or by both. Replication and the
/// sessions of firedrill are never killed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KillSessions {
    /// The user whose sessions are killed.
    #[serde(default)]
    user: Option<String>,
    /// The host or address from which they come.
    #[serde(default)]
    host: Option<String>,
    /// They are killed again after this long, 10ms to 1h; by default only once.
    #[serde(default)]
    every: Option<Span>,
}

impl Parameters for KillSessions {
    fn check(&self) -> Result<(), String> {
        if self.user.is_none() && self.host.is_none() {
            return Err("say whose sessions: give `user`, `host` or both".to_owned());
        }
        match self.every {
            Some(every) if !(EVERY_MIN..=EVERY_MAX).contains(&every.duration()) => {
                Err(format!("`every` is {every}, which is not between 10ms and 1h"))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "kill-sessions",
    summary: "Sessions of a user or from a host are killed in the server.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<KillSessions>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: |asked| held::preflight(asked, |wanted: KillSessions| (None, Killing { wanted, first: Vec::new() })),
    undo: held::undo,
    verify_undone: held::verify_undone,
};

struct Killing {
    wanted: KillSessions,
    /// The server's numbers of those killed at first.
    first: Vec<u64>,
}

impl Killing {
    fn whose(&self) -> String {
        let user = self.wanted.user.as_ref().map(|user| format!(" of {user}"));
        let host = self.wanted.host.as_ref().map(|host| format!(" from {host}"));
        [user, host].into_iter().flatten().collect()
    }

    fn query(&self, ground: &Ground) -> String {
        let own: Vec<String> = ground.admin.own_users.iter().map(|user| literal(user)).collect();
        let user = self.wanted.user.as_ref().map(|user| format!(" AND USER={}", literal(user)));
        // Over TCP the port stands behind it.
        let host =
            self.wanted.host.as_ref().map(|host| format!(" AND SUBSTRING_INDEX(HOST, ':', 1)={}", literal(host)));
        let which: String = [user, host].into_iter().flatten().collect();
        format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE {SPARED} AND USER NOT IN ({}){which}",
            own.join(", ")
        )
    }
}

impl Hold for Killing {
    fn describe(&self, _ground: &Ground) -> String {
        let again = self.wanted.every.map_or_else(|| "once".to_owned(), |every| format!("every {every}"));
        format!("KILL of the sessions{}, {again}", self.whose())
    }

    fn sessions(&self) -> u32 {
        1
    }

    fn take<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Work, EngineError>> {
        Box::pin(async move {
            let mut session = ground.session(0).await?;
            let query = self.query(ground);
            self.first = kill(&mut session, &query).await?;
            Ok(match self.wanted.every {
                Some(every) => repeat(session, query, every.duration()),
                None => held::keep(vec![session]),
            })
        })
    }

    fn measure<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            if self.first.is_empty() {
                return Ok(Effect::NotSeen(format!("there was no session{} to kill", self.whose())));
            }
            let mut session = connect(&ground.admin).await?;
            let ids: Vec<String> = self.first.iter().map(u64::to_string).collect();
            let left = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID IN ({})", ids.join(", "));
            let began = Instant::now();
            loop {
                let count = number(&mut session, &left).await?;
                let (killed, took) = (ids.len(), Span(began.elapsed()));
                if count == 0 {
                    return Ok(Effect::Seen(format!("{killed} sessions{} were killed, and are gone", self.whose())));
                }
                if began.elapsed() > GONE_WITHIN {
                    return Ok(Effect::NotSeen(format!(
                        "{count} of {killed} killed sessions are still there after {took}"
                    )));
                }
                sleep(LOOK_EVERY).await;
            }
        })
    }
}

async fn kill(session: &mut Session, query: &str) -> Result<Vec<u64>, EngineError> {
    let tables = session.run(query).await?;
    let ids: Vec<u64> = tables.iter().flat_map(Table::rows).filter_map(|row| row.at(0)?.parse().ok()).collect();
    let mut killed = Vec::with_capacity(ids.len());
    for id in ids {
        match session.run(&format!("KILL {id}")).await {
            Ok(_) => killed.push(id),
            // It has ended by itself.
            Err(EngineError::Refused { code: NO_SESSION, .. }) => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(killed)
}

fn repeat(mut session: Session, query: String, every: Duration) -> Work {
    Box::pin(async move {
        let mut next = Instant::now() + every;
        loop {
            sleep(next.saturating_duration_since(Instant::now()).min(SPEAK_EVERY)).await;
            let due = Instant::now() >= next;
            let done =
                if due { kill(&mut session, &query).await.map(drop) } else { session.run("DO 0").await.map(drop) };
            if let Err(problem) = done {
                return format!("sessions cannot be killed any more: {}", problem.full());
            }
            if due {
                next = Instant::now() + every;
            }
        }
    })
}
