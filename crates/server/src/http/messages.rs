//! Receivers of messages, rules, the queue, and the daily message.

use super::body::{Body, Parameters};
use super::{Routes, name};
use crate::messages as messaging;
use crate::problem::{Failure, MALFORMED, RECEIVER, problem};
use crate::server::Server;
use aide::axum::routing::{get, post, put};
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::http::{Done, Problem};
use firedrill_api::messages::{Daily, MessageEntry, MessageState, ReceiverView, Retried, RetryMessages};
use firedrill_model::RuleName;
use firedrill_model::message::{Channel, Rule};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// All routes of this module.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/messages/receivers", get(receivers))
        .route("/messages/receivers/{receiver}", put(put_receiver).delete(remove_receiver))
        .route("/messages/receivers/{receiver}/test", post(test))
        .route("/messages/rules", get(rules))
        .route("/messages/rules/{rule}", put(put_rule).delete(remove_rule))
        .route("/messages/queue", get(queue))
        .route("/messages/queue/retry", post(retry))
        .route("/messages/daily", get(daily).put(set_daily).delete(no_daily))
}

async fn receivers(State(server): State<Arc<Server>>) -> Result<Json<Vec<ReceiverView>>, Failure> {
    Ok(Json(messaging::receivers(&server).await?))
}

async fn put_receiver(
    State(server): State<Arc<Server>>,
    receiver: Path<String>,
    Body(body): Body<Value>,
) -> Result<Json<ReceiverView>, Failure> {
    let channel = channel(body, "docs/messages.md shows each kind")?;
    Ok(Json(messaging::put_receiver(&server, name(receiver, "receiver")?, &channel).await?))
}

/// A channel out of JSON. Of what is wrong only names of fields are repeated: a value in the wrong place may be a
/// secret. `see` says where each kind is shown.
///
/// # Errors
/// It is none.
pub(crate) fn channel(body: Value, see: &str) -> Result<Channel, Problem> {
    serde_json::from_value(body).map_err(|error| {
        let said = error.to_string();
        let harmless = said.starts_with("missing field") || said.starts_with("unknown field");
        no_channel(if harmless { said.as_str() } else { "its kind is unknown, or a value has the wrong type" }, see)
    })
}

/// What somebody has sent is no channel.
pub(crate) fn no_channel(what: &str, see: &str) -> Problem {
    problem(RECEIVER, format!("this is no receiver: {what}; {see}; nothing was kept"))
}

async fn remove_receiver(State(server): State<Arc<Server>>, receiver: Path<String>) -> Result<Json<Done>, Failure> {
    Ok(Json(messaging::remove_receiver(&server, &name(receiver, "receiver")?).await?))
}

async fn test(State(server): State<Arc<Server>>, receiver: Path<String>) -> Result<Json<Done>, Failure> {
    Ok(Json(messaging::test(&server, &name(receiver, "receiver")?).await?))
}

async fn rules(State(server): State<Arc<Server>>) -> Result<Json<Vec<Rule>>, Failure> {
    Ok(Json(messaging::rules(&server).await?))
}

async fn put_rule(
    State(server): State<Arc<Server>>,
    rule: Path<String>,
    Body(body): Body<Rule>,
) -> Result<Json<Rule>, Failure> {
    let named: RuleName = name(rule, "rule")?;
    if body.name != named {
        let message = format!("the address names rule {named}, the body {}; they must agree", body.name);
        return Err(Failure(problem(MALFORMED, message)));
    }
    Ok(Json(messaging::put_rule(&server, body).await?))
}

async fn remove_rule(State(server): State<Arc<Server>>, rule: Path<String>) -> Result<Json<Done>, Failure> {
    Ok(Json(messaging::remove_rule(&server, &name(rule, "rule")?).await?))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct QueueQuery {
    state: Option<MessageState>,
}

async fn queue(
    State(server): State<Arc<Server>>,
    Parameters(query): Parameters<QueueQuery>,
) -> Result<Json<Vec<MessageEntry>>, Failure> {
    Ok(Json(messaging::queue(&server, query.state).await?))
}

async fn retry(State(server): State<Arc<Server>>, Body(which): Body<RetryMessages>) -> Result<Json<Retried>, Failure> {
    Ok(Json(messaging::retry(&server, &which).await?))
}

async fn daily(State(server): State<Arc<Server>>) -> Result<Json<Option<Daily>>, Failure> {
    Ok(Json(messaging::daily(&server).await?))
}

async fn set_daily(
    State(server): State<Arc<Server>>,
    Body(daily): Body<Daily>,
) -> Result<Json<Option<Daily>>, Failure> {
    Ok(Json(messaging::set_daily(&server, Some(daily)).await?))
}

async fn no_daily(State(server): State<Arc<Server>>) -> Result<Json<Option<Daily>>, Failure> {
    Ok(Json(messaging::set_daily(&server, None).await?))
}
