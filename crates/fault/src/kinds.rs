//! The table of faults: one line each. Adding a fault is a module and a line here.

use crate::journal::Undo;
use crate::{Context, kill, latency, network, partition, pause};
use firedrill_host::HostError;
use firedrill_model::{AttackId, Fault};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A step of a fault, under way.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A preflight: the fault, ready to be injected, or why not.
pub(crate) type Checking = Pending<'static, Result<Box<dyn Mechanism>, Refusal>>;

/// A kind of fault and its steps. The first is a function, as nothing exists yet; the middle ones are those of the
/// [`Mechanism`] that it makes; the last two need nothing but what the journal holds.
pub struct Kind {
    /// As in files and on the command line; equals [`Fault::kind`].
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    pub(crate) preflight: fn(Asked) -> Checking,
    pub(crate) undo: fn(&Undo) -> Pending<'_, Result<(), HostError>>,
    pub(crate) verify_undone: fn(&Undo) -> Pending<'_, Result<String, StillThere>>,
}

/// All kinds of faults.
pub static KINDS: [Kind; 4] = [
    Kind {
        name: "kill",
        summary: "A signal that ends processes.",
        preflight: kill::preflight,
        undo: kill::undo,
        verify_undone: kill::verify_undone,
    },
    Kind {
        name: "pause",
        summary: "Processes are stopped and later continued; their ports stay open.",
        preflight: pause::preflight,
        undo: pause::undo,
        verify_undone: pause::verify_undone,
    },
    Kind {
        name: "partition",
        summary: "Packets from and to other hosts vanish without an answer, one way or both.",
        preflight: partition::preflight,
        undo: network::undo,
        verify_undone: network::verify_undone,
    },
    Kind {
        name: "latency",
        summary: "Packets from other hosts arrive late, and some not at all.",
        preflight: latency::preflight,
        undo: network::undo,
        verify_undone: network::verify_undone,
    },
];

/// The line of a fault.
pub(crate) fn of(fault: &Fault) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == fault.kind()).expect("a test sees that every fault has its line")
}

/// What a preflight is asked about.
pub(crate) struct Asked {
    pub(crate) id: AttackId,
    pub(crate) fault: Fault,
    pub(crate) context: Arc<Context>,
}

/// Why a fault is not put in place, in one sentence.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) String);

impl From<HostError> for Refusal {
    fn from(problem: HostError) -> Self {
        Self(problem.full())
    }
}

/// A fault is not seen to be out.
#[derive(Debug)]
pub(crate) struct StillThere(pub(crate) String);

impl From<HostError> for StillThere {
    fn from(problem: HostError) -> Self {
        Self(problem.full())
    }
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
    fn undo(&self) -> Undo;

    /// Puts it in place. `lease` is how long it lasts unless renewed, where the kernel can count that.
    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), HostError>>;

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
    use firedrill_model::Span;
    use firedrill_model::attack::{Direction, Percent, ProcessSelector};

    #[test]
    fn every_fault_has_its_line() {
        let process = ProcessSelector::Pid { pid: 1 };
        let all = [
            Fault::Kill { signal: "SIGKILL".to_owned(), process: process.clone() },
            Fault::Pause { process },
            Fault::Partition { peers: Vec::new(), direction: Direction::Both },
            Fault::Latency {
                peers: Vec::new(),
                delay: Span::ZERO,
                jitter: Span::ZERO,
                loss_percent: Percent::default(),
            },
        ];
        assert_eq!(all.iter().map(|fault| of(fault).name).collect::<Vec<_>>(), KINDS.each_ref().map(|kind| kind.name));
    }
}
