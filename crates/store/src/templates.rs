//! Templates that people have saved.

use crate::{Store, StoreError, document};
use firedrill_model::Timestamp;
use firedrill_model::template::Template;
use sqlx::Row;

impl Store {
    /// Keeps a template; one of the same name is replaced.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn save_template(&self, template: &Template, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO templates (name, saved, document) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET saved = excluded.saved, document = excluded.document",
        )
        .bind(&template.name)
        .bind(now.0)
        .bind(document::write("template", &template.name, template)?)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("storing a template"))?;
        Ok(())
    }

    /// Forgets a template. False when there was none of that name.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn remove_template(&self, name: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM templates WHERE name = $1")
            .bind(name)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("removing a template"))?;
        Ok(done.rows_affected() > 0)
    }

    /// All saved templates by name; at most [`crate::ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn templates(&self) -> Result<Vec<Template>, StoreError> {
        let rows = sqlx::query("SELECT name, document FROM templates ORDER BY name LIMIT $1")
            .bind(i64::from(crate::ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed("reading the templates"))?;
        rows.iter().map(|row| document::read("template", row.get("name"), row.get("document"))).collect()
    }
}
