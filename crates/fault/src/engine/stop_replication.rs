//! Replication stopped.

use super::connect;
use super::owned::{self, Setting};
use super::replica::{self, Source};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{Admin, EngineError, Session};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A replica stops to receive, to apply what it received, or both. Without its receiver it acknowledges nothing, so a
/// primary that waits for acknowledgements waits when it was the last; without its applier it falls behind, and what it
/// has received must be applied before it can be promoted. A keeper that watches the cluster starts it again; what it has
/// commanded since stands, so that a receiver which it has stopped for a failover is not started by the undo.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopReplication {
    /// What stops.
    #[serde(default)]
    threads: Threads,
}

/// Threads of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Threads {
    #[default]
    Both,
    Receiver,
    Applier,
}

impl Parameters for StopReplication {}

pub(crate) static KIND: Kind = Kind {
    name: "stop-replication",
    summary: "A replica stops to receive, to apply, or both.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<StopReplication>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: owned::preflight::<Stopped>,
    undo: owned::undo::<Stopped>,
    verify_undone: owned::verify_undone::<Stopped>,
};

/// What ran and is stopped.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stopped {
    receiver: bool,
    applier: bool,
    source: Source,
}

impl Stopped {
    fn names(&self) -> &'static str {
        match (self.receiver, self.applier) {
            (true, true) => "receiver and applier",
            (true, false) => "receiver",
            _ => "applier",
        }
    }
}

impl Setting for Stopped {
    type Wanted = StopReplication;

    fn look(wanted: StopReplication, session: &mut Session) -> Pending<'_, Result<Result<Self, String>, EngineError>> {
        Box::pin(async move {
            let Some(replica) = replica::look(session).await? else {
                return Ok(Err("it replicates from nobody; aim at a replica".to_owned()));
            };
            let receiver = wanted.threads != Threads::Applier;
            let applier = wanted.threads != Threads::Receiver;
            // Also the thread that is left alone: a thread that is started while none runs drops what was received and
            // not applied.
            if !replica.tries || !replica.applies {
                return Ok(Err("receiver and applier do not both run; wait until it replicates".to_owned()));
            }
            Ok(Ok(Self { receiver, applier, source: replica.source }))
        })
    }

    fn describe(&self) -> String {
        format!("STOP SLAVE of the {}", self.names())
    }

    fn change<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move {
            if self.receiver {
                session.run("STOP SLAVE IO_THREAD").await?;
            }
            if self.receiver && self.applier {
                replica::drained(session).await?;
            }
            if self.applier {
                session.run("STOP SLAVE SQL_THREAD").await?;
            }
            Ok(())
        })
    }

    fn measure<'a>(&'a self, admin: &'a Admin) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let mut session = connect(admin).await?;
            let Some(replica) = replica::look(&mut session).await? else {
                return Ok(Effect::NotSeen("the server is no replica any more".to_owned()));
            };
            let stopped = !(self.receiver && replica.tries || self.applier && replica.applies);
            let at = if replica.received.is_empty() { "nothing".to_owned() } else { replica.received };
            Ok(if stopped {
                Effect::Seen(format!("{}: stopped; received is {at}", self.names()))
            } else {
                Effect::NotSeen(format!("{}: still running, or started again", self.names()))
            })
        })
    }

    fn restore<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(replica::start_again(session, &self.source, self.receiver, self.applier))
    }

    fn restored<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<Result<String, String>, EngineError>> {
        Box::pin(async move {
            let seen = replica::started_again(session, &self.source, self.receiver, self.applier).await?;
            Ok(seen.map(|seen| format!("{}: {seen}", self.names())).map_err(|why| format!("{}: {why}", self.names())))
        })
    }
}
