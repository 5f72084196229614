//! What the owner of a host lets a server have done there. It stands in the agent's own configuration, which no server
//! changes; the agent keeps to it, and says it to its server so that what would be refused is known beforehand.

use crate::access::AttackFamily;
use crate::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The list. What is absent is not limited; an empty list allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AllowList {
    /// All attacks of these families.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub families: Option<Vec<AttackFamily>>,
    /// Attacks of these kinds, beside those of `families`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
    /// Never these kinds, whatever the others say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// No attack may be meant to last longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<Span>,
    /// Keepers may change the database servers and the gateway of this host: promote, clone, stop, route. To look at them
    /// is always allowed.
    pub node_commands: bool,
}

impl Default for AllowList {
    /// Limits nothing.
    fn default() -> Self {
        Self { families: None, kinds: None, except: Vec::new(), longest: None, node_commands: true }
    }
}

impl AllowList {
    /// Why an attack is not allowed; `None`: it is. `family` is that of the kind, as far as the kind is known; `lasts` is
    /// how long it is meant to be in place, nothing for one that is over at once.
    #[must_use]
    pub fn refusal(&self, kind: &str, family: Option<AttackFamily>, lasts: Option<Span>) -> Option<String> {
        if self.except.iter().any(|except| except == kind) {
            return Some(format!("attacks of kind {kind} are excepted"));
        }
        let by_family = self.families.as_ref().is_some_and(|all| family.is_some_and(|family| all.contains(&family)));
        let by_kind = self.kinds.as_ref().is_some_and(|all| all.iter().any(|one| one == kind));
        let limited = self.families.is_some() || self.kinds.is_some();
        if limited && !by_family && !by_kind {
            return Some(format!("attacks of kind {kind} are not on the list"));
        }
        match (self.longest, lasts) {
            (Some(longest), Some(lasts)) if lasts > longest => {
                Some(format!("{lasts} is longer than the {longest} that attacks may last"))
            }
            _ => None,
        }
    }

    /// Every kind that it names.
    pub fn named_kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.iter().flatten().chain(&self.except).map(String::as_str)
    }
}

impl fmt::Display for AllowList {
    /// `families network, resource; kinds kill; not shutdown; at most 10m; no node commands`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match (&self.families, &self.kinds) {
            (None, None) => parts.push("all attacks".to_owned()),
            (families, kinds) => {
                let families: Vec<String> = families.iter().flatten().map(ToString::to_string).collect();
                let kinds: Vec<String> = kinds.iter().flatten().cloned().collect();
                parts.extend((!families.is_empty()).then(|| format!("families {}", families.join(", "))));
                parts.extend((!kinds.is_empty()).then(|| format!("kinds {}", kinds.join(", "))));
                if parts.is_empty() {
                    parts.push("no attacks".to_owned());
                }
            }
        }
        parts.extend((!self.except.is_empty()).then(|| format!("not {}", self.except.join(", "))));
        parts.extend(self.longest.map(|longest| format!("at most {longest}")));
        parts.extend((!self.node_commands).then(|| "no node commands".to_owned()));
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(json: &str) -> AllowList {
        serde_json::from_str(json).expect("a list")
    }

    #[test]
    fn what_is_absent_is_not_limited_and_an_empty_list_allows_nothing() {
        let hour = Some(Span::secs(3600));
        assert_eq!(read("{}"), AllowList::default());
        assert_eq!(read("{}").refusal("kill", Some(AttackFamily::State), hour), None);
        assert!(read(r#"{"kinds": []}"#).refusal("kill", Some(AttackFamily::State), None).is_some());
        assert!(read(r#"{"families": []}"#).refusal("kill", Some(AttackFamily::State), None).is_some());
        assert!(serde_json::from_str::<AllowList>(r#"{"exept": ["kill"]}"#).is_err(), "a typing error limits nothing");
    }

    #[test]
    fn kinds_families_exceptions_and_length() {
        let list = read(r#"{"families": ["network"], "kinds": ["kill"], "except": ["partition"], "longest": "10m"}"#);
        let asks = |kind, family, secs| list.refusal(kind, Some(family), Some(Span::secs(secs)));
        assert_eq!(asks("latency", AttackFamily::Network, 600), None);
        assert_eq!(asks("kill", AttackFamily::State, 600), None);
        assert!(asks("pause", AttackFamily::State, 1).expect("refused").contains("pause are not on the list"));
        assert!(asks("partition", AttackFamily::Network, 1).expect("refused").contains("excepted"));
        assert!(asks("latency", AttackFamily::Network, 601).expect("refused").contains("10m"));
        assert_eq!(list.refusal("kill", Some(AttackFamily::State), None), None, "over at once");
        assert_eq!(list.to_string(), "families network; kinds kill; not partition; at most 10m");
    }

    proptest! {
        /// Each entry of `except` and a bound on the length take something away, never add something.
        #[test]
        fn more_limits_never_allow_more(
            kinds in proptest::option::of(proptest::collection::vec("[a-c]", 0..3)),
            except in proptest::collection::vec("[a-c]", 0..3),
            more in "[a-c]", kind in "[a-c]", longest in 1_u64..100, lasts in 1_u64..100,
        ) {
            let wide = AllowList { kinds, except, ..AllowList::default() };
            let mut narrow = AllowList { longest: Some(Span::secs(longest)), ..wide.clone() };
            narrow.except.push(more);
            let asks = |list: &AllowList| list.refusal(&kind, Some(AttackFamily::State), Some(Span::secs(lasts)));
            prop_assert!(asks(&wide).is_none() || asks(&narrow).is_some());
        }
    }
}
