//! Why a workload could not do its work.

use firedrill_model::Endpoint;
use std::io;
use std::path::PathBuf;

/// Why a workload could not do its work. The same sentence is in `state.json` as the reason of `failed`.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A file of the workload's directory could not be written.
    #[error("the workload's file {} cannot be written", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The specification asks for something that cannot be done.
    #[error("the workload's specification cannot be carried out: {0}")]
    Spec(String),
    /// The table could not be made in time.
    #[error(
        "no table could be made through the gateway {gateway}: {problem}; look at the gateway's route and at the login's grants"
    )]
    Start {
        /// Where it was tried.
        gateway: Endpoint,
        /// The last error.
        problem: String,
    },
    /// More was recorded than could be written to the disk.
    #[error("the history cannot be written as fast as it is made: {bytes} bytes wait for the disk of {}", path.display())]
    Backlog {
        /// How much waits.
        bytes: usize,
        /// Which file.
        path: PathBuf,
    },
    /// The process cannot be told to stop.
    #[error("no handler for SIGTERM can be set")]
    Signal(#[source] io::Error),
    /// It was told to stop at once.
    #[error("told to stop at once, before the final reads; the history is cut short")]
    Terminated,
}
