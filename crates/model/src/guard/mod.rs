//! Guards: what stands between a wish to break something and breaking it. On by default, asked before each attack of a
//! person and of a run.
//!
//! **Where to begin**: [`ask`], the decision; [`Facts`] and [`Request`] are what it looks at, [`GuardPolicy`] its limits.

mod ask;
mod facts;
mod policy;
mod radius;
mod window;

pub use ask::{answers, ask};
pub use facts::{Facts, HostFact, InPlace, OperationFact, Request, RunStanding};
pub use policy::GuardPolicy;
pub use radius::{BlastRadius, Part, radius};
pub use window::Window;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// So many healthy replicas stay untouched.
    LastReplica,
    /// The cluster is whole.
    Degraded,
    /// No promotion, clone or other operation runs.
    Operation,
    /// Nothing else is tried on the cluster at the same time.
    Overlap,
    /// At most this share of a cluster's nodes is under attack.
    ClusterShare,
    /// At most this share of a service's hosts is under attack.
    ServiceShare,
    /// At most so many faults on a cluster.
    ConcurrentCluster,
    /// At most so many faults on a service's hosts.
    ConcurrentService,
    /// At most so many faults in all.
    ConcurrentAll,
    /// Protected hosts stay untouched.
    Protected,
    /// Attacks happen within these hours.
    Window,
    /// A second person has approved what is marked so.
    Approval,
    /// The owners of the hosts allow it.
    HostOwner,
}

/// All guards, in the order in which they are asked.
pub const GUARDS: [Guard; 13] = [
    Guard::LastReplica,
    Guard::Degraded,
    Guard::Operation,
    Guard::Overlap,
    Guard::ClusterShare,
    Guard::ServiceShare,
    Guard::ConcurrentCluster,
    Guard::ConcurrentService,
    Guard::ConcurrentAll,
    Guard::Protected,
    Guard::Window,
    Guard::Approval,
    Guard::HostOwner,
];

/// Who may override a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// Whoever may start attacks.
    Operator,
    /// An administrator.
    Admin,
    /// Nobody alone: a second person approves.
    SecondPerson,
    /// Nobody here: the host's owner has set it where no server can change it.
    HostOwner,
}

impl Guard {
    /// As on the command line and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LastReplica => "last-replica",
            Self::Degraded => "degraded",
            Self::Operation => "operation",
            Self::Overlap => "overlap",
            Self::ClusterShare => "cluster-share",
            Self::ServiceShare => "service-share",
            Self::ConcurrentCluster => "concurrent-cluster",
            Self::ConcurrentService => "concurrent-service",
            Self::ConcurrentAll => "concurrent-all",
            Self::Protected => "protected",
            Self::Window => "window",
            Self::Approval => "approval",
            Self::HostOwner => "host-owner",
        }
    }

    /// What it says of an attack does not change while other attacks of a run come and go: a run is not begun that it is
    /// known to stop half-way.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        matches!(self, Self::Protected | Self::Approval | Self::HostOwner)
    }

    /// Who may override it: what can cost data or reaches beyond one team is an administrator's.
    #[must_use]
    pub const fn authority(self) -> Authority {
        match self {
            Self::Degraded | Self::Operation | Self::Overlap | Self::Window => Authority::Operator,
            Self::LastReplica
            | Self::ClusterShare
            | Self::ServiceShare
            | Self::ConcurrentCluster
            | Self::ConcurrentService
            | Self::ConcurrentAll
            | Self::Protected => Authority::Admin,
            Self::Approval => Authority::SecondPerson,
            Self::HostOwner => Authority::HostOwner,
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Guard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || GUARDS.map(Self::name).join(", ");
        let found = GUARDS.into_iter().find(|guard| guard.name() == text);
        found.ok_or_else(|| format!("there is no guard {text:?}; there are {}", names()))
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "an operator",
            Self::Admin => "an administrator",
            Self::SecondPerson => "nobody alone",
            Self::HostOwner => "nobody here",
        })
    }
}

/// A guard says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// Which.
    pub guard: Guard,
    /// What was seen: `0 healthy replicas would be left`.
    pub figure: String,
    /// What would be allowed: `at least 1`.
    pub limit: String,
    /// Who may override it.
    pub authority: Authority,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { guard, figure, limit, authority } = self;
        write!(f, "guard {guard}: {figure}; the limit: {limit}; ")?;
        match authority {
            Authority::SecondPerson => f.write_str("nobody overrides it alone, a second person approves"),
            Authority::HostOwner => f.write_str(
                "nobody overrides it from here, the host's owner allows it by `allow` of the agent's configuration",
            ),
            _ => write!(f, "{authority} may override it with --override {guard} --reason TEXT"),
        }
    }
}

/// A guard is passed over on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Which.
    pub guard: Guard,
    /// Why; kept with the name of who did it.
    pub reason: String,
}

/// What one guard says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Which.
    pub guard: Guard,
    /// `None`: it lets the attack through.
    pub refusal: Option<Refusal>,
    /// It is switched off in the settings, so it was not asked.
    pub off: bool,
    /// It refuses, and is overridden for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden: Option<String>,
}

impl Answer {
    /// It refuses and nobody overrides it.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.refusal.is_some() && self.overridden.is_none()
    }
}

#[cfg(test)]
mod tests;
