//! Load by statements that take long.

use super::held::{self, Ground, Hold, Work};
use super::{connect, number};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{EngineError, Session, literal};
use firedrill_model::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// More than this needs no engine, only processors: the fault `cpu`.
const SESSIONS_MAX: u32 = 256;
const STATEMENT_CHARS_MAX: usize = 4000;
/// A statement goes on when its client has died, so the server ends it: the lease of a running statement. Also a bound on
/// how long an undo takes should a session not be found.
const STATEMENT_SECONDS_MAX: u32 = 2;
/// The server's number for a statement that took longer than allowed.
const TIMED_OUT: u16 = 1969;
/// All statements are running by then.
const RUNNING_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A statement that is over at once must not become a storm of statements.
const PAUSE: Duration = Duration::from_millis(1);

/// By default each statement only reckons, and keeps one processor busy.
const RECKON: &str = "SELECT BENCHMARK(4000000000, SHA2('firedrill', 512))";

/// Sessions run heavy statements, one after the other, without an end: processors, buffer pool and places for running
/// statements are taken from the application. By default the statements only reckon; a statement of one's own may also
/// read much. No statement runs longer than two seconds at a time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlowQueries {
    /// How many sessions; 1 to 256.
    #[serde(default = "four")]
    sessions: u32,
    /// The statement, one `SELECT`; by default one that keeps a processor busy.
    #[serde(default)]
    statement: Option<String>,
}

const fn four() -> u32 {
    4
}

impl Parameters for SlowQueries {
    fn check(&self) -> Result<(), String> {
        if !(1..=SESSIONS_MAX).contains(&self.sessions) {
            return Err(format!("{} sessions are not between 1 and {SESSIONS_MAX}", self.sessions));
        }
        self.statement.as_deref().map_or(Ok(()), check)
    }
}

/// Only what reads: nothing has to be taken back.
fn check(statement: &str) -> Result<(), String> {
    let words: Vec<String> =
        statement.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_ascii_uppercase).collect();
    let barred = ["INTO", "UPDATE", "SHARE", "GET_LOCK", "NEXTVAL", "SETVAL", "NEXT", "PROCEDURE", "RELEASE_ALL_LOCKS"];
    if !statement.trim_start().get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case("select ")) {
        return Err("the statement must be a SELECT".to_owned());
    }
    if statement.contains(';') || statement.contains("/*") || statement.contains('\0') {
        return Err("the statement must be one, without comments".to_owned());
    }
    if statement.chars().count() > STATEMENT_CHARS_MAX {
        return Err(format!("the statement is longer than {STATEMENT_CHARS_MAX} characters"));
    }
    match barred.iter().find(|word| words.iter().any(|found| found == *word)) {
        Some(word) => Err(format!("the statement must only read: {word} is not allowed in it")),
        None => Ok(()),
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "slow-queries",
    summary: "Heavy statements run one after the other.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<SlowQueries>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: |asked| held::preflight(asked, |wanted: SlowQueries| (None, wanted)),
    undo: held::undo,
    verify_undone: held::verify_undone,
};

impl SlowQueries {
    /// The statement with the attack's name in front, by which it is found in the server's list.
    fn marked(&self, ground: &Ground) -> String {
        let statement = self.statement.as_deref().unwrap_or(RECKON);
        format!("/* {} */ {statement}", ground.mark.schema())
    }
}

impl Hold for SlowQueries {
    fn describe(&self, _ground: &Ground) -> String {
        let (sessions, most) = (self.sessions, STATEMENT_SECONDS_MAX);
        format!("{sessions} sessions that run a statement again and again, each time for at most {most} s")
    }

    fn sessions(&self) -> u32 {
        self.sessions
    }

    fn take<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Work, EngineError>> {
        Box::pin(async move {
            let mut all = Vec::new();
            for number in 0..self.sessions {
                let mut session = ground.session(number).await?;
                let limit = format!("SET SESSION max_statement_time={STATEMENT_SECONDS_MAX}");
                session.run(&format!("{limit}; SET SESSION TRANSACTION READ ONLY")).await?;
                all.push(again_and_again(session, self.marked(ground)));
            }
            Ok(Box::pin(async move { futures_util::future::select_all(all).await.0 }) as Work)
        })
    }

    fn measure<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let mut session = connect(&ground.admin).await?;
            let mark = literal(&format!("%{}%", ground.mark.schema()));
            let running = format!(
                "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                 WHERE COMMAND='Query' AND INFO LIKE {mark} AND ID<>CONNECTION_ID()"
            );
            let (began, mut most) = (Instant::now(), 0);
            loop {
                most = most.max(number(&mut session, &running).await?);
                let (asked, took) = (self.sessions, Span(began.elapsed()));
                let seen =
                    format!("asked for {asked} heavy statements at a time, {most} were seen running after {took}");
                if most >= u64::from(asked) {
                    return Ok(Effect::Seen(seen));
                }
                if began.elapsed() > RUNNING_WITHIN {
                    // Statements of one's own may be so short that never all of them run.
                    let some = self.statement.is_some() && most > 0;
                    return Ok(if some { Effect::Seen(seen) } else { Effect::NotSeen(seen) });
                }
                sleep(LOOK_EVERY).await;
            }
        })
    }
}

fn again_and_again(mut session: Session, statement: String) -> Work {
    Box::pin(async move {
        loop {
            match session.run(&statement).await {
                Ok(_) | Err(EngineError::Refused { code: TIMED_OUT, .. }) => sleep(PAUSE).await,
                Err(problem) => return format!("a heavy statement failed: {}", problem.full()),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_only_reads() {
        assert_eq!(check("select count(*) from shop.orders a, shop.orders b"), Ok(()));
        assert!(check("DELETE FROM shop.orders").is_err());
        assert!(check("SELECT 1; DROP TABLE t").is_err());
        assert!(check("SELECT 1 INTO OUTFILE '/tmp/x'").is_err_and(|why| why.contains("INTO")));
        assert!(check("SELECT * FROM t FOR UPDATE").is_err());
        assert!(check("SELECT /*!50000 1 INTO @x */ 2").is_err());
        assert!(check("é").is_err());
    }
}
