//! What people set and see.

use super::{new_id, no_random, send};
use crate::Server;
use crate::clock::now;
use crate::problem::{NOT_DEAD, NOT_TAKEN, RECEIVER, RECEIVER_USED, RULE, not_found, problem, store_failed};
use firedrill_api::http::{Done, Problem};
use firedrill_api::messages::{Daily, MessageEntry, MessageState, ReceiverView, Retried, RetryMessages};
use firedrill_model::message::render::render;
use firedrill_model::message::retry::Tried;
use firedrill_model::message::{Channel, Notice, NoticeKind, Rule, rules::RULES_MAX};
use firedrill_model::{ReceiverName, RuleName, Severity};
use firedrill_store::{QueuedMessage, ReceiverRecord, StoreError};

/// Most receivers; each event may go to all of them.
const RECEIVERS_MAX: usize = 100;
/// Messages in a list.
const LIST_ROWS: u32 = 200;
const RECEIVERS: &str = "`firedrill message receiver list` names those that there are";

fn failed(error: StoreError) -> Problem {
    store_failed(&error)
}

fn shown(record: ReceiverRecord) -> ReceiverView {
    let ReceiverRecord { name, added, kind, shown, sealed: _ } = record;
    ReceiverView { name, kind, to: shown, added }
}

/// All receivers, without their secrets.
///
/// # Errors
/// The store cannot be read.
pub async fn receivers(server: &Server) -> Result<Vec<ReceiverView>, Problem> {
    Ok(server.store.receivers().await.map_err(failed)?.into_iter().map(shown).collect())
}

/// Adds a receiver, or replaces the one of its name. Nothing is sent yet.
///
/// # Errors
/// It cannot be like that; there are as many as are kept.
pub async fn put_receiver(server: &Server, name: ReceiverName, channel: &Channel) -> Result<ReceiverView, Problem> {
    let wrong = |why: String| problem(RECEIVER, format!("receiver {name}: {why}; nothing was kept"));
    channel.check().map_err(|error| wrong(error.to_string()))?;
    if let Channel::Email { from, to, .. } = channel {
        let letter = send::letter(from, to, String::new(), String::new(), "msg_0");
        letter.map_err(|_| wrong("a mailbox is not an address such as name@example.org".to_owned()))?;
    }
    if let Channel::Webhook { secret, .. } = channel {
        let signed = super::sign::signature(&secret.0, "msg_0", 0, "");
        signed.ok_or_else(|| wrong("the signing secret is not base 64".to_owned()))?;
    }
    let known = server.store.receivers().await.map_err(failed)?;
    if known.len() >= RECEIVERS_MAX && known.iter().all(|record| record.name != name) {
        return Err(wrong(format!("there are {RECEIVERS_MAX} receivers already")));
    }
    let sealed = server.messages.seal(&name, channel).ok_or_else(no_random)?;
    let record = ReceiverRecord { name, added: now(), kind: channel.kind().to_owned(), shown: channel.shown(), sealed };
    server.store.save_receiver(&record).await.map_err(failed)?;
    Ok(shown(record))
}

/// Removes a receiver; what waits for it is dead.
///
/// # Errors
/// There is none of that name, or a rule sends to it.
pub async fn remove_receiver(server: &Server, name: &ReceiverName) -> Result<Done, Problem> {
    let rules = server.store.rules().await.map_err(failed)?;
    if let Some(rule) = rules.iter().find(|rule| rule.to == *name) {
        let text = format!("rule {} sends to receiver {name}; remove the rule first; nothing was changed", rule.name);
        return Err(problem(RECEIVER_USED, text));
    }
    if !server.store.remove_receiver(name).await.map_err(failed)? {
        return Err(not_found("receiver", name, RECEIVERS));
    }
    Ok(Done {})
}

