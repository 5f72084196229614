//! The files by which a workload process and its agent talk.

use firedrill_model::workload::WorkloadState;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// The history (`firedrill_ledger::history`).
pub(crate) const HISTORY: &str = "history.fdh";
/// Samples, one JSON object per line, appended.
pub(crate) const SAMPLES: &str = "samples.ndjson";
/// The present state, replaced as a whole.
pub(crate) const STATE: &str = "state.json";
/// Its presence asks the process to end the load.
pub(crate) const STOP: &str = "stop";

/// Replaces the state, so that a reader sees the old or the new one and nothing between.
pub(crate) fn write_state(dir: &Path, state: &WorkloadState) -> io::Result<()> {
    let draft = dir.join("state.json.new");
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, dir.join(STATE))
}
