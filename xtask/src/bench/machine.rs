//! What the figures were measured on, and how busy it was.

use crate::shell;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// Figures are taken below this load average of the last minute, if the machine comes there.
const QUIET: f64 = 1.0;
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// One line: processor, cores, memory, kernel, database.
pub(super) fn describe() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let model = field("/proc/cpuinfo", "model name")?.unwrap_or_else(|| "processor of unknown make".to_owned());
    let kibibytes: f64 = field("/proc/meminfo", "MemTotal")?
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .context("/proc/meminfo does not say MemTotal")?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version")?;
    let database = shell::output("mariadbd", &["--version"]).context("MariaDB must be installed")?;
    let database = database.split_whitespace().find(|word| word.contains("MariaDB")).unwrap_or("MariaDB").to_owned();
    let gibibytes = kibibytes / 1024.0 / 1024.0;
    Ok(format!("{cores} cores ({model}), {gibibytes:.0} GiB, Linux {}, {database}", kernel.trim()))
}

/// The value behind `name:` in a file of such lines.
fn field(file: &str, name: &str) -> Result<Option<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    Ok(text.lines().find_map(value))
}

/// Waits until others leave the machine alone, not longer than `within`, and says how busy it then is.
pub(super) fn wait_for_quiet(within: Duration) -> Result<f64> {
    let end = Instant::now() + within;
    loop {
        let load = load_average()?;
        if load < QUIET || Instant::now() >= end {
            return Ok(load);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn load_average() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("the load average")?;
    text.split_whitespace().next().and_then(|first| first.parse().ok()).context("/proc/loadavg has another form")
}
