//! Hosts: the list, one of them, tokens, and keeping one out.

use super::{frame, refused};
use crate::access::{self, Acting};
use crate::clock::now;
use crate::http::{self, Routes};
use crate::link;
use crate::problem::{Failure, MALFORMED, not_found, problem};
use crate::server::Server;
use axum::extract::{Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::http::{HostView, Problem, Token};
use firedrill_console::Place;
use firedrill_console::hosts::{self, HostQuery, Hosts, Placed, Shown};
use firedrill_model::{ClusterName, HostName, Span};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Attacks on the page of a host.
const ATTACKS: usize = 50;
/// So many of the newest attacks of the fleet are looked through for those of one host.
const LOOKED_THROUGH: u32 = 1000;

/// The pages of this module.
pub(super) fn router() -> Routes {
    Routes::new()
        .route("/hosts", get(list).post(let_in))
        .route("/hosts/{host}", get(show))
        .route("/hosts/{host}/token", post(token))
        .route("/hosts/{host}/revoke", post(revoke))
}

/// What is left of a certificate that was not renewed when it should have been: an agent asks long before half of it is
/// over.
fn soon(server: &Server) -> Span {
    Span::from(server.config.agent_certificate_life / 2)
}

/// Which clusters each host is of, as far as who looks may see them.
fn clusters(server: &Server, acting: &Acting) -> BTreeMap<HostName, BTreeSet<ClusterName>> {
    let mut of: BTreeMap<HostName, BTreeSet<ClusterName>> = BTreeMap::new();
    for record in server.keepers.records().into_iter().filter(|record| acting.sees(Some(&record.spec.name))) {
        let spec = record.spec;
        let nodes = spec.nodes.into_iter().map(|node| node.host);
        for host in nodes.chain(spec.gateway_host).chain(spec.application_host) {
            of.entry(host).or_default().insert(spec.name.clone());
        }
    }
    of
}

/// `GET /hosts`.
async fn list(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(query): Query<HostQuery>,
) -> Result<Html<String>, Failure> {
    Ok(Html(list_page(&server, &acting, query, String::new(), None).await?))
}

async fn list_page(
    server: &Server,
    acting: &Acting,
    query: HostQuery,
    name: String,
    problem: Option<Problem>,
) -> Result<String, Failure> {
    let mut clusters = clusters(server, acting);
    let place = |host: HostView| Placed { clusters: clusters.remove(&host.name).unwrap_or_default(), host };
    let hosts = http::all_hosts(server).await?.into_iter().map(place).collect();
    let page = Hosts { hosts, query, now: now(), soon: soon(server), name, problem };
    Ok(hosts::list(&frame(server, acting, "Hosts", Place::Hosts), &page))
}

/// `GET /hosts/{host}`.
async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(host): Path<String>,
) -> Result<Html<String>, Failure> {
    Ok(Html(host_page(&server, &acting, &named(&host)?, String::new(), None).await?))
}

fn named(name: &str) -> Result<HostName, Failure> {
    name.parse().map_err(|_| Failure(not_found("host", format!("{name:?}"), "the page of hosts names them")))
}

async fn host_page(
    server: &Server,
    acting: &Acting,
    host: &HostName,
    reason: String,
    problem: Option<Problem>,
) -> Result<String, Failure> {
    let view = http::find_host(server, host).await?;
    let clusters = clusters(server, acting).remove(host).unwrap_or_default();
    let mut attacks = server.store.open_attacks_on(host).await?;
    let newest = server.store.attacks(LOOKED_THROUGH).await?;
    attacks.extend(newest.into_iter().filter(|attack| attack.report.host == *host && attack.ended()));
    let shown = attacks.into_iter().filter(|attack| acting.sees(attack.cluster.as_ref())).map(|attack| attack.report);
    let page = Shown {
        placed: Placed { host: view, clusters },
        now: now(),
        soon: soon(server),
        attacks: shown.take(ATTACKS).collect(),
        reason,
        problem,
    };
    Ok(hosts::host(&frame(server, acting, host.as_str(), Place::Hosts), &page))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HostForm {
    host: String,
}

/// `POST /hosts`: a token for a host that may be new.
async fn let_in(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(form): Form<HostForm>,
) -> Result<Response, Failure> {
    let host = match form.host.trim().parse::<HostName>() {
        Ok(host) => host,
        Err(why) => {
            let why = problem(MALFORMED, format!("no token was made: {why}"));
            return Ok(refused(list_page(&server, &acting, HostQuery::default(), form.host, Some(why)).await?));
        }
    };
    access::note(&format!("host {host}"));
    Ok(token_page(&server, &acting, &host, &link::token(&server, &host).await?))
}

/// `POST /hosts/{host}/token`.
async fn token(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(host): Path<String>,
) -> Result<Response, Failure> {
    let host = named(&host)?;
    Ok(token_page(&server, &acting, &host, &link::token(&server, &host).await?))
}

/// The answer to the form itself: the token is in no address and is not kept.
fn token_page(server: &Server, acting: &Acting, host: &HostName, token: &Token) -> Response {
    let frame = frame(server, acting, &format!("Token for {host}"), Place::Hosts);
    Html(hosts::token(&frame, host, token)).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReasonForm {
    reason: String,
}

/// `POST /hosts/{host}/revoke`.
async fn revoke(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(host): Path<String>,
    Form(form): Form<ReasonForm>,
) -> Result<Response, Failure> {
    let host = named(&host)?;
    match http::keep_out(&server, &host, &form.reason).await {
        Ok(_) => Ok(Redirect::to(&format!("/hosts/{host}")).into_response()),
        Err(Failure(why)) => Ok(refused(host_page(&server, &acting, &host, form.reason, Some(why)).await?)),
    }
}
