//! API tokens and sessions: what a person shows instead of a password. Only hashes are kept.

use super::truth;
use crate::{ROWS_MAX, Store, StoreError, document};
use firedrill_model::access::Grant;
use firedrill_model::{Timestamp, UserName};
use sqlx::Row;
use sqlx::any::AnyRow;

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// By which it is listed and revoked.
    pub id: String,
    /// What it is for, in its owner's words.
    pub label: String,
    /// In whose name it acts.
    pub owner: UserName,
    /// What it is good for, as far as its owner may do it.
    pub grants: Vec<Grant>,
    /// Since when it exists.
    pub created: Timestamp,
    /// Until when it is good.
    pub expires: Timestamp,
    /// When it was shown last; exact to a minute.
    pub last_used: Option<Timestamp>,
    /// It is not good any more.
    pub revoked: bool,
}

/// A session of somebody who has logged in, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Whose.
    pub owner: UserName,
    /// Since when.
    pub created: Timestamp,
    /// Until when, whatever happens.
    pub expires: Timestamp,
    /// When it was used last; exact to a minute.
    pub last_used: Timestamp,
}

impl TokenRecord {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let id: String = row.get("id");
        Ok(Self {
            label: row.get("label"),
            owner: document::from_word("owner of an API token", row.get("owner"))?,
            grants: document::read("grants of API token", &id, row.get("grants"))?,
            created: Timestamp(row.get("created")),
            expires: Timestamp(row.get("expires")),
            last_used: row.get::<Option<i64>, _>("last_used").map(Timestamp),
            revoked: truth(row, "revoked"),
            id,
        })
    }
}

impl Store {
    /// Keeps a new API token under the hash of its secret.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn add_api_token(&self, token: &TokenRecord, hash: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO api_tokens (id, hash, label, owner, grants, created, expires, revoked)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&token.id)
        .bind(hash)
        .bind(&token.label)
        .bind(token.owner.as_str())
        .bind(document::write("grants of API token", &token.id, &token.grants)?)
        .bind(token.created.0)
        .bind(token.expires.0)
        .bind(token.revoked)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("storing an API token"))?;
        Ok(())
    }

    /// API tokens, newest first, of one user or of all; at most [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn api_tokens(&self, owner: Option<&UserName>) -> Result<Vec<TokenRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, label, owner, grants, created, expires, last_used, CAST(revoked AS INTEGER) AS revoked
             FROM api_tokens
             WHERE $1 IS NULL OR owner = $1 ORDER BY created DESC, id DESC LIMIT $2",
        )
        .bind(owner.map(UserName::as_str))
        .bind(i64::from(ROWS_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the API tokens"))?;
        rows.iter().map(TokenRecord::read).collect()
    }

    /// One API token by its id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn api_token(&self, id: &str) -> Result<Option<TokenRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT id, label, owner, grants, created, expires, last_used, CAST(revoked AS INTEGER) AS revoked
             FROM api_tokens WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await
        .map_err(self.failed("reading an API token"))?;
        row.as_ref().map(TokenRecord::read).transpose()
    }

    /// The API token whose secret has that hash.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn api_token_by_hash(&self, hash: &str) -> Result<Option<TokenRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT id, label, owner, grants, created, expires, last_used, CAST(revoked AS INTEGER) AS revoked
             FROM api_tokens WHERE hash = $1",
        )
        .bind(hash)
        .fetch_optional(&self.readers)
        .await
        .map_err(self.failed("looking an API token up"))?;
        row.as_ref().map(TokenRecord::read).transpose()
    }

    /// Makes an API token no good any more. Nothing happens when it is so already.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn revoke_api_token(&self, id: &str) -> Result<(), StoreError> {
        let mut writer = self.durable().await?;
        let done = sqlx::query("UPDATE api_tokens SET revoked = TRUE WHERE id = $1").bind(id).execute(&mut *writer);
        done.await.map_err(self.failed("revoking an API token"))?;
        Ok(())
    }

    /// Keeps when an API token was shown.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn api_token_used(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        sqlx::query("UPDATE api_tokens SET last_used = $2 WHERE id = $1")
            .bind(id)
            .bind(at.0)
            .execute(&mut *self.ordinary().await?)
            .await
            .map_err(self.failed("storing the use of an API token"))?;
        Ok(())
    }

    /// Keeps a new session under the hash of its secret, and that its owner has logged in. Sessions that are over are
    /// removed, and of the owner's the oldest, so that `keep` of them are left.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn add_session(&self, session: &SessionRecord, hash: &str, keep: u32) -> Result<(), StoreError> {
        let doing = "storing a session";
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        sqlx::query("INSERT INTO sessions (hash, owner, created, expires, last_used) VALUES ($1, $2, $3, $4, $3)")
            .bind(hash)
            .bind(session.owner.as_str())
            .bind(session.created.0)
            .bind(session.expires.0)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        sqlx::query(
            "DELETE FROM sessions WHERE expires < $1 OR (owner = $2 AND hash NOT IN
                 (SELECT hash FROM sessions WHERE owner = $2 ORDER BY created DESC, hash LIMIT $3))",
        )
        .bind(session.created.0)
        .bind(session.owner.as_str())
        .bind(i64::from(keep))
        .execute(&mut *transaction)
        .await
        .map_err(self.failed(doing))?;
        sqlx::query("UPDATE users SET last_login = $2 WHERE name = $1")
            .bind(session.owner.as_str())
            .bind(session.created.0)
            .execute(&mut *transaction)
            .await
            .map_err(self.failed(doing))?;
        transaction.commit().await.map_err(self.failed(doing))
    }

    /// The session whose secret has that hash, also when it is over.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn session(&self, hash: &str) -> Result<Option<SessionRecord>, StoreError> {
        let row = sqlx::query("SELECT owner, created, expires, last_used FROM sessions WHERE hash = $1")
            .bind(hash)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading a session"))?;
        row.map(|row| {
            Ok(SessionRecord {
                owner: document::from_word("owner of a session", row.get("owner"))?,
                created: Timestamp(row.get("created")),
                expires: Timestamp(row.get("expires")),
                last_used: Timestamp(row.get("last_used")),
            })
        })
        .transpose()
    }

    /// Keeps when a session was used.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn session_used(&self, hash: &str, at: Timestamp) -> Result<(), StoreError> {
        sqlx::query("UPDATE sessions SET last_used = $2 WHERE hash = $1")
            .bind(hash)
            .bind(at.0)
            .execute(&mut *self.ordinary().await?)
            .await
            .map_err(self.failed("storing the use of a session"))?;
        Ok(())
    }

    /// Ends a session. Nothing happens when there is none.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn end_session(&self, hash: &str) -> Result<(), StoreError> {
        let done =
            sqlx::query("DELETE FROM sessions WHERE hash = $1").bind(hash).execute(&mut *self.durable().await?).await;
        done.map_err(self.failed("ending a session"))?;
        Ok(())
    }
}
