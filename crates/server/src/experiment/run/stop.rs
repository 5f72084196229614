//! Stopping a run before its end, and taking its attacks out.

use super::{LOOK_EVERY, Run};
use crate::clock::now;
use crate::experiment::watch::breach;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::report::Aborted;
use firedrill_model::timeline::EventKind;
use firedrill_model::{AttackId, Severity};
use tokio::task::JoinError;

impl Run {
    /// Sees whether the run is to stop. Waits for nothing: what is told of it comes when the faults are out.
    pub(super) fn stop_when_told(&mut self) {
        if self.halted.is_some() {
            return;
        }
        self.halted = self.guard().halted();
        if self.halted.is_some() || !self.probing {
            return;
        }
        let Some(breach) = breach(&self.report.experiment.abort_when, &self.moment(), &self.courses) else { return };
        let (condition, observed, breach_at) = (breach.condition, breach.observed, breach.at);
        self.halted = Some(format!("{condition}: {observed}"));
        self.report.aborted = Some(Aborted { condition, observed, breach_at, halt_at: now(), faults_gone_at: None });
    }

    /// Waits for something with open eyes. A run that is told to stop meanwhile has its attacks taken out at once; what
    /// was begun is still waited for, so that nothing is left of it unseen.
    pub(super) async fn meanwhile<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        let mut work = tokio::spawn(work);
        loop {
            if let Ok(done) = tokio::time::timeout(LOOK_EVERY, &mut work).await {
                return done;
            }
            let stopped = self.halted.is_some();
            self.look().await;
            if self.halted.is_some() && !stopped {
                // One that is being put in place is taken out when it is.
                self.undo(|report| report.state != AttackState::Preparing).await;
            }
        }
    }

    /// Takes all out.
    pub(super) async fn end_attacks(&mut self) {
        self.undo(|_| true).await;
    }

    async fn undo(&mut self, chosen: impl Fn(&AttackReport) -> bool) {
        let ids = self.in_place(chosen).await;
        let ended = crate::attacks::end(&self.server, &ids).await;
        self.keep_ended(ids, ended);
    }

    /// The attacks of the run that are not seen to be out.
    pub(super) async fn in_place(&mut self, chosen: impl Fn(&AttackReport) -> bool) -> Vec<AttackId> {
        self.refresh_attacks().await;
        let open = self.report.attacks.iter().filter(|report| stays(report) && chosen(report));
        open.map(|report| report.id.clone()).collect()
    }

    pub(super) fn keep_ended(
        &mut self,
        ids: Vec<AttackId>,
        ended: Vec<Result<AttackReport, firedrill_api::http::Problem>>,
    ) {
        for (id, ended) in ids.into_iter().zip(ended) {
            match ended {
                Ok(report) => self.keep(report),
                Err(problem) => self.tool_errors.push(format!("attack {id} was not seen to come out: {problem}")),
            }
        }
    }

    /// After the attacks of an aborted run were taken out: says how long that took since the breach.
    pub(super) fn note_faults_gone(&mut self) {
        let Some(mut aborted) = self.report.aborted.take() else { return };
        let gone_at = now();
        let left = |report: &&AttackReport| stays(report) || report.state == AttackState::UndoFailed;
        let left: Vec<String> = self.report.attacks.iter().filter(left).map(|left| left.fault.to_string()).collect();
        let text = format!("aborted: {}: {}", aborted.condition, aborted.observed);
        self.note(aborted.halt_at, Severity::Warning, EventKind::Halt, text);
        if left.is_empty() {
            aborted.faults_gone_at = Some(gone_at);
            let (breach, halt) = (gone_at.since(aborted.breach_at), aborted.halt_at.since(aborted.breach_at));
            let text = format!("every fault of the run is out {breach} after the breach; it was halted after {halt}");
            self.note(gone_at, Severity::Info, EventKind::Halt, text);
        } else {
            let text = format!("not seen to be out after the abort: {}", left.join(", "));
            self.note(gone_at, Severity::Critical, EventKind::Halt, text);
        }
        self.report.aborted = Some(aborted);
    }
}

/// Something of it is still to be taken out.
fn stays(report: &AttackReport) -> bool {
    matches!(report.state, AttackState::Active | AttackState::NoEffect | AttackState::Preparing)
        && !firedrill_fault::kinds::find(&report.fault.kind).is_some_and(|kind| kind.instant)
}
