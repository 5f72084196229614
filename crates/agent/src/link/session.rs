//! One session after another with whichever server answers, for as long as the agent lives.

use super::connection::{Connection, Full, LinkError, Server, post};
use super::lines::Lines;
use super::{renewal, uplink};
use crate::backoff::Backoff;
use crate::epoch::NotAdmitted;
use crate::error::AgentError;
use crate::identity::Identity;
use crate::outbox::Outbox;
use crate::presence::Presence;
use bytes::Bytes;
use firedrill_api::link::{Downward, Hello, Instruction, Welcome};
use firedrill_model::HostName;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use rustls::ClientConfig;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// So many missed pings: long enough for TCP to repeat lost segments twice at 200 ms latency and 5 % loss.
const SILENT_BEATS: u32 = 6;
/// What a server may ask for as a beat; others would make either side take the other for lost.
const BEATS_MS: std::ops::RangeInclusive<u64> = 100..=2000;
/// The server answers a hello and begins the stream within this.
const HELLO_WITHIN: Duration = Duration::from_secs(3);

/// What a session needs of the rest of the agent.
pub(crate) trait Session {
    /// This host, for messages.
    fn host(&self) -> &HostName;
    /// Where the client certificate is kept, for messages.
    fn identity(&self) -> PathBuf;
    /// What is to be sent.
    fn outbox(&self) -> &Outbox;
    /// Told of every sign of the server.
    fn presence(&self) -> &Presence;
    /// What the agent says of itself now.
    fn hello(&self) -> Hello;
    /// A server has answered; it is remembered in which epoch it acts.
    ///
    /// # Errors
    /// It must not act any more, or that cannot be remembered: nothing is done for it.
    fn admit(&self, epoch: u64) -> Result<(), NotAdmitted>;
    /// A session is open; whatever the server may have forgotten is to be queued again.
    fn opened(&self);
    /// The server wants something done. Must not wait.
    fn instruct(&self, instruction: Instruction);
}

/// Everything the link needs.
pub(crate) struct Link<S> {
    /// Tried in turn.
    pub(crate) servers: Vec<Server>,
    /// With the client certificate.
    pub(crate) tls: Arc<ClientConfig>,
    /// The certificate, to be renewed.
    pub(crate) identity: Arc<Identity>,
    /// The rest of the agent.
    pub(crate) agent: Arc<S>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Hello(LinkError),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error("the server was silent for {0:?}")]
    Silent(Duration),
    #[error("the server closed the stream")]
    Closed,
    #[error("the stream makes no sense: {0}")]
    Nonsense(String),
    /// The server opened the session and then the reason above ended it.
    #[error("{0}")]
    AfterWelcome(Box<Lost>),
}

/// Keeps a session open until `shutdown`.
///
/// # Errors
/// When the server and this agent do not accept each other's certificate or version: trying again would not help.
pub(crate) async fn run<S: Session>(link: &Link<S>, shutdown: &CancellationToken) -> Result<(), AgentError> {
    let mut backoff = Backoff::link();
    let mut away: Option<Instant> = None;
    for server in link.servers.iter().cycle() {
        let ended = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            lost = session(link, server, &mut away) => lost,
        };
        let lost = match ended {
            Lost::AfterWelcome(lost) => {
                backoff.reset();
                *lost
            }
            lost => lost,
        };
        if let Some(error) = fatal(link, server, &lost) {
            return Err(error);
        }
        if away.is_none() {
            tracing::warn!(%server, reason = %lost, "the link is lost; trying again");
            away = Some(Instant::now());
        } else {
            tracing::debug!(%server, reason = %lost, "the link is still lost");
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = sleep(backoff.next()) => {}
        }
    }
    Ok(())
}

