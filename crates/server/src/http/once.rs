//! Calls that are carried out once however often they are sent: those that carry an `Idempotency-Key`.
//!
//! A key belongs to whoever sends it and to one request. The first use takes it, durably, before anything is done; the
//! answer is kept and given to whoever sends the same again.

use crate::access::Acting;
use crate::authority::sha256_hex;
use crate::clock::now;
use crate::problem::{BEGUN_BEFORE, Failure, KEY, chain, problem, store_failed};
use crate::server::Server;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use firedrill_api::http::{IDEMPOTENCY_KEY, Problem};
use firedrill_store::{KeptAnswer, KeyUse, KeyedCall};
use std::sync::Arc;

const HALT: &str = "/api/v1/halt";
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 128;
/// Largest body of a call with a key: what any call of the API takes.
const ASKED_BYTES_MAX: usize = 2 << 20;
/// Largest answer that is kept; answers of calls that change something are far smaller.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Answers of these hold a secret, which is shown once and kept by nobody.
const SECRET_ANSWERS: [&str; 4] =
    ["/api/v1/login", "/api/v1/tokens", "/api/v1/hosts/{host}/token", "/api/v1/users/{user}/totp"];
/// Says that an answer is an earlier one.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Carries a call out, or answers as before.
pub(super) async fn keyed(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let Some(key) = request.headers().get(IDEMPOTENCY_KEY).cloned() else { return next.run(request).await };
    // The emergency brake waits for no key, and to pull it twice is to pull it once.
    if request.method().is_safe() || request.uri().path() == HALT {
        return next.run(request).await;
    }
    carry_out(&server, &key, request, next).await.unwrap_or_else(|problem| Failure(problem).into_response())
}

async fn carry_out(server: &Server, key: &HeaderValue, request: Request, next: Next) -> Result<Response, Problem> {
    let key = checked(key, &request)?;
    let person = request.extensions().get::<Acting>().map(|acting| acting.principal().name.clone()).unwrap_or_default();
    let (parts, body) = request.into_parts();
    let too_large = |_| problem(KEY, format!("the body is larger than {ASKED_BYTES_MAX} bytes, or broke off"));
    let body = to_bytes(body, ASKED_BYTES_MAX).await.map_err(too_large)?;
    let asked = fingerprint(&parts.method, &parts.uri.to_string(), &body);
    let call = KeyedCall { person: &person, key: &key, asked: &asked };
    match server.store.take_key(call, now()).await.map_err(|error| store_failed(&error))? {
        KeyUse::First => {}
        KeyUse::Answered(answer) => return Ok(again(answer)),
        KeyUse::Other => {
            let text =
                format!("the key {key:?} was used for another call in the last day; use a new one for each call");
            return Err(problem(KEY, text));
        }
        KeyUse::Begun => {
            let text = format!(
                "the call with the key {key:?} was begun and has no answer: it is under way, or the server stopped \
                 meanwhile; look at what it would have made before you send it with another key"
            );
            return Err(problem(BEGUN_BEFORE, text));
        }
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    let too_large =
        |_| problem(KEY, format!("it was carried out, but its answer is larger than {ANSWER_BYTES_MAX} bytes"));
    let body = to_bytes(body, ANSWER_BYTES_MAX).await.map_err(too_large)?;
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let answer = KeptAnswer { status: parts.status.as_u16(), content_type: kind.to_owned(), body: body.to_vec() };
    if let Err(error) = server.store.keep_answer(call, &answer).await {
        // It was carried out, and that is what counts; a repetition will be told that it was begun.
        tracing::error!(error = %chain(&error), "an answer could not be kept for its key");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn checked(key: &HeaderValue, request: &Request) -> Result<String, Problem> {
    let text = key.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > KEY_BYTES_MAX {
        return Err(problem(KEY, format!("an Idempotency-Key has 1 to {KEY_BYTES_MAX} visible ASCII characters")));
    }
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if SECRET_ANSWERS.contains(&path) {
        let text =
            "the answer of this call holds a secret and is not kept, so it takes no Idempotency-Key; leave it out";
        return Err(problem(KEY, text));
    }
    Ok(text.to_owned())
}

fn fingerprint(method: &Method, address: &str, body: &Bytes) -> String {
    let mut text = format!("{method} {address}\n").into_bytes();
    text.extend_from_slice(body);
    sha256_hex(&text)
}

fn again(answer: KeptAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    if let Ok(kind) = HeaderValue::try_from(answer.content_type) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
