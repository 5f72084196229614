//! The table of access: what each call needs. A call without an entry is refused to everybody, and a test walks all
//! calls of the server and looks for theirs.

use firedrill_model::access::Action;

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: it is for those who have not logged in yet.
    Public,
    /// That its caller may do that to that.
    May(Action, Scope),
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole installation.
    Everything,
    /// What belongs to no cluster, or to several: a list shows those that its caller may see.
    Somewhere,
    /// The cluster in the address.
    Cluster,
    /// The cluster of the run in the address.
    Run,
    /// The cluster of the attack in the address.
    Attack,
    /// The cluster of the operation in the address.
    Operation,
    /// What the body says. The gate asks for the role on anything; the handler asks again when it has read it.
    Body,
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// `GET` (for `HEAD` too), `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// The path as it is routed.
    pub path: &'static str,
    /// What it needs.
    pub access: Access,
}

const fn may(method: &'static str, path: &'static str, action: Action, scope: Scope) -> Rule {
    Rule { method, path, access: Access::May(action, scope) }
}

const fn public(method: &'static str, path: &'static str) -> Rule {
    Rule { method, path, access: Access::Public }
}

use Action::{Attack, Audit, Configure, Govern, Operate, Own, Stop, View};
use Scope::{Body, Cluster, Everything, Operation, Run, Somewhere};

