//! Dry runs, the limits of the guards, and approvals.

use super::{Client, ClientError};
use crate::guards::{Approval, Approved, AttackPlan, Overridden, RunPlan};
use crate::http::{Done, StartAttack, StartRun};
use firedrill_model::guard::GuardPolicy;

impl Client {
    /// What an attack would do if it began now, and what the guards say; nothing is begun.
    ///
    /// # Errors
    /// [`ClientError`]; nothing is selected.
    pub async fn plan_attack(&self, start: &StartAttack) -> Result<AttackPlan, ClientError> {
        self.post("/api/v1/attacks/plan", start).await
    }

    /// What a run's attacks would do if they began now, and what the guards say; nothing is begun.
    ///
    /// # Errors
    /// [`ClientError`]; the file is wrong.
    pub async fn plan_run(&self, start: &StartRun) -> Result<RunPlan, ClientError> {
        self.post("/api/v1/runs/plan", start).await
    }

    /// The limits of the guards.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn guards(&self) -> Result<GuardPolicy, ClientError> {
        self.get("/api/v1/guards").await
    }

    /// Sets the limits of the guards.
    ///
    /// # Errors
    /// [`ClientError`]; the limits contradict themselves.
    pub async fn set_guards(&self, policy: &GuardPolicy) -> Result<GuardPolicy, ClientError> {
        self.put("/api/v1/guards", policy).await
    }

    /// Guards that were passed over, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn overrides(&self) -> Result<Vec<Overridden>, ClientError> {
        self.get("/api/v1/guards/overrides").await
    }

    /// Requests that wait for a second person, or did, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approvals(&self) -> Result<Vec<Approval>, ClientError> {
        self.get("/api/v1/approvals").await
    }

    /// Approves a request, as the second person, and begins what it asks for.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such request, it is one's own, or a guard refuses by now.
    pub async fn approve(&self, id: &str) -> Result<Approved, ClientError> {
        self.post(&format!("/api/v1/approvals/{id}"), &Done {}).await
    }
}
