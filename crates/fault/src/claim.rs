//! One attack at a time on a thing whose former state is put back: two that overlap could each put back what the other
//! had set, and the first state would be lost.

use crate::journal::Journal;
use crate::kinds::{Asked, Refusal};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// What attacks of this process are about to change, or have changed.
static CLAIMED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The sole right to change something, from preflight until the mechanism is dropped; from then on the record in the
/// journal, which must hold the claim under the name `claim` (or several under `claims`), speaks for it.
#[derive(Debug)]
pub(crate) struct Claim(String);

#[derive(Deserialize)]
#[serde(untagged)]
enum Recorded {
    One { claim: String },
    Several { claims: Vec<String> },
}

impl Recorded {
    fn has(&self, object: &str) -> bool {
        match self {
            Self::One { claim } => claim == object,
            Self::Several { claims } => claims.iter().any(|claim| claim == object),
        }
    }
}

impl Claim {
    /// Takes it, or says that another attack has it.
    pub(crate) fn take(object: String, asked: &Asked) -> Result<Self, Refusal> {
        let taken = || Refusal(format!("another attack has changed {object}; undo that one first"));
        let claimed = || CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed().insert(object.clone()) {
            return Err(taken());
        }
        let claim = Self(object.clone());
        let records = Journal::open(&asked.journal)?.records()?;
        let has = |undo: &crate::journal::Undo| {
            undo.read::<Recorded>().is_ok_and(|recorded| recorded.is_some_and(|recorded| recorded.has(&object)))
        };
        if records.iter().any(|record| has(&record.undo)) {
            return Err(taken());
        }
        Ok(claim)
    }

    /// For the record.
    pub(crate) fn object(&self) -> &str {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
