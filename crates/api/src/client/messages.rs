//! The calls about messages; see [`crate::messages`].

use super::{Client, ClientError};
use crate::http::Done;
use crate::messages::{Daily, MessageEntry, MessageState, ReceiverView, Retried, RetryMessages};
use firedrill_model::message::{Channel, Rule};
use firedrill_model::{ReceiverName, RuleName};
use reqwest::Method;

impl Client {
    /// All receivers, without their secrets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn receivers(&self) -> Result<Vec<ReceiverView>, ClientError> {
        self.get("/api/v1/messages/receivers").await
    }

    /// Adds a receiver, or replaces the one of its name.
    ///
    /// # Errors
    /// [`ClientError`]; it cannot be like that.
    pub async fn put_receiver(&self, name: &ReceiverName, channel: &Channel) -> Result<ReceiverView, ClientError> {
        self.put(&format!("/api/v1/messages/receivers/{name}"), channel).await
    }

    /// Removes a receiver; what waits for it is dead.
    ///
    /// # Errors
    /// [`ClientError`]; there is none of that name, or a rule sends to it.
    pub async fn remove_receiver(&self, name: &ReceiverName) -> Result<Done, ClientError> {
        self.delete(&format!("/api/v1/messages/receivers/{name}")).await
    }

    /// Sends a test message and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`]; there is none of that name, or it has not taken the message.
    pub async fn test_receiver(&self, name: &ReceiverName) -> Result<Done, ClientError> {
        self.post(&format!("/api/v1/messages/receivers/{name}/test"), &serde_json::json!({})).await
    }

    /// All rules.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn message_rules(&self) -> Result<Vec<Rule>, ClientError> {
        self.get("/api/v1/messages/rules").await
    }

    /// Adds a rule, or replaces the one of its name.
    ///
    /// # Errors
    /// [`ClientError`]; it names no receiver.
    pub async fn put_message_rule(&self, rule: &Rule) -> Result<Rule, ClientError> {
        self.put(&format!("/api/v1/messages/rules/{}", rule.name), rule).await
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// [`ClientError`]; there is none of that name.
    pub async fn remove_message_rule(&self, name: &RuleName) -> Result<Done, ClientError> {
        self.delete(&format!("/api/v1/messages/rules/{name}")).await
    }

    /// The newest messages, in one state or all.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn message_queue(&self, state: Option<MessageState>) -> Result<Vec<MessageEntry>, ClientError> {
        let query: Vec<_> = state.iter().map(|state| ("state", state)).collect();
        let path = "/api/v1/messages/queue";
        self.send(path, self.call(Method::GET, path).query(&query)).await
    }

    /// Puts dead messages back into the queue.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such dead message.
    pub async fn retry_messages(&self, which: &RetryMessages) -> Result<Retried, ClientError> {
        self.post("/api/v1/messages/queue/retry", which).await
    }

    /// When the daily message goes out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn daily_message(&self) -> Result<Option<Daily>, ClientError> {
        self.get("/api/v1/messages/daily").await
    }

    /// Sets when it goes out; `None`: it does not.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_daily_message(&self, daily: Option<&Daily>) -> Result<Option<Daily>, ClientError> {
        match daily {
            Some(daily) => self.put("/api/v1/messages/daily", daily).await,
            None => self.delete("/api/v1/messages/daily").await,
        }
    }

    async fn delete<A: serde::de::DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.send(path, self.call(Method::DELETE, path)).await
    }
}
