//! What the workloads of runs say, for whoever judges the run.

use firedrill_model::workload::{Sample, WorkloadState};
use firedrill_model::{HostName, RunId};
use std::path::PathBuf;
use tokio::sync::broadcast;

/// Items that a run may lag behind: at some samples per second, minutes.
const BACKLOG_MAX: usize = 4096;

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadItem {
    /// Of which run.
    pub run: RunId,
    /// From which host.
    pub host: HostName,
    /// What it says.
    pub news: WorkloadNews,
}

/// What a workload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkloadNews {
    /// An interval of the load.
    Sample(Sample),
    /// The process changed its state.
    State(WorkloadState),
    /// The recorded history is whole on the server's disk.
    History {
        /// Where.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

/// Everything that workloads say. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WorkloadFeed {
    sender: broadcast::Sender<WorkloadItem>,
}

impl WorkloadFeed {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG_MAX) }
    }

    pub(crate) fn send(&self, item: WorkloadItem) {
        // An error only says that no run listens.
        let _ = self.sender.send(item);
    }

    /// Everything from now on, of all runs.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<WorkloadItem> {
        self.sender.subscribe()
    }
}
