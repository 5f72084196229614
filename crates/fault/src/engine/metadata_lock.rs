//! The definition of a table locked by a forgotten transaction.

use super::held::{self, Ground, Hold, Work};
use super::table::{Place, TableName};
use super::{LOCK_WAIT, connect, kept_waiting, number};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{EngineError, Session, literal};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A statement begins to wait within a millisecond.
const WAITS_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A transaction that has read a table stays open: nobody can change the table's definition. With a change of the
/// definition already waiting (`pending_ddl`), everybody else waits behind it, also who only reads: the way in which an
/// `ALTER TABLE` and one forgotten session stop an application. By default it is a table made for the attack, which shows
/// that everything works and hurts nobody.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetadataLock {
    /// The table, with InnoDB as its engine; by default one of the attack's own.
    #[serde(default)]
    table: Option<TableName>,
    /// Whether a session waits for the table already, as a change of its definition does, so that all others wait too.
    #[serde(default)]
    pending_ddl: bool,
}

impl Parameters for MetadataLock {
    fn check(&self) -> Result<(), String> {
        self.table.as_ref().map_or(Ok(()), TableName::check)
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "metadata-lock",
    summary: "An open transaction keeps a table's definition from being changed.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<MetadataLock>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: |asked| held::preflight(asked, |wanted: MetadataLock| (Some(Place::of(wanted.table.clone())), wanted)),
    undo: held::undo,
    verify_undone: held::verify_undone,
};

impl Hold for MetadataLock {
    fn describe(&self, ground: &Ground) -> String {
        let place = ground.place.as_ref().map(Place::describe).unwrap_or_default();
        let behind = if self.pending_ddl { " and a session that waits behind it" } else { "" };
        format!("an open transaction that has read {place}{behind}, with a lease of {:?}", held::LEASE)
    }

    fn sessions(&self) -> u32 {
        1 + u32::from(self.pending_ddl)
    }

    fn take<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Work, EngineError>> {
        Box::pin(async move {
            let mut session = ground.session(0).await?;
            session.run(&format!("START TRANSACTION; SELECT 1 FROM {} LIMIT 1", ground.table())).await?;
            let keep = held::keep(vec![session]);
            if !self.pending_ddl {
                return Ok(keep);
            }
            let wait = wait_behind(ground.session(1).await?, ground.table());
            let both = async move {
                tokio::select! {
                    why = keep => why,
                    why = wait => why,
                }
            };
            Ok(Box::pin(both) as Work)
        })
    }

    fn measure<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let table = ground.table();
            if !self.pending_ddl {
                let wanted = "the table's definition for itself";
                return kept_waiting(&ground.admin, wanted, &want(&table)).await;
            }
            let mut session = connect(&ground.admin).await?;
            let waiting = format!(
                "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                 WHERE STATE='Waiting for table metadata lock' AND INFO={}",
                literal(&want(&table))
            );
            let begun = async {
                while number(&mut session, &waiting).await? == 0 {
                    sleep(LOOK_EVERY).await;
                }
                Ok::<_, EngineError>(())
            };
            match timeout(WAITS_WITHIN, begun).await {
                Ok(begun) => begun?,
                Err(_) => return Ok(Effect::NotSeen("nobody waits for the table's definition".to_owned())),
            }
            kept_waiting(&ground.admin, "to read the table", &format!("SELECT 1 FROM {table} LIMIT 1")).await
        })
    }
}

/// Wants the table as a change of its definition does, and changes nothing when it gets it.
fn want(table: &str) -> String {
    format!("LOCK TABLES {table} WRITE")
}

/// Waits for the table, again and again, as long as it does not get it.
fn wait_behind(mut session: Session, table: String) -> Work {
    Box::pin(async move {
        loop {
            match session.run(&want(&table)).await {
                Err(EngineError::Refused { code: LOCK_WAIT, .. }) => {}
                Err(problem) => return format!("the session that waits was ended: {}", problem.full()),
                Ok(_) => return "the transaction was ended by somebody else".to_owned(),
            }
        }
    })
}
