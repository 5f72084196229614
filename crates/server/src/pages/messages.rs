//! Messages: receivers, rules, the queue, and the message of the day.

use super::{PAGE_ROWS, clusters, frame, refused};
use crate::access::{self, Acting};
use crate::http::{self, Routes};
use crate::messages as messaging;
use crate::problem::{Failure, MALFORMED, RECEIVER, RULE, not_found, problem};
use crate::server::Server;
use axum::extract::{Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::http::Problem;
use firedrill_api::messages::{MessageEntry, MessageState, RetryMessages};
use firedrill_console::messages::{self, Messages};
use firedrill_console::{Place, Typed};
use firedrill_model::message::Channel;
use firedrill_model::{ReceiverName, RuleName};
use serde::Deserialize;
use serde_json::Value;
use std::str::FromStr;
use std::sync::Arc;

/// The address of the page.
const PAGE: &str = "/settings/messages";

/// The pages of this module.
pub(super) fn router() -> Routes {
    Routes::new()
        .route("/settings/messages", get(show))
        .route("/settings/messages/receivers", post(put_receiver))
        .route("/settings/messages/receivers/{receiver}/test", post(test))
        .route("/settings/messages/receivers/{receiver}/delete", post(remove_receiver))
        .route("/settings/messages/rules", post(put_rule))
        .route("/settings/messages/rules/{rule}/delete", post(remove_rule))
        .route("/settings/messages/retry", post(retry))
        .route("/settings/messages/daily", post(set_daily))
}

/// What is shown of the queue, what has just been done, and which rule is to be changed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    state: String,
    tested: String,
    again: String,
    rule: String,
}

/// `GET /settings/messages`.
async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Failure> {
    let Asked { state, tested, again, rule } = asked;
    let rules = if rule.is_empty() { Vec::new() } else { messaging::rules(&server).await? };
    let rule = rules.iter().find(|known| known.name.as_str() == rule).map(messages::fields);
    let page = Messages {
        state: messages::state_of(&state),
        tested,
        again: again.parse().ok(),
        rule: rule.unwrap_or_default(),
        ..Messages::default()
    };
    Ok(Html(page_of(&server, &acting, page).await?))
}

/// The page, with everything that is known.
async fn page_of(server: &Server, acting: &Acting, page: Messages) -> Result<String, Failure> {
    let (queue, more) = newest(server, page.state).await?;
    let (dead, _) = newest(server, Some(MessageState::Dead)).await?;
    let page = Messages {
        receivers: messaging::receivers(server).await?,
        rules: messaging::rules(server).await?,
        queue,
        more,
        dead,
        daily: messaging::daily(server).await?,
        clusters: clusters(server, acting),
        ..page
    };
    Ok(messages::page(&frame(server, acting, "Messages", Place::Settings), &page))
}

/// The newest messages, and whether there are older ones.
async fn newest(server: &Server, state: Option<MessageState>) -> Result<(Vec<MessageEntry>, bool), Problem> {
    let mut queue = messaging::queue(server, state).await?;
    let rows = usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX);
    let more = queue.len() > rows;
    queue.truncate(rows);
    Ok((queue, more))
}

/// To the page when it was done; otherwise the page again, with what was typed and what is wrong.
async fn answer(
    server: &Server,
    acting: &Acting,
    done: Result<(), Problem>,
    typed: Messages,
) -> Result<Response, Failure> {
    match done {
        Ok(()) => Ok(Redirect::to(PAGE).into_response()),
        Err(why) => Ok(refused(page_of(server, acting, Messages { problem: Some(why), ..typed }).await?)),
    }
}

fn named<N: FromStr>(what: &str, name: &str) -> Result<N, Failure> {
    name.parse::<N>().map_err(|_| Failure(not_found(what, format!("{name:?}"), "the page of messages names them")))
}

/// `POST /settings/messages/receivers`.
async fn put_receiver(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let typed = Typed::of(pairs);
    let kept = keep_receiver(&server, &typed).await;
    answer(&server, &acting, kept, Messages { receiver: typed, ..Messages::default() }).await
}

async fn keep_receiver(server: &Server, typed: &Typed) -> Result<(), Problem> {
    let wrong = |_| problem(RECEIVER, "“Name” has 1 to 40 of a-z, 0-9 and -, and no - first; nothing was kept");
    let name = typed.get("name").trim().parse::<ReceiverName>().map_err(wrong)?;
    access::note(&format!("receiver {name}"));
    let channel = channel(typed.get("channel"))?;
    messaging::put_receiver(server, name, &channel).await?;
    Ok(())
}

