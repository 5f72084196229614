//! One HTTP/1.1 connection over TLS, held open by the caller.
//!
//! A connection pool would hide which connection a request takes: the report of a dead database must not wait behind
//! another report, nor be written into a connection that a partition has silently cut. The session therefore holds its
//! few connections itself and drops all of them when it ends.

use crate::tls::SERVER_NAME;
use bytes::Bytes;
use firedrill_api::http::Problem;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub(crate) use http_body_util::Full;

/// A TCP connection is there within this time or tried anew: the kernel repeats a lost SYN after 1 s and then 2 s
/// later, so that waiting longer would only delay the return after a partition.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// The TLS handshake takes two round trips; a link with 200 ms latency and losses must do.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(3);
/// Most bytes of an answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// hyper's buffer for one connection; its own default grows to 400 KiB.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// Where a server listens for agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    authority: String,
}

impl Server {
    /// From `address:port`, with or without `https://` and a closing slash; `None` when there is no port.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let authority = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':')?;
        (!host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok())
            .then(|| Self { authority: authority.to_owned() })
    }

    /// `address:port`.
    pub(crate) fn as_str(&self) -> &str {
        &self.authority
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.authority)
    }
}

/// Why a call over the link failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// No connection, or it broke.
    #[error("{doing}: {source}")]
    Broken {
        /// What was being done.
        doing: &'static str,
        /// What was seen.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came in time.
    #[error("{doing}: no answer within {within:?}")]
    TimedOut {
        /// What was being done.
        doing: &'static str,
        /// How long was waited.
        within: Duration,
    },
    /// The certificate check of either side failed.
    #[error("{}", not_trusted(.0))]
    NotTrusted(rustls::Error),
    /// The other side does not take this side's certificate.
    #[error("it does not accept this agent's certificate ({0:?})")]
    CertificateRefused(rustls::AlertDescription),
    /// The server answered with an error.
    #[error("{message} (HTTP status {status})")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The server's words.
        message: String,
    },
    /// The answer makes no sense.
    #[error("{doing}: {problem}")]
    Protocol {
        /// What was being done.
        doing: &'static str,
        /// What was seen.
        problem: String,
    },
}

impl LinkError {
    pub(super) fn broken(doing: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        match tls_cause(source.as_ref()) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                Self::NotTrusted(rustls::Error::InvalidCertificate(reason))
            }
            Some(rustls::Error::AlertReceived(alert)) if refuses_certificate(alert) => Self::CertificateRefused(alert),
            _ => Self::Broken { doing, source },
        }
    }
}

/// What is wrong with the other side's certificate. A server makes its own at each start, so that one that seems too old or
/// too new says more about the clocks.
fn not_trusted(error: &rustls::Error) -> String {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let of_time = matches!(
        error,
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
    );
    if of_time {
        format!("{error}; is this host's clock right? It may be a day behind the server's, not more")
    } else {
        error.to_string()
    }
}

/// The alerts by which a TLS server turns a client certificate down.
fn refuses_certificate(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
    )
}

/// Finds the TLS error inside the errors of hyper and tokio.
fn tls_cause(outer: &(dyn std::error::Error + 'static)) -> Option<rustls::Error> {
    let mut error = Some(outer);
    while let Some(current) = error {
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return Some(tls.clone());
        }
        let inner = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| current.source());
    }
    None
}

