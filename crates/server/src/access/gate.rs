//! The door that every call of the API and every page goes through: who asks, whether they may, how often, and what is
//! written down about it. Nothing is routed around it, and a call without an entry in the table does not pass.

use super::acting::{Scene, denied, within};
use super::identity::{Known, Peer, recognise};
use super::rules::{Access, Rule, Scope, rule_for};
use super::{Acting, DENIED, NO_RULE, TOO_MANY, audit};
use crate::clock::now;
use crate::problem::{Failure, ORIGIN, Shown, chain, not_found, problem, store_failed};
use crate::server::Server;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use firedrill_api::access::AuditOutcome;
use firedrill_api::http::Problem;
use firedrill_model::access::{Action, Object, authorise};
use firedrill_model::{AttackId, OperationId, RunId};
use std::sync::{Arc, PoisonError};

/// Lets a call through, or says why not.
pub(crate) async fn gate(
    State(server): State<Arc<Server>>,
    path: MatchedPath,
    parameters: RawPathParams,
    peer: Peer,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(rule) = rule_for(request.method().as_str(), path.as_str()) else {
        let message = format!(
            "{} {} has no entry in the table of access, so nobody may call it",
            request.method(),
            path.as_str()
        );
        return Failure(problem(NO_RULE, message)).into_response();
    };
    let Access::May(action, scope) = rule.access else { return next.run(request).await };
    let known = match recognise(&server, request.headers()).await {
        Ok(known) => known,
        Err(_) if is_for_a_browser(&request, rule) => return to_the_log_in(&request),
        Err(problem) => return Failure(problem).into_response(),
    };
    if let Err(problem) = not_forged(&known, &request).and_then(|()| not_too_often(&server, &known, action)) {
        return Failure(problem).into_response();
    }
    let call = format!("{} {}", request.method(), request.uri().path());
    let changes = !request.method().is_safe();
    let scene = Arc::new(Scene::new(known.principal, known.session, peer.0));
    if let Err(problem) = may(&server, &scene, &call, action, scope, &parameters).await {
        return Failure(problem).into_response();
    }
    request.extensions_mut().insert(Acting(Arc::clone(&scene)));
    if !changes {
        return within(scene, next.run(request)).await;
    }
    if let Err(error) = audit::record(&server, &scene, &call, AuditOutcome::Asked, String::new()).await {
        // The emergency brake works also when nothing can be written down.
        if action != Action::Stop {
            return Failure(store_failed(&error)).into_response();
        }
        tracing::error!(call, error = %chain(&error), "an entry of the audit log is lost");
    }
    let response = within(Arc::clone(&scene), next.run(request)).await;
    let came = outcome(&response, scene.notes());
    write_down(&server, &scene, &call, came).await;
    response
}

/// Whether they may, which is written down when they may not.
async fn may(
    server: &Server,
    scene: &Scene,
    call: &str,
    action: Action,
    scope: Scope,
    parameters: &RawPathParams,
) -> Result<(), Problem> {
    let object = object(server, scope, parameters).await?;
    let Err(denial) = authorise(&scene.principal, action, &object) else { return Ok(()) };
    if let Err(error) = audit::record(server, scene, call, AuditOutcome::Denied, denial.to_string()).await {
        tracing::error!(call, error = %chain(&error), "a denial is not in the audit log");
    }
    Err(denied(server, &denial).await)
}

/// What came of a call, in a word, and its detail.
fn outcome(response: &Response, notes: String) -> (AuditOutcome, String) {
    let code = response.extensions().get::<Shown>().map(|shown| shown.0.code.clone());
    if response.status().is_success() || response.status().is_redirection() {
        return (AuditOutcome::Done, notes);
    }
    let outcome = if code.as_deref() == Some(DENIED) { AuditOutcome::Denied } else { AuditOutcome::Failed };
    let why = code.unwrap_or_else(|| response.status().as_u16().to_string());
    (outcome, if notes.is_empty() { why } else { format!("{why}; {notes}") })
}

async fn write_down(server: &Server, scene: &Scene, call: &str, (outcome, detail): (AuditOutcome, String)) {
    if let Err(error) = audit::record(server, scene, call, outcome, detail).await {
        tracing::error!(call, ?outcome, error = %chain(&error), "an entry of the audit log is lost");
    }
}

/// What the address of a call names.
async fn object(server: &Server, scope: Scope, parameters: &RawPathParams) -> Result<Object, Problem> {
    let named = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    let failed = |error| store_failed(&error);
    let cluster = match scope {
        Scope::Everything => return Ok(Object::Everything),
        Scope::Somewhere | Scope::Body => return Ok(Object::Somewhere),
        Scope::Cluster => {
            let text = named("cluster").unwrap_or_default();
            let parsed =
                text.parse().map_err(|error| not_found("cluster", format!("{text:?}"), &format!("{error}")))?;
            return Ok(Object::Cluster(parsed));
        }
        Scope::Run => server.store.cluster_of_run(&RunId(named("run").unwrap_or_default())).await.map_err(failed)?,
        Scope::Attack => {
            let attack = server.store.attack(&AttackId(named("attack").unwrap_or_default())).await.map_err(failed)?;
            attack.and_then(|attack| attack.cluster)
        }
        Scope::Operation => {
            let id = OperationId(named("operation").unwrap_or_default());
            server.store.operation(&id).await.map_err(failed)?.map(|operation| operation.cluster)
        }
    };
    // What does not exist is told to whoever might look anywhere; the handler says so.
    Ok(cluster.map_or(Object::Somewhere, Object::Cluster))
}

/// A browser sends the cookie by itself, and with anything that changes something it names the page that asks, which
/// was compared with this server already. One that does not is too old, or something is between.
fn not_forged(known: &Known, request: &Request) -> Result<(), Problem> {
    if !known.by_cookie || request.method().is_safe() || request.headers().contains_key(header::ORIGIN) {
        return Ok(());
    }
    Err(problem(ORIGIN, "the browser does not say which page asks (`Origin`), so it may be another site's"))
}

fn not_too_often(server: &Server, known: &Known, action: Action) -> Result<(), Problem> {
    // Stopping is never too often; and as long as nobody has to log in there is nobody to be protected from.
    if action == Action::Stop || server.access.is_open() {
        return Ok(());
    }
    let mut calls = server.access.calls.lock().unwrap_or_else(PoisonError::into_inner);
    calls.take(&known.principal.name, now()).map_err(|wait| {
        problem(TOO_MANY, format!("{} calls too often; the next call is taken in {wait}", known.principal.name))
    })
}

fn is_for_a_browser(request: &Request, rule: &Rule) -> bool {
    request.method() == Method::GET && !rule.path.starts_with("/api/")
}

fn to_the_log_in(request: &Request) -> Response {
    let path = request.uri().path();
    Redirect::to(&if path == "/" { "/login".to_owned() } else { format!("/login?next={path}") }).into_response()
}
