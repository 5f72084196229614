//! Looking at a server several times a second without ever waiting for it.

use super::disk_probe::DiskProbe;
use super::heartbeat::Heartbeat;
use super::sql::{Session, Sessions, Table};
use super::status::{self, Heard, Look};
use crate::config::InstanceConfig;
use crate::error::EngineError;
use crate::process::ServerProcess;
use firedrill_model::observation::{DiskTrouble, ServerStatus};
use firedrill_model::{NodeObservation, Span};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// How long one observation waits for the answer; shorter than the interval between two, so that a hung server does
/// not slow the reports. The question stays asked: a later observation takes its answer.
const WAIT: Duration = Duration::from_millis(200);

/// A question that was not answered for this long is given up, and a new session tried: one statement may hang where
/// others do not.
const GIVE_UP: Duration = Duration::from_secs(5);

/// Two heartbeats have failed to come: worth a look at the disk.
const SUSPICIOUS: Duration = Duration::from_millis(1200);

type Asked = JoinHandle<Result<(Session, Look), EngineError>>;

/// Looks at one server.
#[derive(Debug)]
pub(crate) struct Observer {
    config: Arc<InstanceConfig>,
    process: Arc<ServerProcess>,
    sessions: Sessions,
    heartbeat: Option<Arc<Heartbeat>>,
    disk: DiskProbe,
    session_id: Arc<AtomicU32>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    session: Option<Session>,
    asked: Option<(Instant, Asked)>,
    answered: Instant,
    heard: Option<(Heard, Instant)>,
    /// Since when sessions are seen to wait for room.
    full_since: Option<Instant>,
    /// The last look was a reason for more questions.
    suspicious: bool,
    /// A session that was given up and has to be ended, or its statement would wait on in the server.
    stuck: Option<u32>,
}

impl Observer {
    pub(crate) fn new(config: Arc<InstanceConfig>, process: Arc<ServerProcess>, session_id: Arc<AtomicU32>) -> Self {
        Self {
            sessions: Sessions::admin(&config),
            heartbeat: Heartbeat::new(&config).map(Arc::new),
            disk: DiskProbe::new(config.disk_probe_file()),
            process,
            config,
            session_id,
            state: Mutex::new(State {
                session: None,
                asked: None,
                answered: Instant::now(),
                heard: None,
                full_since: None,
                suspicious: false,
                stuck: None,
            }),
        }
    }

    /// One look; takes at most [`WAIT`].
    pub(crate) async fn observe(&self) -> NodeObservation {
        let mut state = self.state.lock().await;
        let mut process = self.process.state();
        let answer = if process.is_gone() {
            (state.session, state.asked, state.full_since) = (None, None, None);
            Err("there is no server process".to_owned())
        } else {
            self.ask(&mut state).await
        };
        let (status, error) = match answer {
            Ok(look) => {
                state.answered = Instant::now();
                (Some(self.complete(&mut state, look)), None)
            }
            Err(error) => {
                // It may have been stopped or have ended since.
                process = self.process.state();
                (None, Some(error))
            }
        };
        let unanswered_for = if status.is_some() { Span::ZERO } else { Span(state.answered.elapsed()) };
        state.suspicious = !process.is_gone() && suspicious(status.as_ref(), unanswered_for);
        let disk_trouble = self.disk.look(state.suspicious).or_else(|| full(state.full_since));
        NodeObservation { node: self.config.node.clone(), process, status, unanswered_for, error, disk_trouble }
    }

    async fn ask(&self, state: &mut State) -> Result<Look, String> {
        let (since, mut asked) = match state.asked.take() {
            Some(asked) => asked,
            None => (Instant::now(), self.put_question(state)),
        };
        match tokio::time::timeout(WAIT, &mut asked).await {
            Ok(Ok(Ok((session, look)))) => {
                state.session = Some(session);
                Ok(look)
            }
            Ok(Ok(Err(error))) => Err(error.full()),
            Ok(Err(stopped)) => Err(format!("the question to the server was given up: {stopped}")),
            Err(_) => {
                let waited = since.elapsed();
                if waited < GIVE_UP {
                    state.asked = Some((since, asked));
                } else {
                    asked.abort();
                    state.stuck = Some(self.session_id.load(Ordering::Relaxed)).filter(|id| *id != 0);
                }
                Err(format!("the server has not answered for {}", Span(waited)))
            }
        }
    }

    fn put_question(&self, state: &mut State) -> Asked {
        let (session, stuck, suspicious) = (state.session.take(), state.stuck.take(), state.suspicious);
        let sessions = self.sessions.clone();
        let session_id = Arc::clone(&self.session_id);
        tokio::spawn(async move {
            if let Some(mut session) = session {
                match look(&mut session, suspicious).await {
                    // It belonged to an earlier server process.
                    Err(EngineError::NotConnected { .. }) => {}
                    other => return Ok((session, other?)),
                }
            }
            let mut session = sessions.connect().await?;
            session_id.store(session.id(), Ordering::Relaxed);
            if let Some(stuck) = stuck {
                // Refused when that session has ended by itself, which is as good.
                let _ended = session.run(&format!("KILL {stuck}")).await;
            }
            let look = look(&mut session, suspicious).await?;
            Ok((session, look))
        })
    }

    fn complete(&self, state: &mut State, look: Look) -> ServerStatus {
        let Look { mut status, heard, waits_for_room } = look;
        state.full_since = waits_for_room.then(|| state.full_since.unwrap_or_else(Instant::now));
        state.heard = heard.map(|now| match state.heard.take() {
            Some((before, at)) if before == now => (before, at),
            _ => (now, Instant::now()),
        });
        if let (Some(replication), Some((_, at))) = (&mut status.replication, &state.heard) {
            replication.last_heard = Some(Span(at.elapsed()));
        }
        status.write_heartbeat_age = self.heartbeat.as_ref().and_then(|heartbeat| heartbeat.beat(!status.read_only));
        status
    }
}

async fn look(session: &mut Session, suspicious: bool) -> Result<Look, EngineError> {
    let mut look = understand(&session.run(status::LOOK).await?)?;
    if suspicious {
        look.waits_for_room = status::waits_for_room(&session.run(status::FULL).await?);
    }
    Ok(look)
}

/// What the server itself says of a full volume.
fn full(since: Option<Instant>) -> Option<DiskTrouble> {
    let problem = || "sessions of the server wait for someone to free space".to_owned();
    since.map(|since| DiskTrouble { lasts: Span(since.elapsed()), problem: problem() })
}

/// A server that does not answer, or has not committed lately what it should have: its disk may be why.
fn suspicious(status: Option<&ServerStatus>, unanswered_for: Span) -> bool {
    let waited = status.map_or(Some(unanswered_for), |status| status.write_heartbeat_age);
    waited.is_some_and(|waited| waited.duration() >= SUSPICIOUS)
}

fn understand(tables: &[Table]) -> Result<Look, EngineError> {
    status::read(tables).map_err(|wrong| EngineError::Answer {
        statement: "SHOW ALL SLAVES STATUS".to_owned(),
        message: wrong.to_string(),
    })
}
