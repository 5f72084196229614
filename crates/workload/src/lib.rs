//! A live load on a cluster, recorded so that a ledger can say what became of it.
//!
//! [`run`] is the body of the process `firedrill workload --spec FILE --dir DIR`: writers and readers on a fixed
//! schedule, every operation recorded in `DIR/history.fdh`, samples for charts in `DIR/samples.ndjson`, and in the end
//! the final reads of every node. [`Handle`] is the agent's side of the same directory.
//!
//! **What it never does**: judge the history (that is `firedrill-ledger`), retry a write (an unknown outcome stays
//! unknown), or touch any table but its own (others are only read, for fingerprints).
//!
//! **Where to begin**: [`run`], then the module `writer`.
//!
//! # What the database user needs
//! `SELECT, INSERT, CREATE` on the load's database, nothing global. The final reads use only session-free system
//! variables (`gtid_current_pos`, `gtid_binlog_pos`, `gtid_binlog_state`, `server_id`, `read_only`) and
//! `MASTER_GTID_WAIT`, which need no privilege.

mod connection;
mod error;
mod files;
mod finals;
mod handle;
mod load;
mod node;
mod outcome;
mod output;
mod reader;
mod recorder;
mod run;
mod schedule;
mod writer;

pub use error::WorkloadError;
pub use handle::{Handle, HandleError, Progress};
pub use run::{run, run_until};
