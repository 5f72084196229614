//! Faults that last as long as sessions: what a session holds, the server lets go when the session ends.
//!
//! A session ends when its process dies (the server sees the closed socket at once; one that is executing has a bound
//! on its statement), and when its process hangs (`wait_timeout` is the lease, kept by the server). A hung process at its
//! deadline, or one that lost count, is made good by name: each session holds a named lock, the record has the name, and
//! `IS_USED_LOCK` says which session to kill.

use super::table::Place;
use super::{
    ASKED_WITHIN, DONE_WITHIN, MEASURED_WITHIN, NO_SESSION, cell, connect, failed, replica, unanswered, within,
};
use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Mechanism, Pending, Refusal, StillThere};
use crate::shape::Parameters;
use firedrill_engine::{Admin, EngineError, Session, Table, identifier, literal};
use firedrill_model::{AttackId, Span};
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The server ends a session that it has not heard of for so long.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// So several words of a session may come late.
pub(super) const SPEAK_EVERY: Duration = Duration::from_secs(1);
/// Named locks asked about in one statement.
const NAMES_PER_QUESTION: u32 = 256;
/// A killed session lets go within milliseconds, unless it has much to roll back.
const ENDED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The number of the session that makes the schema of an attack, before there are others.
const MAKER: u32 = u32::MAX;

/// What schemas of attacks are called; the rest is sixteen digits.
const PREFIX: &str = "firedrill_attack_";

/// Held by a session that locks a table for writing: `read_only=1` waits for such a session, so a writable replica could
/// not be closed again as long as it lasts.
const WRITE_LOCKED: &str = "firedrill_write_locked";

/// Why a table must not be locked for writing now, if so.
pub(super) async fn may_write_lock(session: &mut Session) -> Result<Option<String>, EngineError> {
    let writable = super::number(session, "SELECT @@global.read_only").await? == 0;
    let open = writable && replica::look(session).await?.is_some();
    Ok(open.then(|| "it is a replica that takes writes; while a table is locked it could not be closed".to_owned()))
}

/// Has [`is_write_locked`] answer yes for as long as the session lives. Another session that says so already is as good.
pub(super) async fn say_write_locked(session: &mut Session) -> Result<(), EngineError> {
    session.run(&format!("SELECT GET_LOCK({}, 0)", literal(WRITE_LOCKED))).await.map(drop)
}

/// Whether an attack has locked a table for writing.
pub(super) async fn is_write_locked(session: &mut Session) -> Result<bool, EngineError> {
    let question = format!("SELECT IS_USED_LOCK({}) IS NOT NULL", literal(WRITE_LOCKED));
    Ok(super::number(session, &question).await? != 0)
}

/// What sessions of one attack are known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Mark(String);

impl Mark {
    /// Attack ids may be longer than the names of locks and schemas.
    pub(super) fn of(id: &AttackId) -> Self {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        Self(format!("{PREFIX}{:016x}", hasher.finish()))
    }

    /// The name of the lock of one session.
    fn lock(&self, number: u32) -> String {
        format!("{}_{number}", self.0)
    }

    /// The schema of the attack.
    pub(super) fn schema(&self) -> &str {
        &self.0
    }
}

/// What a fault held by sessions stands on.
pub(super) struct Ground {
    pub(super) admin: Admin,
    pub(super) mark: Mark,
    /// The table that it is about, where there is one.
    pub(super) place: Option<Place>,
}

impl Ground {
    /// A session that is found by its number, and ends by itself after [`LEASE`] of silence. It writes nothing to the
    /// binary log and waits for no lock longer than for its lease.
    pub(super) async fn session(&self, number: u32) -> Result<Session, EngineError> {
        let mut session = self.admin.connect().await?;
        let (lease, name) = (LEASE.as_secs(), literal(&self.mark.lock(number)));
        let statement = format!(
            "SET SESSION wait_timeout={lease}, lock_wait_timeout={lease}, innodb_lock_wait_timeout={lease}, \
             sql_log_bin=0, autocommit=1; SELECT GET_LOCK({name}, 0)"
        );
        if cell(&session.run(&statement).await?) == Some("1") {
            return Ok(session);
        }
        Err(EngineError::Failed(format!(
            "the name {name} is held by another session: is this attack under way already?"
        )))
    }

    /// The table, ready for use.
    pub(super) fn table(&self) -> String {
        self.place.as_ref().map(|place| place.name(&self.mark)).unwrap_or_default()
    }
}

/// What such a fault does while it lasts, until it cannot; the answer says why it ended.
pub(super) type Work = Pending<'static, String>;

/// A fault held by sessions.
pub(super) trait Hold: Send + Sync + 'static {
    /// By what it works.
    fn describe(&self, ground: &Ground) -> String;

    /// The highest number of a session, plus one.
    fn sessions(&self) -> u32;

    /// Why it makes no sense at this server, if so.
    fn check<'a>(&'a self, _session: &'a mut Session) -> Pending<'a, Result<Option<String>, EngineError>> {
        Box::pin(async { Ok(None) })
    }

    /// Takes what is to be held.
    fn take<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Work, EngineError>>;

    /// Measures that it is held.
    fn measure<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Effect, EngineError>>;
}

