//! What an agent costs a host on which nothing happens.

use super::Runs;
use super::figures::{Section, Spread};
use super::fleet::Ground;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// After the start, and again while the processor is measured.
const IDLE: Duration = Duration::from_secs(60);
/// `getconf CLK_TCK` on every Linux of the last decades.
const TICKS_PER_SECOND: f64 = 100.0;
const RSS_MIB_MAX: f64 = 12.0;
const PROCESSOR_PERCENT_MAX: f64 = 0.3;

pub(super) fn agents(ground: &Ground, _: Runs) -> Result<Section> {
    let fleet = ground.up()?;
    let agents = fleet.database_agents();
    std::thread::sleep(IDLE);
    let processes = || agents.iter().map(|(_, pid)| *pid);
    let before: Vec<f64> = processes().map(processor_seconds).collect::<Result<_>>()?;
    let began = Instant::now();
    std::thread::sleep(IDLE);
    let after: Vec<f64> = processes().map(processor_seconds).collect::<Result<_>>()?;
    let elapsed = began.elapsed().as_secs_f64();
    let resident: Vec<f64> = processes().map(|pid| kibibytes(pid, "status", "VmRSS:")).collect::<Result<_>>()?;
    let proportional: Vec<f64> =
        processes().map(|pid| kibibytes(pid, "smaps_rollup", "Pss:")).collect::<Result<_>>()?;
    let mut section = Section::default();
    let spread = |values: Vec<f64>| Spread::of(values).context("the sandbox has no agents");
    let resident = spread(resident.into_iter().map(|kib| kib / 1024.0).collect())?;
    let of = format!("min / median / max of {} database hosts", agents.len());
    section.judged(format!("RSS ({of})"), "≤ 12 MiB", resident.text("MiB"), resident.max <= RSS_MIB_MAX);
    let proportional = spread(proportional.into_iter().map(|kib| kib / 1024.0).collect())?;
    section.told("PSS, shared pages counted in parts (the same)", proportional.text("MiB"));
    let used = spread(before.iter().zip(&after).map(|(before, after)| (after - before) / elapsed * 100.0).collect())?;
    section.judged("processor (the same)", "≤ 0.3 % of a core", used.text("%"), used.max <= PROCESSOR_PERCENT_MAX);
    section.note("RSS counts the pages of the program file that several processes share; PSS counts each once.");
    Ok(section)
}

fn processor_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("agent {pid} is gone"))?;
    // Behind the name in parentheses: fields 14 and 15 of proc(5) are user and system time.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}

fn kibibytes(pid: u32, file: &str, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/{file}");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("{path} does not say {name}"))
}
