//! What can go wrong around faults. A refused or failed fault itself is no error but an outcome, told by its report.

use firedrill_host::HostError;
use firedrill_model::AttackId;
use std::io;
use std::path::PathBuf;

/// The journal or the bookkeeping of attacks failed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The undo journal cannot be used; without it no fault goes in.
    #[error("cannot {action} {path} of the undo journal; no attack starts without it")]
    Journal {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process uses the journal.
    #[error("the undo journal {0} is held by another live process; give each agent a directory of its own")]
    JournalHeld(PathBuf),
    /// The id could not name a file.
    #[error("the attack id {0:?} is not made of 1 to 100 letters, digits, '-', '_' and '.', beginning with no '.'")]
    BadId(AttackId),
    /// There is no such attack here.
    #[error("no attack {0} is known on this host: it never began here, or ended long ago")]
    Unknown(AttackId),
    /// What was to be journalled, or what stands in the journal, has not the form that its fault gives it.
    #[error("the undo of an attack is not as its fault writes it: {0}")]
    UndoForm(String),
    /// The host refused something that everything rests on.
    #[error(transparent)]
    Host(#[from] HostError),
}
