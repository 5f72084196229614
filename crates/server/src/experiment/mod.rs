//! Runs experiments: resolves targets at the moment they are needed, asks the agents, watches, and judges.

use crate::Server;
use firedrill_api::http::{Problem, RunStarted, StartRun};
use firedrill_model::RunId;
use std::sync::Arc;

/// Starts a run; it goes on in the background and is read from the store.
///
/// # Errors
/// The file is not an experiment, its cluster is unknown, a guard refuses.
pub async fn start(_server: Arc<Server>, _request: StartRun) -> Result<RunStarted, Problem> {
    Err(Problem { code: "S000".into(), message: "not built yet".into(), refused: false })
}

/// Stops a run: its attacks are taken out, its load is stopped, its report says halted.
///
/// # Errors
/// There is no such run under way.
pub async fn halt(_server: &Arc<Server>, _run: &RunId, _reason: &str) -> Result<(), Problem> {
    Err(Problem { code: "S000".into(), message: "not built yet".into(), refused: false })
}
