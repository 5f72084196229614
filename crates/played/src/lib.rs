//! Agents that are played: they speak the real link (TCP, mutual TLS, HTTP) and do nothing to any host.
//!
//! Tests of the server use them, and the benchmark of a large fleet holds thousands of them in one process. For
//! development only: no crate of the product may use this one.
//!
//! Beside them, what tests of several crates need: a PostgreSQL server ([`Postgres`]), which is real.
//!
//! **What it never does**: put a real fault in place, or speak to a database of a fleet.
//!
//! **Where to begin**: [`Agent`] for one that answers by a script, [`Host`] for one that keeps its faults over lost links
//! as the real agent does, [`Databases`] for the database servers behind them.

mod agent;
mod connection;
pub mod crowd;
mod databases;
mod host;
mod identity;
pub mod killing;
mod pair;
mod postgres;
mod process;
pub mod readers;

pub use agent::{Agent, Link, Script, Setting, hello, obliging, willing};
pub use connection::{Connection, Refused};
pub use databases::{Databases, look};
pub use host::{Host, Standing};
pub use identity::{Identity, enrol};
pub use postgres::Postgres;

use anyhow::ensure;
use firedrill_model::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nothing that is waited for takes longer: a host that forgot an attack is asked about it after 20 s at most, and
/// thousands of agents connect in less.
const WITHIN: Duration = Duration::from_secs(60);

/// Asks until the answer is there.
pub(crate) async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        ensure!(began.elapsed() < WITHIN, "waited {WITHIN:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Now, by the wall clock.
#[must_use]
pub fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