/// A channel out of YAML. Of what is wrong only names of fields and the line are repeated, as with the API.
fn channel(text: &str) -> Result<Channel, Problem> {
    const SEE: &str = "the examples show each kind";
    let value: Value = serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(location) => http::no_channel(&format!("it is no YAML from line {} on", location.line()), SEE),
        None => http::no_channel("it is no YAML", SEE),
    })?;
    http::channel(value, SEE)
}

/// `POST /settings/messages/receivers/{receiver}/test`.
async fn test(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(receiver): Path<String>,
) -> Result<Response, Failure> {
    let receiver: ReceiverName = named("receiver", &receiver)?;
    match messaging::test(&server, &receiver).await {
        Ok(_) => Ok(Redirect::to(&format!("{PAGE}?tested={receiver}")).into_response()),
        Err(why) => answer(&server, &acting, Err(why), Messages::default()).await,
    }
}

/// `POST /settings/messages/receivers/{receiver}/delete`.
async fn remove_receiver(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(receiver): Path<String>,
) -> Result<Response, Failure> {
    let receiver: ReceiverName = named("receiver", &receiver)?;
    let removed = messaging::remove_receiver(&server, &receiver).await.map(|_| ());
    answer(&server, &acting, removed, Messages::default()).await
}

/// `POST /settings/messages/rules`.
async fn put_rule(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let typed = Typed::of(pairs);
    let kept = keep_rule(&server, &typed).await;
    answer(&server, &acting, kept, Messages { rule: typed, ..Messages::default() }).await
}

async fn keep_rule(server: &Server, typed: &Typed) -> Result<(), Problem> {
    let rule = messages::read_rule(typed).map_err(|why| problem(RULE, format!("{why}; nothing was kept")))?;
    access::note(&format!("rule {}", rule.name));
    messaging::put_rule(server, rule).await?;
    Ok(())
}

/// `POST /settings/messages/rules/{rule}/delete`.
async fn remove_rule(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(rule): Path<String>,
) -> Result<Response, Failure> {
    let rule: RuleName = named("rule", &rule)?;
    let removed = messaging::remove_rule(&server, &rule).await.map(|_| ());
    answer(&server, &acting, removed, Messages::default()).await
}

/// Which dead message is tried again; empty: all.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RetryForm {
    id: String,
}

/// `POST /settings/messages/retry`.
async fn retry(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(form): Form<RetryForm>,
) -> Result<Response, Failure> {
    let id = Some(form.id.trim()).filter(|id| !id.is_empty()).map(str::to_owned);
    match messaging::retry(&server, &RetryMessages { id }).await {
        Ok(retried) => Ok(Redirect::to(&format!("{PAGE}?again={}", retried.messages)).into_response()),
        Err(why) => answer(&server, &acting, Err(why), Messages::default()).await,
    }
}

/// `POST /settings/messages/daily`; with `do=none` none is sent any more.
async fn set_daily(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let typed = Typed::of(pairs);
    let kept = keep_daily(&server, &typed).await;
    answer(&server, &acting, kept, Messages { time: typed, ..Messages::default() }).await
}

async fn keep_daily(server: &Server, typed: &Typed) -> Result<(), Problem> {
    let daily = match typed.get("do") {
        "none" => None,
        _ => {
            Some(messages::read_daily(typed).map_err(|why| problem(MALFORMED, format!("{why}; nothing was changed")))?)
        }
    };
    messaging::set_daily(server, daily).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_is_a_channel_of_its_kind_and_one_with_an_address_is_to_be_filled_in() {
        for example in messages::EXAMPLES {
            let channel = channel(example.yaml).expect(example.kind);
            assert_eq!(channel.kind(), example.kind);
            let is_whole = matches!(channel, Channel::Email { .. } | Channel::PagerDuty { .. });
            assert_eq!(channel.check().is_ok(), is_whole, "{}", example.kind);
        }
    }

    #[test]
    fn what_is_wrong_with_a_channel_is_said_without_its_values() {
        for (text, expected) in [
            ("https://hooks.example.org/5ecret", "its kind is unknown"),
            ("kind: slack-webhook\nurl: [5ecret]\n", "wrong type"),
            ("kind: 5ecret\n", "its kind is unknown"),
            ("kind: pager-duty\n", "missing field `routing_key`"),
            ("kind: teams\nurl: 5ecret\nurls: x\n", "unknown field `urls`"),
            ("kind: teams\nurl: \"5ecret\n", "no YAML"),
            ("", "no receiver"),
        ] {
            let why = channel(text).expect_err(text).message;
            assert!(why.contains(expected) && !why.contains("5ecret"), "{text}: {why}");
        }
    }
}
