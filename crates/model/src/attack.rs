//! Attacks: one fault on chosen targets for a known time.

use crate::cluster::Role;
use crate::id::{AttackId, HostName, NodeName, RegionName};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Which hosts an attack (or a partition's other side) means. All given conditions must hold; an empty selector is
/// refused, never "everything".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Exact nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeName>,
    /// Exact hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostName>,
    /// Hosts of nodes that play this role at the moment of the attack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Hosts in this region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// Hosts that carry all of these tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The firedrill server itself (only as the other side of a network fault).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub server: bool,
    /// At most this many of the matches, first by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl Selector {
    /// True when it selects by nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { limit: self.limit, ..Self::default() }
    }
}

/// A host as a selector sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl Selector {
    /// The hosts that match, sorted by name, cut to the limit.
    #[must_use]
    pub fn select<'a>(&self, fleet: &'a [Target]) -> Vec<&'a Target> {
        let mut chosen: Vec<&Target> = fleet.iter().filter(|target| self.matches(target)).collect();
        chosen.sort_by(|one, two| one.host.cmp(&two.host));
        chosen.truncate(self.limit.map_or(usize::MAX, |limit| limit as usize));
        chosen
    }

    fn matches(&self, target: &Target) -> bool {
        let node = target.node.as_ref();
        !(self.is_empty() || self.server)
            && (self.nodes.is_empty() || node.is_some_and(|(name, _)| self.nodes.contains(name)))
            && (self.hosts.is_empty() || self.hosts.contains(&target.host))
            && self.role.is_none_or(|role| node.is_some_and(|(_, plays)| *plays == role))
            && self.region.as_ref().is_none_or(|region| target.region.as_ref() == Some(region))
            && self.tags.iter().all(|(key, value)| target.tags.get(key) == Some(value))
    }
}

/// Which packets of a host a network fault touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Both.
    #[default]
    Both,
    /// What the target receives from the others.
    Inbound,
    /// What the target sends to the others.
    Outbound,
}

/// The mechanism, with its parameters, as an agent carries it out on its own host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Fault {
    /// A signal that ends processes.
    Kill {
        /// `SIGKILL`, `SIGTERM`, `SIGABRT` …
        signal: String,
        /// Which processes.
        process: ProcessSelector,
    },
    /// Processes are stopped and later continued.
    Pause {
        /// Which processes.
        process: ProcessSelector,
    },
    /// Packets to and from others vanish without an answer.
    Partition {
        /// The others; empty: everybody.
        peers: Vec<IpAddr>,
        /// Which way.
        direction: Direction,
    },
    /// Packets arrive late, and some not at all.
    Latency {
        /// The others; empty: everybody.
        peers: Vec<IpAddr>,
        /// Added to each packet that arrives.
        delay: Span,
        /// Evenly spread, plus or minus.
        jitter: Span,
        /// Share of packets lost, in percent, 0 to 100.
        loss_percent: Percent,
    },
}

/// A percentage from 0 to 100, kept in thousandths so that it compares exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percent(u32);

impl Percent {
    /// Thousandths of a percent, 0 to 100,000.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = String;
    fn try_from(percent: f64) -> Result<Self, String> {
        if (0.0..=100.0).contains(&percent) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in 0..=100")]
            Ok(Self((percent * 1000.0).round() as u32))
        } else {
            Err(format!("{percent} is not a percentage from 0 to 100"))
        }
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> f64 {
        f64::from(percent.0) / 1000.0
    }
}

/// Which processes of a host a state fault means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "select")]
pub enum ProcessSelector {
    /// The database server of that node.
    Database {
        /// Which node.
        node: NodeName,
    },
    /// One process.
    Pid {
        /// Its id on the host.
        pid: u32,
    },
}

impl Fault {
    /// The kind, as in files and on the command line.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Pause { .. } => "pause",
            Self::Partition { .. } => "partition",
            Self::Latency { .. } => "latency",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { signal, .. } => write!(f, "kill ({signal})"),
            Self::Pause { .. } => write!(f, "pause"),
            Self::Partition { peers, direction } => {
                let way = match direction {
                    Direction::Both => "",
                    Direction::Inbound => " (inbound)",
                    Direction::Outbound => " (outbound)",
                };
                match peers.len() {
                    0 => write!(f, "partition{way} from everybody"),
                    1 => write!(f, "partition{way} from {}", peers[0]),
                    several => write!(f, "partition{way} from {several} hosts"),
                }
            }
            Self::Latency { delay, jitter, loss_percent, .. } => {
                write!(f, "latency {delay} ± {jitter}, loss {} %", f64::from(*loss_percent))
            }
        }
    }
}

/// One fault on one host, as the agent gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackSpec {
    /// Its id.
    pub id: AttackId,
    /// What to do.
    pub fault: Fault,
    /// It comes out after this long, whatever happens. Ignored by kills, which have nothing to take back.
    pub duration: Span,
    /// The fault cuts the agent from its server on purpose: the lease does not end it, only its duration does.
    #[serde(default)]
    pub severs_server: bool,
}

/// How an attack stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttackState {
    /// Recorded, not yet in place.
    Preparing,
    /// In place, effect measured.
    Active,
    /// In place, but no effect could be measured: the run is inconclusive.
    NoEffect,
    /// Preflight said no; nothing was done.
    Refused,
    /// Taken out, and seen to be out.
    Undone,
    /// Could not be taken out: the loudest alarm there is.
    UndoFailed,
}

/// What the agent reports of one attack, at each change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackReport {
    /// Which attack.
    pub id: AttackId,
    /// On which host.
    pub host: HostName,
    /// What.
    pub fault: Fault,
    /// How it stands.
    pub state: AttackState,
    /// When that became so.
    pub at: Timestamp,
    /// By which mechanism (`nftables owner table with a 5 s lease`).
    pub mechanism: String,
    /// What was measured, or why not: one sentence.
    pub evidence: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Vec<Target> {
        let host = |name: &str, region: &str, role: Role| Target {
            host: name.parse().expect("name"),
            address: "10.0.0.1".parse().expect("address"),
            region: Some(region.parse().expect("region")),
            tags: BTreeMap::new(),
            node: Some((name.parse().expect("name"), role)),
        };
        vec![
            host("east-2", "east", Role::Replica),
            host("east-1", "east", Role::Primary),
            host("west-1", "west", Role::PseudoPrimary),
        ]
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(Selector::default().select(&fleet()).is_empty());
        assert!(Selector { limit: Some(3), ..Selector::default() }.select(&fleet()).is_empty());
    }

    #[test]
    fn all_conditions_must_hold() {
        let east = Selector { region: Some("east".parse().expect("name")), ..Selector::default() };
        assert_eq!(east.select(&fleet()).iter().map(|t| t.host.as_str()).collect::<Vec<_>>(), ["east-1", "east-2"]);
        let replica = Selector { role: Some(Role::Replica), ..east };
        assert_eq!(replica.select(&fleet()).len(), 1);
    }

    #[test]
    fn a_percentage_is_in_range() {
        assert!(Percent::try_from(100.5).is_err());
        assert!(Percent::try_from(f64::NAN).is_err());
        assert_eq!(Percent::try_from(5.0).expect("in range").thousandths(), 5000);
    }
}
