//! The relay log of a replica thrown away.

use super::connect;
use super::owned::{self, Setting};
use super::replica::{self, Source};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{Admin, EngineError, Session};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who receives has a session of its own in the server; another number is another life.
const RECEIVER: &str = "SELECT COALESCE(MAX(ID), 0) FROM information_schema.PROCESSLIST WHERE COMMAND='Slave_IO'";

/// A replica throws away what it has received and not applied yet, and asks its source for it again. What it has
/// acknowledged for semi-synchronous replication is among that: until it is received once more, an acknowledged write
/// is on the primary alone. With `active` and `dormant` it happens again and again. Nothing is taken back, but
/// replication is seen to run at the end.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RelayLogPurge {}

impl Parameters for RelayLogPurge {}

pub(crate) static KIND: Kind = Kind {
    name: "relay-log-purge",
    summary: "A replica loses what it has received and not applied, and receives it again.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<RelayLogPurge>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: owned::preflight::<Purged>,
    undo: owned::undo::<Purged>,
    verify_undone: owned::verify_undone::<Purged>,
};

/// What is purged.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Purged {
    source: Source,
    receiver: u64,
    relay_log_bytes: u64,
}

impl Setting for Purged {
    type Wanted = RelayLogPurge;

    fn look(_wanted: RelayLogPurge, session: &mut Session) -> Pending<'_, Result<Result<Self, String>, EngineError>> {
        Box::pin(async move {
            let Some(replica) = replica::look(session).await? else {
                return Ok(Err("it replicates from nobody; aim at a replica".to_owned()));
            };
            if !replica.tries || !replica.applies {
                return Ok(Err("receiver and applier do not both run; wait until it replicates".to_owned()));
            }
            let receiver = super::number(session, RECEIVER).await?;
            Ok(Ok(Self { source: replica.source, receiver, relay_log_bytes: replica.relay_log_bytes }))
        })
    }

    fn describe(&self) -> String {
        "STOP SLAVE and START SLAVE: with GTIDs, the server drops its relay log when both threads begin anew".to_owned()
    }

    fn change<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move { session.run("STOP SLAVE; START SLAVE").await.map(drop) })
    }

    fn measure<'a>(&'a self, admin: &'a Admin) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let mut session = connect(admin).await?;
            let receiver = super::number(&mut session, RECEIVER).await?;
            let Some(replica) = replica::look(&mut session).await? else {
                return Ok(Effect::NotSeen("the server is no replica any more".to_owned()));
            };
            let (before, after) = (self.relay_log_bytes, replica.relay_log_bytes);
            Ok(if receiver == self.receiver {
                Effect::NotSeen(format!("the receiver goes on as before, with {after} bytes of relay log"))
            } else {
                Effect::Seen(format!("{before} bytes of relay log before, {after} after the receiver began anew"))
            })
        })
    }

    fn restore<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(replica::start_again(session, &self.source, true, true))
    }

    fn restored<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<Result<String, String>, EngineError>> {
        Box::pin(replica::started_again(session, &self.source, true, true))
    }
}
