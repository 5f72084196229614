//! Messages: what people are told, wherever they are.
//!
//! The timeline is the source: every line is looked at once, in order (`observe`), becomes a notice by
//! [`firedrill_model::message::notice_of`], and goes into the queue of the store in the transaction that notes how far
//! the timeline was looked at. From there it is sent until the receiver has taken it (`deliver`, `send`). So nothing is
//! lost by a killed server, and nothing is put in twice; a message that was sent just before the server was killed is
//! sent again, with the same id.
//!
//! **What it never does**: show a secret. A receiver's channel is encrypted in the store, with the key of
//! `secrets.key`; it is opened for one sending at a time.

mod daily;
mod deliver;
mod drill;
mod edit;
mod observe;
mod redundancy;
mod send;
mod sign;

pub use edit::{
    daily, put_receiver, put_rule, queue, receivers, remove_receiver, remove_rule, retry, rules, set_daily, test,
};

use crate::Server;
use crate::access::secrets::{Key, KeyError, random, token};
use crate::clock::now;
use crate::problem::chain;
use firedrill_api::http::Problem;
use firedrill_model::message::{Channel, Notice, Rule, deliveries};
use firedrill_model::{ReceiverName, Span, Timestamp};
use firedrill_store::{NewMessage, ReceiverRecord, StoreError};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often it is looked for what is due, and for what no event tells of. New lines of the timeline are looked at
/// within this, too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// One try takes at most [`send::SEND_WITHIN`]; who has taken a message and does not come back within this is gone.
const CLAIM_FOR: Span = Span::secs(60);
/// Tries at the same time: each holds a connection.
const IN_FLIGHT_MAX: usize = 32;
/// Messages that are over are forgotten after this; the timeline keeps what they were about.
const KEPT_FOR: Span = Span::secs(90 * 24 * 3600);
/// Forgetting is no hurry.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// What messages need while the server runs.
pub(crate) struct Messages {
    key: Key,
    http: OnceLock<reqwest::Client>,
    /// One look at the timeline at a time.
    looking: Mutex<observe::Looked>,
    /// Something was put into the queue.
    put_in: Notify,
}

impl Messages {
    /// Reads the key from the data directory, or makes it there.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, KeyError> {
        Ok(Self {
            key: Key::open(&data_dir.join("secrets.key"))?,
            http: OnceLock::new(),
            looking: Mutex::default(),
            put_in: Notify::new(),
        })
    }

    /// Encrypts a channel; `None`: the operating system gives no random numbers.
    fn seal(&self, name: &ReceiverName, channel: &Channel) -> Option<String> {
        self.key.seal(&serde_json::to_vec(channel).ok()?, &of_receiver(name))
    }

    /// The reverse; `None`: it was encrypted with another key, or is damaged.
    fn unseal(&self, record: &ReceiverRecord) -> Option<Channel> {
        serde_json::from_slice(&self.key.unseal(&record.sealed, &of_receiver(&record.name))?).ok()
    }
}

/// Whose secret it is: one cannot be put in the place of another.
fn of_receiver(name: &ReceiverName) -> String {
    format!("receiver of messages {name}")
}

/// Looks and sends until the server stops. What is being sent then is sent again by the next server.
pub(crate) async fn follow(server: Arc<Server>, shutdown: CancellationToken) {
    let looking = async {
        let mut beat = tokio::time::interval(LOOK_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
            look(&server, now()).await;
        }
    };
    tokio::join!(looking, send_all(&server, &shutdown), forget(&server, &shutdown));
}

/// One look and one round of sending as of a moment, to its end. Looking twice puts nothing in twice.
pub async fn tick(server: &Arc<Server>, now: Timestamp) {
    look(server, now).await;
    loop {
        let mut tries = JoinSet::new();
        claim(server, &mut tries, now).await;
        if tries.is_empty() {
            return;
        }
        tries.join_all().await;
    }
}

async fn look(server: &Server, now: Timestamp) {
    let mut looked = server.messages.looking.lock().await;
    let failed = |what: &str, error: &StoreError| {
        tracing::error!(error = %chain(error), "{what}; tried again");
    };
    if let Err(error) = redundancy::look(server, &mut looked, now).await {
        failed("whether clusters are whole was not noted", &error);
    }
    if let Err(error) = observe::look(server, &mut looked, now).await {
        failed("messages about the timeline were not put into the queue", &error);
    }
    if let Err(error) = daily::look(server, now).await {
        failed("the daily message was not put into the queue", &error);
    }
}

async fn send_all(server: &Arc<Server>, shutdown: &CancellationToken) {
    let mut tries = JoinSet::new();
    let mut beat = tokio::time::interval(LOOK_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some(_) = tries.join_next() => {}
            () = server.messages.put_in.notified() => {}
            _ = beat.tick() => {}
        }
        claim(server, &mut tries, now()).await;
    }
}

/// Begins tries of what is due.
async fn claim(server: &Arc<Server>, tries: &mut JoinSet<()>, now: Timestamp) {
    if tries.len() >= IN_FLIGHT_MAX {
        return;
    }
    match server.store.claim_messages(now, now + CLAIM_FOR).await {
        Ok(claimed) => {
            for message in claimed {
                tries.spawn(deliver::deliver(Arc::clone(server), message, now));
            }
        }
        Err(error) => tracing::error!(error = %chain(&error), "messages cannot be taken from the queue; tried again"),
    }
}

async fn forget(server: &Server, shutdown: &CancellationToken) {
    let mut beat = tokio::time::interval(FORGET_EVERY);
    while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
        if let Err(error) = server.store.forget_messages(now() - KEPT_FOR).await {
            tracing::error!(error = %chain(&error), "old messages were not forgotten; tried again");
        }
    }
}

/// A notice for each receiver that the rules name.
fn addressed(notice: &Notice, rules: &[Rule], receivers: &[ReceiverRecord]) -> Vec<NewMessage> {
    let keeps = |name: &ReceiverName| receivers.iter().any(|receiver| receiver.name == *name && receiver.kind == PAGER);
    let message = |receiver| Some(NewMessage { id: new_id()?, receiver, notice: notice.clone() });
    deliveries(notice, rules, keeps).into_iter().filter_map(message).collect()
}

/// The kind of channel that keeps incidents; see [`Channel::keeps_incidents`].
const PAGER: &str = "pager-duty";

/// What a receiver knows a message by.
fn new_id() -> Option<String> {
    token("msg_")
}

/// A random number to spread waits with; the middle when there is none.
fn chance() -> u16 {
    random::<2>().map_or(u16::MAX / 2, u16::from_le_bytes)
}

/// The operating system gives no random numbers, so nothing can be encrypted.
fn no_random() -> Problem {
    crate::problem::problem(crate::problem::RECEIVER, "the operating system gives no random numbers; nothing was kept")
}
