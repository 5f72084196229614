//! A run as its page shows it: its report, with what has happened since that was stored.

use crate::clock::now;
use crate::experiment;
use crate::http::find_run;
use crate::problem::Failure;
use crate::server::Server;
use firedrill_console::run::Watched;
use firedrill_model::report::RunReport;
use firedrill_model::timeline::EventKind;
use firedrill_model::{RunId, TimelineEvent};
use firedrill_store::{Page, RunFilter, TimelineFilter};

/// Earlier runs that are offered for comparison.
const EARLIER: u32 = 20;
/// Operations of a cluster that are looked through for those of a run that goes on.
const OPERATIONS: u32 = 50;
/// Newest lines that are looked through for what the report does not have yet.
const LINES: u32 = 1000;

/// With what can be done next.
pub(super) async fn watched(server: &Server, run: &RunId) -> Result<Watched, Failure> {
    let report = fresh(server, run).await?;
    let name = &report.experiment.name;
    let filter = RunFilter { cluster: Some(report.cluster.as_str()), experiment: Some(name), verdict: None };
    let page = Page { limit: EARLIER, before: Some(run.0.as_str()) };
    let earlier = server.store.runs_like(&filter, page).await?.into_iter().map(|run| run.run).collect();
    let start = |from: &str| format!("/experiments/start/{name}?cluster={}{from}", report.cluster);
    let again = if experiment::library().iter().any(|entry| entry.name == *name) {
        Some(start(""))
    } else if server.store.templates().await?.iter().any(|template| template.name == *name) {
        Some(start("&from=template"))
    } else {
        None
    };
    Ok(Watched { report, earlier, again, problem: None, template: String::new(), fresh_only: false, now: now() })
}

/// The report, with what has happened since it was stored: a run stores it once a second, which is late for those who
/// watch.
pub(super) async fn fresh(server: &Server, run: &RunId) -> Result<RunReport, Failure> {
    let mut report = find_run(server, run).await?;
    let ended = report.ended.is_some();
    // What happens to the cluster belongs to a run as long as it goes on; afterwards people may still say something.
    let of = Some(run.clone()).filter(|_| ended);
    let filter = TimelineFilter { cluster: Some(report.cluster.clone()), run: of };
    let began = report.began;
    let belongs = |line: &TimelineEvent| match ended {
        true => matches!(line.kind, EventKind::Note | EventKind::Part),
        false => line.at >= began && line.scope.run.as_ref().is_none_or(|of| of == run),
    };
    report.timeline.extend(server.store.newest_events(&filter, LINES).await?.into_iter().filter(belongs));
    report.timeline.sort_by_key(|line| (line.at, line.sequence));
    report.timeline.dedup_by_key(|line| line.sequence);
    if !ended {
        for stored in server.store.attacks_of(run).await? {
            let stored = stored.report;
            match report.attacks.iter_mut().find(|known| known.id == stored.id && known.host == stored.host) {
                Some(known) => *known = stored,
                None => report.attacks.push(stored),
            }
        }
        let operations = server.store.operations(Some(&report.cluster), OPERATIONS).await?;
        report.operations = operations.into_iter().filter(|operation| operation.began >= began).rev().collect();
    }
    Ok(report)
}
