//! The limits of the guards, as an administrator sets them.

use super::{Authority, Guard, Window};
use crate::id::HostName;
use crate::quantity::Percent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The limits of the guards. What is left out is as by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GuardPolicy {
    /// Guards that are switched off.
    pub off: Vec<Guard>,
    /// So many healthy replicas of the cluster must stay untouched by this and all other faults.
    pub healthy_replicas_min: u32,
    /// Largest share of a cluster's nodes under attack at once, in percent; one node is always allowed.
    pub cluster_share_max: Percent,
    /// Largest share of a service's hosts under attack at once, in percent; one host is always allowed.
    pub service_share_max: Percent,
    /// The tag by which hosts say to which service they belong.
    pub service_tag: String,
    /// Most faults at once on one cluster; an attack on three hosts counts three.
    pub concurrent_cluster_max: u32,
    /// Most faults at once on the hosts of one service.
    pub concurrent_service_max: u32,
    /// Most faults at once in all.
    pub concurrent_all_max: u32,
    /// Hosts that carry one of these tags are protected.
    pub protected_tags: BTreeMap<String, String>,
    /// Protected by name.
    pub protected_hosts: Vec<HostName>,
    /// Attacks may begin within these hours only; empty: at any time.
    pub windows: Vec<Window>,
    /// A second person must approve attacks on hosts that carry one of these tags.
    pub approval_tags: BTreeMap<String, String>,
    /// A second person must approve attacks of these kinds.
    pub approval_kinds: Vec<String>,
}

impl Default for GuardPolicy {
    fn default() -> Self {
        let tag = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Self {
            off: Vec::new(),
            healthy_replicas_min: 1,
            // A whole region of two can fail: that is what the second one is for.
            cluster_share_max: Percent::whole(50),
            service_share_max: Percent::whole(50),
            service_tag: "service".to_owned(),
            concurrent_cluster_max: 10,
            concurrent_service_max: 10,
            concurrent_all_max: 100,
            protected_tags: tag("protected", "true"),
            protected_hosts: Vec::new(),
            windows: Vec::new(),
            approval_tags: tag("approval", "required"),
            approval_kinds: Vec::new(),
        }
    }
}

impl GuardPolicy {
    /// Every guard switched off, but what the hosts' owners have set: for fleets that exist to be broken, and for tests of what lies behind the guards.
    #[must_use]
    pub fn all_off() -> Self {
        let off = super::GUARDS.into_iter().filter(|guard| guard.authority() != Authority::HostOwner);
        Self { off: off.collect(), ..Self::default() }
    }

    /// What in it contradicts itself or allows nothing at all, one sentence.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        let zero = [
            ("concurrent_cluster_max", self.concurrent_cluster_max),
            ("concurrent_service_max", self.concurrent_service_max),
            ("concurrent_all_max", self.concurrent_all_max),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, most)| *most == 0) {
            return Some(format!(
                "{name}: 0 allows no attack at all; give 1 or more, or block starts with `firedrill halt`"
            ));
        }
        if self.concurrent_cluster_max > self.concurrent_all_max {
            return Some(format!(
                "concurrent_cluster_max: {} is above concurrent_all_max: {}, so it could never be reached",
                self.concurrent_cluster_max, self.concurrent_all_max
            ));
        }
        if self.service_tag.is_empty() {
            return Some("service_tag is empty; name the tag that says to which service a host belongs".to_owned());
        }
        None
    }
}
