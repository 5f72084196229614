//! Hosts, their enrolment and their certificates.

use super::body::Body;
use super::name;
use crate::access;
use crate::link::{self, Standing};
use crate::problem::{Failure, MALFORMED, not_found, problem};
use crate::server::Server;
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::http::{HostView, Reason, Token};
use firedrill_model::HostName;
use std::sync::Arc;

/// Longest reason of a revocation: it is shown on one line of the timeline.
const REASON_CHARS_MAX: usize = 500;

/// `GET /hosts`.
pub(super) async fn list(State(server): State<Arc<Server>>) -> Result<Json<Vec<HostView>>, Failure> {
    Ok(Json(all(&server).await?))
}

/// All hosts that have an agent.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn all(server: &Server) -> Result<Vec<HostView>, Failure> {
    let mut standings = link::standings(server).await?;
    let standing = |view: HostView| {
        let standing = standings.remove(&view.name).unwrap_or_default();
        with(view, standing)
    };
    Ok(server.fleet.views().into_iter().map(standing).collect())
}

/// `GET /hosts/{host}`.
pub(super) async fn show(State(server): State<Arc<Server>>, host: Path<String>) -> Result<Json<HostView>, Failure> {
    Ok(Json(find(&server, &name(host, "host")?).await?))
}

/// `POST /hosts/{host}/token`.
pub(super) async fn token(State(server): State<Arc<Server>>, host: Path<String>) -> Result<Json<Token>, Failure> {
    Ok(Json(link::token(&server, &name(host, "host")?).await?))
}

/// `POST /hosts/{host}/revoke`.
pub(super) async fn revoke(
    State(server): State<Arc<Server>>,
    host: Path<String>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<Json<HostView>, Failure> {
    Ok(Json(keep_out(&server, &name(host, "host")?, &reason).await?))
}

/// Keeps a host out until it is enrolled anew.
///
/// # Errors
/// There is no such host, or the reason is none.
pub(crate) async fn keep_out(server: &Server, host: &HostName, reason: &str) -> Result<HostView, Failure> {
    if reason.trim().is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        let text = format!("revoking host {host} needs a reason of 1 to {REASON_CHARS_MAX} characters, for the log");
        return Err(Failure(problem(MALFORMED, text)));
    }
    // A name that was mistyped must not look like a host that is out.
    find(server, host).await?;
    access::note(&format!("host {host}: {reason}"));
    link::revoke(server, host, reason).await?;
    find(server, host).await
}

/// A host that has enrolled, whether or not its agent has ever connected.
///
/// # Errors
/// There is none of that name, or the store cannot be read.
pub(crate) async fn find(server: &Server, host: &HostName) -> Result<HostView, Failure> {
    let standing = link::standings(server).await?.remove(host);
    let unknown = || Failure(not_found("host", host, "`firedrill host list` names those that are known"));
    match (server.fleet.view(host), standing) {
        (None, None) => Err(unknown()),
        (view, standing) => {
            let view = view.unwrap_or_else(|| HostView::unseen(host.clone()));
            Ok(with(view, standing.unwrap_or_default()))
        }
    }
}

fn with(view: HostView, Standing { until, revoked }: Standing) -> HostView {
    HostView { certificate_until: until, revoked, ..view }
}
