//! What an action comes to.

use serde_json::{Map, Value};

/// What an action does.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// It breaks something.
    Attack(Attack),
    /// It does nothing for a while.
    Wait(String),
    /// It takes out what an earlier action with that key has put in; a key that ends with `*` means all with its beginning.
    Undo(String),
}

/// An attack as an action asks for it.
#[derive(Debug, PartialEq)]
pub(super) struct Attack {
    pub(super) kind: &'static str,
    pub(super) parameters: Map<String, Value>,
    pub(super) lasts: Lasts,
    pub(super) notes: Vec<String>,
}

/// For how long an attack is in place.
#[derive(Debug, PartialEq)]
pub(super) enum Lasts {
    /// It is over at once.
    Over,
    /// For so long, and the action takes as long.
    Meanwhile(String),
    /// For so long, beside what comes next; what has the key takes it out before.
    Beside(String, String),
    /// Until what has the key takes it out, or to the end.
    UntilUndone(String),
}

impl Attack {
    pub(super) fn new(kind: &'static str, lasts: Lasts) -> Self {
        Self { kind, parameters: Map::new(), lasts, notes: Vec::new() }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }

    /// With a parameter that may not be given.
    pub(super) fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(super) fn note(mut self, note: &str) -> Self {
        self.notes.push(note.to_owned());
        self
    }
}

impl From<Attack> for Effect {
    fn from(attack: Attack) -> Self {
        Self::Attack(attack)
    }
}
