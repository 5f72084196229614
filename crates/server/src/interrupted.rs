//! Runs that were under way when the server was killed: a run is watched second by second and cannot be taken up
//! again, so it ends there, and says so. Its faults and its load are taken out when the agents connect.

use crate::clock::now;
use crate::problem::chain;
use crate::server::{Server, run_entry};
use firedrill_api::http::Live;
use firedrill_model::message::Topic;
use firedrill_model::report::{RunReport, RunState};
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{Severity, Verdict};
use firedrill_store::{RunSummary, StoreError};

/// Gives every run that an earlier process left behind its end.
pub(crate) async fn settle(server: &Server) {
    if let Err(error) = settle_all(server).await {
        tracing::error!(error = %chain(&error), "interrupted runs were not settled; they show as running");
    }
}

async fn settle_all(server: &Server) -> Result<(), StoreError> {
    for summary in server.store.runs_in(RunState::Running).await? {
        let Some(mut report) = server.store.run(&summary.run).await? else { continue };
        interrupt(&mut report, now());
        server.store.save_run(&report).await?;
        let (experiment, verdict) = (summary.experiment.clone(), Verdict::Error);
        let scope = Scope {
            cluster: Some(summary.cluster.clone()),
            run: Some(summary.run.clone()),
            about: Some(Topic::RunEnded { experiment, verdict, stopped: true }),
            ..Scope::default()
        };
        let text = format!("run {} was interrupted: the server was stopped", summary.run);
        server.timeline.append(Severity::Warning, EventKind::Run, text, scope).await;
        server.live.send(Live::Run { entry: run_entry(RunSummary::of(&report)) });
    }
    Ok(())
}

fn interrupt(report: &mut RunReport, at: firedrill_model::Timestamp) {
    report.state = RunState::Halted;
    report.ended = Some(at);
    report.verdict = Some(report.verdict.unwrap_or(Verdict::Error).and(Verdict::Error));
    report.reasons.insert(0, "the server was stopped while the run was under way; start the run again".to_owned());
}
