//! Rows locked by a transaction that does not end.

use super::held::{self, Ground, Hold, Work};
use super::kept_waiting;
use super::table::{Place, TableName};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::EngineError;
use schemars::JsonSchema;
use serde::Deserialize;

/// A lock takes about 100 bytes of the server's memory, and each row is read once.
const ROWS_MAX: u32 = 100_000;

/// Rows are locked by a transaction that does not end: who wants to change them waits, for `innodb_lock_wait_timeout`
/// (50 s by default), and then fails with error 1205. Reading goes on. By default the rows are those of a table made for
/// the attack, which shows that everything works and hurts nobody; name a table of the application to hurt it. On a
/// replica the applier waits like everybody else.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowLock {
    /// The table whose rows are locked, with InnoDB as its engine; by default one of the attack's own.
    #[serde(default)]
    table: Option<TableName>,
    /// How many rows, the first that the server finds; 1 to 100,000.
    #[serde(default = "one")]
    rows: u32,
}

const fn one() -> u32 {
    1
}

impl Parameters for RowLock {
    fn check(&self) -> Result<(), String> {
        if !(1..=ROWS_MAX).contains(&self.rows) {
            return Err(format!("{} rows are not between 1 and {ROWS_MAX}", self.rows));
        }
        self.table.as_ref().map_or(Ok(()), TableName::check)
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "row-lock",
    summary: "Rows of a table are locked: who changes them waits.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<RowLock>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: |asked| held::preflight(asked, |wanted: RowLock| (Some(Place::of(wanted.table.clone())), wanted)),
    undo: held::undo,
    verify_undone: held::verify_undone,
};

impl RowLock {
    fn statement(rows: u32, table: &str) -> String {
        format!("SELECT 1 FROM {table} LIMIT {rows} FOR UPDATE")
    }
}

impl Hold for RowLock {
    fn describe(&self, ground: &Ground) -> String {
        let place = ground.place.as_ref().map(Place::describe).unwrap_or_default();
        format!(
            "SELECT … FOR UPDATE on {} rows of {place} in a transaction with a lease of {:?}",
            self.rows,
            held::LEASE
        )
    }

    fn sessions(&self) -> u32 {
        1
    }

    fn take<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Work, EngineError>> {
        Box::pin(async move {
            let mut session = ground.session(0).await?;
            // With this isolation only the rows are locked, not the gaps between them.
            let begin = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION";
            session.run(&format!("{begin}; {}", Self::statement(self.rows, &ground.table()))).await?;
            Ok(held::keep(vec![session]))
        })
    }

    fn measure<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let statement = Self::statement(1, &ground.table());
            kept_waiting(&ground.admin, "one of the rows for a change", &statement).await
        })
    }
}
