//! Answers to calls that carry a key, so that a call that is repeated is not carried out twice.

use crate::{Store, StoreError};
use firedrill_model::{Span, Timestamp};
use sqlx::Row;

/// So long a key is known: whoever has not heard an answer repeats the call within this, or looks for themselves.
pub const ANSWERS_KEPT: Span = Span::secs(24 * 3600);

/// A call that carries a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedCall<'c> {
    /// Whose key it is: two people may use the same.
    pub person: &'c str,
    /// The key.
    pub key: &'c str,
    /// A hash over what is asked: method, address and body.
    pub asked: &'c str,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The type of the body.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// How a call with a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyUse {
    /// It is the first: the caller carries it out and keeps the answer.
    First,
    /// It was answered.
    Answered(KeptAnswer),
    /// It was begun, and has no answer: it is under way, or the server stopped meanwhile.
    Begun,
    /// The key was used for another call.
    Other,
}

impl Store {
    /// Takes a key: [`KeyUse::First`] for one caller, ever.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn take_key(&self, call: KeyedCall<'_>, now: Timestamp) -> Result<KeyUse, StoreError> {
        let doing = "taking the key of a call";
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        sqlx::query("DELETE FROM answers WHERE at < $1")
            .bind((now - ANSWERS_KEPT).0)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        let known = sqlx::query("SELECT asked, status, content_type, body FROM answers WHERE person = $1 AND key = $2")
            .bind(call.person)
            .bind(call.key)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        if let Some(row) = known {
            if row.get::<&str, _>("asked") != call.asked {
                return Ok(KeyUse::Other);
            }
            return Ok(match row.get::<Option<i64>, _>("status") {
                Some(status) => KeyUse::Answered(KeptAnswer {
                    // Written from a number of this size.
                    status: u16::try_from(status).unwrap_or_default(),
                    content_type: row.get("content_type"),
                    body: row.get("body"),
                }),
                None => KeyUse::Begun,
            });
        }
        sqlx::query("INSERT INTO answers (person, key, asked, at) VALUES ($1, $2, $3, $4)")
            .bind(call.person)
            .bind(call.key)
            .bind(call.asked)
            .bind(now.0)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))?;
        Ok(KeyUse::First)
    }

    /// Keeps the answer to a call whose key was taken.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn keep_answer(&self, call: KeyedCall<'_>, answer: &KeptAnswer) -> Result<(), StoreError> {
        sqlx::query("UPDATE answers SET status = $3, content_type = $4, body = $5 WHERE person = $1 AND key = $2")
            .bind(call.person)
            .bind(call.key)
            .bind(i64::from(answer.status))
            .bind(&answer.content_type)
            .bind(&answer.body)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("keeping an answer"))?;
        Ok(())
    }
}
