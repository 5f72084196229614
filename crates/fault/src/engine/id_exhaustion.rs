//! An id column at its end.

use super::owned::{self, Setting};
use super::table::TableName;
use super::{PROBE, cell, connect, number};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{Admin, EngineError, Session};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server's numbers for an id that cannot be given: out of range, and no next value.
const NO_ID: [u16; 4] = [167, 1264, 1467, 1062];

/// The id column of a table (`AUTO_INCREMENT`) is at its end: each insert that wants a new id fails. Rows that are there
/// are not touched, and as no id is given out, the counter can be put back to where it was. Only the server that is
/// attacked changes its counter: aim at the primary.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdExhaustion {
    /// The table, with InnoDB as its engine.
    table: TableName,
}

impl Parameters for IdExhaustion {
    const PULSES: bool = false;

    fn check(&self) -> Result<(), String> {
        self.table.check()
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "id-exhaustion",
    summary: "A table has no ids left for new rows.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<IdExhaustion>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: owned::preflight::<Counter>,
    undo: owned::undo::<Counter>,
    verify_undone: owned::verify_undone::<Counter>,
};

/// The counter as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Counter {
    table: TableName,
    column: String,
    /// The next id.
    next: u64,
    /// What the counter is set to: the first value that does not fit.
    end: u64,
}

impl Setting for Counter {
    type Wanted = IdExhaustion;

    fn look(wanted: IdExhaustion, session: &mut Session) -> Pending<'_, Result<Result<Self, String>, EngineError>> {
        Box::pin(async move {
            let (table, name) = (wanted.table.condition(), String::from(wanted.table.clone()));
            let query = format!(
                "SELECT COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS WHERE {table} AND EXTRA LIKE '%auto_increment%'"
            );
            let tables = session.run(&query).await?;
            let Some(row) = tables.first().and_then(firedrill_engine::Table::first) else {
                return Ok(Err(format!("there is no table {name} with an AUTO_INCREMENT column")));
            };
            let (column, form) = (row.at(0).unwrap_or_default().to_owned(), row.at(1).unwrap_or_default().to_owned());
            let Some(most) = most(&form) else {
                return Ok(Err(format!("the column {column} of {name} is of type {form}, whose end is not known")));
            };
            let engine = format!("SELECT ENGINE FROM information_schema.TABLES WHERE {table}");
            if cell(&session.run(&engine).await?) != Some("InnoDB") {
                return Ok(Err(format!("{name} is not of InnoDB")));
            }
            let next =
                number(session, &format!("SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE {table}")).await?;
            let end = most.saturating_add(1);
            if next >= end {
                return Ok(Err(format!("{name} has no ids left already")));
            }
            Ok(Ok(Self { table: wanted.table, column, next, end }))
        })
    }

    fn describe(&self) -> String {
        format!("ALTER TABLE {} AUTO_INCREMENT={}", String::from(self.table.clone()), self.end)
    }

    fn change<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move { self.set(session, self.end).await })
    }

    fn measure<'a>(&'a self, admin: &'a Admin) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let mut session = connect(admin).await?;
            let insert = format!("INSERT INTO {} () VALUES ()", self.table.quoted());
            let tried = session.run(&format!("{PROBE}; START TRANSACTION; {insert}; ROLLBACK")).await;
            let count = number(&mut session, &self.counter()).await?;
            let counted = format!("the next id of {} is {count}, and the last that fits {}", self.column, self.end - 1);
            Ok(match tried {
                Err(EngineError::Refused { code, message, .. }) if NO_ID.contains(&code) => {
                    Effect::Seen(format!("an insert was refused: {code} {message}"))
                }
                Ok(_) => Effect::NotSeen(format!("an insert got an id, and was taken back; {counted}")),
                // Columns without a default are looked at first.
                Err(_) if count >= self.end => Effect::Seen(counted),
                Err(_) => Effect::NotSeen(counted),
            })
        })
    }

    fn restore<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move {
            if number(session, &self.counter()).await.is_ok_and(|count| count >= self.end) {
                self.set(session, self.next).await?;
            }
            Ok(())
        })
    }

    fn restored<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<Result<String, String>, EngineError>> {
        Box::pin(async move {
            let tables = session.run(&self.counter()).await?;
            Ok(match cell(&tables).and_then(|text| text.parse::<u64>().ok()) {
                None => Ok("the table was dropped since".to_owned()),
                Some(count) if count >= self.end => Err("there are still no ids left".to_owned()),
                Some(count) => Ok(format!("the next id is {count} again")),
            })
        })
    }

    /// It is part of the data, whoever commands the server.
    fn is_the_keepers() -> bool {
        false
    }

    fn outlives_the_server() -> bool {
        true
    }
}

impl Counter {
    fn counter(&self) -> String {
        format!("SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE {}", self.table.condition())
    }

    /// InnoDB itself sees to it that the next id is above all that are there.
    async fn set(&self, session: &mut Session, next: u64) -> Result<(), EngineError> {
        let quoted = self.table.quoted();
        let statement = format!("ALTER TABLE {quoted} AUTO_INCREMENT={next}, ALGORITHM=INPLACE, LOCK=NONE");
        session.run(&format!("SET SESSION sql_log_bin=0, lock_wait_timeout=5; {statement}")).await.map(drop)
    }
}

/// The last id of a column type. `BIGINT` has no value beyond its last that could be asked for.
fn most(column_type: &str) -> Option<u64> {
    let lower = column_type.to_ascii_lowercase();
    let name = lower.split(['(', ' ']).next().unwrap_or_default();
    let bits = match name {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" => 32,
        "bigint" => 64,
        _ => return None,
    };
    let signed = u32::from(!lower.contains("unsigned"));
    Some(u64::MAX >> (64 - (bits - signed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_id_is_that_of_the_type() {
        assert_eq!(most("tinyint(4)"), Some(127));
        assert_eq!(most("int(10) unsigned"), Some(4_294_967_295));
        assert_eq!(most("BIGINT(20)"), Some(9_223_372_036_854_775_807));
        assert_eq!(most("bigint(20) unsigned"), Some(u64::MAX));
        assert_eq!(most("double"), None);
    }
}
