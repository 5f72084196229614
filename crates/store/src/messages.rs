//! Receivers of messages, the rules of who gets what, and the queue.

use crate::{ROWS_MAX, Store, StoreError, document, timeline};
use firedrill_api::messages::{Daily, MessageState};
use firedrill_model::message::{Notice, Rule};
use firedrill_model::{ReceiverName, RuleName, TimelineEvent, Timestamp};
use firedrill_schedule::Day;
use sqlx::Row;
use sqlx::any::AnyRow;

/// A receiver as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverRecord {
    /// Its name.
    pub name: ReceiverName,
    /// When it was added or changed.
    pub added: Timestamp,
    /// The kind of its channel.
    pub kind: String,
    /// Where it goes, without secrets.
    pub shown: String,
    /// The channel, encrypted.
    pub sealed: String,
}

/// A message to be put into the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// What the receiver knows it by.
    pub id: String,
    /// To whom.
    pub receiver: ReceiverName,
    /// What it says.
    pub notice: Notice,
}

/// A message of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMessage {
    /// What the receiver knows it by.
    pub id: String,
    /// To whom.
    pub receiver: ReceiverName,
    /// How far it is.
    pub state: MessageState,
    /// When it was put into the queue.
    pub enqueued: Timestamp,
    /// When it is tried (again).
    pub due: Timestamp,
    /// How often it was tried since.
    pub attempts: u32,
    /// When the present series of tries began.
    pub since: Timestamp,
    /// What was wrong at the last try.
    pub problem: Option<String>,
    /// What it says.
    pub notice: Notice,
}

/// Waiting messages of one receiver; what comes on top is dead at once. A receiver that is away for a day while a fleet
/// breaks gets some hundreds.
const WAITING_MAX: i64 = 1000;

fn receiver(row: &AnyRow) -> Result<ReceiverRecord, StoreError> {
    Ok(ReceiverRecord {
        name: document::from_word("name of a receiver", row.get("name"))?,
        added: Timestamp(row.get("added")),
        kind: row.get("kind"),
        shown: row.get("shown"),
        sealed: row.get("sealed"),
    })
}

fn message(row: &AnyRow) -> Result<QueuedMessage, StoreError> {
    let id: String = row.get("id");
    Ok(QueuedMessage {
        receiver: document::from_word("receiver of a message", row.get("receiver"))?,
        state: document::from_word("state of a message", row.get("state"))?,
        enqueued: Timestamp(row.get("enqueued")),
        due: Timestamp(row.get("due")),
        attempts: u32::try_from(row.get::<i64, _>("attempts")).unwrap_or(u32::MAX),
        since: Timestamp(row.get("since")),
        problem: row.get("problem"),
        notice: document::read("message", &id, row.get("document"))?,
        id,
    })
}

