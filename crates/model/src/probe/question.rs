//! What is asked of whom, and what the answer must be.

use super::Comparison;
use crate::cluster::Role;
use crate::selector::Selector;
use crate::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `role-count: {role: replica, count: {at-least: 3}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleCount {
    /// Which role.
    pub role: Role,
    /// How many healthy nodes must play it.
    pub count: Comparison,
}

/// `sql: {query: SELECT @@read_only, value: {equals: 0}}`. Asked by the agents of the nodes, with the login that the
/// cluster was registered with, in a session that only reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlQuestion {
    /// The hosts of which nodes, chosen anew each time; each must answer as wanted. The primary unless said otherwise.
    #[serde(default = "primary")]
    pub target: Selector,
    /// One statement: `SELECT`, `SHOW` or `WITH`. The first column of its first row counts.
    pub query: String,
    /// What that value must be.
    pub value: Comparison,
}

fn primary() -> Selector {
    Selector { role: Some(Role::Primary), ..Selector::default() }
}

/// `http: {url: http://shop.example/health, latency_at_most: 300ms}`. Asked with GET by the server; redirects are not
/// followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpQuestion {
    /// `http://` or `https://`, without a user in it.
    pub url: String,
    /// The status that must come; absent: any from 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The answer's head must be there within this; absent: within the probe's patience.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_at_most: Option<Span>,
    /// What the body must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonCheck>,
}

/// `json: {path: $.queue.depth, value: {below: 100}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonCheck {
    /// A JSONPath as of RFC 9535, without functions.
    pub path: String,
    /// What every value found there must be; there must be one.
    pub value: Comparison,
}

/// `tcp: {address: "10.0.0.7:3306"}`. Asked by the server: connected and closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpQuestion {
    /// `host:port`.
    pub address: String,
    /// The connection must stand within this; absent: within the probe's patience.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_at_most: Option<Span>,
}

/// `prometheus: {url: http://prometheus:9090, query: "up{job='shop'}", value: {equals: 1}}`. Asked by the server, as an
/// instant query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusQuestion {
    /// Where Prometheus is, without `/api/v1/query`.
    pub url: String,
    /// In PromQL; gives a number or an instant vector.
    pub query: String,
    /// What each value must be; there must be one.
    pub value: Comparison,
}

/// `command: {target: {role: primary}, program: /usr/local/bin/check-shop, args: [--quick]}`. Run by the agents, without
/// a shell, when the configuration of each names exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandQuestion {
    /// On which hosts, chosen anew each time; on each it must end as wanted.
    pub target: Selector,
    /// The program, by its whole path.
    pub program: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The exit status that must come.
    #[serde(default)]
    pub exit: i32,
    /// What it must print on standard output; absent: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Comparison>,
}
