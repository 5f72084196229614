//! Attacks: one fault on chosen targets for a known time.

use crate::id::{AttackId, HostName, NodeName};
use crate::quantity::Network;
use crate::time::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

pub use crate::quantity::Percent;
pub use crate::selector::{Selector, Target};

/// The key by which a schema says that a value is of [`Peers`].
pub const PEERS_MARK: &str = "x-peers";

/// The other side of a network fault: hosts of the fleet by a selector, or addresses and networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-peers" = true))]
pub enum Peers {
    /// Addresses and networks, as an agent needs them; empty: nobody.
    Networks(Vec<Network>),
    /// Hosts of the fleet; the server turns them into addresses at the moment of the attack.
    Selected(Selector),
}

impl Peers {
    /// The networks; `None` while it is a selector that nobody has resolved.
    #[must_use]
    pub fn networks(&self) -> Option<&[Network]> {
        match self {
            Self::Networks(networks) => Some(networks),
            Self::Selected(_) => None,
        }
    }
}

/// Which packets of a host a network fault touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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

/// The parameters of a fault by name, as in files. What each kind takes is known to the table of faults alone.
pub type Parameters = serde_json::Map<String, Value>;

/// What is done: a kind of fault with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// The kind, as in files and on the command line (`kill`, `latency`).
    pub kind: String,
    /// Side by side with the kind, in files and on the wire.
    #[serde(flatten)]
    pub parameters: Parameters,
}

impl Fault {
    /// A fault without parameters.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self { kind: kind.to_owned(), parameters: Parameters::new() }
    }

    /// With one parameter more, given as it stands in files.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }
}

/// Longest value that is printed whole in [`Fault`]'s display.
const VALUE_CHARS_MAX: usize = 40;

impl fmt::Display for Fault {
    /// `latency (delay 100ms, jitter 20ms)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if self.parameters.is_empty() {
            return Ok(());
        }
        let shown = self.parameters.iter().map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            Value::Array(items) if items.len() > 1 => format!("{name} {} of them", items.len()),
            Value::Array(items) => format!("{name} {}", items.first().map(plain).unwrap_or_else(|| "none".to_owned())),
            other => format!("{name} {}", plain(other)),
        });
        write!(f, " ({})", shown.collect::<Vec<_>>().join(", "))
    }
}

fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    text.chars().take(VALUE_CHARS_MAX).chain(['…']).collect()
}

/// What is wrong with a fault as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", parameter.as_ref().map(|name| format!("`{name}`: ")).unwrap_or_default())]
pub struct FaultProblem {
    /// Which parameter is wrong; `None`: the kind, or several together. `kind` when there is no such kind.
    pub parameter: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Says whether a fault is one that there is, with parameters that it takes. The table of faults implements it; rules
/// about experiments are handed it, as they must not know how faults are done.
pub type CheckFault = fn(&Fault) -> Result<(), FaultProblem>;

/// Which processes of a host a state fault means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "select")]
pub enum ProcessSelector {
    /// The database server of that node.
    Database {
        /// Which node.
        #[schemars(with = "String")]
        node: NodeName,
    },
    /// One process.
    Pid {
        /// Its id on the host.
        pid: u32,
    },
    /// Processes that run this program.
    Name {
        /// The program's file name, without directories.
        name: String,
    },
    /// Processes of a system user.
    User {
        /// The user's name.
        user: String,
    },
    /// Processes that wait for connections on a TCP port.
    Port {
        /// The port.
        port: u16,
    },
    /// Processes in a cgroup and the groups below it: a container, a service.
    Cgroup {
        /// Its path below the mount, such as `system.slice/mariadb.service`.
        cgroup: String,
    },
    /// The main process of a container, or all processes in it when `which` is `all`.
    Container {
        /// The container's name, its id, or the beginning of its id.
        container: String,
    },
}

/// One fault on one host, as the agent gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttackSpec {
    /// Its id.
    pub id: AttackId,
    /// What to do.
    pub fault: Fault,
    /// The database node that it is about, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// It comes out after this long, whatever happens. Ignored by kills, which have nothing to take back.
    pub duration: Span,
    /// The fault cuts the agent from its server on purpose: the lease does not end it, only its duration does.
    #[serde(default)]
    pub severs_server: bool,
}

/// How an attack stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// When the fault was in place, before its effect was measured; `None` before that, and when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<Timestamp>,
    /// By which mechanism (`nftables owner table with a 5 s lease`).
    pub mechanism: String,
    /// What was measured, or why not: one sentence.
    pub evidence: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_flat_and_prints_short() {
        let text = r#"{"kind":"latency","delay":"100ms","peers":["10.0.0.1","10.0.0.2"]}"#;
        let fault: Fault = serde_json::from_str(text).expect("reads");
        assert_eq!(fault.kind(), "latency");
        assert_eq!(fault, Fault::new("latency").with("delay", "100ms").with("peers", vec!["10.0.0.1", "10.0.0.2"]));
        assert_eq!(fault.to_string(), "latency (delay 100ms, peers 2 of them)");
        assert_eq!(Fault::new("pause").to_string(), "pause");
    }

    #[test]
    fn the_other_side_is_a_selector_or_networks() {
        let peers = |text: &str| serde_json::from_str::<Peers>(text);
        assert!(matches!(peers(r#"{"role":"replica"}"#), Ok(Peers::Selected(_))));
        assert_eq!(peers(r#"["10.0.0.0/8"]"#).expect("reads").networks().map(<[Network]>::len), Some(1));
        assert!(peers(r#"{"colour":"red"}"#).is_err() && peers(r#"["x"]"#).is_err());
    }
}
