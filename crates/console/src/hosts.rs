//! Hosts: who is connected, what runs where, whose certificate ends soon; and the token by which a new one enrols.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::http::{HostView, Problem, Token};
use firedrill_model::attack::AttackReport;
use firedrill_model::{ClusterName, HostName, Span, Timestamp};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Hosts on one page of the list.
const HOSTS_ON_A_PAGE: usize = 100;
/// Tags that the choice of a filter lists.
const TAGS_MAX: usize = 200;

/// Which hosts are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HostQuery {
    /// Words that a host must have in its name, address, region, clusters, nodes, version or tags.
    pub q: String,
    /// With this tag: `service=shop`.
    pub tag: String,
    /// `away`, `expiring` or `revoked`; empty: all.
    pub state: String,
    /// Which page, from 1.
    pub page: Option<usize>,
}

/// What the list shows.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// All hosts.
    pub hosts: Vec<Placed>,
    /// Which of them are wanted.
    pub query: HostQuery,
    /// Now.
    pub now: Timestamp,
    /// A certificate that has less than this left was not renewed when it should have been.
    pub soon: Span,
    /// The name that was typed for a token.
    pub name: String,
    /// Why something was not done.
    pub problem: Option<Problem>,
}

/// A host, and the clusters that it is of.
#[derive(Debug, Clone)]
pub struct Placed {
    /// As the API shows it.
    pub host: HostView,
    /// As far as who looks may see them.
    pub clusters: BTreeSet<ClusterName>,
}

/// What the page of a host shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The host.
    pub placed: Placed,
    /// Now.
    pub now: Timestamp,
    /// As for [`Hosts`].
    pub soon: Span,
    /// Newest first.
    pub attacks: Vec<AttackReport>,
    /// What was typed as the reason of a revocation.
    pub reason: String,
    /// Why something was not done.
    pub problem: Option<Problem>,
}

/// How a host stands, for a badge.
pub(crate) struct Standing {
    pub(crate) class: &'static str,
    pub(crate) words: String,
}

/// Whether its certificate is good, and for how long.
pub(crate) fn certificate(host: &HostView, now: Timestamp, soon: Span) -> Standing {
    let (class, words) = match (&host.revoked, host.certificate_until) {
        (Some(_), _) => ("critical", "✖ revoked".to_owned()),
        (None, None) => ("warning", "▲ none, or to be renewed at once".to_owned()),
        (None, Some(until)) if until <= now => ("critical", "✖ expired".to_owned()),
        (None, Some(until)) if until.since(now) < soon => ("warning", format!("▲ ends in {}", rough(until.since(now)))),
        (None, Some(until)) => ("passed", format!("✔ good for {}", rough(until.since(now)))),
    };
    Standing { class, words }
}

/// Whole days, or hours, or minutes: as people say how long something is good.
fn rough(span: Span) -> String {
    let seconds = span.duration().as_secs();
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7200.. => format!("{} hours", seconds / 3600),
        _ => format!("{} minutes", seconds / 60),
    }
}

impl Placed {
    fn tags(&self) -> impl Iterator<Item = String> {
        self.host.tags.iter().map(|(key, value)| format!("{key}={value}"))
    }

    fn is_wanted(&self, query: &HostQuery, now: Timestamp, soon: Span) -> bool {
        let host = &self.host;
        let state = match query.state.as_str() {
            "away" => !host.connected,
            "revoked" => host.revoked.is_some(),
            "expiring" => host.revoked.is_none() && certificate(host, now, soon).class != "passed",
            _ => true,
        };
        let tag = query.tag.trim();
        if !state || !(tag.is_empty() || self.tags().any(|known| known == tag)) {
            return false;
        }
        let words: Vec<String> = query.q.split_whitespace().map(str::to_lowercase).collect();
        if words.is_empty() {
            return true;
        }
        let mut text = host.name.to_string();
        let mut add = |part: &str| {
            text.push(' ');
            text.push_str(&part.to_lowercase());
        };
        host.address.iter().for_each(|address| add(&address.to_string()));
        host.region.iter().for_each(|region| add(region.as_str()));
        host.agent_version.iter().for_each(|version| add(version));
        self.clusters.iter().for_each(|cluster| add(cluster.as_str()));
        host.nodes.iter().for_each(|node| add(node.as_str()));
        self.tags().for_each(|tag| add(&tag));
        words.iter().all(|word| text.contains(word.as_str()))
    }
}

