//! What this host can do, kind by kind, without doing it.

use crate::kinds::{KINDS, Kind};
use firedrill_host::capabilities;
use serde::Serialize;

/// Whether one kind of fault can be put in place here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Availability {
    /// Which kind.
    pub kind: &'static str,
    /// It can be done.
    pub available: bool,
    /// By which mechanism; empty when it cannot be done.
    pub mechanism: String,
    /// What is missing and how to get it, a sentence each.
    pub missing: Vec<String>,
}

/// Looks at every kind. Nothing is left on the host; packet tables that match nothing are made for a moment.
#[must_use]
pub fn check_host() -> Vec<Availability> {
    KINDS.iter().map(|kind| check(kind)).collect()
}

fn check(kind: &Kind) -> Availability {
    let mut missing: Vec<String> = capabilities::missing(kind.needs).iter().map(ToString::to_string).collect();
    let mut mechanism = String::new();
    if missing.is_empty() {
        match (kind.mechanism)() {
            Ok(by) => mechanism = by,
            Err(why) => missing.push(why),
        }
    }
    Availability { kind: kind.name, available: missing.is_empty(), mechanism, missing }
}
