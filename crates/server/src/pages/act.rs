//! What an operator can have done to a cluster: shown first, then asked for once.

use super::cluster::named;
use super::{frame, refused};
use crate::access::Acting;
use crate::http;
use crate::problem::{Failure, not_found, problem};
use crate::server::Server;
use axum::extract::{Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use firedrill_api::http::Problem;
use firedrill_console::Place;
use firedrill_console::act::{self, Act, Asked, Kind};
use firedrill_keeper::Request;
use firedrill_model::{ClusterName, NodeName};
use std::sync::Arc;

/// The cluster is not the one that the page has shown.
const CHANGED: &str = "K002";

/// `GET /clusters/{cluster}/act/{kind}`.
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path((cluster, kind)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Failure> {
    let (cluster, kind) = (named(&cluster)?, known(&kind)?);
    Ok(Html(page(&server, &acting, &cluster, kind, asked, None).await?))
}

/// `POST /clusters/{cluster}/act/{kind}`.
pub(super) async fn carry_out(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path((cluster, kind)): Path<(String, String)>,
    Form(asked): Form<Asked>,
) -> Result<Response, Failure> {
    let (cluster, kind) = (named(&cluster)?, known(&kind)?);
    match try_it(&server, &cluster, kind, &asked).await {
        Ok(address) => Ok(Redirect::to(&address).into_response()),
        Err(problem) => Ok(refused(page(&server, &acting, &cluster, kind, asked, Some(problem)).await?)),
    }
}

/// Asks for it; gives the address of what comes of it.
async fn try_it(server: &Server, cluster: &ClusterName, kind: Kind, asked: &Asked) -> Result<String, Problem> {
    let now = server.keepers.view(cluster)?.generation;
    if asked.generation != Some(now.0) {
        let message = format!(
            "the primary of {cluster} was changed, or is being changed, since this page was shown; nothing was begun. Look at what would be done now, and ask again"
        );
        return Err(problem(CHANGED, message));
    }
    let request = request(kind, asked)?;
    let request = request.ok_or_else(|| problem(crate::problem::MALFORMED, "choose a node first"))?;
    let accepted = http::ask(server, cluster, request).await?;
    Ok(accepted.operation.map_or_else(|| format!("/clusters/{cluster}"), |id| format!("/operations/{id}")))
}

async fn page(
    server: &Server,
    acting: &Acting,
    cluster: &ClusterName,
    kind: Kind,
    asked: Asked,
    problem: Option<Problem>,
) -> Result<String, Failure> {
    let view = server.keepers.view(cluster)?;
    let (foreseen, problem) = match (request(kind, &asked), problem) {
        (Ok(Some(request)), problem) => (Some(server.keepers.foresee(cluster, request).await?), problem),
        (Ok(None), problem) => (None, problem),
        (Err(malformed), problem) => (None, Some(problem.unwrap_or(malformed))),
    };
    let frame = frame(server, acting, &format!("{} · {cluster}", kind.title()), Place::Fleet);
    Ok(act::page(&frame, &Act { view, kind, asked, foreseen, problem }))
}

fn known(kind: &str) -> Result<Kind, Failure> {
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
    let next = "the page of the cluster has a button for each";
    kind.ok_or_else(|| Failure(not_found("action on a cluster", "of that name", next)))
}

/// `None`: a node has to be chosen first.
fn request(kind: Kind, asked: &Asked) -> Result<Option<Request>, Problem> {
    let (node, donor) = (one(&asked.node)?, one(&asked.donor)?);
    Ok(match kind {
        Kind::Promote => Some(Request::Promote { to: node, without_proof: asked.without_proof }),
        Kind::Switchover => Some(Request::Switchover { to: node }),
        Kind::Clone => node.map(|node| Request::Clone { node, donor }),
        Kind::Rejoin => node.map(|node| Request::Rejoin { node }),
    })
}

fn one(text: &str) -> Result<Option<NodeName>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let malformed = |error| problem(crate::problem::MALFORMED, format!("choose a node of the cluster: {error}"));
    text.parse().map(Some).map_err(malformed)
}
