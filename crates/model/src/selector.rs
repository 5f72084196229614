//! Which hosts are meant: conditions over what is known of the fleet at a moment, and a choice among those that match.
//!
//! **Where to begin**: [`Selector::select`]; the text form (`role=replica,lag=max`) is in `text`.

mod choice;
mod form;
mod text;

pub use choice::{Amount, Choice};
pub use text::SelectorError;

use crate::cluster::Role;
use crate::id::{ClusterName, HostName, NodeName, RegionName};
use form::Form;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Which hosts an attack (or a partition's other side) means. All given conditions must hold; an empty selector is
/// refused, never "everything". In files it is written as its fields, on the command line as in [`Selector`]'s
/// `FromStr`; both say the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Form", into = "Form")]
pub struct Selector {
    /// Hosts that serve this cluster: its nodes, its gateway, its application.
    pub cluster: Option<ClusterName>,
    /// Exact nodes.
    pub nodes: Vec<NodeName>,
    /// Exact hosts.
    pub hosts: Vec<HostName>,
    /// Hosts of nodes that play this role at the moment of the attack.
    pub role: Option<Role>,
    /// Hosts of nodes that another node is being copied from at the moment of the attack.
    pub donor: bool,
    /// Nodes in the order of how far they are behind; one of them unless `choose` says how many.
    pub lag: Option<Lag>,
    /// Hosts in this region.
    pub region: Option<RegionName>,
    /// Hosts that carry all of these tags.
    pub tags: BTreeMap<String, String>,
    /// The firedrill server itself (only as the other side of a network fault).
    pub server: bool,
    /// At most this many of the matches, first by name. Older than `choose`; not both.
    pub limit: Option<u32>,
    /// Which of the matches; absent: all.
    pub choose: Option<Choice>,
}

/// By how far a node is behind its primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lag {
    /// The furthest behind first.
    Max,
    /// The least behind first.
    Min,
}

/// A host as a selector sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// The host.
    pub host: HostName,
    /// Its address.
    pub address: IpAddr,
    /// Its region.
    pub region: Option<RegionName>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The database node on it and the role that it plays now.
    pub node: Option<(NodeName, Role)>,
    /// What is known of its database, and of the cluster that it serves.
    #[serde(default)]
    pub database: DatabaseFacts,
}

/// What is known of the database side of a host now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseFacts {
    /// The cluster that the host serves, as a node, as its gateway or as its application.
    pub cluster: Option<ClusterName>,
    /// How far its node is behind: microseconds as the server reckons, then transactions. `None`: not known, or nobody
    /// is ahead of it.
    pub behind: Option<(u64, u64)>,
    /// Another node is being copied from it.
    pub donor: bool,
}

/// The tag by which hosts say in which zone they are; hosts without it are in the zone that is their region.
pub const ZONE_TAG: &str = "zone";

impl Target {
    /// Its zone: the tag [`ZONE_TAG`], or its region.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.tags.get(ZONE_TAG).map(String::as_str).or(self.region.as_ref().map(RegionName::as_str))
    }
}

impl Selector {
    /// True when it selects by nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { limit: self.limit, choose: self.choose, ..Self::default() }
    }

    /// What in it contradicts itself, one sentence; such a selector selects nothing.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        let says = |text: &str| Some(text.to_owned());
        if self.limit.is_some() && self.choose.is_some() {
            return says("`limit` and `choose` both say how many; give one of them");
        }
        if self.limit == Some(0) {
            return says("`limit: 0` leaves nobody; give 1 or more");
        }
        if self.donor && self.role.is_some() {
            return says("a node is asked for by two roles; give one of them");
        }
        if self.lag.is_some() && self.role == Some(Role::Primary) {
            return says(
                "`lag` orders replicas, and a primary is behind nobody; name another role, or leave `lag` out",
            );
        }
        let unordered = matches!(self.choose, Some(Choice::All | Choice::Random(_)));
        if let (true, Some(choose), Some(_)) = (unordered, self.choose, self.lag) {
            return Some(format!(
                "`choose: {choose}` takes no notice of the order that `lag` makes; give a number or a share, or leave one out"
            ));
        }
        if let Some(key) = self.tags.keys().find(|key| key.is_empty()) {
            return Some(format!("a tag has a name, but {key:?} is none"));
        }
        None
    }

    /// The hosts that are meant, sorted by name. `draw` is the random number of this selection: the same number on the
    /// same fleet gives the same hosts, and only `choose: random` looks at it. A selector that is empty or contradicts
    /// itself selects nobody.
    #[must_use]
    pub fn select<'a>(&self, fleet: &'a [Target], draw: u64) -> Vec<&'a Target> {
        if self.contradiction().is_some() {
            return Vec::new();
        }
        let mut matches: Vec<&Target> = fleet.iter().filter(|target| self.matches(target)).collect();
        matches.sort_by(|one, two| one.host.cmp(&two.host));
        if let Some(lag) = self.lag {
            matches.retain(|target| target.database.behind.is_some());
            match lag {
                Lag::Max => matches.sort_by_key(|target| Reverse(target.database.behind)),
                Lag::Min => matches.sort_by_key(|target| target.database.behind),
            }
        }
        let choice = match (self.choose, self.limit, self.lag) {
            (Some(choose), _, _) => choose,
            (None, Some(limit), _) => Choice::First(Amount::Count(limit)),
            (None, None, Some(_)) => Choice::First(Amount::Count(1)),
            (None, None, None) => Choice::All,
        };
        let mut chosen = choice.of(matches, draw);
        chosen.sort_by(|one, two| one.host.cmp(&two.host));
        chosen
    }

    fn matches(&self, target: &Target) -> bool {
        let node = target.node.as_ref();
        !(self.is_empty() || self.server)
            && (self.cluster.is_none() || self.cluster == target.database.cluster)
            && (self.nodes.is_empty() || node.is_some_and(|(name, _)| self.nodes.contains(name)))
            && (self.hosts.is_empty() || self.hosts.contains(&target.host))
            && self.role.is_none_or(|role| node.is_some_and(|(_, plays)| *plays == role))
            && (!self.donor || target.database.donor)
            && self.region.as_ref().is_none_or(|region| target.region.as_ref() == Some(region))
            && self.tags.iter().all(|(key, value)| target.tags.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests;
