//! An agent, played: it speaks the real link and answers as it is told to.

use crate::fixture::{Fixture, WITHIN, until};
use firedrill_api::http::Problem;
use firedrill_api::link::{Answer, Downward, Enrol, Enrolled, Hello, Instruction, Order, Report, Upward, Welcome};
use firedrill_model::{CommandFailure, HostName, InstructionId};
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, StatusCode};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) host: HostName,
    pub(crate) pem: String,
    pub(crate) authority: String,
}

/// A client that trusts the authority in the server's directory.
pub(crate) fn anonymous(fixture: &Fixture) -> reqwest::Client {
    let authority = std::fs::read(fixture.dir.path().join("data/authority/authority.pem")).expect("an authority");
    https(&authority, None)
}

fn https(authority: &[u8], identity: Option<&str>) -> reqwest::Client {
    firedrill_api::client::install_crypto();
    let root = Certificate::from_pem(authority).expect("a certificate");
    let builder = reqwest::Client::builder().tls_certs_only([root]).no_proxy().tcp_nodelay(true);
    let builder = match identity {
        Some(pem) => builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity")),
        None => builder,
    };
    builder.build().expect("a client")
}

/// Enrols a host; the refusal with its status when it is refused.
pub(crate) async fn enrol(fixture: &Fixture, host: &str, token: &str) -> Result<Identity, (StatusCode, Problem)> {
    let host: HostName = host.parse().expect("a name");
    let key = KeyPair::generate().expect("a key");
    let request = CertificateParams::default().serialize_request(&key).expect("a request").pem().expect("PEM");
    let body = Enrol { token: token.to_owned(), host: host.clone(), signing_request: request };
    let answer = anonymous(fixture).post(fixture.link("/link/v1/enrol")).json(&body).send().await.expect("an answer");
    let status = answer.status();
    if !status.is_success() {
        return Err((status, answer.json().await.expect("a problem")));
    }
    let Enrolled { certificate, authority } = answer.json().await.expect("a certificate");
    Ok(Identity { host, pem: format!("{certificate}{}", key.serialize_pem()), authority })
}

pub(crate) fn hello(host: &HostName) -> Hello {
    Hello {
        link_version: firedrill_api::LINK_VERSION,
        agent_version: "0.1.0".to_owned(),
        boot_id: "boot".to_owned(),
        address: "127.0.0.1".parse().expect("an address"),
        region: host.as_str().split('-').next().map(|region| region.parse().expect("a name")),
        tags: [("kind".to_owned(), "played".to_owned())].into(),
        nodes: Vec::new(),
        gateway_of: None,
        attacks: Vec::new(),
    }
}

/// What comes of an instruction: an answer, or none at all.
pub(crate) type Script = Box<dyn FnMut(&Order) -> Option<Result<Answer, CommandFailure>> + Send>;

/// Answers that let everything succeed that is not about a database.
pub(crate) fn obliging() -> Script {
    Box::new(|order| {
        Some(Ok(match order {
            Order::Halt { .. } => Answer::Halted { reports: Vec::new() },
            _ => Answer::Done,
        }))
    })
}

/// A connected agent. Dropped, its connections close.
pub(crate) struct Agent {
    pub(crate) identity: Identity,
    pub(crate) session: u64,
    /// Everything that it was told to do.
    pub(crate) instructions: Arc<Mutex<Vec<Instruction>>>,
    link: Link,
    reader: JoinHandle<()>,
    beats: Option<JoinHandle<()>>,
}

/// How it reports.
#[derive(Clone)]
pub(crate) struct Link {
    http: reqwest::Client,
    url: String,
}

impl Link {
    pub(crate) async fn report(&self, items: Vec<Upward>) -> StatusCode {
        let sent = self.http.post(&self.url).json(&Report { items }).send().await;
        sent.map_or(StatusCode::BAD_GATEWAY, |answer| answer.status())
    }
}

pub(crate) fn identified(identity: &Identity) -> reqwest::Client {
    https(identity.authority.as_bytes(), Some(&identity.pem))
}

