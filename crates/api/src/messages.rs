//! Messages on the HTTP API: receivers, rules, the queue, and when the daily message goes out.
//!
//! | call | takes | gives |
//! |---|---|---|
//! | `GET /api/v1/messages/receivers` | | `Vec<ReceiverView>`: never with a secret |
//! | `PUT /api/v1/messages/receivers/{r}` | [`Channel`](firedrill_model::message::Channel) | [`ReceiverView`]; replaces the one of that name |
//! | `DELETE /api/v1/messages/receivers/{r}` | | `Done` |
//! | `POST /api/v1/messages/receivers/{r}/test` | | `Done`: the receiver has taken a message |
//! | `GET /api/v1/messages/rules` | | `Vec<Rule>` |
//! | `PUT /api/v1/messages/rules/{r}` | [`Rule`](firedrill_model::message::Rule) | `Rule`; replaces the one of that name |
//! | `DELETE /api/v1/messages/rules/{r}` | | `Done` |
//! | `GET /api/v1/messages/queue?state=` | | `Vec<MessageEntry>`, newest first |
//! | `POST /api/v1/messages/queue/retry` | [`RetryMessages`] | [`Retried`] |
//! | `GET`, `PUT`, `DELETE /api/v1/messages/daily` | [`Daily`] | `Option<Daily>` |

use firedrill_model::message::NoticeKind;
use firedrill_model::{ClusterName, ReceiverName, Severity, Timestamp};
use firedrill_schedule::{TimeOfDay, Zone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A receiver, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiverView {
    /// Its name.
    pub name: ReceiverName,
    /// The kind of its channel.
    pub kind: String,
    /// Where it goes.
    pub to: String,
    /// When it was added or changed.
    pub added: Timestamp,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MessageState {
    /// In the queue.
    Waiting,
    /// Being tried.
    Sending,
    /// The receiver has taken it.
    Sent,
    /// Given up.
    Dead,
}

/// A message of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageEntry {
    /// What the receiver knows it by.
    pub id: String,
    /// To whom.
    pub receiver: ReceiverName,
    /// How far it is.
    pub state: MessageState,
    /// What it is about.
    pub kind: NoticeKind,
    /// How loud.
    pub severity: Severity,
    /// On which cluster.
    pub cluster: Option<ClusterName>,
    /// Its first line.
    pub title: String,
    /// When it was put into the queue.
    pub enqueued: Timestamp,
    /// When it is tried (again).
    pub due: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// What was wrong at the last try.
    pub problem: Option<String>,
}

/// Which dead messages go back into the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryMessages {
    /// This one; absent: all.
    #[serde(default)]
    pub id: Option<String>,
}

/// How many went back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// How many.
    pub messages: u64,
}

/// When the daily message goes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Daily {
    /// At what time of the day.
    pub at: TimeOfDay,
    /// By whose clock.
    pub zone: Zone,
}