#[derive(Template)]
#[template(path = "hosts.html")]
struct ListPage<'a> {
    frame: &'a Frame,
    page: &'a Hosts,
    found: usize,
    rows: Vec<&'a Placed>,
    at: usize,
    pages: usize,
    tags: BTreeSet<String>,
}

/// The list.
#[must_use]
pub fn list(frame: &Frame, page: &Hosts) -> String {
    let Hosts { hosts, query, now, soon, .. } = page;
    let found: Vec<&Placed> = hosts.iter().filter(|one| one.is_wanted(query, *now, *soon)).collect();
    let pages = found.len().div_ceil(HOSTS_ON_A_PAGE).max(1);
    let at = query.page.unwrap_or(1).clamp(1, pages);
    let rows = found.iter().skip((at - 1) * HOSTS_ON_A_PAGE).take(HOSTS_ON_A_PAGE).copied().collect();
    let mut tags = BTreeSet::new();
    for tag in hosts.iter().flat_map(Placed::tags) {
        if tags.len() >= TAGS_MAX {
            break;
        }
        tags.insert(tag);
    }
    finish(ListPage { frame, page, found: found.len(), rows, at, pages, tags }.render())
}

impl ListPage<'_> {
    fn hosts(&self) -> String {
        format::count(self.page.hosts.len() as u64)
    }

    fn connected(&self) -> String {
        format::count(self.page.hosts.iter().filter(|one| one.host.connected).count() as u64)
    }

    fn expiring(&self) -> usize {
        let query = HostQuery { state: "expiring".to_owned(), ..HostQuery::default() };
        self.page.hosts.iter().filter(|one| one.is_wanted(&query, self.page.now, self.page.soon)).count()
    }

    fn certificate(&self, placed: &Placed) -> Standing {
        certificate(&placed.host, self.page.now, self.page.soon)
    }
}

#[derive(Template)]
#[template(path = "host.html")]
struct HostPage<'a> {
    frame: &'a Frame,
    page: &'a Shown,
    host: &'a HostView,
    certificate: Standing,
}

/// One host.
#[must_use]
pub fn host(frame: &Frame, page: &Shown) -> String {
    let host = &page.placed.host;
    let certificate = certificate(host, page.now, page.soon);
    finish(HostPage { frame, page, host, certificate }.render())
}

/// A share in whole percent.
fn percent(part: u64, whole: u64) -> u64 {
    (u128::from(part) * 100).checked_div(u128::from(whole)).and_then(|share| u64::try_from(share).ok()).unwrap_or(0)
}

/// In MiB, as people compare memory and disks.
fn mebibytes(bytes: u64) -> String {
    format::count(bytes >> 20)
}

/// Hundredths, as people read a load.
fn hundredths(value: u32) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

#[derive(Template)]
#[template(path = "host_token.html")]
struct TokenPage<'a> {
    frame: &'a Frame,
    host: &'a HostName,
    token: &'a Token,
    configuration: String,
}

