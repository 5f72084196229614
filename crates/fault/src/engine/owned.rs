//! Settings of a server and of its replication: changed, and put back exactly, unless they are not ours any more.
//!
//! Such a change outlives its holder, so the rescue process, the next agent or the deadline takes it back. Two things end
//! it before: the end of the server process (what was set in it is gone), and a command of the keeper, which from then on
//! decides what the server is to be. The count of commands ([`firedrill_engine::Admin::turn`]) is held from the look at it
//! to the last statement, so a command and an undo never cross.

use super::held::{Held, Work};
use super::{ASKED_WITHIN, DONE_WITHIN, ENDED_WITHIN, MEASURED_WITHIN, connect, failed, reach, unanswered, within};
use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Mechanism, Pending, Refusal, StillThere};
use crate::shape::Parameters;
use firedrill_engine::{Admin, EngineError, Session, TurnHeld};
use firedrill_model::Span;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A receiver that is started calls its source first.
const RESTORED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How soon it is noticed that a command has changed the server, or that it ended.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// One setting: what it was, which is all that is needed to put it back. It stands in the journal.
pub(super) trait Setting: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the user writes.
    type Wanted: Parameters + Send;

    /// Looks at the server: what the setting is now, or a sentence why the fault makes no sense here.
    fn look(wanted: Self::Wanted, session: &mut Session) -> Pending<'_, Result<Result<Self, String>, EngineError>>;

    /// By what it works.
    fn describe(&self) -> String;

    /// Changes it.
    fn change<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>>;

    /// Measures the change.
    fn measure<'a>(&'a self, admin: &'a Admin) -> Pending<'a, Result<Effect, EngineError>>;

    /// Puts it back, if it is as this fault left it.
    fn restore<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<(), EngineError>>;

    /// What is seen to be as it was (`Ok`), or what is not yet.
    fn restored<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<Result<String, String>, EngineError>>;

    /// Whether a command of the keeper defines the setting anew, whichever it is. Otherwise it is put back also then.
    fn is_the_keepers() -> bool {
        true
    }

    /// Whether a server that is started again finds it as it was left.
    fn outlives_the_server() -> bool {
        false
    }
}

/// What the journal has of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Changed<S> {
    admin: Admin,
    /// The count of commands before the change.
    turn: u64,
    setting: S,
}

/// Whose the setting is now.
enum Whose {
    /// The server process that was changed has ended.
    Nobodys,
    /// A command has changed the server since.
    Keepers,
    /// Nobody else's, as long as this is held.
    Ours(Option<TurnHeld>),
}

/// Looks at the server and remembers what is there.
pub(super) fn preflight<S: Setting>(asked: Asked) -> Checking {
    Box::pin(async move {
        let wanted: S::Wanted = asked.parameters()?;
        let admin = reach(&asked)?;
        // Before the look, so that a command between the two is noticed.
        let turn = admin.turn();
        let mut session = connect(&admin).await.map_err(|problem| unanswered(&admin, &problem))?;
        let looked = within(ASKED_WITHIN, S::look(wanted, &mut session)).await;
        let looked = looked.map_err(|problem| unanswered(&admin, &problem))?;
        let setting = looked.map_err(|why| Refusal(format!("{}: {why}", admin.node)))?;
        Ok(Box::new(Changing { changed: Changed { admin, turn, setting }, held: None }) as Box<dyn Mechanism>)
    })
}

struct Changing<S> {
    changed: Changed<S>,
    held: Option<Held>,
}

impl<S: Setting> Mechanism for Changing<S> {
    fn describe(&self) -> String {
        self.changed.setting.describe()
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Undo::by(&self.changed)
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move {
            let changed = &self.changed;
            let change = async {
                let Some(_held) = changed.admin.hold_turn(changed.turn).await else {
                    let text = "a command of the keeper is changing the server just now; try again when it is done";
                    return Err(EngineError::Failed(text.to_owned()));
                };
                let mut session = connect(&changed.admin).await?;
                changed.setting.change(&mut session).await
            };
            within(DONE_WITHIN, change)
                .await
                .map_err(|problem| failed("change a setting of", &changed.admin, &problem))?;
            self.held = Some(Held::begin(lease, watch::<S>(changed.admin.clone(), changed.turn)));
            Ok(())
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async move {
            match within(MEASURED_WITHIN, self.changed.setting.measure(&self.changed.admin)).await {
                Ok(effect) => effect,
                Err(problem) => Effect::NotSeen(format!("it could not be measured: {}", problem.full())),
            }
        })
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        match &self.held {
            Some(held) => held.renew(lease),
            None => Err("it never began".to_owned()),
        }
    }
}

/// Resolves when the setting is not this fault's any more.
fn watch<S: Setting>(admin: Admin, turn: u64) -> Work {
    Box::pin(async move {
        loop {
            sleep(WATCH_EVERY).await;
            if S::is_the_keepers() && admin.turn() != turn {
                return "a command of the keeper has changed the server".to_owned();
            }
            if !admin.process.alive() {
                return "the server was ended".to_owned();
            }
        }
    })
}

impl<S: Setting> Changed<S> {
    async fn whose(&self) -> Whose {
        if !S::outlives_the_server() && !self.admin.process.alive() {
            return Whose::Nobodys;
        }
        match self.admin.hold_turn(self.turn).await {
            Some(held) => Whose::Ours(Some(held)),
            None if S::is_the_keepers() => Whose::Keepers,
            // No command shall come in between, if that can be had.
            None => Whose::Ours(self.admin.hold_turn(self.admin.turn()).await),
        }
    }

    async fn restore(&self) -> Result<(), EngineError> {
        let Whose::Ours(_held) = self.whose().await else { return Ok(()) };
        let mut session = connect(&self.admin).await?;
        self.setting.restore(&mut session).await
    }

    async fn look(&self) -> Result<Result<String, StillThere>, EngineError> {
        let began = Instant::now();
        loop {
            match self.whose().await {
                Whose::Nobodys => {
                    return Ok(Ok("the server process that was changed has ended, and the change with it".to_owned()));
                }
                Whose::Keepers => {
                    return Ok(Ok(
                        "a command of the keeper has changed the server since: what it made of it stands".to_owned()
                    ));
                }
                Whose::Ours(held) => {
                    drop(held);
                    let mut session = connect(&self.admin).await?;
                    match self.setting.restored(&mut session).await? {
                        Ok(seen) => return Ok(Ok(seen)),
                        Err(not_yet) if began.elapsed() > RESTORED_WITHIN => {
                            return Ok(Err(StillThere(format!("{not_yet} after {}", Span(RESTORED_WITHIN)))));
                        }
                        Err(_) => sleep(LOOK_EVERY).await,
                    }
                }
            }
        }
    }
}

/// Puts a setting back.
pub(super) fn undo<S: Setting>(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        let Some(changed) = undo.read::<Changed<S>>()? else { return Ok(()) };
        let action = "put a setting back at";
        within(DONE_WITHIN, changed.restore()).await.map_err(|problem| failed(action, &changed.admin, &problem))
    })
}

/// Looks until it is as it was.
pub(super) fn verify_undone<S: Setting>(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Some(changed) = undo.read::<Changed<S>>()? else { return Ok("nothing was changed".to_owned()) };
        let looked = within(ENDED_WITHIN, changed.look()).await;
        looked.map_err(|problem| StillThere(failed("look at", &changed.admin, &problem).0))?
    })
}
