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
    /// What it is for, in a few words, for the description of the API; pages have none.
    pub about: &'static str,
}

impl Rule {
    const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }
}

const fn may(method: &'static str, path: &'static str, action: Action, scope: Scope) -> Rule {
    Rule { method, path, access: Access::May(action, scope), about: "" }
}

const fn public(method: &'static str, path: &'static str) -> Rule {
    Rule { method, path, access: Access::Public, about: "" }
}

use Action::{Attack, Audit, Configure, Govern, Operate, Own, Stop, View};
use Scope::{Body, Cluster, Everything, Operation, Run, Somewhere};

/// All calls.
pub const RULES: &[Rule] = &[
    // The server.
    may("GET", "/api/v1/status", View, Somewhere).about("The server itself"),
    may("POST", "/api/v1/halt", Stop, Somewhere).about("Stop everything, and block starts until resumed"),
    may("POST", "/api/v1/resume", Operate, Everything).about("Allow starts again"),
    // Clusters and hosts.
    may("GET", "/api/v1/clusters", View, Somewhere).about("All clusters as the keeper sees them"),
    may("GET", "/api/v1/clusters/{cluster}", View, Cluster).about("One cluster"),
    may("GET", "/api/v1/clusters/{cluster}/series", View, Cluster).about(
        "Rate, latency and lag of the last day, one value a second; of the last hour when no period is asked for",
    ),
    may("PUT", "/api/v1/clusters/{cluster}", Configure, Cluster)
        .about("Register a cluster, or change its login and policy"),
    may("POST", "/api/v1/clusters/{cluster}/requests", Operate, Cluster)
        .about("Ask the keeper for a switchover, promotion, clone, rejoin or failback"),
    may("POST", "/api/v1/clusters/{cluster}/requests/plan", Operate, Cluster)
        .about("What such a request would do now, and what could be lost; nothing is begun"),
    may("POST", "/api/v1/clusters/{cluster}/fingerprint", Operate, Cluster)
        .about("Checksums of the data of every node"),
    may("GET", "/api/v1/hosts", View, Somewhere).about("All hosts that have an agent"),
    may("GET", "/api/v1/hosts/{host}", View, Somewhere).about("One host, and until when its certificate is good"),
    may("POST", "/api/v1/hosts/{host}/revoke", Configure, Everything)
        .about("Keep a host out until it is enrolled anew: its link is closed, its certificate not accepted any more"),
    may("POST", "/api/v1/hosts/{host}/token", Configure, Everything).about("Make an enrolment token for a host"),
    may("GET", "/api/v1/operations", View, Somewhere).about("The newest operations of keepers"),
    may("GET", "/api/v1/operations/{operation}", View, Operation).about("One operation, step by step"),
    // Experiments, runs, attacks.
    may("GET", "/api/v1/experiments", View, Somewhere).about("The experiments that ship"),
    may("GET", "/api/v1/runs", View, Somewhere).about("The newest runs"),
    may("POST", "/api/v1/runs", Attack, Body).about("Start a run of an experiment"),
    may("GET", "/api/v1/runs/{run}", View, Run).about("The report of a run"),
    may("GET", "/api/v1/runs/{run}/report.html", View, Run).about("The report as a page"),
    may("GET", "/api/v1/runs/{run}/history", View, Run)
        .about("The recorded writes and reads of a run, in the binary form that `firedrill ledger` reads"),
    may("POST", "/api/v1/runs/{run}/halt", Stop, Run).about("Halt a run: its attacks come out, its load stops"),
    may("POST", "/api/v1/runs/{run}/notes", Operate, Run).about("Say something about a run, on its timeline"),
    may("POST", "/api/v1/runs/{run}/parts", Operate, Run).about("Say who takes which part in a game day"),
    may("GET", "/api/v1/attacks", View, Somewhere).about("The newest attacks"),
    may("POST", "/api/v1/attacks", Attack, Body).about("Start an attack by hand"),
    may("POST", "/api/v1/attacks/{attack}/undo", Stop, Scope::Attack).about("Take an attack out"),
    may("POST", "/api/v1/attacks/plan", Attack, Body)
        .about("What an attack would do now, and what the guards say; nothing is begun"),
    may("POST", "/api/v1/runs/plan", Attack, Body).about("What the attacks of a run would do now; nothing is begun"),
    // Templates.
    may("GET", "/api/v1/templates", View, Somewhere).about("All templates"),
    may("POST", "/api/v1/templates", Attack, Somewhere).about("Keep a template of one's own"),
    may("POST", "/api/v1/imports/chaos-toolkit", Attack, Somewhere)
        .about("Import an experiment of the Chaos Toolkit as a template of one's own"),
    may("GET", "/api/v1/templates/{template}", View, Somewhere).about("One template"),
    may("DELETE", "/api/v1/templates/{template}", Attack, Somewhere).about("Forget a template of one's own"),
    may("POST", "/api/v1/templates/{template}/preview", Attack, Body)
        .about("The experiment with these values, and what it would strike; nothing is begun"),
    may("POST", "/api/v1/templates/{template}/start", Attack, Body).about("Start the experiment with these values"),
    // Guards and approvals.
    may("GET", "/api/v1/guards", View, Somewhere).about("The limits of the guards"),
    may("PUT", "/api/v1/guards", Configure, Everything).about("Set the limits of the guards"),
    may("GET", "/api/v1/guards/overrides", View, Somewhere).about("The newest overrides"),
    may("GET", "/api/v1/approvals", View, Somewhere).about("The newest requests for a second person"),
    may("POST", "/api/v1/approvals/{id}", Attack, Body)
        .about("Approve a request of somebody else, and begin what it asks for"),
    // Schedules.
    may("GET", "/api/v1/schedules", View, Somewhere).about("All schedules and how they stand"),
    may("GET", "/api/v1/schedules/{schedule}", View, Body).about("One schedule"),
    may("PUT", "/api/v1/schedules/{schedule}", Attack, Body).about("Add a schedule, or replace the one of that name"),
    may("DELETE", "/api/v1/schedules/{schedule}", Attack, Body).about("Remove a schedule"),
    may("POST", "/api/v1/schedules/{schedule}/pause", Stop, Body).about("Let a schedule start nothing any more"),
    may("POST", "/api/v1/schedules/{schedule}/resume", Attack, Body).about("Let a schedule start again"),
    may("GET", "/api/v1/calendar", View, Somewhere).about("What ran by schedule, and what comes"),
    may("GET", "/api/v1/today", View, Somewhere).about("The message of the day"),
    may("GET", "/api/v1/blackouts", View, Somewhere).about("Times in which no schedule starts anything"),
    may("POST", "/api/v1/blackouts", Operate, Body).about("Add a black-out"),
    may("DELETE", "/api/v1/blackouts/{id}", Operate, Body).about("Remove a black-out"),
    may("GET", "/api/v1/presence", View, Somewhere).about("Who is there"),
    may("POST", "/api/v1/presence", Operate, Body).about("Say that somebody is there, or leaves"),
    may("GET", "/api/v1/timeline", View, Somewhere)
        .about("Lines of the timeline after a number, oldest first; without a number the newest"),
    may("GET", "/api/v1/events", View, Somewhere).about(
        "The live stream: server-sent events, each a message as JSON; lines of the timeline have their number as id",
    ),
    // People.
    public("POST", "/api/v1/login").about("Log in; gives the secret of a session"),
    may("POST", "/api/v1/logout", Own, Somewhere).about("End the session"),
    may("GET", "/api/v1/me", Own, Somewhere).about("As whom the server sees the caller"),
    may("GET", "/api/v1/users", Govern, Everything).about("All users"),
    may("POST", "/api/v1/users", Govern, Everything).about("Add a user"),
    may("POST", "/api/v1/users/{user}/grants", Govern, Everything).about("Set what a user may do"),
    may("POST", "/api/v1/users/{user}/password", Own, Body).about("Change a password"),
    may("POST", "/api/v1/users/{user}/disable", Govern, Everything).about("Disable a user"),
    may("POST", "/api/v1/users/{user}/enable", Govern, Everything).about("Enable a user again"),
    may("POST", "/api/v1/users/{user}/totp", Own, Body).about("Make a key for one-time codes"),
    may("POST", "/api/v1/users/{user}/totp/confirm", Own, Body).about("Turn one-time codes on, with the first of them"),
    may("POST", "/api/v1/users/{user}/totp/remove", Own, Body).about("Turn one-time codes off"),
    may("GET", "/api/v1/teams", Govern, Everything).about("All teams"),
    may("PUT", "/api/v1/teams/{team}", Govern, Everything).about("Add a team, or change it"),
    may("DELETE", "/api/v1/teams/{team}", Govern, Everything).about("Remove a team"),
    may("GET", "/api/v1/tokens", Own, Body).about("API tokens, without their secrets"),
    may("POST", "/api/v1/tokens", Own, Body).about("Make an API token; its secret is shown this once"),
    may("POST", "/api/v1/tokens/{token}/revoke", Own, Body).about("Revoke an API token"),
    may("GET", "/api/v1/audit", Audit, Everything)
        .about("Entries of the audit log after a number, oldest first; without a number the newest"),
    may("GET", "/api/v1/audit/verify", Audit, Everything).about("Check the chain of the audit log"),
    // Messages and evidence.
    may("GET", "/api/v1/messages/receivers", View, Everything).about("Receivers of messages, without their secrets"),
    may("PUT", "/api/v1/messages/receivers/{receiver}", Configure, Everything).about("Add a receiver, or replace it"),
    may("DELETE", "/api/v1/messages/receivers/{receiver}", Configure, Everything).about("Remove a receiver"),
    may("POST", "/api/v1/messages/receivers/{receiver}/test", Operate, Everything).about("Send a test message"),
    may("GET", "/api/v1/messages/rules", View, Everything).about("Who gets what"),
    may("PUT", "/api/v1/messages/rules/{rule}", Configure, Everything).about("Add a rule, or replace it"),
    may("DELETE", "/api/v1/messages/rules/{rule}", Configure, Everything).about("Remove a rule"),
    may("GET", "/api/v1/messages/queue", View, Everything).about("Messages that wait, were taken, or are dead"),
    may("POST", "/api/v1/messages/queue/retry", Operate, Everything).about("Try dead messages again"),
    may("GET", "/api/v1/messages/daily", View, Everything).about("When the message of the day is sent"),
    may("PUT", "/api/v1/messages/daily", Configure, Everything).about("Send a message of the day"),
    may("DELETE", "/api/v1/messages/daily", Configure, Everything).about("Send no message of the day"),
    may("GET", "/api/v1/evidence", View, Body)
        .about("What was tested in a period, what was found, how long recovery takes"),
    // The API itself.
    public("GET", "/api/v1/openapi.json").about("This document"),
    // What watches the server.
    public("GET", "/healthz"),
    public("GET", "/readyz"),
    may("GET", "/metrics", View, Somewhere),
    // Pages.
    may("GET", "/", View, Somewhere),
    may("GET", "/clusters/{cluster}", View, Cluster),
    may("GET", "/clusters/{cluster}/operations", View, Cluster),
    may("GET", "/clusters/{cluster}/durations", View, Cluster),
    may("GET", "/clusters/{cluster}/act/{kind}", Operate, Cluster),
    may("POST", "/clusters/{cluster}/act/{kind}", Operate, Cluster),
    may("GET", "/runs", View, Somewhere),
    may("GET", "/runs/compare", View, Somewhere),
    may("GET", "/runs/{run}", View, Run),
    may("GET", "/runs/{run}/gameday", View, Run),
    may("GET", "/runs/{run}/recap", View, Run),
    may("GET", "/runs/{run}/recap.md", View, Run),
    may("POST", "/runs/{run}/halt", Stop, Run),
    may("POST", "/runs/{run}/notes", Operate, Run),
    may("POST", "/runs/{run}/parts", Operate, Run),
    may("POST", "/runs/{run}/template", Attack, Run),
    may("GET", "/operations/{operation}", View, Operation),
    may("GET", "/schedules", View, Somewhere),
    may("POST", "/schedules", Attack, Body),
    may("GET", "/schedules/new", Attack, Somewhere),
    may("GET", "/schedules/{schedule}", View, Body),
    may("POST", "/schedules/{schedule}", Attack, Body),
    may("POST", "/schedules/{schedule}/pause", Stop, Body),
    may("POST", "/schedules/{schedule}/resume", Attack, Body),
    may("POST", "/schedules/{schedule}/delete", Attack, Body),
    may("POST", "/presence", Operate, Body),
    may("GET", "/calendar", View, Somewhere),
    may("POST", "/blackouts", Operate, Body),
    may("POST", "/blackouts/{id}/delete", Operate, Body),
    may("GET", "/hosts", View, Somewhere),
    may("POST", "/hosts", Configure, Everything),
    may("GET", "/hosts/{host}", View, Somewhere),
    may("POST", "/hosts/{host}/token", Configure, Everything),
    may("POST", "/hosts/{host}/revoke", Configure, Everything),
    may("GET", "/register", Configure, Somewhere),
    may("POST", "/register", Configure, Body),
    may("GET", "/clusters/{cluster}/fingerprint", Operate, Cluster),
    may("POST", "/clusters/{cluster}/fingerprint", Operate, Cluster),
    may("GET", "/evidence", View, Somewhere),
    may("GET", "/people", Govern, Everything),
    may("POST", "/people/users", Govern, Everything),
    may("GET", "/people/users/{user}", Govern, Everything),
    may("POST", "/people/users/{user}/give", Govern, Everything),
    may("POST", "/people/users/{user}/take", Govern, Everything),
    may("POST", "/people/users/{user}/password", Govern, Everything),
    may("POST", "/people/users/{user}/codes-off", Govern, Everything),
    may("POST", "/people/users/{user}/disable", Govern, Everything),
    may("POST", "/people/users/{user}/enable", Govern, Everything),
    may("POST", "/people/teams", Govern, Everything),
    may("GET", "/people/teams/{team}", Govern, Everything),
    may("POST", "/people/teams/{team}/give", Govern, Everything),
    may("POST", "/people/teams/{team}/take", Govern, Everything),
    may("POST", "/people/teams/{team}/join", Govern, Everything),
    may("POST", "/people/teams/{team}/leave", Govern, Everything),
    may("POST", "/people/teams/{team}/delete", Govern, Everything),
    may("POST", "/people/tokens/{token}/revoke", Govern, Everything),
    may("GET", "/account", Own, Somewhere),
    may("POST", "/account/password", Own, Somewhere),
    may("POST", "/account/codes", Own, Somewhere),
    may("POST", "/account/codes/confirm", Own, Somewhere),
    may("POST", "/account/codes/remove", Own, Somewhere),
    may("POST", "/account/tokens", Own, Somewhere),
    may("POST", "/account/tokens/{token}/revoke", Own, Somewhere),
    may("GET", "/audit", Audit, Everything),
    may("GET", "/audit/check", Audit, Everything),
    may("GET", "/audit/export", Audit, Everything),
    may("GET", "/settings", View, Somewhere),
    may("GET", "/settings/guards", View, Somewhere),
    may("POST", "/settings/guards", Configure, Everything),
    may("POST", "/settings/guards/default", Configure, Everything),
    may("GET", "/settings/messages", View, Everything),
    may("POST", "/settings/messages/receivers", Configure, Everything),
    may("POST", "/settings/messages/receivers/{receiver}/test", Operate, Everything),
    may("POST", "/settings/messages/receivers/{receiver}/delete", Configure, Everything),
    may("POST", "/settings/messages/rules", Configure, Everything),
    may("POST", "/settings/messages/rules/{rule}/delete", Configure, Everything),
    may("POST", "/settings/messages/retry", Operate, Everything),
    may("POST", "/settings/messages/daily", Configure, Everything),
    // What can be started is for everybody to look at; what it would strike is shown to those who may start it.
    may("GET", "/experiments", View, Somewhere),
    may("GET", "/experiments/start/{name}", View, Somewhere),
    may("POST", "/experiments/start/{name}", Attack, Body),
    may("GET", "/experiments/attack", View, Somewhere),
    may("GET", "/experiments/attack/{kind}", View, Somewhere),
    may("POST", "/experiments/attack/{kind}", Attack, Body),
    may("GET", "/attacks", View, Somewhere),
    may("POST", "/attacks/{attack}/undo", Stop, Scope::Attack),
    may("GET", "/approvals", View, Somewhere),
    may("GET", "/approvals/{id}", View, Body),
    may("POST", "/approvals/{id}", Attack, Body),
    may("GET", "/templates", View, Somewhere),
    may("GET", "/templates/new", Attack, Somewhere),
    may("POST", "/templates/new", Attack, Somewhere),
    may("GET", "/templates/{template}", View, Somewhere),
    may("POST", "/templates/{template}/delete", Attack, Somewhere),
    may("GET", "/experiments/edit", Attack, Somewhere),
    may("POST", "/experiments/edit", Attack, Body),
    may("POST", "/experiments/edit/parse", Attack, Somewhere),
    may("POST", "/experiments/edit/yaml", Attack, Somewhere),
    may("GET", "/palette", View, Somewhere),
    may("POST", "/halt", Stop, Somewhere),
    may("POST", "/halt/resume", Operate, Everything),
    public("GET", "/login"),
    public("POST", "/login"),
    public("GET", "/login/openid"),
    public("GET", "/login/openid/return"),
    may("POST", "/logout", Own, Somewhere),
    public("GET", "/assets/{name}"),
    public("GET", "/errors/{code}"),
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
