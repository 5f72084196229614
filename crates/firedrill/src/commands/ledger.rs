//! `firedrill ledger`: works on files, needs no server.

use crate::args::{ExportFormat, Ledger};
use crate::exit::Outcome;
use crate::output;
use anyhow::Context;
use firedrill_model::report::LedgerSummary;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

/// Read buffer: large enough that ten million operations cost few system calls.
const BUFFER_BYTES: usize = 1 << 20;

pub(crate) fn run(command: Ledger, json: bool) -> anyhow::Result<Outcome> {
    match command {
        Ledger::Check { file } => {
            let summary = firedrill_ledger::check(open(&file)?).with_context(|| file.display().to_string())?;
            if json {
                output::json(&summary)?;
            } else {
                print(&summary);
            }
            Ok(Outcome(summary.verdict.exit_status()))
        }
        Ledger::Export { file, format: ExportFormat::Jepsen, output } => {
            let history = open(&file)?;
            let mut out: Box<dyn Write> = match &output {
                Some(path) => Box::new(BufWriter::new(
                    File::create(path).with_context(|| format!("cannot write {}", path.display()))?,
                )),
                None => Box::new(BufWriter::new(std::io::stdout().lock())),
            };
            firedrill_ledger::jepsen::export(history, &mut out).with_context(|| file.display().to_string())?;
            out.flush()?;
            Ok(Outcome::done())
        }
    }
}

fn open(file: &Path) -> anyhow::Result<BufReader<File>> {
    let opened = File::open(file).with_context(|| format!("cannot read the history {}", file.display()))?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, opened))
}

fn print(summary: &LedgerSummary) {
    let mut lines = vec![format!("{}", summary.verdict)];
    lines.extend(summary.reasons.iter().map(|reason| format!("! {reason}")));
    lines.push(format!(
        "{} operations; writes: {} acknowledged, {} failed, {} unknown ({} of them there)",
        summary.operations,
        summary.writes_acknowledged,
        summary.writes_failed,
        summary.writes_unknown,
        summary.unknown_present
    ));
    lines.push(format!("lost: {} of {}", summary.lost_total(), summary.writes_acknowledged));
    for class in &summary.lost {
        lines.push(format!("  {}: {}: {}", class.class, class.findings.count, class.findings.examples.join(" ")));
    }
    for (name, findings) in [
        ("failed but present", &summary.failed_but_present),
        ("duplicates", &summary.duplicates),
        ("vanished reads", &summary.vanished),
        ("forks", &summary.forks),
        ("divergence", &summary.divergence),
    ] {
        lines.push(format!("{name}: {} {}", findings.count, findings.examples.join(" ")));
    }
    for stale in &summary.stale {
        lines.push(format!(
            "stale reads at {}: {} of {}, age p50 {} p99 {} max {}",
            stale.node, stale.count, stale.of, stale.p50, stale.p99, stale.max
        ));
    }
    lines.push(format!("longest write outage {} (resolution {})", summary.longest_write_outage(), summary.resolution));
    output::text(&lines.join("\n"));
}
