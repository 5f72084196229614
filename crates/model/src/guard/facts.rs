//! What the guards look at.

use crate::access::AttackFamily;
use crate::allow::AllowList;
use crate::id::{AttackId, ClusterName, HostName, NodeName, OperationId, RunId};
use crate::operation::OperationKind;
use crate::time::{Span, Timestamp};
use crate::view::ClusterView;
use std::collections::{BTreeMap, BTreeSet};

/// The fleet at one moment, as far as guards care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The moment.
    pub now: Timestamp,
    /// The cluster that the attack is on, as its keeper sees it.
    pub view: ClusterView,
    /// The operations of `view.operations`.
    pub operations: Vec<OperationFact>,
    /// Every host that is known, of all clusters and of none, sorted by name.
    pub hosts: Vec<HostFact>,
    /// Faults in place or on their way, everywhere; not those that are over at once.
    pub in_place: Vec<InPlace>,
    /// Runs under way on the cluster.
    pub runs: Vec<RunId>,
}

/// An operation that runs, or waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationFact {
    /// Its id.
    pub id: OperationId,
    /// What for.
    pub kind: OperationKind,
    /// The node that it is about.
    pub subject: NodeName,
    /// The donor, or the node that takes over.
    pub partner: Option<NodeName>,
    /// When it began.
    pub began: Timestamp,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFact {
    /// Its name.
    pub host: HostName,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// What its owner allows; `None`: everything.
    pub allowed: Option<AllowList>,
}

/// A fault in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlace {
    /// Its id.
    pub attack: AttackId,
    /// Where.
    pub host: HostName,
    /// On which cluster, as far as known.
    pub cluster: Option<ClusterName>,
    /// On behalf of which run.
    pub run: Option<RunId>,
    /// Its kind.
    pub kind: String,
}

/// What somebody wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who.
    pub by: String,
    /// Who has approved it.
    pub approved_by: Option<String>,
    /// The run that does it; `None`: a person.
    pub run: Option<RunStanding>,
    /// The kind of fault.
    pub kind: String,
    /// Its family, when the kind is known.
    pub family: Option<AttackFamily>,
    /// How long it is meant to last; `None`: it is over at once.
    pub lasts: Option<Span>,
    /// The hosts that would be hit.
    pub hosts: BTreeSet<HostName>,
}

/// What a run has done itself so far: that is subtracted when guards ask whether the cluster is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStanding {
    /// Which run.
    pub run: RunId,
    /// When its first attack began; `None`: it has not attacked yet.
    pub attacked: Option<Timestamp>,
    /// The hosts that it has hit.
    pub hit: BTreeSet<HostName>,
    /// Its file allows attacks that overlap.
    pub overlap: bool,
}

impl Facts {
    /// The tags of a host; none when it is not known.
    pub(super) fn tag(&self, host: &HostName, key: &str) -> Option<&str> {
        let place = self.hosts.binary_search_by(|known| known.host.cmp(host)).ok()?;
        self.hosts[place].tags.get(key).map(String::as_str)
    }

    /// What the owner of a host allows; `None`: everything, or the host is not known.
    pub(super) fn allowed(&self, host: &HostName) -> Option<&AllowList> {
        let place = self.hosts.binary_search_by(|known| known.host.cmp(host)).ok()?;
        self.hosts[place].allowed.as_ref()
    }

    /// The hosts under attack once `hosts` are too.
    pub(super) fn under_attack<'a>(&'a self, hosts: &'a BTreeSet<HostName>) -> BTreeSet<&'a HostName> {
        self.in_place.iter().map(|fault| &fault.host).chain(hosts).collect()
    }
}
