//! What can be started: the ladder, templates, attacks by hand, what one writes oneself.

use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_model::ClusterName;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Words that an entry has.
    pub q: String,
    /// For which cluster something is chosen; empty: not said.
    pub cluster: String,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// The ladder, from the least damaging rung up.
    Ladder,
    /// Shipped experiments beside the ladder.
    Beside,
    /// Outages that others had.
    Outages,
    /// Templates that somebody here has saved.
    Own,
}

impl Shelf {
    const ALL: [Self; 4] = [Self::Ladder, Self::Beside, Self::Outages, Self::Own];

    fn has_rungs(self) -> bool {
        self == Self::Ladder
    }

    const fn id(self) -> &'static str {
        match self {
            Self::Ladder => "ladder",
            Self::Beside => "beside",
            Self::Outages => "outages",
            Self::Own => "own",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Ladder => "The ladder",
            Self::Beside => "Beside the ladder",
            Self::Outages => "Outages that others had",
            Self::Own => "Your templates",
        }
    }

    const fn about(self) -> &'static str {
        match self {
            Self::Ladder => {
                "From the least to the most damaging. A rung is tried when the one below it has passed on the cluster."
            }
            Self::Beside => "Other ways in which a database host fails.",
            Self::Outages => "Known outages, reproduced with values that you can choose.",
            Self::Own => "Experiments that somebody here has saved.",
        }
    }
}

/// Something that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub shelf: Shelf,
    /// Its name.
    pub name: String,
    /// One line.
    pub title: String,
    /// What it shows, in full sentences.
    pub shows: String,
    /// Its rung.
    pub rung: Option<u32>,
}

impl Entry {
    fn is_template(&self) -> bool {
        matches!(self.shelf, Shelf::Outages | Shelf::Own)
    }

    fn fits(&self, words: &[String]) -> bool {
        let text = format!("{} {} {}", self.name, self.title, self.shows).to_lowercase();
        words.iter().all(|word| text.contains(word))
    }
}

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Experiments {
    /// Which entries are wanted.
    pub query: Query,
    /// All that there are.
    pub entries: Vec<Entry>,
    /// For which cluster something is chosen: the one that is asked for, or the only one.
    pub cluster: Option<ClusterName>,
    /// Rungs that have passed on it.
    pub passed: BTreeSet<u32>,
    /// How many clusters whoever looks can see.
    pub clusters: usize,
    /// Attacks in place now.
    pub in_place: usize,
    /// Requests that wait for a second person.
    pub waiting: usize,
}

#[derive(Template)]
#[template(path = "experiments.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Experiments,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, page: &Experiments) -> String {
    finish(Page { frame, page }.render())
}

impl Page<'_> {
    /// The entries that are wanted, by shelf; a shelf of one's own is shown empty too, with what to do.
    fn shelves(&self) -> Vec<(Shelf, Vec<&Entry>)> {
        let words: Vec<String> = self.page.query.q.to_lowercase().split_whitespace().map(str::to_owned).collect();
        let on = |shelf: Shelf| {
            let entries = self.page.entries.iter().filter(|entry| entry.shelf == shelf && entry.fits(&words));
            (shelf, entries.collect::<Vec<_>>())
        };
        let is_shown =
            |(shelf, entries): &(Shelf, Vec<&Entry>)| !entries.is_empty() || (*shelf == Shelf::Own && words.is_empty());
        Shelf::ALL.into_iter().map(on).filter(is_shown).collect()
    }

    fn start(&self, entry: &Entry) -> String {
        let from = entry.is_template().then(|| "from=template".to_owned());
        let cluster = self.page.cluster.as_ref().map(|cluster| format!("cluster={cluster}"));
        let query: Vec<String> = from.into_iter().chain(cluster).collect();
        let path = format!("/experiments/start/{}", entry.name);
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    /// How the rung stands on the cluster, in words with a class.
    fn rung(&self, entry: &Entry) -> (&'static str, &'static str) {
        let passed = |rung: u32| self.page.passed.contains(&rung);
        match (entry.rung, &self.page.cluster) {
            (Some(rung), Some(_)) if passed(rung) => ("passed", "✔ passed"),
            (Some(rung), Some(_)) if rung <= 1 || passed(rung - 1) => ("warning", "→ next"),
            (Some(_), Some(_)) => ("soft", "– the rung below first"),
            _ => ("soft", ""),
        }
    }

    fn cluster_name(&self) -> &str {
        self.page.cluster.as_ref().map_or("", ClusterName::as_str)
    }

    /// The query of links that keep the cluster.
    fn with_cluster(&self) -> String {
        self.page.cluster.as_ref().map(|cluster| format!("?cluster={cluster}")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::access::Role;

    const HOSTILE: &str = "<script>alert(1)</script>\"'&";

    fn entry(shelf: Shelf, name: &str, rung: Option<u32>) -> Entry {
        Entry { shelf, name: name.to_owned(), title: HOSTILE.to_owned(), shows: HOSTILE.to_owned(), rung }
    }

    fn experiments() -> Experiments {
        Experiments {
            query: Query { q: String::new(), cluster: HOSTILE.to_owned() },
            entries: vec![
                entry(Shelf::Ladder, "one", Some(1)),
                entry(Shelf::Ladder, "two", Some(2)),
                entry(Shelf::Ladder, "three", Some(3)),
                entry(Shelf::Outages, "outage", None),
            ],
            cluster: Some("shop".parse().expect("a name")),
            passed: BTreeSet::from([1]),
            clusters: 1,
            in_place: 0,
            waiting: 2,
        }
    }

    #[test]
    fn each_entry_has_one_link_to_its_start_and_keeps_the_cluster() {
        let html = page(&Frame::shown_to(Role::Operator), &experiments());
        assert!(html.contains("href=\"/experiments/start/one?cluster=shop\""), "{html}");
        assert!(
            html.contains("/experiments/start/outage?from=template") && html.contains("No template of your own yet")
        );
        let stand: Vec<usize> =
            ["✔ passed", "→ next", "– the rung below first"].iter().map(|words| html.matches(words).count()).collect();
        assert_eq!(stand, [1, 1, 1], "{html}");
        assert!(!html.contains("<script>alert"), "{html}");
        assert!(html.contains("/experiments/attack?cluster=shop") && html.contains("/experiments/edit?cluster=shop"));
    }

    #[test]
    fn a_viewer_may_look_and_is_offered_nothing_to_write() {
        let html = page(&Frame::shown_to(Role::Viewer), &experiments());
        assert!(!html.contains("/experiments/edit") && !html.contains("/templates/new"), "{html}");
        assert!(html.contains("/experiments/start/one"), "to look at it");
    }

    #[test]
    fn words_choose_and_nothing_says_so() {
        let mut shown = experiments();
        shown.query.q = "TWO".to_owned();
        let html = page(&Frame::shown_to(Role::Operator), &shown);
        assert!(html.contains("/experiments/start/two") && !html.contains("/experiments/start/one"), "{html}");
        shown.query.q = "nothing such".to_owned();
        assert!(page(&Frame::shown_to(Role::Operator), &shown).contains("Nothing is like that"));
        shown.clusters = 0;
        assert!(page(&Frame::shown_to(Role::Operator), &shown).contains("firedrill sandbox up"));
    }
}
