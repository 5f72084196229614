//! A replica that lags.

use super::held::{self, Ground, Hold, Work};
use super::{kept_waiting, replica};
use crate::kinds::{Effect, Family, Kind, Pending, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{EngineError, Session, Table};
use firedrill_model::{GtidPos, Span};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const DELAY_MIN: Duration = Duration::from_millis(100);
/// Longer delays would need more memory of what came when.
const DELAY_MAX: Duration = Duration::from_secs(3600);
/// What comes within this time counts as having come together: the precision of the delay.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Moments that are remembered; in a long delay they lie further apart.
const MOMENTS_MAX: u32 = 2000;
/// At first only those transactions are let through that wait already. When that is not enough, as the lag is longer than
/// asked for by this much, the applier is let go …
const TOO_LATE: Duration = Duration::from_millis(100);
/// … for at most so long at a time, or it would apply what is not due.
const LET_GO_MAX: Duration = Duration::from_millis(50);

/// Where an applier notes, as a part of each transaction, how far it has come; several when engines have their own.
const POSITIONS: &str = "SELECT CONCAT('mysql.`', TABLE_NAME, '`') FROM information_schema.TABLES \
     WHERE TABLE_SCHEMA='mysql' AND TABLE_NAME LIKE 'gtid\\_slave\\_pos%'";

/// A replica lags: what it receives is applied not before it is so old. It goes on to receive and to acknowledge, and all
/// its threads run, so that nothing but the age of its data shows it; to be promoted it must first apply what it holds
/// back, and a command to stop its applier waits as long. It works by keeping the applier from the table in which it notes
/// its position (`mysql.gtid_slave_pos`), in turns. Nothing that was received is dropped, as a `CHANGE MASTER` with
/// `MASTER_DELAY` would do when it is put back.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DelayReplication {
    /// How old a change is when it is applied; 100ms to 1h.
    delay: Span,
}

impl Parameters for DelayReplication {
    fn check(&self) -> Result<(), String> {
        if (DELAY_MIN..=DELAY_MAX).contains(&self.delay.duration()) {
            return Ok(());
        }
        Err(format!("a delay of {} is not between 100ms and 1h", self.delay))
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "delay-replication",
    summary: "A replica applies changes late.",
    family: Family::Engine,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<DelayReplication>(),
    needs: &[],
    mechanism: super::by_sql,
    preflight: |asked| {
        held::preflight(asked, |wanted: DelayReplication| (None, Lag { delay: wanted.delay, lock: String::new() }))
    },
    undo: held::undo,
    verify_undone: held::verify_undone,
};

struct Lag {
    delay: Span,
    /// The statement that keeps the applier waiting.
    lock: String,
}

impl Hold for Lag {
    fn describe(&self, _ground: &Ground) -> String {
        let lease = held::LEASE;
        format!(
            "LOCK TABLES mysql.gtid_slave_pos while nothing is older than {}, with a lease of {lease:?}",
            self.delay
        )
    }

    fn sessions(&self) -> u32 {
        2
    }

    fn check<'a>(&'a self, session: &'a mut Session) -> Pending<'a, Result<Option<String>, EngineError>> {
        Box::pin(async move {
            let follows = replica::look(session).await?.is_some_and(|replica| replica.applies);
            if !follows {
                return Ok(Some("it does not apply changes of a source; aim at a replica that does".to_owned()));
            }
            held::may_write_lock(session).await
        })
    }

    fn take<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Work, EngineError>> {
        Box::pin(async move {
            let (mut blocker, watcher) = (ground.session(0).await?, ground.session(1).await?);
            let tables = blocker.run(POSITIONS).await?;
            let names: Vec<&str> = tables.iter().flat_map(Table::rows).filter_map(|row| row.at(0)).collect();
            // A read lock would have to wait until an applier under load has nothing to do.
            self.lock = format!("LOCK TABLES {} WRITE", names.join(" WRITE, "));
            held::say_write_locked(&mut blocker).await?;
            blocker.run(&self.lock).await?;
            let (delay, lock) = (self.delay.duration(), self.lock.clone());
            Ok(Box::pin(async move {
                match hold_back(blocker, watcher, delay, lock).await {
                    Ok(why) => why,
                    Err(problem) => format!("the applier cannot be held back any more: {}", problem.full()),
                }
            }) as Work)
        })
    }

