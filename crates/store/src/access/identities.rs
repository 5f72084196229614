//! Who users are at identity providers.

use super::{Store, StoreError, UserRecord};
use crate::document;
use firedrill_model::UserName;
use sqlx::Row;

impl Store {
    /// The user who is that subject at that issuer.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn user_of(&self, issuer: &str, subject: &str) -> Result<Option<UserName>, StoreError> {
        let row = sqlx::query("SELECT person FROM identities WHERE issuer = $1 AND subject = $2")
            .bind(issuer)
            .bind(subject)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading whose an identity is"))?;
        row.map(|row| document::from_word("user of an identity", row.get("person"))).transpose()
    }

    /// Keeps a new user with who they are at an issuer, both or neither. False: there is a user of that name, or the
    /// identity is somebody's, and everything stays as it is.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn add_user_of(&self, user: &UserRecord, issuer: &str, subject: &str) -> Result<bool, StoreError> {
        let doing = "storing a user of an identity provider";
        let grants = document::write("grants of user", user.name.as_str(), &user.grants)?;
        let mut writer = self.durable().await?;
        let mut transaction = writer.transaction().await.map_err(self.failed(doing))?;
        let made = sqlx::query(
            "INSERT INTO users (name, password, grants, disabled, totp, totp_on, totp_step, created)
             VALUES ($1, $2, $3, $4, NULL, $4, 0, $5) ON CONFLICT (name) DO NOTHING",
        )
        .bind(user.name.as_str())
        .bind(&user.password)
        .bind(grants)
        .bind(false)
        .bind(user.created.0)
        .execute(&mut *transaction)
        .await
        .map_err(self.failed(doing))?;
        let linked = sqlx::query(
            "INSERT INTO identities (issuer, subject, person) VALUES ($1, $2, $3) ON CONFLICT (issuer, subject) DO NOTHING",
        )
        .bind(issuer)
        .bind(subject)
        .bind(user.name.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(self.failed(doing))?;
        if made.rows_affected() + linked.rows_affected() < 2 {
            // Rolled back when it is dropped.
            return Ok(false);
        }
        transaction.commit().await.map_err(self.failed(doing))?;
        Ok(true)
    }
}
