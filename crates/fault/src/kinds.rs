//! The table of faults: one line each.

use crate::inside::Inside;
use crate::journal::Undo;
use crate::network::{bandwidth, connection_limit, corruption, dns, duplication, latency, loss, partition, reset};
use crate::resource::{
    cpu, cpu_quota, descriptors, disk_fill, disk_io, inodes, io_throttle, memory, memory_limit, pids_limit, threads,
};
use crate::shape::{self, Parameters, Shape};
use crate::state::{crash_loop, host_clock, host_down, time_skew};
use crate::{Context, FaultError, engine, kill, pause, storage};
use firedrill_host::HostError;
use firedrill_host::capabilities::Need;
use firedrill_model::access::AttackFamily;
use firedrill_model::{AttackId, Fault, NodeName};
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A step of a fault, under way.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A preflight: the fault, ready to be injected, or why not.
pub(crate) type Checking = Pending<'static, Result<Box<dyn Mechanism>, Refusal>>;

/// What a fault is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Processes and hosts.
    State,
    /// Packets.
    Network,
    /// Processors, memory, disks as a quantity.
    Resource,
    /// What disks answer.
    Storage,
    /// The inside of a database server.
    Engine,
}

impl From<Family> for AttackFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::State => Self::State,
            Family::Network => Self::Network,
            Family::Resource => Self::Resource,
            Family::Storage => Self::Storage,
            Family::Engine => Self::Engine,
        }
    }
}

/// What a fault must be aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Any host.
    Host,
    /// A process: the one that its parameters name or, by default, the database server of a node.
    Process,
    /// A database node.
    Node,
}

/// A kind of fault and its steps. The first is a function, as nothing exists yet; the middle ones are those of the
/// [`Mechanism`] that it makes; the last two need nothing but what the journal holds.
pub struct Kind {
    /// As in files and on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// What it is done to.
    pub family: Family,
    /// What it must be aimed at.
    pub scope: Scope,
    /// It is over at once and is never taken back: it needs no duration.
    pub instant: bool,
    /// Its parameters.
    pub shape: Shape,
    /// What a host must have for it.
    pub needs: &'static [Need],
    /// By which mechanism it works here, when its needs are met; or what is missing and how to get it.
    pub mechanism: fn() -> Result<String, String>,
    pub(crate) preflight: fn(Asked) -> Checking,
    pub(crate) undo: fn(&Undo) -> Pending<'_, Result<(), Failure>>,
    pub(crate) verify_undone: fn(&Undo) -> Pending<'_, Result<String, StillThere>>,
}

impl Kind {
    /// Whether it destroys data, which nothing but a backup brings back: it is refused where data is not expendable.
    #[must_use]
    pub fn destroys(&self) -> bool {
        engine::expendable::DESTROYING.iter().any(|kind| kind.name == self.name)
    }
}

/// All kinds of faults. Adding one is a module and a line here.
pub static KINDS: &[&Kind] = &[
    &kill::KIND,
    &pause::KIND,
    &crash_loop::KIND,
    &time_skew::KIND,
    &host_clock::KIND,
    &host_down::SHUTDOWN,
    &host_down::REBOOT,
    &host_down::POWER_OFF,
    &partition::KIND,
    &latency::KIND,
    &loss::KIND,
    &bandwidth::KIND,
    &corruption::KIND,
    &duplication::KIND,
    &reset::KIND,
    &connection_limit::KIND,
    &dns::KIND,
    &storage::latency::KIND,
    &storage::error::KIND,
    &storage::corruption::KIND,
    &storage::lost_sync::KIND,
    &storage::power_loss::KIND,
    &cpu::KIND,
    &memory::KIND,
    &disk_fill::KIND,
    &disk_io::KIND,
    &inodes::KIND,
    &descriptors::KIND,
    &threads::KIND,
    &cpu_quota::KIND,
    &io_throttle::KIND,
    &memory_limit::KIND,
    &pids_limit::KIND,
    &engine::connections::KIND,
    &engine::deadlocks::KIND,
    &engine::delay_replication::KIND,
    &engine::id_exhaustion::KIND,
    &engine::kill_sessions::KIND,
    &engine::long_transaction::KIND,
    &engine::metadata_lock::KIND,
    &engine::read_only::KIND,
    &engine::relay_log_purge::KIND,
    &engine::row_lock::KIND,
    &engine::semi_sync_off::KIND,
    &engine::slow_queries::KIND,
    &engine::stop_replication::KIND,
    &engine::table_lock::KIND,
    &engine::wrong_credentials::KIND,
    &engine::expendable::DELETE_ROWS,
    &engine::expendable::DIVERGED_ROW,
    &engine::expendable::DROP_DATABASE,
    &engine::expendable::DROP_TABLE,
    &engine::expendable::ERRANT_TRANSACTION,
];

/// The kind of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// What a preflight is asked about.
pub(crate) struct Asked {
    pub(crate) id: AttackId,
    pub(crate) fault: Fault,
    /// The database node that it is about, where there is one.
    pub(crate) node: Option<NodeName>,
    pub(crate) context: Arc<Context>,
    /// The directory of the undo journal.
    pub(crate) journal: PathBuf,
    /// For how long it is to be in place this time.
    pub(crate) lasting: Duration,
}

impl Asked {
    /// The parameters, checked.
    pub(crate) fn parameters<P: Parameters>(&self) -> Result<P, Refusal> {
        shape::read(&self.fault.parameters).map_err(|problem| Refusal(format!("{}: {problem}", self.fault.kind)))
    }
}

/// Sentences for people, each with its own meaning; whatever goes wrong below becomes one.
macro_rules! sentences {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(pub(crate) String);

        impl From<HostError> for $name {
            fn from(problem: HostError) -> Self {
                Self(problem.full())
            }
        }

        impl From<FaultError> for $name {
            fn from(problem: FaultError) -> Self {
                Self(problem.to_string())
            }
        }
    )*};
}

sentences! {
    /// Why a fault is not put in place.
    Refusal;
    /// Why a step of a fault did not work.
    Failure;
    /// A fault is not seen to be out.
    StillThere;
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Measured.
    Seen(String),
    /// Not to be seen, and why.
    NotSeen(String),
}

/// A fault that passed its preflight. Dropping it lets go of all kernel objects that it holds.
pub(crate) trait Mechanism: Send {
    /// By what it works, for reports.
    fn describe(&self) -> String;

    /// What the journal must hold before [`Mechanism::inject`].
    fn undo(&self) -> Result<Undo, FaultError>;

    /// In which namespace it is, when not in that of this agent.
    fn inside(&self) -> Option<Inside> {
        None
    }

    /// Puts it in place. `lease` is how long it lasts unless renewed, where the kernel can count that.
    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>>;

    /// Measures its effect, within seconds.
    fn verify(&mut self) -> Pending<'_, Effect>;

    /// Extends the lease. An error means that it is not in place any more, or not wholly.
    fn renew(&mut self, lease: Duration) -> Result<(), String>;
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_distinct_and_fit_files_and_command_lines() {
        let names: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
        assert!(
            names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')),
            "{names:?}"
        );
    }
}
