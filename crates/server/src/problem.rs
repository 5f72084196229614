//! Error answers: each with a stable code that has a page in `docs/errors/`.

use crate::access::{DENIED, LOG_IN, NO_RULE, NOT_LOGGED_IN, TOO_MANY};
use crate::error_pages;
use crate::openid::{NO_USER, PROVIDER};
use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described, StatusCode as Status};
use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use firedrill_api::http::Problem;
use firedrill_model::{CommandFailure, HostName};
use firedrill_store::StoreError;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Display;

/// The object that was named does not exist.
pub const NOT_FOUND: &str = "S001";
/// The request is malformed.
pub const MALFORMED: &str = "S002";
/// The store cannot be read or written.
pub const STORE: &str = "S003";
/// Starts are blocked by a halt.
pub const HALTED: &str = "S004";
/// A cluster cannot be registered like that.
pub const CLUSTER: &str = "S005";
/// A selector selects nothing.
pub const EMPTY_TARGET: &str = "S006";
/// The agent of a host has no live link.
pub const NOT_CONNECTED: &str = "S007";
/// An attack makes no sense on its target.
pub const ATTACK: &str = "S008";
/// An agent could not do what it was asked.
pub const AGENT: &str = "S009";
/// An enrolment token is not accepted.
pub const TOKEN: &str = "S010";
/// A client certificate is missing or not in force any more.
pub const CERTIFICATE: &str = "S011";
/// A request belongs to a session that has ended.
pub const SESSION: &str = "S012";
/// An agent speaks another version of the link.
pub const LINK_VERSION: &str = "S013";
/// A recorded history is not taken.
pub const HISTORY: &str = "S014";
/// A page of another origin called the API.
pub const ORIGIN: &str = "S015";
/// Another server acts.
pub const STANDING_BY: &str = "S017";
/// A run is under way on that cluster.
pub const BUSY: &str = "S016";

/// A file of the Chaos Toolkit cannot be imported.
pub const IMPORT: &str = "S023";

/// A host was revoked.
pub const REVOKED: &str = "S130";
/// An agent's certificate has expired.
pub const EXPIRED: &str = "S131";

/// An idempotency key cannot be used like that.
pub const KEY: &str = "S066";
/// A call with an idempotency key was begun before and has no answer.
pub const BEGUN_BEFORE: &str = "S067";

/// A receiver of messages cannot be like that.
pub const RECEIVER: &str = "S050";
/// A rule still sends to a receiver.
pub const RECEIVER_USED: &str = "S051";
/// A receiver has not taken a test message.
pub const NOT_TAKEN: &str = "S052";
/// A message is not dead.
pub const NOT_DEAD: &str = "S053";
/// A rule of messages cannot be like that.
pub const RULE: &str = "S054";
/// A period of evidence cannot be used.
pub const PERIOD: &str = "S055";

/// A selector contradicts itself.
pub const SELECTOR: &str = "S070";
/// A guard refuses an attack.
pub const GUARD: &str = "S071";
/// An attack waits for a second person.
pub const APPROVAL: &str = "S072";
/// A guard cannot be overridden like that.
pub const OVERRIDE: &str = "S073";
/// An approval cannot be given.
pub const APPROVE: &str = "S074";
/// The limits of the guards contradict themselves.
pub const LIMITS: &str = "S075";

/// A problem that is nobody's refusal.
#[must_use]
pub fn problem(code: &str, message: impl Into<String>) -> Problem {
    Problem { code: code.to_owned(), message: message.into(), refused: false }
}

/// A guard says no (exit status 4).
#[must_use]
pub fn refusal(code: &str, message: impl Into<String>) -> Problem {
    Problem { code: code.to_owned(), message: message.into(), refused: true }
}

/// There is no such thing.
#[must_use]
pub fn not_found(what: &str, name: impl Display, next: &str) -> Problem {
    problem(NOT_FOUND, format!("there is no {what} {name}; {next}"))
}

/// The store failed. Logged here, because the caller only gets the outline.
#[must_use]
pub fn store_failed(error: &StoreError) -> Problem {
    tracing::error!(error = %chain(error), "the store failed");
    problem(STORE, error.to_string())
}

/// An agent could not do something.
#[must_use]
pub fn agent_failed(host: &HostName, doing: &str, failure: &CommandFailure) -> Problem {
    problem(AGENT, format!("{doing} on host {host}: {failure}"))
}

/// An error with all its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A problem on its way out, with its HTTP status.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(store_failed(&error))
    }
}

/// A problem as it travels (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
struct Details {
    /// The page of the code.
    #[serde(rename = "type")]
    page: String,
    /// What the code means, in a few words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    #[serde(flatten)]
    problem: Problem,
}

const PROBLEM_JSON: &str = "application/problem+json";

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = status(&self.0);
        let page = error_pages::address(&self.0.code);
        let details =
            Details { page, title: error_pages::title(&self.0.code), status: status.as_u16(), problem: self.0.clone() };
        let mut response = (status, Json(details)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response.extensions_mut().insert(Shown(self.0));
        response
    }
}

impl OperationOutput for Failure {
    type Inner = Problem;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<Described> {
        let mut response = Json::<Details>::operation_response(context, operation)?;
        response.description = "It was not done; `code` and `detail` say why.".to_owned();
        response.content = response.content.into_values().map(|media| (PROBLEM_JSON.to_owned(), media)).collect();
        Some(response)
    }

    fn inferred_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<Status>, Described)> {
        Self::operation_response(context, operation).map(|response| (None, response)).into_iter().collect()
    }
}

/// The problem in an answer, for those who have only the answer.
#[derive(Debug, Clone)]
pub(crate) struct Shown(pub(crate) Problem);

fn status(problem: &Problem) -> StatusCode {
    match problem.code.as_str() {
        NOT_FOUND => StatusCode::NOT_FOUND,
        STORE | STANDING_BY => StatusCode::SERVICE_UNAVAILABLE,
        TOKEN | CERTIFICATE | REVOKED | EXPIRED | ORIGIN | DENIED => StatusCode::FORBIDDEN,
        NOT_LOGGED_IN | LOG_IN | NO_USER => StatusCode::UNAUTHORIZED,
        TOO_MANY => StatusCode::TOO_MANY_REQUESTS,
        NO_RULE => StatusCode::INTERNAL_SERVER_ERROR,
        KEY => StatusCode::UNPROCESSABLE_ENTITY,
        SESSION | HALTED | BUSY | CLUSTER | BEGUN_BEFORE | RECEIVER_USED | NOT_DEAD => StatusCode::CONFLICT,
        NOT_CONNECTED | AGENT | NOT_TAKEN | PROVIDER => StatusCode::BAD_GATEWAY,
        _ if problem.refused => StatusCode::CONFLICT,
        _ => StatusCode::BAD_REQUEST,
    }
}
