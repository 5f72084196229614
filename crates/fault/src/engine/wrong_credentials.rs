//! A replica that its source does not let in.

use super::connect;
use super::owned::{self, Setting};
use super::replica::{self, Replica};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{Admin, EngineError, Session, literal};
use firedrill_model::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A user that no server has.
const NOBODY: &str = "firedrill_nobody";
/// A refusal comes with the first try, within milliseconds of it.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A replica calls its source as a user that does not exist, as after a password was changed on one side only: the source
/// answers with error 1045 and the replica receives nothing until it is put right, however long the source lives. The
/// password itself is not touched and gets into no record. Stopping and starting does not help; a keeper that gives the
/// replica its source anew does, and then nothing is left to undo.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrongCredentials {}

impl Parameters for WrongCredentials {}

pub(crate) static KIND: Kind = Kind {
    name: "wrong-credentials",
    summary: "A replica is refused by its source for its credentials.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<WrongCredentials>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: owned::preflight::<Right>,
    undo: owned::undo::<Right>,
    verify_undone: owned::verify_undone::<Right>,
};

/// As it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Right {
    user: String,
    heartbeat: String,
}

impl Setting for Right {
    type Wanted = WrongCredentials;

    fn look(
        _wanted: WrongCredentials,
        session: &mut Session,
    ) -> Pending<'_, Result<Result<Self, String>, EngineError>> {
        Box::pin(async move {
            Ok(match replica::look(session).await? {
                None => Err("it replicates from nobody; aim at a replica".to_owned()),
                Some(replica) if replica.user == NOBODY => Err("its credentials are wrong already".to_owned()),
                Some(replica) if replica.receives && replica.applies => {
                    Ok(Self { user: replica.user, heartbeat: replica.heartbeat })
                }
                Some(_) => Err("it does not replicate now; wait until it does".to_owned()),
            })
        })
    }

    fn describe(&self) -> String {
        format!("CHANGE MASTER TO MASTER_USER={}", literal(NOBODY))
    }

    fn change<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move {
            let Some(replica) = replica::look(session).await? else {
                return Err(EngineError::Failed("the server is no replica any more".to_owned()));
            };
            log_in_as(session, &replica, NOBODY, &self.heartbeat).await
        })
    }

    fn measure<'a>(&'a self, admin: &'a Admin) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            let mut session = connect(admin).await?;
            let began = Instant::now();
            loop {
                let replica = replica::look(&mut session).await?;
                let error = replica.as_ref().and_then(|replica| replica.receiver_error.clone());
                if let Some(error) = error.filter(|error| error.starts_with("1045 ")) {
                    return Ok(Effect::Seen(format!("the source refused the replica: {error}")));
                }
                if began.elapsed() > REFUSED_WITHIN {
                    let within = Span(REFUSED_WITHIN);
                    return Ok(Effect::NotSeen(format!("the source did not refuse the replica within {within}")));
                }
                sleep(LOOK_EVERY).await;
            }
        })
    }

    fn restore<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>> {
        Box::pin(async move {
            match replica::look(session).await? {
                Some(replica) if replica.user == NOBODY => {
                    log_in_as(session, &replica, &self.user, &self.heartbeat).await
                }
                // Somebody has put it right, or the fault was never put in place; then a thread may have been stopped
                // for it. Commands leave both running or know why not.
                _ => Ok(()),
            }
        })
    }

    fn restored<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<Result<String, String>, EngineError>> {
        Box::pin(async move {
            Ok(match replica::look(session).await? {
                None => Ok("it was made something else than a replica since".to_owned()),
                Some(replica) if replica.user == NOBODY => Err("its credentials are still wrong".to_owned()),
                Some(replica) if replica.receives => Ok("the source lets the replica in again".to_owned()),
                Some(replica) if !replica.tries => Ok("its credentials are right; its receiver is stopped".to_owned()),
                Some(replica) => Err(format!(
                    "its credentials are right, but it is not connected: {}",
                    replica.receiver_error.unwrap_or_else(|| "no error reported".to_owned())
                )),
            })
        })
    }

    /// Not every command gives a replica its credentials.
    fn is_the_keepers() -> bool {
        false
    }

    fn outlives_the_server() -> bool {
        true
    }
}

/// Changes the user, and leaves the threads as they were found. `CHANGE MASTER` drops what was received and not applied,
/// so there must be nothing of it.
async fn log_in_as(session: &mut Session, replica: &Replica, user: &str, heartbeat: &str) -> Result<(), EngineError> {
    session.run("STOP SLAVE IO_THREAD").await?;
    let done = match replica::drained(session).await {
        Ok(()) => {
            let change = format!("CHANGE MASTER TO MASTER_USER={}, MASTER_HEARTBEAT_PERIOD={heartbeat}", literal(user));
            session.run(&format!("STOP SLAVE SQL_THREAD; {change}")).await.map(drop)
        }
        Err(problem) => Err(problem),
    };
    if replica.applies {
        session.run("START SLAVE SQL_THREAD").await?;
    }
    if replica.tries {
        session.run("START SLAVE IO_THREAD").await?;
    }
    done
}
