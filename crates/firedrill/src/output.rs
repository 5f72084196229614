//! Tables and JSON. Data goes to standard output, everything else to standard error.

use comfy_table::{Table, presets};
use firedrill_model::Timestamp;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::time::{Duration, UNIX_EPOCH};

/// Prints one JSON document, pretty, with a line end.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Prints rows under a header.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    let text = table.to_string();
    let mut out = std::io::stdout().lock();
    for line in text.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Colour only for a person's terminal that has not said no (https://no-color.org).
pub(crate) fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Does not fail when nobody reads: `firedrill … | head` is fine.
pub(crate) fn text(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
}

/// A moment, to the second, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    let since_epoch = Duration::from_micros(u64::try_from(at.0).unwrap_or_default());
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_epoch).to_string()
}

/// The serialised name of a state (`needs-person`).
pub(crate) fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
