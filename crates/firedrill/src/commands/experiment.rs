//! `firedrill experiment`.

use crate::args::{Connect, Experiment, run_id};
use crate::commands::plan;
use crate::exit::Outcome;
use crate::{attack_options, connect, output};
use anyhow::{Context, bail};
use firedrill_api::client::{Client, TimelineQuery};
use firedrill_api::experiment_file;
use firedrill_api::http::{Live, StartRun};
use firedrill_console::summary;
use firedrill_model::report::RunReport;
use firedrill_model::{ClusterName, RunId, Severity};
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long to wait before the live stream of a restarted server is tried again.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// How often in a row; with the pause above, half a minute without a server.
const RECONNECTS_MAX: u32 = 60;

pub(crate) async fn run(command: Experiment, connect: &Connect) -> anyhow::Result<Outcome> {
    match command {
        Experiment::Run { experiment, cluster, var, report, force, dry_run, overrides, reason } => {
            let client = connect::client(connect).await?;
            let yaml = yaml_of(&client, &experiment, &var.into_iter().collect()).await?;
            let overrides = attack_options::overrides(overrides.iter(), reason.as_deref());
            let start = StartRun { yaml, cluster, force, login: None, overrides };
            if dry_run {
                return plan::run(&client.plan_run(&start).await?, connect.json);
            }
            let done = run_to_the_end(&client, &start).await?;
            if let Some(directory) = &report {
                write_report(&client, &done, directory).await?;
            }
            print(&done, connect.json)
        }
        Experiment::List => list(connect).await,
        Experiment::Show { what } => {
            let client = connect::client(connect).await?;
            if let Some(entry) = client.experiments().await?.into_iter().find(|entry| entry.name == what) {
                output::text(&entry.yaml);
                return Ok(Outcome::done());
            }
            let report = client.run(&run_id(&what)).await?;
            print(&report, connect.json)
        }
        Experiment::Validate { file, var } => {
            let text = read(&file)?;
            let experiment = experiment_file::read(&text, &var.into_iter().collect(), firedrill_fault::check)
                .with_context(|| format!("{} is not an experiment", file.display()))?;
            if connect.json {
                output::json(&experiment)?;
            } else {
                output::text(&format!("{}: {} is well-formed", file.display(), experiment.name));
            }
            Ok(Outcome::done())
        }
        Experiment::Halt { run, reason } => {
            connect::client(connect).await?.halt_run(&run_id(&run), &reason).await?;
            output::text(&format!("run {run} is being stopped"));
            Ok(Outcome::done())
        }
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// A file's text with its variables checked, or the library's text of that name.
async fn yaml_of(client: &Client, what: &str, variables: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let file = Path::new(what);
    if file.exists() {
        let text = read(file)?;
        let filled = experiment_file::fill_in(&text, variables)?;
        experiment_file::read(&filled, &BTreeMap::new(), firedrill_fault::check)
            .with_context(|| format!("{what} is not an experiment"))?;
        return Ok(filled);
    }
    let library = client.experiments().await?;
    let names: Vec<_> = library.iter().map(|entry| entry.name.clone()).collect();
    match library.into_iter().find(|entry| entry.name == what) {
        Some(entry) => Ok(entry.yaml),
        None => bail!("{what:?} is neither a file nor in the library ({})", names.join(", ")),
    }
}

/// Starts a run, tells on standard error what happens, and gives the finished report.
pub(crate) async fn run_to_the_end(client: &Client, start: &StartRun) -> anyhow::Result<RunReport> {
    let run = client.start_run(start).await?.run;
    follow_to_the_end(client, &run).await
}

/// Tells on standard error what happens in a run, and gives the finished report.
pub(crate) async fn follow_to_the_end(client: &Client, run: &RunId) -> anyhow::Result<RunReport> {
    eprintln!("run {run}: {}/runs/{run}", client.base_url());
    let mut last = None;
    let mut failures = 0;
    loop {
        match follow(client, run, &mut last).await {
            Ok(()) => failures = 0,
            Err(error) if failures >= RECONNECTS_MAX => return Err(error),
            Err(_) => failures += 1,
        }
        // The stream tells that something happened; what is true is read from the store.
        match client.run(run).await {
            Ok(report) if report.ended.is_some() => return Ok(report),
            Ok(_) => {}
            Err(error) if failures >= RECONNECTS_MAX => return Err(error.into()),
            Err(_) => failures += 1,
        }
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

/// Prints what happens on the run's cluster until the run ends or the stream breaks.
async fn follow(client: &Client, run: &RunId, last: &mut Option<u64>) -> anyhow::Result<()> {
    let report = client.run(run).await?;
    let cluster = Some(report.cluster.clone());
    let mut events = client.events(&TimelineQuery { cluster, after: *last, ..TimelineQuery::default() }).await?;
    // It may have ended before the stream began; then no event would tell.
    if client.run(run).await?.ended.is_some() {
        return Ok(());
    }
    while let Some(message) = events.next().await {
        let message = message?;
        if message.sequence.is_some() {
            *last = message.sequence;
        }
        match message.live {
            Live::Timeline { event } => {
                let after = event.at.since(report.began).to_string();
                let mark = match event.severity {
                    Severity::Info => " ",
                    Severity::Warning => "!",
                    Severity::Critical => "X",
                };
                eprintln!("  {after:>8} {mark} {}", event.text);
            }
            Live::Run { entry } if entry.run == *run && entry.verdict.is_some() => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

/// Writes `report.html`, `report.json` and, when there is one, `history.fdh`.
pub(crate) async fn write_report(client: &Client, report: &RunReport, directory: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot write the report into {}", directory.display());
    tokio::fs::create_dir_all(directory).await.with_context(cannot)?;
    tokio::fs::write(directory.join("report.html"), client.report_html(&report.run).await?)
        .await
        .with_context(cannot)?;
    tokio::fs::write(directory.join("report.json"), serde_json::to_vec_pretty(report)?).await.with_context(cannot)?;
    if report.ledger.is_some() {
        let mut history = client.history(&report.run).await?;
        let mut file = tokio::fs::File::create(directory.join("history.fdh")).await.with_context(cannot)?;
        while let Some(piece) = history.next().await {
            file.write_all(&piece?).await.with_context(cannot)?;
        }
        file.flush().await.with_context(cannot)?;
    }
    eprintln!("report: {}", directory.join("report.html").display());
    Ok(())
}

/// The verdict, and the exit status that it means.
pub(crate) fn print(report: &RunReport, json: bool) -> anyhow::Result<Outcome> {
    if json {
        output::json(report)?;
    } else {
        output::text(&summary::text(report, output::colour()));
    }
    Ok(Outcome(report.verdict.map_or(0, |verdict| verdict.exit_status())))
}

async fn list(connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::client(connect).await?;
    let (library, runs) = (client.experiments().await?, client.runs().await?);
    if connect.json {
        output::json(&serde_json::json!({"library": library, "runs": runs}))?;
        return Ok(Outcome::done());
    }
    let rung = |rung: Option<u32>| rung.map_or_else(String::new, |rung| rung.to_string());
    let rows = library.iter().map(|entry| vec![rung(entry.rung), entry.name.clone(), entry.title.clone()]);
    output::table(&["RUNG", "EXPERIMENT", "TITLE"], rows.collect())?;
    output::text("");
    let verdict = |verdict: Option<firedrill_model::Verdict>| verdict.map_or_else(|| "…".to_owned(), |v| v.to_string());
    let rows = runs.iter().map(|entry| {
        let reason = entry.reason.clone().unwrap_or_default();
        vec![
            entry.run.to_string(),
            entry.experiment.clone(),
            ClusterName::to_string(&entry.cluster),
            verdict(entry.verdict),
            reason,
        ]
    });
    output::table(&["RUN", "EXPERIMENT", "CLUSTER", "VERDICT", "REASON"], rows.collect())?;
    Ok(Outcome::done())
}
