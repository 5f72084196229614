//! A whole table locked.

use super::held::{self, Ground, Hold, Work};
use super::kept_waiting;
use super::table::{Place, TableName};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{EngineError, Session};
use schemars::JsonSchema;
use serde::Deserialize;

/// A whole table is locked, as by `LOCK TABLES` of a backup or of a tool: the sessions that want it pile up, until there
/// is no room for connections. By default it is a table made for the attack, which shows that everything works and hurts
/// nobody; name a table of the application to hurt it. On a replica the applier waits like everybody else.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableLock {
    /// The table, with InnoDB as its engine; by default one of the attack's own.
    #[serde(default)]
    table: Option<TableName>,
    /// Who has to wait: with `write` everybody, with `read` only those who change something.
    #[serde(default)]
    lock: Mode,
}

/// How a table is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Write,
    Read,
}

impl Parameters for TableLock {
    fn check(&self) -> Result<(), String> {
        self.table.as_ref().map_or(Ok(()), TableName::check)
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "table-lock",
    summary: "A table is locked: who wants it waits.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<TableLock>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: |asked| held::preflight(asked, |wanted: TableLock| (Some(Place::of(wanted.table.clone())), wanted)),
    undo: held::undo,
    verify_undone: held::verify_undone,
};

impl TableLock {
    const fn mode(&self) -> &'static str {
        match self.lock {
            Mode::Write => "WRITE",
            Mode::Read => "READ",
        }
    }
}

impl Hold for TableLock {
    fn describe(&self, ground: &Ground) -> String {
        let place = ground.place.as_ref().map(Place::describe).unwrap_or_default();
        format!("LOCK TABLES … {} on {place} in a session with a lease of {:?}", self.mode(), held::LEASE)
    }

    fn sessions(&self) -> u32 {
        1
    }

    fn check<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<Option<String>, EngineError>> {
        match self.lock {
            Mode::Write => Box::pin(held::may_write_lock(session)),
            Mode::Read => Box::pin(async { Ok(None) }),
        }
    }

    fn take<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Work, EngineError>> {
        Box::pin(async move {
            let mut session = ground.session(0).await?;
            if self.lock == Mode::Write {
                held::say_write_locked(&mut session).await?;
            }
            session.run(&format!("LOCK TABLES {} {}", ground.table(), self.mode())).await?;
            Ok(held::keep(vec![session]))
        })
    }

    fn measure<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let table = ground.table();
            let (wanted, statement) = match self.lock {
                Mode::Write => ("to read the table", format!("SELECT 1 FROM {table} LIMIT 1")),
                Mode::Read => ("the table for a change", format!("LOCK TABLES {table} WRITE")),
            };
            kept_waiting(&ground.admin, wanted, &statement).await
        })
    }
}
