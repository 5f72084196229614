//! One try of one message.

use super::{chance, send};
use crate::Server;
use crate::problem::chain;
use firedrill_api::messages::MessageState;
use firedrill_model::Timestamp;
use firedrill_model::message::render::render;
use firedrill_model::message::retry::{Next, Tried, next};
use firedrill_store::{QueuedMessage, StoreError};
use std::sync::Arc;

/// Sends a message that was taken from the queue, and notes what came of it.
pub(super) async fn deliver(server: Arc<Server>, mut message: QueuedMessage, now: Timestamp) {
    let tried = match attempt(&server, &message, now).await {
        Ok(tried) => tried,
        // The claim runs out, then it is tried again.
        Err(error) => {
            tracing::error!(message = message.id, error = %chain(&error), "a message was not sent; tried again");
            return;
        }
    };
    let receiver = &message.receiver;
    (message.state, message.due, message.problem) = match next(tried, message.attempts, message.since, now, chance()) {
        Next::Done => (MessageState::Sent, now, None),
        Next::Again { due, why } => {
            tracing::info!(message = message.id, %receiver, why, "a message was not taken; tried again");
            (MessageState::Waiting, due, Some(why))
        }
        Next::Dead { why } => {
            let title = &message.notice.title;
            tracing::error!(
                message = message.id,
                %receiver,
                why,
                title,
                "a message was given up; `firedrill message queue retry` sends it again"
            );
            (MessageState::Dead, now, Some(why))
        }
    };
    if let Err(error) = server.store.settle_message(&message).await {
        tracing::error!(message = message.id, error = %chain(&error), "what came of a message was not noted; it is sent again");
    }
}

async fn attempt(server: &Server, message: &QueuedMessage, now: Timestamp) -> Result<Tried, StoreError> {
    let never = |why: &str| Ok(Tried::Never { why: why.to_owned() });
    let receivers = server.store.receivers().await?;
    let Some(record) = receivers.into_iter().find(|record| record.name == message.receiver) else {
        return never("the receiver was removed");
    };
    let Some(channel) = server.messages.unseal(&record) else {
        return never("the receiver's secrets were encrypted with another key (secrets.key); add the receiver again");
    };
    let outgoing = render(&channel, &message.notice, &message.id);
    Ok(send::send(&server.messages.http, &channel, outgoing, &message.id, now).await)
}
