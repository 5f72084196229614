//! One HTTP/1.1 connection over TLS, held open by the caller.

use anyhow::Context;
use bytes::Bytes;
use firedrill_api::http::Problem;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpSocket;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// The name in every server's certificate.
const SERVER_NAME: &str = "firedrill";
/// As the real agent's: hyper's own default grows to 400 KiB.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// An open connection. Dropped, it is closed at once.
#[derive(Debug)]
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The server answered with an error.
#[derive(Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: StatusCode,
    /// The server's words.
    pub problem: Problem,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (HTTP status {})", self.problem, self.status)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// The value of a successful answer.
    pub(crate) fn unless<T: DeserializeOwned>((status, body): (StatusCode, Bytes)) -> anyhow::Result<T> {
        if status.is_success() {
            return serde_json::from_slice(&body).context("the server's answer");
        }
        let problem = serde_json::from_slice(&body).context("the server's refusal")?;
        Err(Self { status, problem }.into())
    }
}

impl Connection {
    /// Connects, from that address of this machine when one is given, and shakes hands. On one loopback address there
    /// are fewer ports than a large fleet has connections.
    ///
    /// # Errors
    /// What the network or TLS says.
    pub async fn open(link: SocketAddr, from: Option<IpAddr>, tls: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0)).with_context(|| format!("cannot connect from {from}"))?;
        }
        let stream = socket.connect(link).await.with_context(|| format!("no link at {link}"))?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(ServerName::try_from(SERVER_NAME)?, stream).await?;
        let (sender, driver) =
            http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
        // Who waits for an answer gets the same error.
        let driver = tokio::spawn(async move { drop(driver.await) });
        Ok(Self { sender, driver: driver.abort_handle() })
    }

    /// Posts JSON and reads the whole answer.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn post<T: Serialize>(&mut self, path: &str, value: &T) -> anyhow::Result<(StatusCode, Bytes)> {
        let body = Full::new(Bytes::from(serde_json::to_vec(value)?));
        let request = Request::post(path).header("host", SERVER_NAME).header("content-type", "application/json");
        self.sender.ready().await?;
        let answer = self.sender.send_request(request.body(body)?).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    /// Begins to read an answer that goes on.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Response<Incoming>> {
        let request = Request::get(path).header("host", SERVER_NAME).body(Full::default())?;
        Ok(self.sender.send_request(request).await?)
    }
}