/// Sends a test message, once, and waits for what comes of it. It does not go through the queue.
///
/// # Errors
/// There is no such receiver; it has not taken the message, and why.
pub async fn test(server: &Server, name: &ReceiverName) -> Result<Done, Problem> {
    let known = server.store.receivers().await.map_err(failed)?;
    let record = known.into_iter().find(|record| record.name == *name);
    let record = record.ok_or_else(|| not_found("receiver", name, RECEIVERS))?;
    let refused = |why: &str| problem(NOT_TAKEN, format!("receiver {name} has not taken the test message: {why}"));
    let channel = server
        .messages
        .unseal(&record)
        .ok_or_else(|| refused("its secrets were encrypted with another key (secrets.key); add the receiver again"))?;
    let id = new_id().ok_or_else(no_random)?;
    let notice = Notice {
        key: format!("test/{id}"),
        kind: NoticeKind::Test,
        severity: Severity::Info,
        at: now(),
        title: format!("This is a test of receiver {name}"),
        text: String::new(),
        cluster: None,
        run: None,
        trouble: None,
    };
    let outgoing = render(&channel, &notice, &id);
    match send::send(&server.messages.http, &channel, outgoing, &id, now()).await {
        Tried::Taken => Ok(Done {}),
        Tried::Later { why, .. } | Tried::Never { why } => Err(refused(&why)),
    }
}

/// All rules.
///
/// # Errors
/// The store cannot be read.
pub async fn rules(server: &Server) -> Result<Vec<Rule>, Problem> {
    server.store.rules().await.map_err(failed)
}

/// Adds a rule, or replaces the one of its name. It is for what happens from now on.
///
/// # Errors
/// There is no such receiver; no rule can ask for test messages; there are as many rules as are kept.
pub async fn put_rule(server: &Server, rule: Rule) -> Result<Rule, Problem> {
    let known = server.store.receivers().await.map_err(failed)?;
    if known.iter().all(|record| record.name != rule.to) {
        return Err(not_found("receiver", &rule.to, RECEIVERS));
    }
    if rule.kinds.contains(&NoticeKind::Test) {
        let text = format!("rule {}: test messages are sent by hand (`firedrill message receiver test`)", rule.name);
        return Err(problem(RULE, text));
    }
    let rules = server.store.rules().await.map_err(failed)?;
    if rules.len() >= RULES_MAX && rules.iter().all(|other| other.name != rule.name) {
        return Err(problem(RULE, format!("there are {RULES_MAX} rules already; nothing was kept")));
    }
    server.store.save_rule(&rule).await.map_err(failed)?;
    Ok(rule)
}

/// Removes a rule. What it has put into the queue is still sent.
///
/// # Errors
/// There is none of that name.
pub async fn remove_rule(server: &Server, name: &RuleName) -> Result<Done, Problem> {
    if !server.store.remove_rule(name).await.map_err(failed)? {
        return Err(not_found("rule", name, "`firedrill message rule list` names those that there are"));
    }
    Ok(Done {})
}

/// The newest messages, in one state or all.
///
/// # Errors
/// The store cannot be read.
pub async fn queue(server: &Server, state: Option<MessageState>) -> Result<Vec<MessageEntry>, Problem> {
    let messages = server.store.messages(state, LIST_ROWS).await.map_err(failed)?;
    Ok(messages.into_iter().map(entry).collect())
}

fn entry(message: QueuedMessage) -> MessageEntry {
    let QueuedMessage { id, receiver, state, enqueued, due, attempts, since: _, problem, notice } = message;
    let Notice { kind, severity, cluster, title, .. } = notice;
    MessageEntry { id, receiver, state, kind, severity, cluster, title, enqueued, due, attempts, problem }
}

/// Puts dead messages back into the queue: they are tried at once, with the ids that they had.
///
/// # Errors
/// There is no such dead message.
pub async fn retry(server: &Server, which: &RetryMessages) -> Result<Retried, Problem> {
    let messages = server.store.retry_messages(which.id.as_deref(), now()).await.map_err(failed)?;
    match &which.id {
        Some(id) if messages == 0 => {
            let text = format!("there is no dead message {id}; `firedrill message queue --state dead` shows all");
            Err(problem(NOT_DEAD, text))
        }
        _ => {
            server.messages.put_in.notify_one();
            Ok(Retried { messages })
        }
    }
}

/// When the daily message goes out.
///
/// # Errors
/// The store cannot be read.
pub async fn daily(server: &Server) -> Result<Option<Daily>, Problem> {
    Ok(server.store.daily().await.map_err(failed)?.map(|(daily, ..)| daily))
}

/// Sets when the daily message goes out, from now on; `None`: it does not.
///
/// # Errors
/// The store cannot be written.
pub async fn set_daily(server: &Server, new: Option<Daily>) -> Result<Option<Daily>, Problem> {
    server.store.set_daily(new.as_ref(), now()).await.map_err(failed)?;
    daily(server).await
}
