//! Semi-synchronous replication lost.

use super::owned::{self, Setting};
use super::{connect, number, replica};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{Admin, EngineError, Session, Table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const ENABLED: &str = "SELECT @@global.rpl_semi_sync_master_enabled";

/// A primary does not wait for its replicas any more, as after a time-out of `rpl_semi_sync_master_timeout`: commits that
/// were waiting are acknowledged at once, and what is acknowledged from now on may be on the primary alone. Nobody gets an
/// error: only a failover shows what is lost. A keeper that watches the cluster switches it on again; what it has
/// commanded since stands.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SemiSyncOff {}

impl Parameters for SemiSyncOff {}

pub(crate) static KIND: Kind = Kind {
    name: "semi-sync-off",
    summary: "A primary acknowledges writes without waiting for a replica.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<SemiSyncOff>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: owned::preflight::<Off>,
    undo: owned::undo::<Off>,
    verify_undone: owned::verify_undone::<Off>,
};

/// It was on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Off {}

impl Setting for Off {
    type Wanted = SemiSyncOff;

    fn look(_wanted: SemiSyncOff, session: &mut Session) -> Pending<'_, Result<Result<Self, String>, EngineError>> {
        Box::pin(async move {
            if replica::look(session).await?.is_some() {
                return Ok(Err("it is a replica; aim at the primary".to_owned()));
            }
            if number(session, ENABLED).await? == 0 {
                return Ok(Err("semi-synchronous replication is off already".to_owned()));
            }
            Ok(Ok(Self {}))
        })
    }

    fn describe(&self) -> String {
        "SET GLOBAL rpl_semi_sync_master_enabled=0".to_owned()
    }

    fn change<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move { session.run("SET GLOBAL rpl_semi_sync_master_enabled=0").await.map(drop) })
    }

    fn measure<'a>(&'a self, admin: &'a Admin) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let mut session = connect(admin).await?;
            let tables = session.run("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_status'").await?;
            let status = tables.first().and_then(Table::first).and_then(|row| row.at(1)).unwrap_or("?").to_owned();
            let seen = format!("Rpl_semi_sync_master_status is {status}: commits wait for no replica");
            Ok(if status == "OFF" {
                Effect::Seen(seen)
            } else {
                Effect::NotSeen(format!("Rpl_semi_sync_master_status is {status}"))
            })
        })
    }

    fn restore<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move {
            // A replica whose own commits wait for ackers would stop applying.
            if replica::look(session).await?.is_none() {
                session.run("SET GLOBAL rpl_semi_sync_master_enabled=1").await?;
            }
            Ok(())
        })
    }

    fn restored<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<Result<String, String>, EngineError>> {
        Box::pin(async move {
            if replica::look(session).await?.is_some() {
                return Ok(Ok("it was made a replica since, which does not wait for others".to_owned()));
            }
            Ok(match number(session, ENABLED).await? {
                0 => Err("rpl_semi_sync_master_enabled is still 0".to_owned()),
                _ => Ok("commits wait for a replica again".to_owned()),
            })
        })
    }
}
