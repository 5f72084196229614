//! One agent that answers by a script.

use crate::connection::{Connection, Refused};
use crate::identity::Identity;
use anyhow::{Context, bail};
use firedrill_api::link::{Answer, Downward, Hello, Instruction, Order, Report, Upward, Welcome};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackSpec, CommandFailure, HostName, InstructionId};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use rustls::ClientConfig;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What comes of an instruction: an answer, or none at all.
pub type Script = Box<dyn FnMut(&Order) -> Option<Result<Answer, CommandFailure>> + Send>;

/// What a played host says of itself.
#[must_use]
pub fn hello(host: &HostName) -> Hello {
    Hello {
        link_version: firedrill_api::LINK_VERSION,
        agent_version: "0.1.0".to_owned(),
        boot_id: "boot".to_owned(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        region: host.as_str().split('-').next().and_then(|region| region.parse().ok()),
        tags: [("kind".to_owned(), "played".to_owned())].into(),
        nodes: Vec::new(),
        gateway_of: None,
        attacks: Vec::new(),
        allowed: None,
    }
}

/// Answers that let everything succeed that is not about a database.
#[must_use]
pub fn obliging() -> Script {
    Box::new(|order| {
        Some(Ok(match order {
            Order::Halt { .. } => Answer::Halted { reports: Vec::new() },
            _ => Answer::Done,
        }))
    })
}

/// Puts faults in place and takes them out again, at once; after a halt it refuses them, as an agent does. `seen` is
/// told of each change.
#[must_use]
pub fn willing(host: HostName, seen: impl Fn(&AttackReport) + Send + 'static) -> Script {
    let mut specs: Vec<AttackSpec> = Vec::new();
    let mut halted = false;
    Box::new(move |order| {
        let told = |report: AttackReport| {
            seen(&report);
            report
        };
        Some(Ok(match order {
            Order::Inject { attack } if halted => {
                Answer::Attack { report: told(report(&host, attack, AttackState::Refused)) }
            }
            Order::Inject { attack } => {
                specs.push(attack.clone());
                Answer::Attack { report: told(report(&host, attack, AttackState::Active)) }
            }
            Order::Undo { attack } => match specs.iter().position(|spec| spec.id == *attack) {
                Some(place) => {
                    Answer::Attack { report: told(report(&host, &specs.remove(place), AttackState::Undone)) }
                }
                None => Answer::Done,
            },
            Order::Resume => {
                halted = false;
                Answer::Done
            }
            Order::Halt { .. } => {
                halted = true;
                let out = specs.drain(..).map(|spec| told(report(&host, &spec, AttackState::Undone)));
                Answer::Halted { reports: out.collect() }
            }
            _ => Answer::Done,
        }))
    })
}

/// What a played host reports of a fault.
pub(crate) fn report(host: &HostName, spec: &AttackSpec, state: AttackState) -> AttackReport {
    let at = crate::now();
    AttackReport {
        id: spec.id.clone(),
        host: host.clone(),
        fault: spec.fault.clone(),
        state,
        at,
        in_place: (state == AttackState::Active).then_some(at),
        mechanism: "played".to_owned(),
        evidence: "as asked".to_owned(),
    }
}

/// How an agent connects.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The server.
    pub link: SocketAddr,
    /// From which address of this machine; `None`: the usual one.
    pub from: Option<IpAddr>,
    /// How often it reports, if there is nothing to say; `None`: as the server asks.
    pub beat: Option<Duration>,
}

impl Setting {
    /// From the usual address, five reports a second.
    #[must_use]
    pub fn new(link: SocketAddr) -> Self {
        Self { link, from: None, beat: Some(Duration::from_millis(200)) }
    }
}

/// How an agent reports.
#[derive(Debug, Clone)]
pub struct Link {
    lane: Arc<tokio::sync::Mutex<Connection>>,
    path: Arc<str>,
}

impl Link {
    /// Sends a report; the HTTP status, 502 when there was no answer.
    pub async fn report(&self, items: Vec<Upward>) -> StatusCode {
        let sent = self.lane.lock().await.post(&self.path, &Report { items }).await;
        sent.map_or(StatusCode::BAD_GATEWAY, |(status, _)| status)
    }
}

