//! The server's end of the agent link (`firedrill_api::link`): TLS, who is calling, sessions, reports.

mod certificates;
mod enrol;
mod history;
mod listener;
mod presence;
mod report;
mod session;

pub(crate) use certificates::{Standing, revoke, standings};
pub(crate) use enrol::token;
pub(crate) use history::path as history_path;
pub(crate) use listener::{listen, tls_config};
pub(crate) use presence::follow as follow_presence;

use crate::problem::{CERTIFICATE, Failure, problem};
use crate::server::Server;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::request::Parts;
use axum::routing::{get, post, put};
use firedrill_model::HostName;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Largest report: 500 items, most of them observations of some kilobytes.
const REPORT_BYTES_MAX: usize = 8 << 20;

/// Who is at the other end of a connection; in the extensions of each of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Host name and fingerprint of the client certificate; `None`: it showed none.
    certificate: Option<(HostName, String)>,
    /// Closes the connection.
    close: CancellationToken,
}

/// A host that has proved its name.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    host: HostName,
    fingerprint: String,
    close: CancellationToken,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let peer = parts.extensions.get::<Peer>();
        match peer.and_then(|peer| Some((peer.certificate.clone()?, peer.close.clone()))) {
            Some(((host, fingerprint), close)) => Ok(Self { host, fingerprint, close }),
            None => Err(Failure(problem(
                CERTIFICATE,
                "this call needs a client certificate; enrol first with a token from `firedrill host token HOST`",
            ))),
        }
    }
}

/// The calls of the link.
pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/link/v1/enrol", post(enrol::enrol))
        .route("/link/v1/renew", post(certificates::renew))
        .route("/link/v1/renewed", post(certificates::renewed))
        .route("/link/v1/hello", post(session::hello))
        .route("/link/v1/stream", get(session::stream))
        .route("/link/v1/report", post(report::report).layer(DefaultBodyLimit::max(REPORT_BYTES_MAX)))
        .route("/link/v1/history/{run}", put(history::put).layer(DefaultBodyLimit::disable()))
        .with_state(server)
}
