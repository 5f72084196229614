//! The write heartbeat: a small write of our own, tried twice a second where the server takes writes, so that "answers
//! reads but not writes" (a full or stalled disk, no acker) is seen as what it is.

use super::sql::{Session, Sessions};
use crate::config::InstanceConfig;
use crate::error::EngineError;
use firedrill_model::Span;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From one try to the next.
const EVERY: Duration = Duration::from_millis(500);

/// The schema that belongs to us on every node; it is left out of fingerprints.
pub(crate) const SCHEMA: &str = "firedrill";

/// Makes the table, as an administrator on a new server.
pub(crate) const CREATE: &str = "CREATE DATABASE IF NOT EXISTS firedrill; \
     CREATE TABLE IF NOT EXISTS firedrill.heartbeat (server_id INT UNSIGNED NOT NULL PRIMARY KEY, \
     at TIMESTAMP(6) NOT NULL) ENGINE=InnoDB";

const WRITE: &str = "REPLACE INTO firedrill.heartbeat (server_id, at) VALUES (@@server_id, NOW(6))";

/// The write heartbeat of one server. At most one write is in flight: with semi-synchronous replication it can wait
/// for ever, and then its age says so.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    sessions: Sessions,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    in_flight: bool,
    tried: Option<Instant>,
    written: Option<Instant>,
    session: Option<Session>,
    complained: bool,
}

impl Heartbeat {
    /// `None` when the instance has no account for it.
    pub(crate) fn new(config: &InstanceConfig) -> Option<Self> {
        let login = config.heartbeat.clone()?;
        Some(Self { sessions: Sessions::of(config, login), state: Arc::default() })
    }

    /// Begins a write when the server takes writes and the last try is long enough ago, and answers how long ago the
    /// last one was committed. Never waits.
    pub(crate) fn beat(self: &Arc<Self>, writable: bool) -> Option<Span> {
        let mut state = self.lock();
        if !writable {
            state.written = None;
            return None;
        }
        let due = state.tried.is_none_or(|tried| tried.elapsed() >= EVERY);
        if due && !state.in_flight {
            state.in_flight = true;
            state.tried = Some(Instant::now());
            let heartbeat = Arc::clone(self);
            tokio::spawn(async move { heartbeat.write().await });
        }
        state.written.map(|written| Span(written.elapsed()))
    }

    async fn write(&self) {
        let kept = self.lock().session.take();
        let outcome = self.try_write(kept).await;
        let mut state = self.lock();
        state.in_flight = false;
        match outcome {
            Ok(session) => {
                state.session = Some(session);
                state.written = Some(Instant::now());
                state.complained = false;
            }
            // 1290: made read-only since we looked. A broken connection is for the observer to report.
            Err(EngineError::Refused { code: 1290, .. } | EngineError::NotConnected { .. }) => {}
            Err(error) if !state.complained => {
                state.complained = true;
                tracing::warn!(
                    error = error.full(),
                    "the write heartbeat is refused; grant its account the schema firedrill"
                );
            }
            Err(_) => {}
        }
    }

    async fn try_write(&self, kept: Option<Session>) -> Result<Session, EngineError> {
        let mut session = match kept {
            Some(session) => session,
            None => self.sessions.connect().await?,
        };
        session.run(WRITE).await?;
        Ok(session)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
