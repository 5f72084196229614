//! Benchmarks that live with the crate that they measure.

use super::Runs;
use super::figures::{Section, digits};
use super::fleet::Ground;
use crate::shell;
use anyhow::{Context, Result};

/// Operations of the history that is checked.
const OPERATIONS: &str = "10000000";
const CHECK_SECONDS_MAX: f64 = 10.0;
const CHECK_GIB_MAX: f64 = 2.0;
/// Share of the direct rate that the gateway and the storage layer aim at.
const SHARE_AIM: f64 = 0.8;

pub(super) fn gateway(_: &Ground, runs: Runs) -> Result<Section> {
    let rounds = runs.or(5).to_string();
    let printed = example("firedrill-proxy", "gateway_bench", &[&rounds, "5"])?;
    let mut section = Section::default();
    for load in ["oltp_point_select", "oltp_write_only"] {
        let of = |through| share(&printed, load, through).with_context(|| format!("no {load} through {through}"));
        let (gateway, haproxy) = (of("gateway")?, of("HAProxy")?);
        let what = format!("{load}: transactions/s as a share of a direct connection");
        let measured = format!("gateway {gateway:.2}, HAProxy {haproxy:.2}");
        section.judged(what, "≥ HAProxy", measured, gateway >= haproxy);
        section.judged(format!("{load}: the aim"), "0.8", digits(gateway), gateway >= SHARE_AIM);
    }
    section.note(printed.trim());
    Ok(section)
}

pub(super) fn storage(_: &Ground, runs: Runs) -> Result<Section> {
    let rounds = runs.or(5).to_string();
    let printed = example("firedrill-fault", "storage_bench", &[&rounds, "5"])?;
    let of = |ground| share(&printed, ground, "layer").with_context(|| format!("no figures on {ground}"));
    let (disk, memory) = (of("disk")?, of("memory")?);
    let mut section = Section::default();
    let what = "sysbench oltp_write_only on a layer as a share of direct";
    section.judged(format!("{what}, on a disk"), "≥ 0.8", digits(disk), disk >= SHARE_AIM);
    section.told(format!("{what}, in memory, where a sync costs nothing"), digits(memory));
    section.note(printed.trim());
    Ok(section)
}

pub(super) fn ledger(_: &Ground, _: Runs) -> Result<Section> {
    let printed = example("firedrill-ledger", "ledger_bench", &[OPERATIONS])?;
    let number = |name, skip| {
        word(&printed, name, skip)
            .and_then(|word| word.parse::<f64>().ok())
            .with_context(|| format!("no {name}: {printed}"))
    };
    let seconds = number("checked", 2)?;
    let gibibytes = number("peak", 2)? / 1024.0 / 1024.0;
    let mut section = Section::default();
    let what = "check of 10 million operations, one core";
    section.judged(what, "≤ 10 s", format!("{} s", digits(seconds)), seconds <= CHECK_SECONDS_MAX);
    let peak = format!("{} GiB", digits(gibibytes));
    section.judged("its peak memory", "≤ 2 GiB", peak, gibibytes <= CHECK_GIB_MAX);
    section.note(format!("```\n{}\n```", printed.trim()));
    Ok(section)
}

fn example(package: &str, name: &str, arguments: &[&str]) -> Result<String> {
    let mut all = vec!["run", "--release", "--locked", "--quiet", "--package", package, "--example", name, "--"];
    all.extend(arguments);
    shell::output("cargo", &all)
}

/// The word of that number (from 0) in the line that begins with a name.
fn word<'a>(text: &'a str, name: &str, number: usize) -> Option<&'a str> {
    text.lines().find(|line| line.starts_with(name))?.split_whitespace().nth(number)
}

/// The fourth column, `of direct`, of a row of the gateway's table.
fn share(table: &str, load: &str, through: &str) -> Option<f64> {
    let rows = table.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    rows.filter(|cells| cells.get(1) == Some(&load) && cells.get(2).is_some_and(|name| name.contains(through)))
        .find_map(|cells| cells.get(4)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_figures_are_found() {
        let table = "| load | through | transactions/s | of direct | p95 ms | CPU us/query |\n|---|---|--:|--:|--:|--:|\n\
                     | oltp_write_only | HAProxy (TCP mode) | 80 | 0.80 | 2 | 3 |\n| oltp_write_only | gateway | 90 | 0.90 | 2 | 3 |";
        assert_eq!(share(table, "oltp_write_only", "gateway"), Some(0.9));
        assert_eq!(share(table, "oltp_write_only", "HAProxy"), Some(0.8));
        assert_eq!(share(table, "oltp_point_select", "gateway"), None);
        let storage = "| disk | direct | 10 | 1.00 | 1 | 2 |\n| disk | layer | 9 | 0.85 | 1 | 2 |";
        assert_eq!((share(storage, "disk", "layer"), share(storage, "memory", "layer")), (Some(0.85), None));
        let ledger = "made     7 operations\nchecked  in 4.32 s, 2.3 million\npeak RSS 12345 kB\n";
        assert_eq!(word(ledger, "checked", 2), Some("4.32"));
        assert_eq!(word(ledger, "peak", 2), Some("12345"));
    }
}