/// A connected agent, which holds two connections: the stream, and one for reports. Dropped, they close.
#[derive(Debug)]
pub struct Agent {
    /// Who it is.
    pub identity: Identity,
    /// The number of its session.
    pub session: u64,
    /// Everything that it was told to do.
    pub instructions: Arc<Mutex<Vec<Instruction>>>,
    link: Link,
    reader: JoinHandle<()>,
    beats: Option<JoinHandle<()>>,
}

impl Agent {
    /// Says hello, holds the stream, reports, and answers by the script.
    ///
    /// # Errors
    /// The server refuses (a [`Refused`]), or cannot be reached.
    pub async fn connect(setting: &Setting, identity: Identity, hello: &Hello, script: Script) -> anyhow::Result<Self> {
        let tls = identity.tls()?;
        let Setting { link: address, from, beat } = setting.clone();
        let mut lane = Connection::open(address, from, &tls).await?;
        let Welcome { session, beat_ms, .. } = Refused::unless(lane.post("/link/v1/hello", hello).await?)?;
        let (connection, stream) = open_stream(address, from, &tls, session).await?;
        let path = format!("/link/v1/report?session={session}").into();
        let link = Link { lane: Arc::new(tokio::sync::Mutex::new(lane)), path };
        let instructions = Arc::default();
        let reading = read(connection, stream, script, link.clone(), Arc::clone(&instructions));
        let reader = tokio::spawn(reading);
        let beating = link.clone();
        let beat = beat.unwrap_or(Duration::from_millis(beat_ms));
        let beats = tokio::spawn(async move {
            while beating.report(Vec::new()).await.is_success() {
                tokio::time::sleep(beat).await;
            }
        });
        Ok(Self { identity, session, instructions, link, reader, beats: Some(beats) })
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &HostName {
        &self.identity.host
    }

    /// How it reports.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link.clone()
    }

    /// Sends a report; the HTTP status, 502 when there was no answer.
    pub async fn report(&self, items: Vec<Upward>) -> StatusCode {
        self.link.report(items).await
    }

    /// From now on nothing comes from it, while its connections stay open.
    pub fn fall_silent(&mut self) {
        if let Some(beats) = self.beats.take() {
            beats.abort();
        }
    }

    /// Resolves when the server has closed the stream.
    pub async fn cut_off(&mut self) {
        // A reader that was broken off has no stream either.
        drop((&mut self.reader).await);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.reader.abort();
        self.fall_silent();
    }
}

/// The connection that carries the stream lives as long as the stream.
async fn open_stream(
    address: SocketAddr,
    from: Option<IpAddr>,
    tls: &Arc<ClientConfig>,
    session: u64,
) -> anyhow::Result<(Connection, Incoming)> {
    let mut connection = Connection::open(address, from, tls).await?;
    let answer = connection.get(&format!("/link/v1/stream?session={session}")).await.context("the stream")?;
    if !answer.status().is_success() {
        bail!("the stream of session {session} was refused with HTTP status {}", answer.status());
    }
    Ok((connection, answer.into_body()))
}

type Answers = mpsc::UnboundedSender<(InstructionId, Result<Answer, CommandFailure>)>;

/// Takes instructions in until the stream ends, and answers them in order.
async fn read(
    connection: Connection,
    mut stream: Incoming,
    mut script: Script,
    link: Link,
    told: Arc<Mutex<Vec<Instruction>>>,
) {
    let (answers, mut queue) = mpsc::unbounded_channel();
    let answering = tokio::spawn(async move {
        while let Some((id, result)) = queue.recv().await {
            link.report(vec![Upward::Answer { id, result }]).await;
        }
    });
    let mut buffer = Vec::new();
    while let Some(Ok(frame)) = stream.frame().await {
        let Some(piece) = frame.data_ref() else { continue };
        buffer.extend_from_slice(piece);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            heed(&line, &mut script, &told, &answers);
        }
    }
    answering.abort();
    drop(connection);
}

fn heed(line: &[u8], script: &mut Script, told: &Mutex<Vec<Instruction>>, answers: &Answers) {
    let Ok(Downward::Instruction(instruction)) = serde_json::from_slice(line) else { return };
    let answer = script(&instruction.order);
    let id = instruction.id.clone();
    // Only ever added to.
    told.lock().unwrap_or_else(PoisonError::into_inner).push(*instruction);
    if let Some(result) = answer {
        // Without its other end the agent is being dropped.
        drop(answers.send((id, result)));
    }
}
