//! A transaction that stays open.

use super::held::{self, Ground, Hold, Work};
use super::table::Place;
use super::{cell, connect, number};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::EngineError;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const LISTED_WITHIN: Duration = Duration::from_secs(2);
/// The server makes its list of transactions anew only when nobody has looked at it for 0.1 s.
const LOOK_EVERY: Duration = Duration::from_millis(120);

/// A transaction stays open. With a read view (the default) the server must keep every version of every row that is
/// changed meanwhile, of all tables: its history grows, and reads of much-changed rows become slow. Without one it keeps
/// an uncommitted change of a table of its own, as a client that forgot to commit does. No row of the application is
/// locked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LongTransaction {
    /// Whether it keeps a view of all data as it was when the attack began.
    #[serde(default = "yes")]
    read_view: bool,
}

const fn yes() -> bool {
    true
}

impl Parameters for LongTransaction {}

pub(crate) static KIND: Kind = Kind {
    name: "long-transaction",
    summary: "A transaction stays open, with an old view of all data.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<LongTransaction>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: |asked| {
        let make = |wanted: LongTransaction| (Some(Place::Own), Transaction { read_view: wanted.read_view, id: None });
        held::preflight(asked, make)
    },
    undo: held::undo,
    verify_undone: held::verify_undone,
};

struct Transaction {
    read_view: bool,
    /// The session that holds it.
    id: Option<u32>,
}

impl Hold for Transaction {
    fn describe(&self, _ground: &Ground) -> String {
        let what = if self.read_view { "with a read view" } else { "with a change that is not committed" };
        format!("an open transaction {what}, with a lease of {:?}", held::LEASE)
    }

    fn sessions(&self) -> u32 {
        1
    }

    fn take<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Work, EngineError>> {
        Box::pin(async move {
            let mut session = ground.session(0).await?;
            if self.read_view {
                session.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
                session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
            } else {
                session.run(&format!("START TRANSACTION; UPDATE {} SET value=1 WHERE id=1", ground.table())).await?;
            }
            self.id = Some(session.id());
            Ok(held::keep(vec![session]))
        })
    }

    fn measure<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let mut probe = connect(&ground.admin).await?;
            let id = self.id.unwrap_or_default();
            let query = format!(
                "SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id={id} AND trx_state='RUNNING'"
            );
            let began = Instant::now();
            while number(&mut probe, &query).await? == 0 {
                if began.elapsed() > LISTED_WITHIN {
                    return Ok(Effect::NotSeen(format!("the server lists no open transaction of session {id}")));
                }
                sleep(LOOK_EVERY).await;
            }
            let tables = probe.run("SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'").await?;
            let row = tables.first().and_then(firedrill_engine::Table::first);
            let history = row.and_then(|row| row.at(1)).unwrap_or("?").to_owned();
            if self.read_view {
                return Ok(Effect::Seen(format!(
                    "the server lists the transaction of session {id} as open; its history has {history} entries, and can \
                     only grow"
                )));
            }
            let table = ground.table();
            let dirty = "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED";
            let uncommitted = probe.run(&format!("{dirty}; SELECT value FROM {table} WHERE id=1")).await?;
            let clean = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
            let committed = probe.run(&format!("{clean}; SELECT value FROM {table} WHERE id=1")).await?;
            match (cell(&uncommitted), cell(&committed)) {
                (Some("1"), Some("0")) => Ok(Effect::Seen(format!(
                    "the transaction of session {id} is open, and its change is not committed: others read 0 and not 1"
                ))),
                other => Ok(Effect::NotSeen(format!("the change of session {id} is not there uncommitted: {other:?}"))),
            }
        })
    }
}