    fn measure<'a>(&'a mut self, ground: &'a Ground) -> Pending<'a, Result<Effect, EngineError>> {
        Box::pin(async move {
            // Unlike the applier, a probe of a delay shorter than the probe gets through.
            let statement = "SELECT 1 FROM mysql.gtid_slave_pos LIMIT 1";
            kept_waiting(&ground.admin, "the table of applied positions, as the applier does,", statement).await
        })
    }
}

/// What had been received when.
#[derive(Debug, Default)]
struct Arrivals {
    moments: VecDeque<(Instant, GtidPos)>,
}

impl Arrivals {
    /// Remembers a look, when something has come since the last one.
    fn note(&mut self, now: Instant, received: GtidPos, apart: Duration) {
        if self.moments.back().is_some_and(|(_, last)| *last == received) {
            return;
        }
        // Moments that lie too close together become one, the later one: nothing is applied too early.
        if let [.., (before, _), (last, _)] = self.moments.make_contiguous()
            && last.duration_since(*before) < apart
        {
            self.moments.pop_back();
        }
        self.moments.push_back((now, received));
    }

    /// The age of the oldest that is not applied.
    fn age(&mut self, now: Instant, applied: &GtidPos) -> Duration {
        while self.moments.front().is_some_and(|(_, received)| applied.covers(received)) {
            self.moments.pop_front();
        }
        self.moments.front().map_or(Duration::ZERO, |(at, _)| now.duration_since(*at))
    }
}

async fn hold_back(
    mut blocker: Session,
    mut watcher: Session,
    delay: Duration,
    lock: String,
) -> Result<String, EngineError> {
    let mut arrivals = Arrivals::default();
    let apart = delay / MOMENTS_MAX;
    let mut spoken = Instant::now();
    let mut pause = LOOK_EVERY;
    loop {
        sleep(pause).await;
        let Some(replica) = replica::look(&mut watcher).await? else {
            return Ok("the server is no replica any more".to_owned());
        };
        let tables = watcher.run("SELECT @@global.gtid_slave_pos").await?;
        let applied = position(tables.first().and_then(Table::first).and_then(|row| row.at(0)).unwrap_or_default())?;
        arrivals.note(Instant::now(), position(&replica.received)?, apart);
        let age = arrivals.age(Instant::now(), &applied);
        if let Some(over) = age.checked_sub(delay).filter(|over| !over.is_zero()) {
            blocker.run("UNLOCK TABLES").await?;
            if let Some(too_late) = over.checked_sub(TOO_LATE) {
                sleep((too_late / 2).min(LET_GO_MAX)).await;
            }
            blocker.run(&lock).await?;
            spoken = Instant::now();
            pause = Duration::ZERO;
            continue;
        }
        pause = LOOK_EVERY;
        if spoken.elapsed() > held::SPEAK_EVERY {
            blocker.run("DO 0").await?;
            spoken = Instant::now();
        }
    }
}

fn position(text: &str) -> Result<GtidPos, EngineError> {
    text.parse().map_err(|_| EngineError::Answer {
        statement: "SHOW ALL SLAVES STATUS".to_owned(),
        message: format!("{text:?} is no position"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_that_of_the_oldest_not_applied() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let position = |text: &str| position(text).expect("a position");
        let mut arrivals = Arrivals::default();
        arrivals.note(begin, position("0-1-5"), Duration::ZERO);
        arrivals.note(begin + second, position("0-1-5"), Duration::ZERO);
        arrivals.note(begin + 2 * second, position("0-1-9"), Duration::ZERO);
        assert_eq!(arrivals.age(begin + 3 * second, &position("0-1-4")), 3 * second);
        assert_eq!(arrivals.age(begin + 3 * second, &position("0-1-5")), second);
        assert_eq!(arrivals.age(begin + 3 * second, &position("0-1-9")), Duration::ZERO);
    }
}
