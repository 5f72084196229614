//! Receivers of messages, played on loopback: an HTTP server that answers as it is told, and a mail server.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One call that came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Call {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).expect("the header").to_str().expect("text")
    }
}

/// How a call is answered.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    Status(u16),
    Text(&'static str),
    /// Nothing, for longer than any test.
    Nothing,
}

#[derive(Debug, Default)]
struct Told {
    calls: Vec<Call>,
    answers: VecDeque<Say>,
}

/// A receiver that answers with 200 when it was not told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let receiver = Self { address: listener.local_addr().expect("an address"), told: Arc::default() };
        let app = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn say(&self, answers: &[Say]) {
        self.told.lock().expect("whole").answers.extend(answers.iter().cloned());
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.told.lock().expect("whole").calls.clone()
    }
}

async fn take(State(receiver): State<Receiver>, request: Request) -> (StatusCode, String) {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let call =
        Call { path: parts.uri.to_string(), headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() };
    let answer = {
        let mut told = receiver.told.lock().expect("whole");
        told.calls.push(call);
        told.answers.pop_front()
    };
    match answer {
        None => (StatusCode::OK, r#"{"ok": true}"#.to_owned()),
        Some(Say::Status(status)) => {
            (StatusCode::from_u16(status).expect("a status"), "HUSH in an error page".to_owned())
        }
        Some(Say::Text(text)) => (StatusCode::OK, text.to_owned()),
        Some(Say::Nothing) => std::future::pending().await,
    }
}

/// A mail server without encryption: it takes every login and says to each mail what it was told to, else that it is
/// taken.
#[derive(Debug, Clone)]
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    mails: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<VecDeque<&'static str>>>,
}

impl MailServer {
    pub(crate) async fn start(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect()));
        let server = Self { address: listener.local_addr().expect("an address"), mails: Arc::default(), answers };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let one = serving.clone();
                tokio::spawn(async move { one.talk(stream).await });
            }
        });
        server
    }

    /// All mails that came, taken or not, with the envelope before each.
    pub(crate) fn mails(&self) -> Vec<String> {
        self.mails.lock().expect("whole").clone()
    }

    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 mail.test ESMTP\r\n").await?;
        let mut mail = String::new();
        while let Some(line) = lines.next_line().await? {
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let answer = match verb.as_str() {
                "EHLO" => "250-mail.test\r\n250 AUTH PLAIN LOGIN",
                "AUTH" => "235 welcome",
                "MAIL" | "RCPT" => {
                    mail.push_str(&format!("{line}\n"));
                    "250 ok"
                }
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await?;
                    while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                        mail.push_str(&format!("{line}\n"));
                    }
                    self.mails.lock().expect("whole").push(std::mem::take(&mut mail));
                    self.answers.lock().expect("whole").pop_front().unwrap_or("250 taken")
                }
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            write.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
        Ok(())
    }
}