impl Store {
    /// Keeps a receiver; one of the same name is replaced.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_receiver(&self, record: &ReceiverRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO message_receivers (name, added, kind, shown, sealed) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name) DO UPDATE SET added = excluded.added, kind = excluded.kind, shown = excluded.shown,
                 sealed = excluded.sealed",
        )
        .bind(record.name.as_str())
        .bind(record.added.0)
        .bind(&record.kind)
        .bind(&record.shown)
        .bind(&record.sealed)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("storing a receiver of messages"))?;
        Ok(())
    }

    /// All receivers, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn receivers(&self) -> Result<Vec<ReceiverRecord>, StoreError> {
        let rows = sqlx::query("SELECT name, added, kind, shown, sealed FROM message_receivers ORDER BY name LIMIT $1")
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading the receivers of messages"))?;
        rows.iter().map(receiver).collect()
    }

    /// Removes a receiver; its waiting messages become dead. False when there was none.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn remove_receiver(&self, name: &ReceiverName) -> Result<bool, StoreError> {
        let failed = || self.failed("removing a receiver of messages");
        let mut writer = self.durable().await?;
        let mut change = writer.transaction().await.map_err(failed())?;
        let removed = sqlx::query("DELETE FROM message_receivers WHERE name = $1")
            .bind(name.as_str())
            .execute(&mut *change)
            .await
            .map_err(failed())?;
        sqlx::query(
            "UPDATE messages SET state = 'dead', problem = 'the receiver was removed'
             WHERE receiver = $1 AND state IN ('waiting', 'sending')",
        )
        .bind(name.as_str())
        .execute(&mut *change)
        .await
        .map_err(failed())?;
        change.commit().await.map_err(failed())?;
        Ok(removed.rows_affected() > 0)
    }

    /// Keeps a rule; one of the same name is replaced.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_rule(&self, rule: &Rule) -> Result<(), StoreError> {
        let text = document::write("rule of messages", rule.name.as_str(), rule)?;
        sqlx::query(
            "INSERT INTO message_rules (name, document) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET document = excluded.document",
        )
        .bind(rule.name.as_str())
        .bind(text)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("storing a rule of messages"))?;
        Ok(())
    }

    /// All rules, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn rules(&self) -> Result<Vec<Rule>, StoreError> {
        let rows = sqlx::query("SELECT name, document FROM message_rules ORDER BY name LIMIT $1")
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading the rules of messages"))?;
        rows.iter().map(|row| document::read("rule of messages", row.get("name"), row.get("document"))).collect()
    }

    /// Removes a rule. False when there was none.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn remove_rule(&self, name: &RuleName) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM message_rules WHERE name = $1")
            .bind(name.as_str())
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("removing a rule of messages"))?;
        Ok(removed.rows_affected() > 0)
    }

    /// The number of the last line of the timeline that was looked at; the first time it is set to `newest`, so that
    /// nobody is told of what was before.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn message_progress(&self, newest: u64) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "INSERT INTO message_progress (\"only\", sequence) VALUES (1, $1)
             ON CONFLICT (\"only\") DO UPDATE SET sequence = message_progress.sequence RETURNING sequence",
        )
        .bind(newest.cast_signed())
        .fetch_one(&mut *self.durable().await?)
        .await
        .map_err(self.failed("reading how far messages were made"))?;
        Ok(row.get::<i64, _>("sequence").cast_unsigned())
    }

    /// Puts messages into the queue and notes, in the same transaction, that the timeline was looked at up to a line.
    /// What is in the queue for an event and a receiver already is left as it is.
    ///
    /// # Errors
    /// The store cannot be written; nothing was put in then.
    pub async fn enqueue(&self, new: &[NewMessage], sequence: u64, now: Timestamp) -> Result<(), StoreError> {
        let failed = || self.failed("putting messages into the queue");
        // Lines that nobody is told of are the most; looking at some of them again after a power cut does no harm.
        let mut writer = if new.is_empty() { self.ordinary().await? } else { self.durable().await? };
        let mut change = writer.transaction().await.map_err(failed())?;
        self.put_in(&mut change, new, now).await?;
        sqlx::query("UPDATE message_progress SET sequence = CASE WHEN sequence < $1 THEN $1 ELSE sequence END WHERE \"only\" = 1")
            .bind(sequence.cast_signed())
            .execute(&mut *change)
            .await
            .map_err(failed())?;
        change.commit().await.map_err(failed())
    }

    async fn put_in(
        &self,
        change: &mut sqlx::Transaction<'_, sqlx::Any>,
        new: &[NewMessage],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for NewMessage { id, receiver, notice } in new {
            sqlx::query(
                "INSERT INTO messages (id, receiver, event, state, enqueued, due, attempts, since, problem, document)
                 SELECT $1, $2, $3, CASE WHEN waiting < $6 THEN 'waiting' ELSE 'dead' END, $4, $4, 0, $4,
                        CASE WHEN waiting < $6 THEN NULL ELSE 'too many messages wait for the receiver' END, $5
                 FROM (SELECT COUNT(*) AS waiting FROM messages WHERE receiver = $2 AND state = 'waiting') AS queue
                 WHERE true ON CONFLICT (receiver, event) DO NOTHING",
            )
            .bind(id)
            .bind(receiver.as_str())
            .bind(&notice.key)
            .bind(now.0)
            .bind(document::write("message", id, notice)?)
            .bind(WAITING_MAX)
            .execute(&mut **change)
            .await
            .map_err(self.failed("putting a message into the queue"))?;
        }
        Ok(())
    }

    /// Takes messages that are due, oldest first, at most one of each receiver: nobody else gets them until `until`.
    /// Who took them and was killed leaves them to be taken again then.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn claim_messages(&self, now: Timestamp, until: Timestamp) -> Result<Vec<QueuedMessage>, StoreError> {
        let rows = sqlx::query(
            "UPDATE messages SET state = 'sending', attempts = attempts + 1, due = $2
             WHERE id IN (
                 SELECT MIN(id) FROM messages AS one
                 WHERE state IN ('waiting', 'sending') AND due <= $1 AND enqueued = (
                     SELECT MIN(enqueued) FROM messages AS other
                     WHERE other.receiver = one.receiver AND other.state IN ('waiting', 'sending') AND other.due <= $1)
                 GROUP BY receiver)
             RETURNING id, receiver, state, enqueued, due, attempts, since, problem, document",
        )
        .bind(now.0)
        .bind(until.0)
        .fetch_all(&mut *self.durable().await?)
        .await
        .map_err(self.failed("taking messages out of the queue"))?;
        rows.iter().map(message).collect()
    }

    /// Notes what came of a try. Nothing happens when somebody else has taken the message since.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn settle_message(&self, message: &QueuedMessage) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE messages SET state = $3, due = $4, problem = $5
             WHERE id = $1 AND attempts = $2 AND state = 'sending'",
        )
        .bind(&message.id)
        .bind(i64::from(message.attempts))
        .bind(document::word("state of a message", &message.state)?)
        .bind(message.due.0)
        .bind(&message.problem)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("noting what came of a message"))?;
        Ok(())
    }

    /// Messages, newest first, in one state or all; at most `limit` and [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn messages(&self, state: Option<MessageState>, limit: u32) -> Result<Vec<QueuedMessage>, StoreError> {
        let state = state.map(|state| document::word("state of a message", &state)).transpose()?;
        let rows = sqlx::query(
            "SELECT id, receiver, state, enqueued, due, attempts, since, problem, document FROM messages
             WHERE ($1 IS NULL OR state = $1) ORDER BY enqueued DESC, id DESC LIMIT $2",
        )
        .bind(state)
        .bind(i64::from(limit.min(ROWS_MAX)))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the queue of messages"))?;
        rows.iter().map(message).collect()
    }

    /// How many messages are in each state.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn messages_by_state(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = sqlx::query("SELECT state, COUNT(*) AS messages FROM messages GROUP BY state")
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("counting the messages"))?;
        Ok(rows.iter().map(|row| (row.get("state"), row.get("messages"))).collect())
    }

    /// Puts dead messages back into the queue, one or (without an id) all, with the ids that they had. Gives how many.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn retry_messages(&self, id: Option<&str>, now: Timestamp) -> Result<u64, StoreError> {
        let changed = sqlx::query(
            "UPDATE messages SET state = 'waiting', due = $2, since = $2, attempts = 0
             WHERE state = 'dead' AND ($1 IS NULL OR id = $1)",
        )
        .bind(id)
        .bind(now.0)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("putting dead messages back into the queue"))?;
        Ok(changed.rows_affected())
    }

    /// Forgets messages that were put into the queue before a moment and are over.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn forget_messages(&self, before: Timestamp) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM messages WHERE state IN ('sent', 'dead') AND enqueued < $1")
            .bind(before.0)
            .execute(&mut *self.ordinary().await?)
            .await
            .map_err(self.failed("forgetting old messages"))?;
        Ok(())
    }

    /// Sets when the daily message goes out, from a moment on; `None`: it does not.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn set_daily(&self, daily: Option<&Daily>, since: Timestamp) -> Result<(), StoreError> {
        let failed = || self.failed("storing when the daily message goes out");
        let Some(daily) = daily else {
            sqlx::query("DELETE FROM message_daily").execute(&mut *self.durable().await?).await.map_err(failed())?;
            return Ok(());
        };
        sqlx::query(
            "INSERT INTO message_daily (\"only\", since, day, document) VALUES (1, $1, NULL, $2)
             ON CONFLICT (\"only\") DO UPDATE SET since = excluded.since, document = excluded.document",
        )
        .bind(since.0)
        .bind(document::write("time of the daily message", "", daily)?)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(failed())?;
        Ok(())
    }

    /// When the daily message goes out, since when that is so, and the last day for which it was put into the queue.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn daily(&self) -> Result<Option<(Daily, Timestamp, Option<Day>)>, StoreError> {
        let row = sqlx::query("SELECT since, day, document FROM message_daily")
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading when the daily message goes out"))?;
        let Some(row) = row else { return Ok(None) };
        let day =
            row.get::<Option<&str>, _>("day").map(|day| document::from_word("day of a message", day)).transpose()?;
        let daily = document::read("time of the daily message", "", row.get("document"))?;
        Ok(Some((daily, Timestamp(row.get("since")), day)))
    }

    /// Puts the message of a day into the queue and notes, in the same transaction, that this was done for that day.
    ///
    /// # Errors
    /// The store cannot be written; nothing was put in then.
    pub async fn enqueue_daily(&self, new: &[NewMessage], day: Day, now: Timestamp) -> Result<(), StoreError> {
        let failed = || self.failed("putting the daily message into the queue");
        let mut writer = self.durable().await?;
        let mut change = writer.transaction().await.map_err(failed())?;
        self.put_in(&mut change, new, now).await?;
        sqlx::query("UPDATE message_daily SET day = $1")
            .bind(day.to_string())
            .execute(&mut *change)
            .await
            .map_err(failed())?;
        change.commit().await.map_err(failed())
    }

    /// Notes that something lasts, with its line for the timeline, in one transaction. `None`: it was noted before.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn begin_trouble(&self, key: &str, event: &TimelineEvent) -> Result<Option<TimelineEvent>, StoreError> {
        let change = sqlx::query("INSERT INTO message_troubles (key, since) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(event.at.0);
        self.with_event(change, event).await
    }

    /// Notes that it is over, as [`Store::begin_trouble`]. `None`: there was nothing to end.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn end_trouble(&self, key: &str, event: &TimelineEvent) -> Result<Option<TimelineEvent>, StoreError> {
        self.with_event(sqlx::query("DELETE FROM message_troubles WHERE key = $1").bind(key), event).await
    }

    async fn with_event(
        &self,
        query: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>,
        event: &TimelineEvent,
    ) -> Result<Option<TimelineEvent>, StoreError> {
        let failed = || self.failed("noting what lasts");
        let mut writer = self.durable().await?;
        let mut change = writer.transaction().await.map_err(failed())?;
        if query.execute(&mut *change).await.map_err(failed())?.rows_affected() == 0 {
            return Ok(None);
        }
        let row = timeline::insert(event)?.fetch_one(&mut *change).await.map_err(failed())?;
        let event = timeline::numbered(event, &row);
        change.commit().await.map_err(failed())?;
        Ok(Some(event))
    }

    /// The keys of what lasts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn troubles(&self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT key FROM message_troubles ORDER BY key LIMIT $1")
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading what lasts"))?;
        Ok(rows.iter().map(|row| row.get("key")).collect())
    }
}
