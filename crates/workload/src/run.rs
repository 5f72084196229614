//! The life of a workload process.

use crate::error::WorkloadError;
use crate::files;
use firedrill_model::workload::{WorkloadSpec, WorkloadState};
use std::path::Path;

/// Runs a load until the stop file appears in `dir`, then does the final reads and completes the history.
///
/// # Errors
/// Anything that keeps the history from becoming whole; said in `state.json` too.
pub async fn run(spec: WorkloadSpec, dir: &Path) -> Result<(), WorkloadError> {
    let problem = WorkloadError::Spec(format!("run {} is not supported by this build", spec.run));
    let state = WorkloadState::Failed { message: problem.to_string() };
    files::write_state(dir, &state).map_err(|source| WorkloadError::File { path: dir.join(files::STATE), source })?;
    Err(problem)
}
