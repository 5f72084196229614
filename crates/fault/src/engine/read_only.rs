//! Who may write, flipped.

use super::owned::{self, Setting};
use super::{connect, held, number};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{Admin, EngineError, Session};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server's number for a write that `read_only` forbids.
const READ_ONLY: u16 = 1290;

/// A primary refuses all writes, as after a wrong `SET GLOBAL read_only=1`; or, with `to: writable`, a replica takes them
/// from anybody. A keeper that watches the cluster puts the first right and fences the second; what it has commanded
/// since stands, and the undo leaves it alone.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadOnly {
    /// What the server becomes.
    #[serde(default)]
    to: To,
}

/// What a server becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum To {
    #[default]
    ReadOnly,
    Writable,
}

impl Parameters for ReadOnly {}

pub(crate) static KIND: Kind = Kind {
    name: "read-only",
    summary: "A primary refuses writes, or a replica takes them.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<ReadOnly>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: owned::preflight::<Flip>,
    undo: owned::undo::<Flip>,
    verify_undone: owned::verify_undone::<Flip>,
};

/// `read_only` as it is made; it was the opposite.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Flip {
    to: To,
}

impl Flip {
    const fn value(&self) -> u64 {
        match self.to {
            To::ReadOnly => 1,
            To::Writable => 0,
        }
    }
}

impl Setting for Flip {
    type Wanted = ReadOnly;

    fn look(wanted: ReadOnly, session: &mut Session) -> Pending<'_, Result<Result<Self, String>, EngineError>> {
        Box::pin(async move {
            let flip = Self { to: wanted.to };
            let now = number(session, "SELECT @@global.read_only").await?;
            if now == flip.value() {
                return Ok(Err(format!("read_only is {now} already: nothing could be measured or put back")));
            }
            if wanted.to == To::Writable && held::is_write_locked(session).await? {
                return Ok(Err(
                    "an attack has locked a table, and read_only=1 would wait for it; end that first".to_owned()
                ));
            }
            Ok(Ok(flip))
        })
    }

    fn describe(&self) -> String {
        format!("SET GLOBAL read_only={}", self.value())
    }

    fn change<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        // It waits for running commits, and one that waits for an acker may wait for ever.
        let statement = format!("SET SESSION lock_wait_timeout=2; SET GLOBAL read_only={}", self.value());
        Box::pin(async move { session.run(&statement).await.map(drop) })
    }

    fn measure<'a>(&'a self, admin: &'a Admin) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let Some(Ok(mut probe)) = admin.connect_unprivileged().await else {
                let mut session = connect(admin).await?;
                let now = number(&mut session, "SELECT @@global.read_only").await?;
                let seen = format!("read_only is {now}; no unprivileged account could be had to try a write with");
                return Ok(if now == self.value() { Effect::Seen(seen) } else { Effect::NotSeen(seen) });
            };
            // Changes no row; whether it may is asked all the same.
            let tried = probe.run("DELETE FROM firedrill.heartbeat WHERE FALSE").await;
            Ok(match (self.to, tried) {
                (To::ReadOnly, Err(EngineError::Refused { code: READ_ONLY, message, .. })) => {
                    Effect::Seen(format!("a write by an unprivileged account was refused: {message}"))
                }
                (To::Writable, Ok(_)) => Effect::Seen("a write by an unprivileged account was accepted".to_owned()),
                (_, Ok(_)) => Effect::NotSeen("a write by an unprivileged account was accepted".to_owned()),
                (_, Err(problem)) => Effect::NotSeen(format!("a write could not be tried: {}", problem.full())),
            })
        })
    }

    fn restore<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        let statement = format!("SET SESSION lock_wait_timeout=5; SET GLOBAL read_only={}", 1 - self.value());
        Box::pin(async move { session.run(&statement).await.map(drop) })
    }

    fn restored<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<Result<String, String>, EngineError>> {
        Box::pin(async move {
            let now = number(session, "SELECT @@global.read_only").await?;
            let text = format!("read_only is {now}");
            Ok(if now == self.value() { Err(text) } else { Ok(format!("{text} again")) })
        })
    }
}
