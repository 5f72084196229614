//! Who gets what.

use super::{Notice, NoticeKind};
use crate::id::{ClusterName, ReceiverName, RuleName};
use crate::timeline::Severity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most rules; each event is compared with all.
pub const RULES_MAX: usize = 200;

/// Sends to a receiver what all its conditions fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// To whom.
    pub to: ReceiverName,
    /// Only these kinds; empty: all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kinds: BTreeSet<NoticeKind>,
    /// Only of these clusters, and what belongs to none; empty: of all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clusters: BTreeSet<ClusterName>,
    /// Only what is at least so loud.
    #[serde(default = "all_severities")]
    pub at_least: Severity,
}

const fn all_severities() -> Severity {
    Severity::Info
}

impl Rule {
    /// Whether the notice is for this rule's receiver. `closes`: the receiver keeps incidents, so it is also told the end
    /// of whatever the rule would have told it the beginning of, however quiet that end is.
    #[must_use]
    pub fn fits(&self, notice: &Notice, closes: bool) -> bool {
        let here =
            self.clusters.is_empty() || notice.cluster.as_ref().is_none_or(|cluster| self.clusters.contains(cluster));
        let asked_for = self.kinds.is_empty() || self.kinds.contains(&notice.kind);
        let over = notice.trouble.as_ref().is_some_and(|trouble| trouble.over);
        let ends = closes && over && (asked_for || self.kinds.contains(&beginning(notice.kind)));
        here && (ends || (asked_for && notice.severity >= self.at_least))
    }
}

/// The kind of the notice that begins what this one ends: a passed run ends what a failed one has begun.
const fn beginning(end: NoticeKind) -> NoticeKind {
    if matches!(end, NoticeKind::RunPassed) { NoticeKind::RunFailed } else { end }
}

/// To whom a notice goes; each receiver once, whichever rules fit. `closes` says whether a receiver keeps incidents.
#[must_use]
pub fn deliveries(notice: &Notice, rules: &[Rule], closes: impl Fn(&ReceiverName) -> bool) -> BTreeSet<ReceiverName> {
    rules.iter().filter(|rule| rule.fits(notice, closes(&rule.to))).map(|rule| rule.to.clone()).collect()
}
