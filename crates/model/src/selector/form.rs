//! A selector as it stands in files: `role` takes `donor` too, which is no role that a keeper gives.

use super::{Choice, Lag, Selector};
use crate::cluster::Role;
use crate::id::{ClusterName, HostName, NodeName, RegionName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    // A list comes first: a list of texts, which means networks where a selector may stand too, is then no selector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    nodes: Vec<NodeName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    hosts: Vec<HostName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    cluster: Option<ClusterName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Part>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lag: Option<Lag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    region: Option<RegionName>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    server: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    choose: Option<Choice>,
}

/// A role, or the part that a node plays in another's clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    Primary,
    Replica,
    PseudoPrimary,
    PseudoReplica,
    OutOfService,
    Donor,
}

impl Part {
    /// The role, or `None` for a donor.
    pub(super) const fn role(self) -> Option<Role> {
        match self {
            Self::Primary => Some(Role::Primary),
            Self::Replica => Some(Role::Replica),
            Self::PseudoPrimary => Some(Role::PseudoPrimary),
            Self::PseudoReplica => Some(Role::PseudoReplica),
            Self::OutOfService => Some(Role::OutOfService),
            Self::Donor => None,
        }
    }

    const fn of(role: Role) -> Self {
        match role {
            Role::Primary => Self::Primary,
            Role::Replica => Self::Replica,
            Role::PseudoPrimary => Self::PseudoPrimary,
            Role::PseudoReplica => Self::PseudoReplica,
            Role::OutOfService => Self::OutOfService,
        }
    }
}

impl From<Form> for Selector {
    fn from(form: Form) -> Self {
        let Form { cluster, nodes, hosts, role, lag, region, tags, server, limit, choose } = form;
        let donor = role == Some(Part::Donor);
        Self { cluster, nodes, hosts, role: role.and_then(Part::role), donor, lag, region, tags, server, limit, choose }
    }
}

impl From<Selector> for Form {
    fn from(selector: Selector) -> Self {
        let Selector { cluster, nodes, hosts, role, donor, lag, region, tags, server, limit, choose } = selector;
        let role = role.map(Part::of).or(donor.then_some(Part::Donor));
        Self { cluster, nodes, hosts, role, lag, region, tags, server, limit, choose }
    }
}
