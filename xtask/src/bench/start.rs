//! How long a sandbox takes to come up and go, and the whole demonstration.

use super::Runs;
use super::figures::{Section, Spread, digits};
use super::fleet::Ground;
use anyhow::{Context, Result};
use std::process::Stdio;
use std::time::Instant;

const UP_SECONDS_MAX: f64 = 15.0;
const DEMO_SECONDS_MAX: f64 = 300.0;

pub(super) fn sandbox(ground: &Ground, runs: Runs) -> Result<Section> {
    ground.clear()?;
    let began = Instant::now();
    let fleet = ground.up()?;
    let cold = began.elapsed().as_secs_f64();
    fleet.down()?;
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for _ in 0..runs.or(5) {
        let began = Instant::now();
        let fleet = ground.up()?;
        ups.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        fleet.down()?;
        downs.push(began.elapsed().as_secs_f64());
    }
    let mut section = Section::default();
    let first = "sandbox up, nothing prepared (the first on a machine)";
    section.judged(first, "≤ 15 s", format!("{} s", digits(cold)), cold <= UP_SECONDS_MAX);
    let up = Spread::of(ups).context("no sandbox came up")?;
    section.judged("sandbox up (min / median / max)", "≤ 15 s", up.text("s"), up.max <= UP_SECONDS_MAX);
    let down = Spread::of(downs).context("no sandbox went down")?;
    section.told("sandbox down (min / median / max)", down.text("s"));
    Ok(section)
}

pub(super) fn demo(ground: &Ground, _: Runs) -> Result<Section> {
    let reports = ground.home().join("reports");
    let reports = reports.to_str().context("the home is not text")?;
    let began = Instant::now();
    let output = ground
        .command(&["demo", "--name", "bench", "--report", reports])
        .stdin(Stdio::null())
        .output()
        .context("cannot start the demo")?;
    let seconds = began.elapsed().as_secs_f64();
    let passed = output.status.success();
    let mut section = Section::default();
    let measured = format!("{} s, {}", digits(seconds), if passed { "passed" } else { "not passed" });
    section.judged(
        "demo, from nothing to six reports",
        "≤ 300 s, passed",
        measured,
        passed && seconds <= DEMO_SECONDS_MAX,
    );
    // The table at the end, behind the last empty line.
    let printed = String::from_utf8_lossy(&output.stdout);
    let table = printed.trim_end().rsplit("\n\n").next().unwrap_or_default();
    section.note(format!("```\n{table}\n```"));
    if !passed {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(section)
}
