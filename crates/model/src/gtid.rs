//! MariaDB global transaction ids: `domain-server-sequence`.
//!
//! A [`GtidPos`] is what a *replica* is at: one last GTID per domain. A [`GtidState`] is what a binary log
//! *contains*: the last sequence per (domain, server). A position compares by sequence inside a domain; the server
//! id tells whether two equal sequences are the same transaction.
//! Source: MariaDB knowledge base, "Global Transaction ID", `gtid_binlog_pos` and `gtid_binlog_state`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// One transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Gtid {
    /// Replication domain; one writer at a time in each.
    pub domain: u32,
    /// The server that first wrote it.
    pub server: u32,
    /// Grows by one per transaction of the domain.
    pub sequence: u64,
}

/// Why a text is not a GTID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MariaDB GTID (domain-server-sequence)")]
pub struct GtidError(pub String);

impl FromStr for Gtid {
    type Err = GtidError;
    fn from_str(text: &str) -> Result<Self, GtidError> {
        let wrong = || GtidError(text.to_owned());
        let mut parts = text.trim().split('-');
        let (Some(domain), Some(server), Some(sequence), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        Ok(Self {
            domain: domain.parse().map_err(|_| wrong())?,
            server: server.parse().map_err(|_| wrong())?,
            sequence: sequence.parse().map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

impl TryFrom<String> for Gtid {
    type Error = GtidError;
    fn try_from(text: String) -> Result<Self, GtidError> {
        text.parse()
    }
}

impl From<Gtid> for String {
    fn from(gtid: Gtid) -> String {
        gtid.to_string()
    }
}

/// A replication position: the last GTID of each domain. Empty means "nothing yet".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct GtidPos(BTreeMap<u32, Gtid>);

impl GtidPos {
    /// The last GTID of a domain.
    #[must_use]
    pub fn get(&self, domain: u32) -> Option<Gtid> {
        self.0.get(&domain).copied()
    }
    /// All domains' last GTIDs, by domain.
    pub fn iter(&self) -> impl Iterator<Item = Gtid> + '_ {
        self.0.values().copied()
    }
    /// True when no domain is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Moves the domain of `gtid` forward to it; an older sequence changes nothing.
    pub fn advance(&mut self, gtid: Gtid) {
        let entry = self.0.entry(gtid.domain).or_insert(gtid);
        if gtid.sequence > entry.sequence {
            *entry = gtid;
        }
    }
    /// True when everything of `other` is here too: for each of its domains a sequence at least as high.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|theirs| self.get(theirs.domain).is_some_and(|ours| ours.sequence >= theirs.sequence))
    }
    /// Sum over the domains of how many transactions of `other` are not here.
    #[must_use]
    pub fn missing_from(&self, other: &Self) -> u64 {
        other
            .iter()
            .map(|theirs| theirs.sequence.saturating_sub(self.get(theirs.domain).map_or(0, |ours| ours.sequence)))
            .sum()
    }
    /// The per-domain maximum of both.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        other.iter().for_each(|gtid| self.advance(gtid));
        self
    }
}

impl FromIterator<Gtid> for GtidPos {
    fn from_iter<T: IntoIterator<Item = Gtid>>(gtids: T) -> Self {
        let mut pos = Self::default();
        gtids.into_iter().for_each(|gtid| pos.advance(gtid));
        pos
    }
}

impl FromStr for GtidPos {
    type Err = GtidError;
    fn from_str(text: &str) -> Result<Self, GtidError> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Gtid::from_str).collect()
    }
}

impl fmt::Display for GtidPos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.iter().enumerate() {
            write!(f, "{}{gtid}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl TryFrom<String> for GtidPos {
    type Error = GtidError;
    fn try_from(text: String) -> Result<Self, GtidError> {
        text.parse()
    }
}

impl From<GtidPos> for String {
    fn from(pos: GtidPos) -> String {
        pos.to_string()
    }
}

/// What a binary log holds: the last sequence of every (domain, server) pair that ever wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct GtidState(BTreeMap<(u32, u32), u64>);

impl GtidState {
    /// The position this state ends at: the highest sequence per domain.
    #[must_use]
    pub fn position(&self) -> GtidPos {
        self.iter().collect()
    }
    /// The last GTID of each (domain, server).
    pub fn iter(&self) -> impl Iterator<Item = Gtid> + '_ {
        self.0.iter().map(|(&(domain, server), &sequence)| Gtid { domain, server, sequence })
    }
    /// Ranges of transactions that are here and not in `reference`: for each (domain, server) with a higher
    /// sequence here, the first and last of the excess. A domain's history is one line, so the first missing one is
    /// not before the end of what `reference` holds of that server.
    #[must_use]
    pub fn beyond(&self, reference: &Self) -> Vec<(Gtid, Gtid)> {
        self.iter()
            .filter_map(|last| {
                let known = reference.0.get(&(last.domain, last.server)).copied().unwrap_or(0);
                (last.sequence > known).then(|| (Gtid { sequence: known + 1, ..last }, last))
            })
            .collect()
    }
}

impl FromIterator<Gtid> for GtidState {
    fn from_iter<T: IntoIterator<Item = Gtid>>(gtids: T) -> Self {
        let mut state = BTreeMap::new();
        for gtid in gtids {
            let last = state.entry((gtid.domain, gtid.server)).or_insert(gtid.sequence);
            *last = gtid.sequence.max(*last);
        }
        Self(state)
    }
}

impl FromStr for GtidState {
    type Err = GtidError;
    fn from_str(text: &str) -> Result<Self, GtidError> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Gtid::from_str).collect()
    }
}

impl fmt::Display for GtidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.iter().enumerate() {
            write!(f, "{}{gtid}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl TryFrom<String> for GtidState {
    type Error = GtidError;
    fn try_from(text: String) -> Result<Self, GtidError> {
        text.parse()
    }
}

impl From<GtidState> for String {
    fn from(state: GtidState) -> String {
        state.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pos(text: &str) -> GtidPos {
        text.parse().expect(text)
    }

    #[test]
    fn positions_compare_by_sequence_in_each_domain() {
        assert!(pos("0-1-5").covers(&pos("0-2-5")));
        assert!(pos("0-1-5,1-1-1").covers(&pos("0-2-4")));
        assert!(!pos("0-1-5").covers(&pos("1-1-1")));
        assert_eq!(pos("0-1-5").missing_from(&pos("0-2-9,1-1-3")), 7);
        assert!(pos("").is_empty());
        assert!("0-1".parse::<GtidPos>().is_err());
    }

    #[test]
    fn a_diverged_tail_is_named() {
        let old: GtidState = "0-1-107".parse().expect("state");
        let new: GtidState = "0-1-104,0-2-110".parse().expect("state");
        let tail = old.beyond(&new);
        assert_eq!(tail.len(), 1);
        assert_eq!((tail[0].0.sequence, tail[0].1.sequence), (105, 107));
        assert!(new.position().covers(&"0-2-110".parse().expect("pos")));
    }

    proptest! {
        #[test]
        fn text_reads_back(domains in prop::collection::btree_map(0u32..9, (1u32..9, 1u64..1_000_000), 0..5)) {
            let pos: GtidPos = domains
                .iter()
                .map(|(&domain, &(server, sequence))| Gtid { domain, server, sequence })
                .collect();
            prop_assert_eq!(pos.to_string().parse::<GtidPos>().expect("reads back"), pos);
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = text.parse::<GtidPos>();
            let _ = text.parse::<GtidState>();
        }
    }
}
