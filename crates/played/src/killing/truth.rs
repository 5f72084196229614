//! What clients were told, and what must therefore be true after any kill.

use firedrill_model::{AttackId, RunId, TimelineEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A setting that was changed: what it was when a call was under way is not known until somebody looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known<T> {
    /// The server has said so.
    Is(T),
    /// A call was cut off: either of these.
    Either(T, T),
}

impl<T: PartialEq> Known<T> {
    pub(crate) fn allows(&self, seen: &T) -> bool {
        match self {
            Self::Is(value) => value == seen,
            Self::Either(one, other) => one == seen || other == seen,
        }
    }
}

/// What was acknowledged.
#[derive(Debug)]
pub(crate) struct Told {
    /// Lines of the timeline by their number.
    pub(crate) lines: BTreeMap<u64, TimelineEvent>,
    /// Attacks that a client has been told the id of.
    pub(crate) attacks: BTreeSet<AttackId>,
    /// Those since the last look.
    pub(crate) new_attacks: Vec<AttackId>,
    /// Runs that a client has been told the id of.
    pub(crate) runs: BTreeSet<RunId>,
    /// Those since the last look.
    pub(crate) new_runs: Vec<RunId>,
    /// Whether starts are blocked.
    pub(crate) halted: Known<bool>,
    /// Why the schedule is paused; the outer `None`: there is no schedule.
    pub(crate) schedule: Known<Option<Option<String>>>,
    /// Lines up to here were found again after a kill.
    pub(crate) lines_checked: u64,
}

/// The same, shared. All of its changes are single assignments.
#[derive(Debug)]
pub(crate) struct Truth(Mutex<Told>);

impl Default for Truth {
    fn default() -> Self {
        Self(Mutex::new(Told {
            lines: BTreeMap::new(),
            attacks: BTreeSet::new(),
            new_attacks: Vec::new(),
            runs: BTreeSet::new(),
            new_runs: Vec::new(),
            halted: Known::Is(false),
            schedule: Known::Is(None),
            lines_checked: 0,
        }))
    }
}

impl Truth {
    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attacks, lines, runs.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let told = self.told();
        (told.attacks.len(), told.lines.len(), told.runs.len())
    }
}