/// An open connection. Dropped, it is closed at once.
pub(crate) struct Connection<B> {
    sender: http1::SendRequest<B>,
    host: String,
    driver: AbortHandle,
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<B> Connection<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Connects, shakes hands and is ready for requests.
    pub(crate) async fn open(server: &Server, tls: &Arc<ClientConfig>) -> Result<Self, LinkError> {
        const DOING: &str = "connecting";
        let stream = bounded("connecting", CONNECT_WITHIN, TcpStream::connect(server.as_str())).await?;
        stream.set_nodelay(true).map_err(|error| LinkError::broken(DOING, error))?;
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| LinkError::broken(DOING, error))?;
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = bounded("shaking hands", HANDSHAKE_WITHIN, connector.connect(name, stream)).await?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| LinkError::broken(DOING, error))?;
        let driver = tokio::spawn(async move {
            // The request that was under way gets the same error and reports it.
            if let Err(error) = driver.await {
                tracing::trace!(%error, "a connection ended");
            }
        });
        Ok(Self { sender, host: server.as_str().to_owned(), driver: driver.abort_handle() })
    }

    /// Sends a request and waits for the head of a successful answer.
    pub(crate) async fn send(
        &mut self,
        doing: &'static str,
        request: hyper::http::request::Builder,
        body: B,
    ) -> Result<Response<Incoming>, LinkError> {
        let request: Request<B> = request
            .header(hyper::header::HOST, &self.host)
            .body(body)
            .map_err(|error| LinkError::Protocol { doing, problem: error.to_string() })?;
        let answer = self.sender.send_request(request).await.map_err(|error| LinkError::broken(doing, error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = whole(doing, answer).await?;
        let message = serde_json::from_slice::<Problem>(&body).map_or_else(
            |_| String::from_utf8_lossy(&body).trim().to_owned(),
            |problem| format!("{}: {}", problem.code, problem.message),
        );
        Err(LinkError::Refused { status, message })
    }
}

/// Posts JSON and reads JSON, within a bound.
pub(crate) async fn post<T: Serialize, R: DeserializeOwned>(
    connection: &mut Connection<Full<Bytes>>,
    doing: &'static str,
    path: &str,
    value: &T,
    within: Duration,
) -> Result<R, LinkError> {
    let answer = timeout(within, post_whole(connection, doing, path, value))
        .await
        .map_err(|_| LinkError::TimedOut { doing, within })??;
    // An answer without content stands for "nothing more to say".
    let text: &[u8] = if answer.is_empty() { b"null" } else { &answer };
    serde_json::from_slice(text).map_err(|error| LinkError::Protocol { doing, problem: error.to_string() })
}

async fn post_whole<T: Serialize>(
    connection: &mut Connection<Full<Bytes>>,
    doing: &'static str,
    path: &str,
    value: &T,
) -> Result<Bytes, LinkError> {
    let body = serde_json::to_vec(value).map_err(|error| LinkError::Protocol { doing, problem: error.to_string() })?;
    let request = Request::post(path).header(hyper::header::CONTENT_TYPE, "application/json");
    let answer = connection.send(doing, request, Full::new(Bytes::from(body))).await?;
    whole(doing, answer).await
}

async fn whole(doing: &'static str, answer: Response<Incoming>) -> Result<Bytes, LinkError> {
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(body.map_err(|error| LinkError::broken(doing, error))?.to_bytes())
}

async fn bounded<T>(
    doing: &'static str,
    within: Duration,
    future: impl Future<Output = std::io::Result<T>>,
) -> Result<T, LinkError> {
    timeout(within, future)
        .await
        .map_err(|_| LinkError::TimedOut { doing, within })?
        .map_err(|error| LinkError::broken(doing, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_needs_a_port() {
        for good in ["10.0.0.1:7071", "https://10.0.0.1:7071", "https://10.0.0.1:7071/", "[fd00::1]:7071"] {
            assert!(Server::parse(good).is_some(), "{good}");
        }
        assert_eq!(Server::parse("https://10.0.0.1:7071/").expect("good").as_str(), "10.0.0.1:7071");
        for bad in ["10.0.0.1", "", ":7071", "10.0.0.1:port", "http://10.0.0.1:80", "10.0.0.1:70000"] {
            assert!(Server::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_refused_certificate_is_told_from_a_broken_link() {
        let wrapped = |error| LinkError::broken("testing", std::io::Error::other(error));
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
        assert!(matches!(wrapped(alert), LinkError::CertificateRefused(_)));
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(matches!(wrapped(untrusted), LinkError::NotTrusted(_)));
        let closed = rustls::Error::AlertReceived(rustls::AlertDescription::CloseNotify);
        assert!(matches!(wrapped(closed), LinkError::Broken { .. }));
    }
}
