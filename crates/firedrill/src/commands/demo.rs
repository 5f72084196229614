//! `firedrill demo`: sandbox, ladder, reports.

use crate::args::Demo;
use crate::commands::{experiment, sandbox};
use crate::exit::Outcome;
use crate::output;
use anyhow::Context;
use firedrill_api::client::Client;
use firedrill_api::http::{ExperimentEntry, StartRun};
use firedrill_console::summary;
use firedrill_model::Verdict;
use firedrill_model::guard::{Guard, Override};
use firedrill_sandbox::{Home, SandboxStatus};
use std::time::Instant;

pub(crate) async fn run(demo: Demo) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    eprintln!("bringing up sandbox {}", demo.name);
    let status = sandbox::up(demo.name.clone(), demo.profile.into(), None, false, Vec::new()).await?;
    eprintln!("up after {:.1} s; watch it at {}", began.elapsed().as_secs_f64(), status.server.url);
    let climbed = tokio::select! {
        climbed = climb(&demo, &status) => climbed,
        signal = tokio::signal::ctrl_c() => {
            signal.context("cannot listen for an interrupt")?;
            Err(anyhow::anyhow!("interrupted"))
        }
    };
    if demo.keep {
        eprintln!("kept: {} — take it down with `firedrill sandbox down --name {}`", status.server.url, demo.name);
    } else {
        firedrill_sandbox::down(&Home::from_environment(), &demo.name, &sandbox::progress()).await?;
    }
    let verdict = climbed?;
    eprintln!("\n{verdict} after {:.0} s; reports in {}", began.elapsed().as_secs_f64(), demo.report.display());
    Ok(Outcome(verdict.exit_status()))
}

/// On an unsafe fleet the rung before may have left it degraded, and the next one is tried all the same.
fn overrides(profile: &crate::args::Profile) -> Vec<Override> {
    let unsafe_fleet = matches!(profile, crate::args::Profile::Unsafe);
    let guards = [Guard::Degraded, Guard::Operation].into_iter().filter(|_| unsafe_fleet);
    guards.map(|guard| Override { guard, reason: "a demonstration on a fleet of its own".to_owned() }).collect()
}

/// Runs the rungs in order; a rung that does not pass ends the climb on a safe fleet. On an unsafe one the next rung is
/// tried all the same, for there the point is to see what is found.
async fn climb(demo: &Demo, status: &SandboxStatus) -> anyhow::Result<Verdict> {
    let client = Client::new(&status.server.url)?;
    let library = client.experiments().await?;
    // What has no rung stands beside the ladder, and is run when it is named.
    let named = |entry: &&ExperimentEntry| demo.only.contains(&entry.name);
    let chosen = library.iter().filter(|entry| if demo.only.is_empty() { entry.rung.is_some() } else { named(entry) });
    let force = !demo.only.is_empty() || matches!(demo.profile, crate::args::Profile::Unsafe);
    let mut verdict = Verdict::Passed;
    let mut rows = Vec::new();
    for entry in chosen {
        eprintln!("\n{} — {}", entry.name, entry.title);
        let cluster = Some(status.cluster.parse().context("the sandbox's cluster name")?);
        let overrides = overrides(&demo.profile);
        let start = StartRun { yaml: entry.yaml.clone(), cluster, force, overrides, login: None };
        let report = experiment::run_to_the_end(&client, &start).await?;
        experiment::write_report(&client, &report, &demo.report.join(&entry.name)).await?;
        output::text(&summary::text(&report, output::colour()));
        let of_run = report.verdict.unwrap_or(Verdict::Error);
        let ledger = report.ledger.as_ref();
        rows.push(vec![
            entry.rung.map_or_else(String::new, |rung| rung.to_string()),
            entry.name.clone(),
            of_run.to_string(),
            ledger.map_or_else(String::new, |ledger| ledger.longest_write_outage().to_string()),
            ledger.map_or_else(String::new, |l| format!("{} of {}", l.lost_total(), l.writes_acknowledged)),
        ]);
        verdict = verdict.and(of_run);
        if of_run != Verdict::Passed && !force {
            eprintln!("the rungs above are not tried, for this one does not hold");
            break;
        }
    }
    output::text("");
    output::table(&["RUNG", "EXPERIMENT", "VERDICT", "WRITE OUTAGE", "LOST"], rows)?;
    Ok(verdict)
}