fn fatal<S: Session>(link: &Link<S>, server: &Server, lost: &Lost) -> Option<AgentError> {
    let (host, server, identity) = (link.agent.host().clone(), server.to_string(), link.agent.identity());
    let error = match lost {
        Lost::Link(error) | Lost::Hello(error) => error,
        _ => return None,
    };
    let refused = matches!(lost, Lost::Hello(LinkError::Refused { status, .. }) if status.is_client_error());
    match error {
        LinkError::NotTrusted(_) => {
            Some(AgentError::ServerNotTrusted { host, server, reason: error.to_string(), identity })
        }
        LinkError::CertificateRefused(rustls::AlertDescription::CertificateExpired) => {
            Some(AgentError::CertificateExpired { host, server, identity })
        }
        LinkError::CertificateRefused(_) => {
            Some(AgentError::Refused { host, server, reason: error.to_string(), identity })
        }
        _ if refused => Some(AgentError::Refused { host, server, reason: error.to_string(), identity }),
        _ => None,
    }
}

async fn session<S: Session>(link: &Link<S>, server: &Server, away: &mut Option<Instant>) -> Lost {
    let opened = async {
        let mut first: Connection<Full<Bytes>> = Connection::open(server, &link.tls).await?;
        let hello = link.agent.hello();
        let welcome = post(&mut first, "saying hello", "/link/v1/hello", &hello, HELLO_WITHIN).await;
        let welcome: Welcome = welcome.map_err(Lost::Hello)?;
        link.agent.admit(welcome.epoch)?;
        let now = Instant::now();
        link.agent.presence().welcomed(welcome.at, Duration::from_millis(welcome.lease_ms), now);
        // Both at once: after a failover on a slow link each handshake is two long round trips.
        let (second, stream) =
            tokio::try_join!(Connection::open(server, &link.tls), open_stream(link, server, welcome.session))?;
        Ok((welcome, [first, second], stream))
    };
    let (welcome, lanes, (_stream, body)) = match opened.await {
        Ok(opened) => opened,
        Err(lost) => return lost,
    };
    let gone_ms = away.take().map(|since| since.elapsed().as_millis());
    tracing::info!(%server, session = welcome.session, gone_ms, "the link is open");
    link.agent.opened();
    let beat = Duration::from_millis(welcome.beat_ms.clamp(*BEATS_MS.start(), *BEATS_MS.end()));
    let lost = tokio::select! {
        lost = listen(link, body, beat * SILENT_BEATS) => lost,
        error = uplink::run(link.agent.outbox(), welcome.session, beat, lanes) => Lost::Link(error),
        never = renewal::keep(link, server, welcome.renew_at) => match never {},
    };
    Lost::AfterWelcome(Box::new(lost))
}

/// The connection that carries the stream lives as long as the stream.
async fn open_stream<S>(
    link: &Link<S>,
    server: &Server,
    session: u64,
) -> Result<(Connection<Full<Bytes>>, Incoming), LinkError> {
    const DOING: &str = "opening the stream";
    let mut connection: Connection<Full<Bytes>> = Connection::open(server, &link.tls).await?;
    let request = Request::get(format!("/link/v1/stream?session={session}"));
    let answer = timeout(HELLO_WITHIN, connection.send(DOING, request, Full::default()))
        .await
        .map_err(|_| LinkError::TimedOut { doing: DOING, within: HELLO_WITHIN })??;
    Ok((connection, answer.into_body()))
}

async fn listen<S: Session>(link: &Link<S>, mut body: Incoming, silent_after: Duration) -> Lost {
    let mut lines = Lines::default();
    loop {
        let frame = match timeout(silent_after, body.frame()).await {
            Err(_) => return Lost::Silent(silent_after),
            Ok(None) => return Lost::Closed,
            Ok(Some(Err(error))) => return Lost::Link(LinkError::broken("reading the stream", error)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(chunk) = frame.data_ref() else { continue };
        lines.push(chunk);
        link.agent.presence().heard(Instant::now());
        loop {
            match lines.next() {
                Ok(Some(line)) if line.is_empty() => {}
                Ok(Some(line)) => match serde_json::from_slice(&line) {
                    Ok(message) => heed(link, message),
                    Err(error) => return Lost::Nonsense(error.to_string()),
                },
                Ok(None) => break,
                Err(error) => return Lost::Nonsense(error.to_string()),
            }
        }
    }
}

fn heed<S: Session>(link: &Link<S>, message: Downward) {
    match message {
        Downward::Ping { at } => link.agent.presence().heard_time(at, Instant::now()),
        Downward::Instruction(instruction) => link.agent.instruct(*instruction),
    }
}
