//! Making a node anew from another one: a physical copy, streamed into a side directory, made consistent there, then
//! moved into the place of the old data, which is kept aside until the clone is in service.
//!
//! What is where, below the instance's `work_dir`:
//! - `clone-<operation>/record.json`: how far it has come; written whole before each step that changes anything;
//! - `clone-<operation>/data/`: the copy, until it is moved into place;
//! - `clone-<operation>/*.identity`: the tools that run for it, so that an agent that was killed and started again can
//!   end them; `*.log`: what they said;
//! - `aside-<operation>/data/`: the node's earlier data, from activation to finish.
//!
//! The sockets of the two tools are the two ends of one TCP connection: no byte passes through this process.

mod activate;
mod record;
mod tool;
mod transfer;

use firedrill_model::OperationId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::task::AbortHandle;

/// The copies that are being received by this agent, by operation.
#[derive(Debug, Default)]
pub(super) struct Receiving(Mutex<BTreeMap<OperationId, AbortHandle>>);

impl Receiving {
    fn begun(&self, operation: &OperationId, task: AbortHandle) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|_, task| !task.is_finished());
        tasks.insert(operation.clone(), task);
    }

    /// Ends it; what it had started is ended with it.
    fn end(&self, operation: &OperationId) {
        if let Some(task) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(operation) {
            task.abort();
        }
    }
}
