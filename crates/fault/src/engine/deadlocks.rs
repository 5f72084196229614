//! Deadlocks, again and again.

use super::held::{self, Ground, Hold, Work};
use super::table::Place;
use super::{connect, number};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{EngineError, Session};
use firedrill_model::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The server's number for the transaction that a deadlock was ended with.
const DEADLOCK: u16 = 1213;
/// More pairs than this only wait for each other at the server.
const PAIRS_MAX: u32 = 16;
/// Each takes four round trips; a single pair reaches some thousands.
const PER_SECOND_MAX: u32 = 1000;
/// Over so long the rate is measured.
const MEASURED_OVER: Duration = Duration::from_secs(1);

const COUNTED: &str =
    "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='Innodb_deadlocks'";

/// Pairs of transactions lock two rows in opposite order, again and again: the server finds deadlocks, ends one
/// transaction of each with error 1213 and, where it is set up so, fills its log with them. The rows are those of a table
/// made for the attack, so that only the load and the alarms are felt by others.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deadlocks {
    /// Deadlocks per second, of all pairs together; 1 to 1000. Pairs that are in each other's way may reach less.
    #[serde(default = "ten")]
    per_second: u32,
    /// How many pairs of sessions; 1 to 16.
    #[serde(default = "one")]
    pairs: u32,
}

const fn ten() -> u32 {
    10
}

const fn one() -> u32 {
    1
}

impl Parameters for Deadlocks {
    fn check(&self) -> Result<(), String> {
        if !(1..=PER_SECOND_MAX).contains(&self.per_second) {
            return Err(format!("{} deadlocks per second are not between 1 and {PER_SECOND_MAX}", self.per_second));
        }
        if !(1..=PAIRS_MAX).contains(&self.pairs) {
            return Err(format!("{} pairs are not between 1 and {PAIRS_MAX}", self.pairs));
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "deadlock-storm",
    summary: "Transactions run into deadlocks, again and again.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<Deadlocks>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: |asked| held::preflight(asked, |wanted: Deadlocks| (Some(Place::Own), wanted)),
    undo: held::undo,
    verify_undone: held::verify_undone,
};

impl Hold for Deadlocks {
    fn describe(&self, _ground: &Ground) -> String {
        let lease = held::LEASE;
        format!("{} pairs of transactions that lock two rows in opposite order, with a lease of {lease:?}", self.pairs)
    }

    fn sessions(&self) -> u32 {
        2 * self.pairs
    }

    fn take<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Work, EngineError>> {
        Box::pin(async move {
            let every = Duration::from_secs(1) * self.pairs / self.per_second;
            let mut all = Vec::new();
            let mut admin = connect(&ground.admin).await?;
            for pair in 0..self.pairs {
                // Rows of its own.
                let (one, two) = (i64::from(2 * pair + 1), i64::from(2 * pair + 2));
                let table = ground.table();
                let rows = format!("REPLACE INTO {table} VALUES ({one}, 0), ({two}, 0)");
                admin.run(&format!("SET SESSION sql_log_bin=0; {rows}")).await?;
                let (first, second) = (ground.session(2 * pair).await?, ground.session(2 * pair + 1).await?);
                all.push(pair_of(first, second, table, (one, two), every));
            }
            Ok(Box::pin(async move { futures_util::future::select_all(all).await.0 }) as Work)
        })
    }

    fn measure<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let mut session = connect(&ground.admin).await?;
            let before = number(&mut session, COUNTED).await?;
            let began = Instant::now();
            sleep(MEASURED_OVER).await;
            let count = number(&mut session, COUNTED).await?.saturating_sub(before);
            let (over, asked) = (Span(began.elapsed()), self.per_second);
            let seen = format!("asked for {asked} deadlocks per second, the server counted {count} within {over}");
            Ok(if count > 0 { Effect::Seen(seen) } else { Effect::NotSeen(seen) })
        })
    }
}

/// One pair, for ever.
fn pair_of(mut first: Session, mut second: Session, table: String, rows: (i64, i64), every: Duration) -> Work {
    let lock = move |row: i64| format!("SELECT value FROM {table} WHERE id={row} FOR UPDATE");
    Box::pin(async move {
        let (one, two) = (lock(rows.0), lock(rows.1));
        loop {
            let began = Instant::now();
            let crossed = async {
                first.run(&format!("START TRANSACTION; {one}")).await?;
                second.run(&format!("START TRANSACTION; {two}")).await?;
                let (ahead, behind) = tokio::join!(first.run(&two), second.run(&one));
                for end in [ahead, behind] {
                    match end {
                        Ok(_) | Err(EngineError::Refused { code: DEADLOCK, .. }) => {}
                        Err(problem) => return Err(problem),
                    }
                }
                first.run("ROLLBACK").await?;
                second.run("ROLLBACK").await.map(drop)
            };
            if let Err(problem) = crossed.await {
                return format!("a session of the storm was ended: {}", problem.full());
            }
            sleep(every.saturating_sub(began.elapsed())).await;
        }
    })
}