/// All calls.
pub const RULES: &[Rule] = &[
    // The server.
    may("GET", "/api/v1/status", View, Somewhere),
    may("POST", "/api/v1/halt", Stop, Somewhere),
    may("POST", "/api/v1/resume", Operate, Everything),
    // Clusters and hosts.
    may("GET", "/api/v1/clusters", View, Somewhere),
    may("GET", "/api/v1/clusters/{cluster}", View, Cluster),
    may("PUT", "/api/v1/clusters/{cluster}", Configure, Cluster),
    may("POST", "/api/v1/clusters/{cluster}/requests", Operate, Cluster),
    may("POST", "/api/v1/clusters/{cluster}/fingerprint", Operate, Cluster),
    may("GET", "/api/v1/hosts", View, Somewhere),
    may("POST", "/api/v1/hosts/{host}/token", Configure, Everything),
    may("GET", "/api/v1/operations", View, Somewhere),
    may("GET", "/api/v1/operations/{operation}", View, Operation),
    // Experiments, runs, attacks.
    may("GET", "/api/v1/experiments", View, Somewhere),
    may("GET", "/api/v1/runs", View, Somewhere),
    may("POST", "/api/v1/runs", Attack, Body),
    may("GET", "/api/v1/runs/{run}", View, Run),
    may("GET", "/api/v1/runs/{run}/report.html", View, Run),
    may("GET", "/api/v1/runs/{run}/history", View, Run),
    may("POST", "/api/v1/runs/{run}/halt", Stop, Run),
    may("GET", "/api/v1/attacks", View, Somewhere),
    may("POST", "/api/v1/attacks", Attack, Body),
    may("POST", "/api/v1/attacks/{attack}/undo", Stop, Scope::Attack),
    may("POST", "/api/v1/attacks/plan", Attack, Body),
    may("POST", "/api/v1/runs/plan", Attack, Body),
    // Templates.
    may("GET", "/api/v1/templates", View, Somewhere),
    may("POST", "/api/v1/templates", Attack, Somewhere),
    may("GET", "/api/v1/templates/{template}", View, Somewhere),
    may("DELETE", "/api/v1/templates/{template}", Attack, Somewhere),
    may("POST", "/api/v1/templates/{template}/preview", Attack, Body),
    may("POST", "/api/v1/templates/{template}/start", Attack, Body),
    // Guards and approvals.
    may("GET", "/api/v1/guards", View, Somewhere),
    may("PUT", "/api/v1/guards", Configure, Everything),
    may("GET", "/api/v1/guards/overrides", View, Somewhere),
    may("GET", "/api/v1/approvals", View, Somewhere),
    may("POST", "/api/v1/approvals/{id}", Attack, Body),
    // Schedules.
    may("GET", "/api/v1/schedules", View, Somewhere),
    may("GET", "/api/v1/schedules/{schedule}", View, Body),
    may("PUT", "/api/v1/schedules/{schedule}", Attack, Body),
    may("DELETE", "/api/v1/schedules/{schedule}", Attack, Body),
    may("POST", "/api/v1/schedules/{schedule}/pause", Stop, Body),
    may("POST", "/api/v1/schedules/{schedule}/resume", Attack, Body),
    may("GET", "/api/v1/calendar", View, Somewhere),
    may("GET", "/api/v1/today", View, Somewhere),
    may("GET", "/api/v1/blackouts", View, Somewhere),
    may("POST", "/api/v1/blackouts", Operate, Body),
    may("DELETE", "/api/v1/blackouts/{id}", Operate, Body),
    may("GET", "/api/v1/presence", View, Somewhere),
    may("POST", "/api/v1/presence", Operate, Body),
    may("GET", "/api/v1/timeline", View, Somewhere),
    may("GET", "/api/v1/events", View, Somewhere),
    // People.
    public("POST", "/api/v1/login"),
    may("POST", "/api/v1/logout", Own, Somewhere),
    may("GET", "/api/v1/me", Own, Somewhere),
    may("GET", "/api/v1/users", Govern, Everything),
    may("POST", "/api/v1/users", Govern, Everything),
    may("POST", "/api/v1/users/{user}/grants", Govern, Everything),
    may("POST", "/api/v1/users/{user}/password", Own, Body),
    may("POST", "/api/v1/users/{user}/disable", Govern, Everything),
    may("POST", "/api/v1/users/{user}/enable", Govern, Everything),
    may("POST", "/api/v1/users/{user}/totp", Own, Body),
    may("POST", "/api/v1/users/{user}/totp/confirm", Own, Body),
    may("POST", "/api/v1/users/{user}/totp/remove", Own, Body),
    may("GET", "/api/v1/teams", Govern, Everything),
    may("PUT", "/api/v1/teams/{team}", Govern, Everything),
    may("DELETE", "/api/v1/teams/{team}", Govern, Everything),
    may("GET", "/api/v1/tokens", Own, Body),
    may("POST", "/api/v1/tokens", Own, Body),
    may("POST", "/api/v1/tokens/{token}/revoke", Own, Body),
    may("GET", "/api/v1/audit", Audit, Everything),
    may("GET", "/api/v1/audit/verify", Audit, Everything),
    // What watches the server.
    public("GET", "/healthz"),
    public("GET", "/readyz"),
    may("GET", "/metrics", View, Somewhere),
    // Pages.
    may("GET", "/", View, Somewhere),
    may("GET", "/clusters/{cluster}", View, Cluster),
    may("GET", "/runs/{run}", View, Run),
    may("POST", "/runs", Attack, Body),
    may("GET", "/operations/{operation}", View, Operation),
    may("POST", "/halt", Stop, Somewhere),
    may("POST", "/halt/resume", Operate, Everything),
    may("GET", "/who", Own, Somewhere),
    public("GET", "/login"),
    public("POST", "/login"),
    may("POST", "/logout", Own, Somewhere),
    public("GET", "/assets/{name}"),
];

/// What a call needs; `None`: it was forgotten here.
#[must_use]
pub fn rule_for(method: &str, path: &str) -> Option<&'static Rule> {
    let method = if method == "HEAD" { "GET" } else { method };
    RULES.iter().find(|rule| rule.method == method && rule.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_one_entry() {
        for (at, rule) in RULES.iter().enumerate() {
            let same = |other: &&Rule| (other.method, other.path) == (rule.method, rule.path);
            assert_eq!(RULES.iter().filter(same).count(), 1, "{at}: {rule:?}");
        }
        assert_eq!(rule_for("HEAD", "/"), rule_for("GET", "/"));
        assert_eq!(rule_for("PATCH", "/"), None);
    }

    #[test]
    fn what_changes_something_is_for_those_who_have_logged_in() {
        for rule in RULES.iter().filter(|rule| rule.access == Access::Public && rule.method != "GET") {
            assert!(rule.path.ends_with("/login"), "{rule:?}");
        }
        for rule in RULES.iter().filter(|rule| rule.method != "GET") {
            assert!(!matches!(rule.access, Access::May(View, _)), "to look at something is no change: {rule:?}");
        }
    }
}
