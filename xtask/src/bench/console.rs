//! The console: its first page for a large fleet, a page that very many have open, a chart of a day.

use super::Runs;
use super::control::played;
use super::failover::{self, Loss};
use super::figures::{Section, Spread, digits};
use super::fleet::Ground;
use crate::shell;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use std::process::{Command, Stdio};

const CLUSTERS: u32 = 1000;
const PAGE_BYTES_MAX: usize = 100_000;
const PAGE_MS_MAX: f64 = 50.0;
const READERS: u32 = 200;
/// A run of the load below is over by then.
const READ_FOR_SECONDS: u32 = 25;
/// Between two runs the fleet fills up, which takes its own time each time: the medians of a few runs differ by this
/// much without anybody looking.
const SAME_WITHIN: f64 = 1.25;
const WRITES_PER_SECOND: u32 = 500;
const CHART_MS_MAX: f64 = 100.0;

#[derive(Deserialize)]
struct FirstPage {
    clusters: u32,
    nodes: u32,
    page_bytes: usize,
    all_bytes: usize,
    median_ms: f64,
    worst_ms: f64,
}

#[derive(Deserialize)]
struct Readers {
    events: u64,
    fetches: u64,
    median_ms: f64,
    p99_ms: f64,
}

pub(super) fn first_page(ground: &Ground, _runs: Runs) -> Result<Section> {
    let clusters = CLUSTERS.to_string();
    let told = played(ground, &["first-page", "--clusters", &clusters])?;
    let FirstPage { clusters, nodes, page_bytes, all_bytes, median_ms, worst_ms } =
        serde_json::from_str(&told).with_context(|| format!("no figures but {told}"))?;
    let mut section = Section::default();
    let of = format!("first page of {clusters} clusters with {nodes} nodes");
    let bytes = format!("{page_bytes} bytes, with all that it loads {all_bytes}");
    section.judged(format!("{of}: over the wire"), "≤ 100 KB", bytes, all_bytes <= PAGE_BYTES_MAX);
    let time = format!("median {} ms, worst of 100 {} ms", digits(median_ms), digits(worst_ms));
    section.judged(format!("{of}: from the request to its last byte"), "≤ 50 ms", time, median_ms <= PAGE_MS_MAX);
    section.note("The nodes have no agents: every cluster is one that needs somebody, which is the longest page. The time is that of a reader on the same machine, so above that of the server alone.");
    Ok(section)
}

pub(super) fn readers(ground: &Ground, runs: Runs) -> Result<Section> {
    let fleet = ground.up()?;
    let server = fleet.status.server.pid.context("the server does not run")?.to_string();
    shell::run("taskset", &["--all-tasks", "--cpu-list", "--pid", "0", &server])?;
    let address = fleet.status.server.url.trim_start_matches("http://").to_owned();
    let attack = "{kind: kill, signal: SIGKILL, target: {role: primary}}";
    let mut section = Section::default();
    let mut outages = Vec::new();
    for readers in [0, READERS] {
        let mut losses: Vec<Loss> = Vec::new();
        for _ in 0..runs.or(5) {
            let watching = (readers > 0).then(|| watch(&address)).transpose()?;
            losses.extend(failover::repeat(&fleet, attack, WRITES_PER_SECOND, 1)?);
            if let Some(watching) = watching {
                tell(&mut section, watching)?;
            }
        }
        let spread = Spread::of(losses.iter().map(|loss| loss.outage)).context("no run")?;
        section.told(format!("write outage with {readers} browsers watching (min / median / max)"), spread.text("ms"));
        let rate = Spread::of(losses.iter().map(|loss| loss.rate)).context("no run")?;
        section.told(format!("acknowledged writes/s before, with {readers} watching"), rate.text("per second"));
        outages.push(spread.median);
    }
    let ratio = outages[1] / outages[0].max(1.0);
    let same = ratio <= SAME_WITHIN;
    section.judged("median outage, watched against unwatched", "the same", format!("{} times", digits(ratio)), same);
    section.note("The server is held to one core. A played reader holds the stream of the run's page and fetches the page when the page's script would; it draws nothing.");
    Ok(section)
}

fn watch(server: &str) -> Result<std::process::Child> {
    let (readers, seconds) = (READERS.to_string(), READ_FOR_SECONDS.to_string());
    let mut command = Command::new("cargo");
    command.args(["run", "--release", "--locked", "--quiet", "--package", "firedrill-played", "--", "readers"]);
    command.args(["--server", server, "--readers", &readers, "--seconds", &seconds]).stdout(Stdio::piped());
    command.spawn().context("cannot start the readers")
}

fn tell(section: &mut Section, watching: std::process::Child) -> Result<()> {
    let output = watching.wait_with_output().context("the readers do not end")?;
    if !output.status.success() {
        bail!("the readers ended with {}", output.status);
    }
    let Readers { events, fetches, median_ms, p99_ms } =
        serde_json::from_slice(&output.stdout).context("no figures")?;
    let text = format!(
        "{events} events, {fetches} pages fetched, each {} ms after its event at the median, {} ms at p99",
        digits(median_ms),
        digits(p99_ms)
    );
    section.told(format!("{READERS} readers of one run, together"), text);
    Ok(())
}

pub(super) fn chart(ground: &Ground, runs: Runs) -> Result<Section> {
    let fleet = ground.up()?;
    let mut arguments =
        vec!["run", "--release", "--locked", "--quiet", "--package", "firedrill-browser", "--", "chart"];
    let (url, cluster, times) =
        (fleet.status.server.url.clone(), fleet.status.cluster.clone(), runs.or(10).to_string());
    arguments.extend([url.as_str(), &cluster, &times]);
    let told = shell::output("cargo", &arguments)?;
    let told: Value = serde_json::from_str(&told).with_context(|| format!("no figures but {told}"))?;
    let drawn: Vec<f64> = told["drawn_ms"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let spread = Spread::of(drawn.iter().copied()).context("no chart was drawn")?;
    let mut section = Section::default();
    let what = format!("a chart of {} points in {} lines, drawn", told["points"], told["lines"]);
    section.judged(what, "≤ 100 ms", spread.text("ms"), spread.median <= CHART_MS_MAX);
    section.note("Chromium without a screen and without a graphics card; a pixel is read back, so that the painting is in the time.");
    Ok(section)
}