/// A token, which is shown this once, and what to do with it.
#[must_use]
pub fn token(frame: &Frame, host: &HostName, token: &Token) -> String {
    let configuration = serde_json::json!({
        "servers": [token.link_address],
        "enrolment": {"token": token.token, "authority_sha256": token.authority_sha256},
        "data_dir": "/var/lib/firedrill/agent",
        "host": host,
        "address": "10.0.0.21",
        "region": "east",
        "tags": {"service": "shop"},
    });
    let configuration = serde_json::to_string_pretty(&configuration).unwrap_or_default();
    finish(TokenPage { frame, host, token, configuration }.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::HOSTILE;
    use firedrill_model::access::Role;
    use serde_json::json;

    const DAY: i64 = 86_400_000_000;

    fn placed(name: &str, until_days: i64) -> Placed {
        let host = serde_json::from_value(json!({
            "name": name, "address": "10.0.0.1", "region": "east", "tags": {"service": HOSTILE, "zone": "a"},
            "connected": until_days > 1, "last_seen": 0, "agent_version": HOSTILE, "nodes": ["east-1"],
            "observation": {"load_hundredths": 105, "memory_total_bytes": 1000, "memory_available_bytes": 250,
                            "disk_free_bytes": 10, "disk_total_bytes": 100},
            "certificate_until": until_days * DAY
        }));
        Placed { host: host.expect("a host"), clusters: BTreeSet::from(["shop".parse().expect("a name")]) }
    }

    fn hosts(query: HostQuery) -> Hosts {
        Hosts {
            hosts: (1..=250).map(|number| placed(&format!("db-{number}"), if number == 7 { 1 } else { 7 })).collect(),
            query,
            now: Timestamp(0),
            soon: Span::secs(3 * 86_400),
            ..Hosts::default()
        }
    }

    #[test]
    fn the_list_is_bounded_filtered_and_plain_text() {
        let frame = Frame::shown_to(Role::Viewer);
        let html = list(&frame, &hosts(HostQuery::default()));
        assert_eq!(html.matches("href=\"/hosts/db-").count(), HOSTS_ON_A_PAGE, "{html}");
        assert!(
            html.contains("page 1 of 3") && html.contains("1 whose certificate") && !html.contains("<script>alert")
        );
        assert!(!html.contains("style=\"") && !html.contains("action=\"/hosts\" method=\"post\""));
        let count = |query: HostQuery| list(&frame, &hosts(query)).matches("href=\"/hosts/db-").count();
        assert_eq!(count(HostQuery { q: "DB-24 shop".into(), ..HostQuery::default() }), 11);
        assert_eq!(count(HostQuery { tag: "zone=a".into(), page: Some(3), ..HostQuery::default() }), 50);
        assert_eq!(count(HostQuery { tag: "zone=b".into(), ..HostQuery::default() }), 0);
        assert_eq!(count(HostQuery { state: "expiring".into(), ..HostQuery::default() }), 1);
        assert_eq!(count(HostQuery { state: "away".into(), ..HostQuery::default() }), 1);
        let odd = HostQuery { q: HOSTILE.into(), tag: HOSTILE.into(), page: Some(0), ..HostQuery::default() };
        let html = list(&frame, &hosts(odd));
        assert!(!html.contains("<script>alert") && html.contains("No host is like that"), "{html}");
    }

    #[test]
    fn without_a_host_it_says_how_the_first_comes_in() {
        let html = list(&Frame::shown_to(Role::Admin), &Hosts::default());
        assert!(html.contains("No host yet") && html.contains("action=\"/hosts\""), "{html}");
        let html = list(&Frame::shown_to(Role::Operator), &Hosts::default());
        assert!(!html.contains("action=\"/hosts\" class=\"form\""), "{html}");
    }

    #[test]
    fn a_host_shows_what_is_known_of_it_and_asks_once_before_it_is_kept_out() {
        let attack = json!([{"id": "a-1", "host": "db-1", "fault": {"kind": "latency", "delay": "1ms"}, "state": "active",
                             "at": 0, "mechanism": HOSTILE, "evidence": HOSTILE}]);
        let shown = |role, until| {
            let shown = Shown {
                placed: placed("db-1", until),
                now: Timestamp(0),
                soon: Span::secs(3 * 86_400),
                attacks: serde_json::from_value(attack.clone()).expect("attacks"),
                reason: HOSTILE.to_owned(),
                problem: Some(Problem { code: "S002".into(), message: HOSTILE.into(), refused: false }),
            };
            host(&Frame::shown_to(role), &shown)
        };
        let html = shown(Role::Admin, 7);
        assert!(!html.contains("<script>alert") && !html.contains("style=\""), "{html}");
        for text in ["/hosts/db-1/revoke", "/hosts/db-1/token", "good for 7 days", "1.05", "25 %", "/clusters/shop"] {
            assert!(html.contains(text), "{text}: {html}");
        }
        assert!(html.find("<summary>Keep it out").expect("asked") < html.find("/hosts/db-1/revoke").expect("the form"));
        let html = shown(Role::Operator, 1);
        assert!(!html.contains("/revoke") && !html.contains("/token") && html.contains("▲ ends in 24 hours"), "{html}");
        assert!(shown(Role::Viewer, 0).contains("✖ expired"));
    }

    #[test]
    fn a_token_comes_with_what_to_do_with_it() {
        let given =
            json!({"token": "5ecret", "expires": 0, "authority_sha256": "ab", "link_address": "10.0.0.10:7071"});
        let given: Token = serde_json::from_value(given).expect("a token");
        let html = token(&Frame::shown_to(Role::Admin), &"db-9".parse().expect("a name"), &given);
        assert_eq!(html.matches("5ecret").count(), 2, "alone, and in the configuration: {html}");
        assert!(html.contains("firedrill agent --config") && html.contains("10.0.0.10:7071"), "{html}");
    }
}
