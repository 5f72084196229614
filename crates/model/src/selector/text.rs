//! The text form of a selector: `role=replica,region=east,lag=max`. Parts are joined by commas or spaces; a value that
//! holds one of these stands in double quotes, in which `\` takes the next character as it is.

use super::form::Part;
use super::{Lag, Selector};
use crate::cluster::Role;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};
use std::fmt::{self, Display, Write};
use std::str::FromStr;

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A key that there is not.
    #[error(
        "{key:?} is no part of a selector; use cluster=, node=, host=, role=, lag=, region=, tag.KEY=, limit=, choose= or server"
    )]
    UnknownKey {
        /// As it was written.
        key: String,
    },
    /// A value that its key does not take.
    #[error("{key}={value}: {problem}")]
    Value {
        /// The key.
        key: String,
        /// As it was written.
        value: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A quotation mark that is not closed.
    #[error(
        "a quotation mark in the selector is not closed; close it, or put \\ before a mark that belongs to a value"
    )]
    Unclosed,
    /// It says one thing and its opposite.
    #[error("the selector contradicts itself: {0}")]
    Contradiction(String),
    /// It has no condition.
    #[error("{text:?} selects nothing; name a cluster, nodes, hosts, a role, a region or tags")]
    Empty {
        /// As it was written.
        text: String,
    },
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut selector = Self::default();
        for part in parts(text)? {
            let (key, value) = part.split_once('=').unwrap_or((&part, ""));
            take(&mut selector, key, value)?;
        }
        if selector.is_empty() {
            return Err(SelectorError::Empty { text: text.to_owned() });
        }
        selector.contradiction().map_or(Ok(selector), |problem| Err(SelectorError::Contradiction(problem)))
    }
}

/// Cuts at commas and spaces outside quotation marks, which are taken away.
fn parts(text: &str) -> Result<Vec<String>, SelectorError> {
    let (mut parts, mut part, mut quoted, mut some) = (Vec::new(), String::new(), false, false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if quoted => part.push(characters.next().ok_or(SelectorError::Unclosed)?),
            '"' => (quoted, some) = (!quoted, true),
            ',' | ' ' | '\t' | '\n' if !quoted => {
                if some {
                    parts.push(std::mem::take(&mut part));
                }
                some = false;
            }
            other => {
                part.push(other);
                some = true;
            }
        }
    }
    if quoted {
        return Err(SelectorError::Unclosed);
    }
    parts.extend(some.then_some(part));
    Ok(parts)
}

fn take(selector: &mut Selector, key: &str, value: &str) -> Result<(), SelectorError> {
    let wrong = |problem: String| SelectorError::Value { key: key.to_owned(), value: value.to_owned(), problem };
    fn read<T: FromStr<Err: Display>>(value: &str) -> Result<T, String> {
        value.parse().map_err(|error: T::Err| error.to_string())
    }
    match key {
        "cluster" => once(&mut selector.cluster, key, read(value).map_err(wrong)?),
        "node" => {
            selector.nodes.push(read(value).map_err(wrong)?);
            Ok(())
        }
        "host" => {
            selector.hosts.push(read(value).map_err(wrong)?);
            Ok(())
        }
        "region" => once(&mut selector.region, key, read(value).map_err(wrong)?),
        "limit" => once(&mut selector.limit, key, read(value).map_err(wrong)?),
        "choose" => once(&mut selector.choose, key, read(value).map_err(wrong)?),
        "lag" => once(&mut selector.lag, key, word::<Lag>(value).map_err(wrong)?),
        "role" => match (word::<Part>(value).map_err(wrong)?.role(), selector.donor) {
            (Some(role), false) => once(&mut selector.role, key, role),
            (None, false) if selector.role.is_none() => {
                selector.donor = true;
                Ok(())
            }
            _ => Err(twice(key)),
        },
        "server" => match value {
            "" | "true" => {
                selector.server = true;
                Ok(())
            }
            _ => Err(wrong("`server` stands alone".to_owned())),
        },
        _ => match key.strip_prefix("tag.") {
            Some(tag) if !tag.is_empty() => match selector.tags.insert(tag.to_owned(), value.to_owned()) {
                None => Ok(()),
                Some(_) => Err(twice(key)),
            },
            _ => Err(SelectorError::UnknownKey { key: key.to_owned() }),
        },
    }
}

fn once<T>(field: &mut Option<T>, key: &str, value: T) -> Result<(), SelectorError> {
    if field.replace(value).is_some() { Err(twice(key)) } else { Ok(()) }
}

fn twice(key: &str) -> SelectorError {
    SelectorError::Contradiction(format!("`{key}` is given twice, and no host can be both; give it once"))
}

/// A word as it stands in files.
fn word<'de, T: Deserialize<'de>>(value: &'de str) -> Result<T, String> {
    let deserializer: StrDeserializer<'de, WordError> = value.into_deserializer();
    T::deserialize(deserializer).map_err(|error| error.to_string())
}

impl Display for Selector {
    /// As it can be read again: the reverse of `FromStr`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.cluster.as_ref().map(|name| format!("cluster={name}")));
        parts.extend(self.nodes.iter().map(|name| format!("node={name}")));
        parts.extend(self.hosts.iter().map(|name| format!("host={name}")));
        parts.extend(self.role.map(|role: Role| format!("role={role}")));
        parts.extend(self.donor.then(|| "role=donor".to_owned()));
        parts.extend(self.lag.map(|lag| format!("lag={}", if lag == Lag::Max { "max" } else { "min" })));
        parts.extend(self.region.as_ref().map(|region| format!("region={region}")));
        parts.extend(
            self.tags.iter().map(|(key, value)| format!("{}={}", quoted(&format!("tag.{key}")), quoted(value))),
        );
        parts.extend(self.server.then(|| "server".to_owned()));
        parts.extend(self.limit.map(|limit| format!("limit={limit}")));
        parts.extend(self.choose.map(|choose| format!("choose={choose}")));
        f.write_str(&parts.join(","))
    }
}

fn quoted(text: &str) -> String {
    let plain = |c: char| !matches!(c, ',' | '"' | '\\') && !c.is_whitespace();
    if text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        // Writing into a string does not fail.
        let _ = quoted.write_char(character);
    }
    quoted.push('"');
    quoted
}
