//! All pages of a console, found as a person would: by following links.

use crate::Browser;
use std::collections::{BTreeSet, VecDeque};

/// Pages that a console may have: a walk that finds more has lost its way.
const PAGES_MAX: usize = 120;

/// After these comes the name of one of many things, and one page of them stands for all.
const COLLECTIONS: &[&str] = &[
    "clusters",
    "hosts",
    "runs",
    "operations",
    "attacks",
    "attack",
    "templates",
    "schedules",
    "start",
    "errors",
    "users",
    "teams",
    "rules",
    "receivers",
];
/// Pages that have a name of their own beside those of the things.
const OWN: &[&str] = &["new", "calendar", "compare", "blackouts", "presence", "import", "act", "edit", "me", "today"];
/// What is no page.
const NO_PAGES: &[&str] = &["/api/", "/assets/", "/logout", "/login/openid", "/audit/export"];

/// One page of each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where it is.
    pub path: String,
    /// Of which kind it is: the path with `{}` instead of names, and the names of what is asked.
    pub kind: String,
}

/// The kind of a path.
#[must_use]
pub fn kind(path: &str) -> String {
    let (path, asked) = path.split_once('?').unwrap_or((path, ""));
    let mut parts: Vec<&str> = Vec::new();
    let mut after = "";
    for part in path.split('/') {
        parts.push(if COLLECTIONS.contains(&after) && !OWN.contains(&part) && !part.is_empty() { "{}" } else { part });
        after = part;
    }
    let mut names: Vec<&str> =
        asked.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let path = parts.join("/");
    if names.is_empty() { path } else { format!("{path}?{}", names.join("&")) }
}

/// Walks from the first page along all links, one page of each kind. The browser is at the last one afterwards.
///
/// # Errors
/// A page does not come.
pub async fn pages(browser: &Browser, server: &str) -> anyhow::Result<Vec<Page>> {
    let mut known = BTreeSet::from(["/".to_owned()]);
    let mut ahead = VecDeque::from([Page { path: "/".to_owned(), kind: "/".to_owned() }]);
    let mut found = Vec::new();
    while let Some(page) = ahead.pop_front() {
        anyhow::ensure!(found.len() < PAGES_MAX, "more than {PAGES_MAX} kinds of pages, the last is {}", page.kind);
        browser.go(&format!("{server}{}", page.path)).await?;
        for path in browser.links().await? {
            let kind = kind(&path);
            let is_page = !NO_PAGES.iter().any(|no| path.starts_with(no)) && !path.contains("download");
            if is_page && known.insert(kind.clone()) {
                ahead.push_back(Page { path, kind });
            }
        }
        found.push(page);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_stands_for_all_of_its_kind() {
        assert_eq!(kind("/hosts/east-1"), "/hosts/{}");
        assert_eq!(kind("/runs/01a2/gameday"), "/runs/{}/gameday");
        assert_eq!(kind("/schedules/new?template=x&cluster=shop"), "/schedules/new?cluster&template");
        assert_eq!(kind("/clusters/shop/act/clone"), "/clusters/{}/act/clone");
        assert_eq!((kind("/"), kind("/runs")), ("/".to_owned(), "/runs".to_owned()));
    }
}