/// Does nothing but keep sessions alive.
pub(super) fn keep(mut sessions: Vec<Session>) -> Work {
    Box::pin(async move {
        loop {
            sleep(SPEAK_EVERY).await;
            for session in &mut sessions {
                if let Err(problem) = session.run("DO 0").await {
                    return format!("a session that held it was ended: {}", problem.full());
                }
            }
        }
    })
}

/// The preflight of all of them: the server answers, the table is one that may be touched.
pub(super) fn preflight<P: Parameters + Send + 'static, H: Hold>(
    asked: Asked,
    make: fn(P) -> (Option<Place>, H),
) -> Checking {
    Box::pin(async move {
        let (place, hold) = make(asked.parameters()?);
        let admin = super::reach(&asked)?;
        let mut session = connect(&admin).await.map_err(|problem| unanswered(&admin, &problem))?;
        let checking = async {
            if let Some(place) = &place
                && let Some(why) = place.check(&mut session).await?
            {
                return Ok(Some(why));
            }
            sweep(&mut session).await?;
            hold.check(&mut session).await
        };
        match within(ASKED_WITHIN, checking).await {
            Ok(None) => {}
            Ok(Some(why)) => return Err(Refusal(format!("{}: {why}", admin.node))),
            Err(problem) => return Err(unanswered(&admin, &problem)),
        }
        let ground = Ground { admin, mark: Mark::of(&asked.id), place };
        Ok(Box::new(Holding { hold, ground, held: None }) as Box<dyn Mechanism>)
    })
}

/// Removes schemas of attacks that are over. One is left behind when the server was ended during an attack and was not
/// there when the attack was undone.
async fn sweep(session: &mut Session) -> Result<(), EngineError> {
    let (length, prefix) = (PREFIX.len(), literal(PREFIX));
    let question = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE";
    let tables = session.run(&format!("{question} LEFT(SCHEMA_NAME, {length})={prefix}")).await?;
    let schemas: Vec<Mark> =
        tables.iter().flat_map(Table::rows).filter_map(|row| Some(Mark(row.at(0)?.to_owned()))).collect();
    for mark in schemas {
        let used = |number| format!("IS_USED_LOCK({}) IS NOT NULL", literal(&mark.lock(number)));
        if super::number(session, &format!("SELECT {} OR {}", used(0), used(MAKER))).await? == 0 {
            tracing::info!(schema = mark.schema(), "the schema of an attack that is over is removed");
            let drop = format!("DROP DATABASE IF EXISTS {}", identifier(mark.schema()));
            if let Err(problem) = session.run(&format!("SET SESSION sql_log_bin=0, lock_wait_timeout=1; {drop}")).await
            {
                // In nobody's way; tried again by the next attack.
                tracing::warn!(schema = mark.schema(), problem = problem.full(), "the schema of an attack stays");
            }
        }
    }
    Ok(())
}

struct Holding<H> {
    hold: H,
    ground: Ground,
    held: Option<Held>,
}

/// What the journal has of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sessions {
    admin: Admin,
    mark: Mark,
    sessions: u32,
    /// It has a schema of its own.
    schema: bool,
}