/// Says hello only.
pub(crate) async fn say_hello(
    fixture: &Fixture,
    identity: &Identity,
    hello: &Hello,
) -> Result<Welcome, (StatusCode, Problem)> {
    let sent = identified(identity).post(fixture.link("/link/v1/hello")).json(hello).send().await;
    let answer = sent.expect("an answer");
    let status = answer.status();
    if status.is_success() {
        Ok(answer.json().await.expect("a welcome"))
    } else {
        Err((status, answer.json().await.expect("a problem")))
    }
}

impl Agent {
    /// Enrols, says hello, holds the stream, reports every 200 ms, and answers by the script.
    pub(crate) async fn connect(fixture: &Fixture, host: &str, script: Script) -> Self {
        let identity = fixture.enrolled(host).await;
        let greeting = hello(&identity.host);
        Self::connect_as(fixture, identity, greeting, script).await
    }

    pub(crate) async fn connect_as(fixture: &Fixture, identity: Identity, hello: Hello, script: Script) -> Self {
        let session = say_hello(fixture, &identity, &hello).await.expect("welcome").session;
        // The stream and the reports go over connections of their own, as those of the real agent do.
        let http = identified(&identity);
        let stream =
            identified(&identity).get(fixture.link(&format!("/link/v1/stream?session={session}"))).send().await;
        let stream = stream.and_then(reqwest::Response::error_for_status).expect("a stream");
        let link = Link { http, url: fixture.link(&format!("/link/v1/report?session={session}")) };
        let instructions = Arc::default();
        let reader = tokio::spawn(read(stream, script, link.clone(), Arc::clone(&instructions)));
        let beating = link.clone();
        let beats = tokio::spawn(async move {
            while beating.report(Vec::new()).await.is_success() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let name = identity.host.clone();
        let server = Arc::clone(fixture.server());
        until("the agent is connected", async || server.fleet.connected().contains(&name).then_some(())).await;
        Self { identity, session, instructions, link, reader, beats: Some(beats) }
    }

    pub(crate) fn host(&self) -> &HostName {
        &self.identity.host
    }

    pub(crate) fn link(&self) -> Link {
        self.link.clone()
    }

    pub(crate) async fn report(&self, items: Vec<Upward>) -> StatusCode {
        self.link.report(items).await
    }

    /// From now on nothing comes from it, while its connections stay open.
    pub(crate) fn fall_silent(&mut self) {
        if let Some(beats) = self.beats.take() {
            beats.abort();
        }
    }

    /// Resolves when the server has closed the stream.
    pub(crate) async fn cut_off(mut self) {
        tokio::time::timeout(WITHIN, &mut self.reader).await.expect("cut off in time").expect("the reader ended");
    }

    /// The first order that fits, once it has come.
    pub(crate) async fn told<T>(&self, what: &str, fits: impl Fn(&Order) -> Option<T>) -> T {
        until(what, async || {
            self.instructions.lock().expect("whole").iter().find_map(|instruction| fits(&instruction.order))
        })
        .await
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.reader.abort();
        self.fall_silent();
    }
}

/// Takes instructions in, and answers each on its own, in order.
async fn read(mut stream: reqwest::Response, mut script: Script, link: Link, told: Arc<Mutex<Vec<Instruction>>>) {
    let (answers, mut queue) = mpsc::unbounded_channel::<(InstructionId, Result<Answer, CommandFailure>)>();
    let answering = tokio::spawn(async move {
        while let Some((id, result)) = queue.recv().await {
            link.report(vec![Upward::Answer { id, result }]).await;
        }
    });
    let mut buffer = Vec::new();
    while let Ok(Some(piece)) = stream.chunk().await {
        buffer.extend_from_slice(&piece);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if let Downward::Instruction(instruction) = serde_json::from_slice(&line).expect("a message") {
                let answer = script(&instruction.order);
                let id = instruction.id.clone();
                told.lock().expect("whole").push(*instruction);
                if let Some(result) = answer {
                    answers.send((id, result)).expect("the queue lives");
                }
            }
        }
    }
    answering.abort();
}
