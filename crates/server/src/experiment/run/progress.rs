//! Saying how far the run is.

use super::{Run, UPKEEP_WITHIN};
use crate::clock::now;
use firedrill_model::progress::{Progress, Stage, StepTaken};

impl Run {
    pub(super) fn progress(&mut self) -> &mut Progress {
        self.report.progress.get_or_insert_default()
    }

    /// The run is in this part of it now.
    pub(super) async fn now_in(&mut self, stage: Stage) {
        self.progress().stage = stage;
        self.show().await;
    }

    pub(super) async fn step_begins(&mut self) {
        self.progress().steps.push(StepTaken { began: now(), ended: None });
        self.show().await;
    }

    pub(super) fn step_ends(&mut self) {
        if let Some(step) = self.progress().steps.last_mut() {
            step.ended = Some(now());
        }
    }

    /// Stores the report and tells those who watch, so that they see it at once. A slow store does not keep the run from
    /// going on; what it did not take now is stored the next time.
    async fn show(&mut self) {
        if tokio::time::timeout(UPKEEP_WITHIN, self.save()).await.is_err() {
            tracing::warn!(run = %self.report.run, "the store is slow; how far the run is, is shown later");
        }
        self.tell();
    }
}
