//! Who may do what: roles, grants, and the one rule that decides.
//!
//! Everything here is a value or a pure rule; who somebody is, and what exists, comes in.

use crate::id::ClusterName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a person may do, from the least to the most; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees, and stops: the emergency brake is within everybody's reach.
    Viewer,
    /// Starts attacks and runs, promotes, clones, allows starts again.
    Operator,
    /// Registers clusters, enrols hosts, manages people, reads the audit log.
    Admin,
}

/// What attacks are done to; a grant may be for some of these only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttackFamily {
    /// Processes and hosts.
    State,
    /// Packets.
    Network,
    /// Processors, memory, disks as a quantity.
    Resource,
    /// What disks answer.
    Storage,
    /// The inside of a database server.
    Engine,
}

/// A role, everywhere or within limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Which role.
    pub role: Role,
    /// On this cluster only; `None`: on everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// Attacks of these families only; empty: all. Limits attacks, nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<AttackFamily>,
}

impl Grant {
    /// The role on everything.
    #[must_use]
    pub fn everywhere(role: Role) -> Self {
        Self { role, cluster: None, families: Vec::new() }
    }

    /// Whether nothing is left to give to whoever has this.
    #[must_use]
    pub fn is_full_admin(&self) -> bool {
        *self == Self::everywhere(Role::Admin)
    }

    /// Whether whoever has `self` has `other` too.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        let families = self.families.is_empty()
            || (!other.families.is_empty() && other.families.iter().all(|family| self.families.contains(family)));
        self.role >= other.role && self.reaches(other.cluster.as_ref()) && families
    }

    fn reaches(&self, cluster: Option<&ClusterName>) -> bool {
        self.cluster.is_none() || self.cluster.as_ref() == cluster
    }

    fn allows(&self, role: Role, object: &Object) -> bool {
        self.role >= role
            && match object {
                Object::Somewhere => true,
                Object::Everything => self.cluster.is_none(),
                Object::Cluster(cluster) => self.reaches(Some(cluster)),
                Object::Attack(cluster, family) => {
                    self.reaches(Some(cluster)) && (self.families.is_empty() || self.families.contains(family))
                }
            }
    }
}

/// Somebody, with all that was given to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Principal {
    /// The name, for people and logs: a user's, or `local` while there are no users.
    pub name: String,
    /// What they have, of their own and through their teams. Any of them is enough.
    pub grants: Vec<Grant>,
    /// They come with an API token that is good for this only; `None`: without such a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Vec<Grant>>,
}

impl Principal {
    /// Whether they have that grant, also with the token that they come with: nobody gives what they do not have.
    #[must_use]
    pub fn has(&self, grant: &Grant) -> bool {
        let in_one_of = |grants: &[Grant]| grants.iter().any(|own| own.includes(grant));
        in_one_of(&self.grants) && self.token.as_deref().is_none_or(in_one_of)
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Manage what is their own: password, tokens, session.
    Own,
    /// Look at it.
    View,
    /// Stop it: halt, take an attack out.
    Stop,
    /// Start attacks and runs.
    Attack,
    /// Promote, clone, allow starts again.
    Operate,
    /// Register clusters, enrol hosts.
    Configure,
    /// Manage users, teams and the tokens of others.
    Govern,
    /// Read the audit log.
    Audit,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Own, Self::View, Self::Stop, Self::Attack, Self::Operate, Self::Configure, Self::Govern, Self::Audit];

    /// The least role that it needs; `None`: whoever has logged in may.
    #[must_use]
    pub const fn needs(self) -> Option<Role> {
        match self {
            Self::Own => None,
            Self::View | Self::Stop => Some(Role::Viewer),
            Self::Attack | Self::Operate => Some(Role::Operator),
            Self::Configure | Self::Govern | Self::Audit => Some(Role::Admin),
        }
    }
}

/// What they want to do it to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Object {
    /// The whole installation.
    Everything,
    /// What belongs to no cluster, or is told apart later: the role on any cluster is enough.
    Somewhere,
    /// One cluster.
    Cluster(ClusterName),
    /// Attacks of one family on one cluster.
    Attack(ClusterName, AttackFamily),
}

/// Why somebody may not do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, JsonSchema)]
#[error(
    "{who} may not {action}{}: that needs the role {role}{}; {}",
    of(.object), within(.object), instead(*.token, .has)
)]
pub struct Denial {
    /// Who asked.
    pub who: String,
    /// What they wanted to do.
    pub action: Action,
    /// To what.
    pub object: Object,
    /// The role that is missing.
    pub role: Role,
    /// Their token lacks it, they themselves do not.
    pub token: bool,
    /// What they do have.
    pub has: Vec<Grant>,
}

/// Whether somebody may do something: the one rule of access.
///
/// # Errors
/// They may not: no single grant of theirs reaches, or their token does not.
pub fn authorise(principal: &Principal, action: Action, object: &Object) -> Result<(), Denial> {
    let Some(role) = action.needs() else { return Ok(()) };
    let one_of = |grants: &[Grant]| grants.iter().any(|grant| grant.allows(role, object));
    let person = one_of(&principal.grants);
    if person && principal.token.as_deref().is_none_or(one_of) {
        return Ok(());
    }
    Err(Denial {
        who: principal.name.clone(),
        action,
        object: object.clone(),
        role,
        token: person,
        has: principal.grants.clone(),
    })
}

fn of(object: &Object) -> String {
    match object {
        Object::Everything => " on the whole installation".to_owned(),
        Object::Somewhere => String::new(),
        Object::Cluster(cluster) => format!(" on cluster {cluster}"),
        Object::Attack(cluster, family) => format!(" of the family {family} on cluster {cluster}"),
    }
}

fn within(object: &Object) -> &'static str {
    match object {
        Object::Everything => " without a limit to a cluster",
        Object::Somewhere => " on any cluster",
        Object::Cluster(_) => " there",
        Object::Attack(..) => " there, for that family",
    }
}

fn instead(token: bool, grants: &[Grant]) -> String {
    if token {
        return "the owner of the API token has it, the token has not".to_owned();
    }
    if grants.is_empty() {
        return "they have none".to_owned();
    }
    let all: Vec<String> = grants.iter().map(ToString::to_string).collect();
    format!("they have {}", all.join(", "))
}

impl fmt::Display for Grant {
    /// `operator of cluster orders (network, state)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of ", self.role)?;
        match &self.cluster {
            Some(cluster) => write!(f, "cluster {cluster}")?,
            None => f.write_str("everything")?,
        }
        if self.families.is_empty() {
            return Ok(());
        }
        let families: Vec<String> = self.families.iter().map(ToString::to_string).collect();
        write!(f, " ({})", families.join(", "))
    }
}

impl fmt::Display for Action {
    /// As in "may not …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "manage what is their own",
            Self::View => "look at anything",
            Self::Stop => "stop anything",
            Self::Attack => "start attacks",
            Self::Operate => "operate",
            Self::Configure => "configure",
            Self::Govern => "manage users",
            Self::Audit => "read the audit log",
        })
    }
}

macro_rules! words {
    ($type:ident, $what:literal, $($variant:ident = $word:literal),*) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),* })
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("{text:?} is no {}; there are {}", $what, [$($word),*].join(", "))),
                }
            }
        }
    };
}

words!(Role, "role", Viewer = "viewer", Operator = "operator", Admin = "admin");
words!(
    AttackFamily,
    "family of attacks",
    State = "state",
    Network = "network",
    Resource = "resource",
    Storage = "storage",
    Engine = "engine"
);

#[cfg(test)]
mod tests;
