//! What writers and readers share.

use crate::connection::opts;
use crate::error::WorkloadError;
use crate::recorder::Recorder;
use firedrill_model::workload::WorkloadSpec;
use mysql_async::Opts;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Most connections of one kind: six servers on a small machine have a thread for each.
const CLIENTS_MAX: u32 = 1024;

/// Largest payload of a row; larger ones measure the disk, not the platform.
const ROW_BYTES_MAX: u32 = 1 << 20;

/// Longest part of the run's id in the table's name; MariaDB allows 64 characters.
const TABLE_ID_CHARS_MAX: usize = 48;

/// A running load.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) spec: WorkloadSpec,
    pub(crate) recorder: Recorder,
    /// No operation is begun any more once it is cancelled.
    pub(crate) stop: CancellationToken,
    /// The quoted name of the table.
    pub(crate) table: String,
    /// What every row carries.
    pub(crate) payload: String,
    pub(crate) gateway: Opts,
    /// The newest sequence that each writer has begun.
    newest: Vec<AtomicU32>,
    /// When the first operation is due, since the start of the history.
    pub(crate) began: Duration,
}

impl Load {
    pub(crate) fn new(spec: WorkloadSpec, recorder: Recorder, stop: CancellationToken, began: Duration) -> Self {
        // Printable and not of one letter, so that neither quoting nor compression makes it special.
        let payload = (0..spec.load.row_bytes).map(|at| char::from(b'a' + (at * 7 % 26) as u8)).collect();
        Self {
            table: table_name(&spec.run.0),
            payload,
            gateway: opts(spec.gateway, &spec.login),
            newest: (0..spec.load.writers).map(|_| AtomicU32::new(0)).collect(),
            spec,
            recorder,
            stop,
            began,
        }
    }

    /// How long an operation may take.
    pub(crate) const fn timeout(&self) -> Duration {
        self.spec.load.timeout.duration()
    }

    /// The next sequence of a writer; numbers grow by one.
    pub(crate) fn next_sequence(&self, writer: u32) -> u32 {
        self.newest.get(writer as usize).map_or(0, |newest| newest.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The newest sequence that a writer has begun.
    pub(crate) fn newest(&self, writer: u32) -> u32 {
        self.newest.get(writer as usize).map_or(0, |newest| newest.load(Ordering::Relaxed))
    }
}

/// Refuses what cannot be carried out.
pub(crate) fn validate(spec: &WorkloadSpec) -> Result<(), WorkloadError> {
    let load = &spec.load;
    let problem = if load.writers == 0 || load.writers > CLIENTS_MAX || load.readers > CLIENTS_MAX {
        format!("writers must be 1 to {CLIENTS_MAX} and readers at most as many")
    } else if load.writes_per_second == 0 {
        "writes_per_second must be at least 1".to_owned()
    } else if load.row_bytes > ROW_BYTES_MAX {
        format!("row_bytes must be at most {ROW_BYTES_MAX}")
    } else if load.timeout.duration().is_zero() {
        "timeout must be longer than 0s".to_owned()
    } else {
        return Ok(());
    };
    Err(WorkloadError::Spec(problem))
}

/// The quoted name of a run's table.
fn table_name(run: &str) -> String {
    let id: String = run
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '_' })
        .take(TABLE_ID_CHARS_MAX)
        .collect();
    format!("`load_{id}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_names_its_table_safely() {
        assert_eq!(table_name("0198-ab"), "`load_0198_ab`");
        assert_eq!(table_name("x`; DROP TABLE y"), "`load_x___DROP_TABLE_y`");
        assert_eq!(table_name(&"é".repeat(99)).len(), "`load_`".len() + TABLE_ID_CHARS_MAX);
    }
}
