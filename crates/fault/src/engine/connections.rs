//! All connections taken.

use super::held::{self, Ground, Hold, Work};
use super::{TOO_MANY, number};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{EngineError, Session};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Each session takes a file of the agent's and some 20 KiB; a server with more room than this is not filled by one host.
const SESSIONS_MAX: u32 = 4096;
/// Begun at the same time; more would only wait for the server.
const AT_ONCE: usize = 16;
/// Most in the first filling: places that become free meanwhile are taken by the following ones.
const ROUNDS_MAX: u32 = 20;
/// How often a place that became free is looked for.
const REFILL_EVERY: Duration = Duration::from_millis(100);
/// How often a held session is spoken to.
const SPEAK_EVERY: Duration = Duration::from_secs(1);

const TAKEN: &str =
    "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='Threads_connected'";

/// All connections that the server has to give are taken, and those that become free are taken too: the application
/// gets error 1040, "Too many connections". The one place that the server keeps for administrators is left alone. Who is
/// connected stays so. A keeper that wants to close the server for writes ends these sessions like all others.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connections {
    /// How many connections are left for others.
    #[serde(default)]
    leave: u32,
}

impl Parameters for Connections {
    fn check(&self) -> Result<(), String> {
        if self.leave >= SESSIONS_MAX {
            return Err(format!("{} connections to be left are not below {SESSIONS_MAX}", self.leave));
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "connections",
    summary: "All connections of a database server are taken.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<Connections>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: |asked| held::preflight(asked, |wanted: Connections| (None, Taking { leave: wanted.leave, next: 0 })),
    undo: held::undo,
    verify_undone: held::verify_undone,
};

struct Taking {
    leave: u32,
    /// The number of the next session.
    next: u32,
}

impl Hold for Taking {
    fn describe(&self, _ground: &Ground) -> String {
        let but = if self.leave == 0 { String::new() } else { format!(" but {}", self.leave) };
        format!("sessions in all places{but} below max_connections, each with a lease of {:?}", held::LEASE)
    }

    fn sessions(&self) -> u32 {
        SESSIONS_MAX
    }

    fn check<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<Option<String>, EngineError>> {
        Box::pin(async move {
            let most = number(session, "SELECT @@max_connections").await?;
            let why = format!("max_connections is {most}; more than {SESSIONS_MAX} are not taken from one host");
            Ok((most > u64::from(SESSIONS_MAX)).then_some(why))
        })
    }

    fn take<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Work, EngineError>> {
        Box::pin(async move {
            let mut watcher = ground.session(0).await?;
            self.next = 1;
            let mut sessions = Vec::new();
            for _ in 0..ROUNDS_MAX {
                let missing = missing(&mut watcher, self.leave).await?;
                if missing == 0 {
                    break;
                }
                fill(ground, missing, &mut self.next, &mut sessions).await?;
            }
            sessions.push(watcher);
            let mine = Ground { admin: ground.admin.clone(), mark: ground.mark.clone(), place: None };
            Ok(refill(mine, sessions, self.leave, self.next))
        })
    }

    fn measure<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            if self.leave > 0 {
                let mut session = ground.admin.connect().await?;
                let room = u64::from(missing(&mut session, 0).await?);
                let (leave, seen) = (u64::from(self.leave), format!("{room} connections are free"));
                // The probe itself, and somebody who came or went at this moment.
                return Ok(if room <= leave + 1 { Effect::Seen(seen) } else { Effect::NotSeen(seen) });
            }
            let began = Instant::now();
            // An administrator gets the place that is kept; the one after him meets what everybody meets.
            let first = match ground.admin.connect_unprivileged().await {
                Some(answer) => answer,
                None => match ground.admin.connect().await {
                    Ok(_kept) => ground.admin.connect().await,
                    refused => refused,
                },
            };
            match first {
                Err(EngineError::Refused { code: TOO_MANY, message, .. }) => {
                    let (took, held) = (began.elapsed(), self.next);
                    Ok(Effect::Seen(format!(
                        "{held} connections are held; a probe was refused after {took:.1?}: {message}"
                    )))
                }
                Err(problem) => Err(problem),
                Ok(_) => Ok(Effect::NotSeen(format!("{} connections are held, and a probe got one", self.next))),
            }
        })
    }
}

/// How many places below `max_connections` are to be taken.
async fn missing(session: &mut Session, leave: u32) -> Result<u32, EngineError> {
    let most = number(session, "SELECT @@max_connections").await?;
    let taken = number(session, TAKEN).await?;
    Ok(u32::try_from(most.saturating_sub(taken + u64::from(leave))).unwrap_or(SESSIONS_MAX))
}

/// Takes so many places, or as many as there are.
async fn fill(ground: &Ground, count: u32, next: &mut u32, held: &mut Vec<Session>) -> Result<(), EngineError> {
    let mut pending = JoinSet::new();
    let mut left = count.min(SESSIONS_MAX.saturating_sub(*next));
    loop {
        while left > 0 && pending.len() < AT_ONCE {
            let mine = Ground { admin: ground.admin.clone(), mark: ground.mark.clone(), place: None };
            let number = *next;
            pending.spawn(async move { mine.session(number).await });
            *next += 1;
            left -= 1;
        }
        match pending.join_next().await {
            Some(Ok(Ok(session))) => held.push(session),
            // Somebody else took it.
            Some(Ok(Err(EngineError::Refused { code: TOO_MANY, .. }))) => left = 0,
            Some(Ok(Err(problem))) => return Err(problem),
            Some(Err(stopped)) => return Err(EngineError::Failed(format!("a connection was given up: {stopped}"))),
            None => return Ok(()),
        }
    }
}

/// Keeps the sessions, and takes what becomes free. The last session is the one that looks.
fn refill(ground: Ground, mut sessions: Vec<Session>, leave: u32, mut next: u32) -> Work {
    Box::pin(async move {
        let Some(mut watcher) = sessions.pop() else { return "no session was held".to_owned() };
        let mut spoken = Instant::now();
        loop {
            sleep(REFILL_EVERY).await;
            let filled = match missing(&mut watcher, leave).await {
                Ok(0) => Ok(()),
                Ok(count) => fill(&ground, count, &mut next, &mut sessions).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = filled {
                return format!("the sessions cannot be held any more: {}", problem.full());
            }
            if spoken.elapsed() < SPEAK_EVERY {
                continue;
            }
            spoken = Instant::now();
            let mut alive = Vec::with_capacity(sessions.len());
            for mut session in sessions {
                // One that was killed leaves its place to the next filling.
                if session.run("DO 0").await.is_ok() {
                    alive.push(session);
                }
            }
            sessions = alive;
        }
    })
}
