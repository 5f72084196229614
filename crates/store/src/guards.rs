//! The limits of the guards, who passed over which, how targets were chosen, and what waits for a second person.

use crate::{Page, Store, StoreError, document};
use firedrill_api::guards::{Approval, ApprovalState, Chosen, Overridden};
use firedrill_model::guard::GuardPolicy;
use firedrill_model::{AttackId, Timestamp};
use sqlx::Row;

impl Store {
    /// The limits of the guards; `None`: nobody has set any.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn guard_policy(&self) -> Result<Option<GuardPolicy>, StoreError> {
        let row = sqlx::query("SELECT document FROM guard_policy")
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading the limits of the guards"))?;
        row.map(|row| document::read("guard policy", "", row.get("document"))).transpose()
    }

    /// Sets the limits of the guards.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn set_guard_policy(&self, policy: &GuardPolicy, person: &str, at: Timestamp) -> Result<(), StoreError> {
        let text = document::write("guard policy", "", policy)?;
        sqlx::query(
            "INSERT INTO guard_policy (\"only\", at, person, document) VALUES (1, $1, $2, $3)
             ON CONFLICT (\"only\") DO UPDATE SET at = excluded.at, person = excluded.person, document = excluded.document",
        )
        .bind(at.0)
        .bind(person)
        .bind(text)
        .execute(&mut *self.durable().await?)
        .await
        .map_err(self.failed("storing the limits of the guards"))?;
        Ok(())
    }

    /// Keeps that a guard was passed over.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn add_override(&self, overridden: &Overridden) -> Result<(), StoreError> {
        let text = document::write("override", &overridden.id, overridden)?;
        sqlx::query("INSERT INTO guard_overrides (id, at, cluster, document) VALUES ($1, $2, $3, $4)")
            .bind(&overridden.id)
            .bind(overridden.at.0)
            .bind(overridden.cluster.as_str())
            .bind(text)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("storing an override"))?;
        Ok(())
    }

    /// Guards that were passed over, newest first; at most `limit` and [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn overrides(&self, page: impl Into<Page<'_>>) -> Result<Vec<Overridden>, StoreError> {
        let page = page.into();
        let rows = sqlx::query(
            "SELECT id, document FROM guard_overrides
             WHERE $2 IS NULL OR (at, id) < (SELECT at, id FROM guard_overrides WHERE id = $2)
             ORDER BY at DESC, id DESC LIMIT $1",
        )
        .bind(page.rows())
        .bind(page.before)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the overrides"))?;
        rows.iter().map(|row| document::read("override", row.get("id"), row.get("document"))).collect()
    }

    /// How the hosts of an attack were chosen.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn choice(&self, attack: &AttackId) -> Result<Option<Chosen>, StoreError> {
        let row = sqlx::query("SELECT document FROM attack_choices WHERE attack = $1")
            .bind(&attack.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading how a target was chosen"))?;
        row.map(|row| document::read("choice", &attack.0, row.get("document"))).transpose()
    }

    /// Keeps a request for approval.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn add_approval(&self, approval: &Approval) -> Result<(), StoreError> {
        let text = document::write("approval", &approval.id, approval)?;
        sqlx::query("INSERT INTO approvals (id, at, state, document) VALUES ($1, $2, $3, $4)")
            .bind(&approval.id)
            .bind(approval.at.0)
            .bind(document::word("approval state", &approval.state)?)
            .bind(text)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("storing a request for approval"))?;
        Ok(())
    }

    /// Says that a request was approved. False when somebody was faster: then it must not be begun again.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn settle_approval(&self, approval: &Approval) -> Result<bool, StoreError> {
        let text = document::write("approval", &approval.id, approval)?;
        let done = sqlx::query("UPDATE approvals SET state = $2, document = $3 WHERE id = $1 AND state = $4")
            .bind(&approval.id)
            .bind(document::word("approval state", &approval.state)?)
            .bind(text)
            .bind(document::word("approval state", &ApprovalState::Waiting)?)
            .execute(&mut *self.durable().await?)
            .await
            .map_err(self.failed("settling a request for approval"))?;
        Ok(done.rows_affected() == 1)
    }

    /// One request for approval.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn approval(&self, id: &str) -> Result<Option<Approval>, StoreError> {
        let row = sqlx::query("SELECT document FROM approvals WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed("reading a request for approval"))?;
        row.map(|row| document::read("approval", id, row.get("document"))).transpose()
    }

    /// Requests for approval, newest first; at most `limit` and [`ROWS_MAX`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn approvals(&self, page: impl Into<Page<'_>>) -> Result<Vec<Approval>, StoreError> {
        let page = page.into();
        let rows = sqlx::query(
            "SELECT id, document FROM approvals
             WHERE $2 IS NULL OR (at, id) < (SELECT at, id FROM approvals WHERE id = $2)
             ORDER BY at DESC, id DESC LIMIT $1",
        )
        .bind(page.rows())
        .bind(page.before)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed("reading the requests for approval"))?;
        rows.iter().map(|row| document::read("approval", row.get("id"), row.get("document"))).collect()
    }
}
