//! Names and ids. Names are chosen by people and are safe in file names, cgroup names and addresses;
//! ids are given by the server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest accepted name, in bytes: leaves room for prefixes inside the 64 bytes of a host name label.
pub const NAME_BYTES_MAX: usize = 40;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("the name {0:?} is longer than {NAME_BYTES_MAX} characters")]
    TooLong(String),
    /// A character outside the allowed set.
    #[error("the name {name:?} has the character {character:?}; allowed are a-z, 0-9, '-' (not first)")]
    Character {
        /// The refused name.
        name: String,
        /// Its first refused character.
        character: char,
    },
}

fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.to_owned()));
    }
    let refused = name.char_indices().find(|(at, character)| {
        !(character.is_ascii_lowercase() || character.is_ascii_digit() || (*character == '-' && *at > 0))
    });
    match refused {
        Some((_, character)) => Err(NameError::Character { name: name.to_owned(), character }),
        None => Ok(()),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        // The same rule as in `check`, for those who read the description of the API.
        #[schemars(extend("pattern" = "^[a-z0-9][a-z0-9-]*$", "maxLength" = 40))]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                check(&name).map(|()| Self(name))
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::try_from(name.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

names! {
    /// One machine (a network namespace in the sandbox) with one agent.
    HostName;
    /// One database server process and its data, member of one cluster.
    NodeName;
    /// One replicated cluster: a primary side and, elsewhere, a pseudo-primary side.
    ClusterName;
    /// A failure domain: a data centre or cloud region.
    RegionName;
    /// One schedule: an experiment that starts by itself.
    ScheduleName;
    /// Somebody who can log in.
    UserName;
    /// Some users who share what they may do.
    TeamName;
    /// One receiver of messages: a channel, a mailbox, a pager.
    ReceiverName;
    /// One rule that says which messages go to a receiver.
    RuleName;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

ids! {
    /// One operation of a cluster (`<cluster>-<number>`), given by the keeper's own counter, so that a replayed
    /// decision gets the same id.
    OperationId;
    /// One run of one experiment.
    RunId;
    /// One attack on one host.
    AttackId;
    /// One instruction to one agent. Repeating an id repeats the answer, never the effect.
    InstructionId;
}

/// The fencing token of a cluster or of a server: grows with each change of authority. An agent refuses an
/// instruction of a generation older than the newest it has seen for that cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths() {
        assert!("east-1".parse::<HostName>().is_ok());
        for bad in ["", "-x", "../etc", "East", "a b", "a/b", &"x".repeat(41)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn a_bad_name_is_refused_on_the_wire_too() {
        assert!(serde_json::from_str::<NodeName>("\"../x\"").is_err());
    }
}