impl<H: Hold> Mechanism for Holding<H> {
    fn describe(&self) -> String {
        self.hold.describe(&self.ground)
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        let schema = self.ground.place.as_ref().is_some_and(Place::is_own);
        let (admin, mark) = (self.ground.admin.clone(), self.ground.mark.clone());
        Undo::by(&Sessions { admin, mark, sessions: self.hold.sessions(), schema })
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move {
            let ground = &self.ground;
            let taking = async {
                match &ground.place {
                    Some(place) if place.is_own() => {
                        let mut maker = ground.session(MAKER).await?;
                        place.make(&ground.mark, &mut maker).await?;
                        // The maker's session lasts until there is another one.
                        let work = self.hold.take(ground).await;
                        drop(maker);
                        work
                    }
                    _ => self.hold.take(ground).await,
                }
            };
            let work = within(DONE_WITHIN, taking)
                .await
                .map_err(|problem| failed("put the fault in place at", &ground.admin, &problem))?;
            self.held = Some(Held::begin(lease, work));
            Ok(())
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async move {
            match within(MEASURED_WITHIN, self.hold.measure(&self.ground)).await {
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

/// The task that holds it; dropping this ends it.
pub(super) struct Held {
    lease: watch::Sender<Instant>,
    ended: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl Held {
    pub(super) fn begin(lease: Duration, work: Work) -> Self {
        let (lease, leased) = watch::channel(Instant::now() + lease);
        let (end, ended) = watch::channel(None);
        let task = tokio::spawn(async move {
            let why = tokio::select! {
                why = work => why,
                () = run_out(leased) => "it was not renewed in time".to_owned(),
            };
            // Nobody may listen any more.
            let _heard = end.send(Some(why));
        });
        Self { lease, ended, task }
    }

    pub(super) fn renew(&self, lease: Duration) -> Result<(), String> {
        self.lease.send_replace(Instant::now() + lease);
        match self.ended.borrow().clone() {
            Some(why) => Err(why),
            None if self.task.is_finished() => Err("the task that held it failed".to_owned()),
            None => Ok(()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Resolves when the lease has run out.
async fn run_out(leased: watch::Receiver<Instant>) {
    loop {
        let until = *leased.borrow();
        match until.checked_duration_since(Instant::now()) {
            Some(left) => sleep(left).await,
            None => return,
        }
    }
}

/// Ends all sessions of the attack that are left, and removes its schema.
pub(super) fn undo(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        let Some(sessions) = undo.read::<Sessions>()? else { return Ok(()) };
        let action = "end the sessions of an attack at";
        within(super::ENDED_WITHIN, sessions.end()).await.map_err(|problem| failed(action, &sessions.admin, &problem))
    })
}

/// Looks until none is left.
pub(super) fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Some(sessions) = undo.read::<Sessions>()? else { return Ok("nothing was held".to_owned()) };
        let look = within(super::ENDED_WITHIN, sessions.look()).await;
        look.map_err(|problem| StillThere(failed("look at", &sessions.admin, &problem).0))?
    })
}

impl Sessions {
    async fn end(&self) -> Result<(), EngineError> {
        let mut session = match connect(&self.admin).await {
            Ok(session) => session,
            Err(_) if !self.admin.process.alive() => return Ok(()),
            Err(problem) => return Err(problem),
        };
        self.kill(&mut session).await?;
        if self.schema {
            // Waits for what was killed.
            let drop = format!("DROP DATABASE IF EXISTS {}", identifier(self.mark.schema()));
            let wait = ENDED_WITHIN.as_secs();
            session.run(&format!("SET SESSION sql_log_bin=0, lock_wait_timeout={wait}; {drop}")).await?;
        }
        Ok(())
    }

    async fn look(&self) -> Result<Result<String, StillThere>, EngineError> {
        let mut session = match connect(&self.admin).await {
            Ok(session) => session,
            Err(_) if !self.admin.process.alive() => {
                return Ok(Ok("the server was ended since, and all sessions with it".to_owned()));
            }
            Err(problem) => return Err(problem),
        };
        let began = Instant::now();
        loop {
            let left = self.find(&mut session).await?;
            if left.is_empty() {
                break;
            }
            if began.elapsed() > ENDED_WITHIN {
                let (count, within) = (left.len(), Span(ENDED_WITHIN));
                return Ok(Err(StillThere(format!("{count} sessions of the attack are still there after {within}"))));
            }
            sleep(LOOK_EVERY).await;
        }
        if self.schema {
            let name = literal(self.mark.schema());
            let question = format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME={name}");
            if super::number(&mut session, &question).await? != 0 {
                return Ok(Err(StillThere(format!("the schema {} of the attack is still there", self.mark.schema()))));
            }
            return Ok(Ok("no session of the attack is left, and its schema is gone".to_owned()));
        }
        Ok(Ok("no session of the attack is left".to_owned()))
    }

    async fn kill(&self, session: &mut Session) -> Result<(), EngineError> {
        for id in self.find(session).await? {
            match session.run(&format!("KILL {id}")).await {
                // It has ended by itself.
                Ok(_) | Err(EngineError::Refused { code: NO_SESSION, .. }) => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok(())
    }

    /// The sessions of the attack that are there, by the server's numbers.
    async fn find(&self, session: &mut Session) -> Result<Vec<u32>, EngineError> {
        let mut found = Vec::new();
        let mut first = 0;
        while first < self.sessions {
            let last = self.sessions.min(first + NAMES_PER_QUESTION);
            let name = |number| format!("IS_USED_LOCK({})", literal(&self.mark.lock(number)));
            let names: Vec<String> = (first..last).map(name).collect();
            let tables = session.run(&format!("SELECT {}", names.join(", "))).await?;
            let row = tables.first().and_then(Table::first);
            let cells = (0..names.len()).filter_map(|index| row?.at(index)?.parse::<u32>().ok());
            found.extend(cells);
            first = last;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_whatever_the_id_is() {
        let mark = Mark::of(&AttackId("x".repeat(100)));
        assert!(mark.lock(u32::MAX).len() <= 64 && mark.schema().len() <= 64);
        assert_ne!(mark, Mark::of(&AttackId("y".to_owned())));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_not_renewed_ends() {
        let held = Held::begin(Duration::ZERO, Box::pin(std::future::pending()));
        let mut ended = held.ended.clone();
        ended.wait_for(Option::is_some).await.expect("ends");
        assert!(held.renew(LEASE).is_err_and(|why| why.contains("not renewed")));
    }
}
