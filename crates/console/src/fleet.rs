//! The fleet on one page: which clusters need somebody, and what is going on. A thousand clusters stay a page that loads
//! at once: those that need attention come first, and the list is cut into parts.

use firedrill_api::http::RunEntry;
use firedrill_model::{ClusterName, ClusterView, Health, NodeView, Operation, Role, Span};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Clusters on one page: two screens of rows.
const ROWS: usize = 50;

/// Which part of the fleet is wanted, as it stands in the address of the page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FleetQuery {
    /// Only clusters with this in the name of the cluster, of a node, host or region, or in what is wrong.
    pub q: String,
    /// Only those that need attention, or in which something goes on.
    pub attention: bool,
    /// What is put together under one heading.
    pub by: By,
    /// From 1.
    pub page: usize,
}

/// By what clusters are put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// By the region of the primary, or of the first node while there is none.
    Region,
    /// By what they need.
    State,
    /// Not at all.
    #[default]
    #[serde(other)]
    Nothing,
}

impl By {
    /// All of them, as they stand in the address and on the page.
    pub(crate) const ALL: [Self; 3] = [Self::Nothing, Self::Region, Self::State];

    /// As it stands in the address.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Region => "region",
            Self::State => "state",
        }
    }
}

/// How much a cluster needs somebody; the first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Nobody takes writes, or a person is waited for.
    Down,
    /// Short of a node, or of proof.
    Short,
    /// Something goes on that ends by itself.
    Busy,
    /// All well.
    Well,
}

impl Need {
    /// As a class of the style sheet.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Down => "critical",
            Self::Short => "warning",
            Self::Busy => "running",
            Self::Well => "healthy",
        }
    }

    /// In words; with a sign of its own, as colours say nothing to some.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Down => "✖ no primary",
            Self::Short => "▲ not at full strength",
            Self::Busy => "↻ at work",
            Self::Well => "✔ all well",
        }
    }
}

/// One cluster on one line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row<'a> {
    pub(crate) need: Need,
    pub(crate) cluster: &'a ClusterName,
    /// The node that takes writes, with its region.
    pub(crate) primary: Option<&'a NodeView>,
    pub(crate) healthy: usize,
    pub(crate) nodes: usize,
    pub(crate) regions: Vec<&'a str>,
    /// The region of the primary; of the first node, when there is none.
    home: &'a str,
    /// The largest lag of a replica that tells one.
    pub(crate) lag: Option<Span>,
    pub(crate) ackers: usize,
    /// What is wrong, loudest first.
    pub(crate) problem: Option<&'a str>,
    pub(crate) operations: Vec<&'a Operation>,
    pub(crate) runs: Vec<&'a RunEntry>,
    /// Faults that are in place, or on their way.
    pub(crate) attacks: usize,
}

/// Clusters under one heading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group<'a> {
    /// Empty when nothing is put together.
    pub(crate) name: &'a str,
    /// How they stand, those on other pages too.
    pub(crate) tally: Tally,
    /// Those on this page.
    pub(crate) rows: Vec<Row<'a>>,
}

/// How many clusters stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) clusters: usize,
    pub(crate) down: usize,
    pub(crate) short: usize,
    pub(crate) busy: usize,
}

impl Tally {
    fn add(mut self, row: &Row<'_>) -> Self {
        self.clusters += 1;
        match row.need {
            Need::Down => self.down += 1,
            Need::Short => self.short += 1,
            Need::Busy => self.busy += 1,
            Need::Well => (),
        }
        self
    }
}

/// The part of the fleet that a page shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fleet<'a> {
    /// The heading with the worst off comes first.
    pub(crate) groups: Vec<Group<'a>>,
    /// How all clusters stand.
    pub(crate) tally: Tally,
    /// Those that were asked for, on all pages.
    pub(crate) found: usize,
    pub(crate) page: usize,
    pub(crate) pages: usize,
}

impl<'a> Fleet<'a> {
    /// The only cluster that there is, so that nobody has to choose it.
    pub(crate) fn only(&self) -> Option<&'a ClusterName> {
        let mut rows = self.groups.iter().flat_map(|group| &group.rows);
        rows.next().filter(|_| self.tally.clusters == 1).map(|row| row.cluster)
    }
}

/// What goes on in the fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UnderWay {
    /// Operations of keepers.
    pub operations: Vec<Operation>,
    /// Runs.
    pub runs: Vec<RunEntry>,
    /// How many faults are in place, or on their way, by cluster.
    pub attacks: BTreeMap<ClusterName, usize>,
}

/// Sorts and cuts.
pub(crate) fn fleet<'a>(views: &'a [ClusterView], under_way: &'a UnderWay, query: &FleetQuery) -> Fleet<'a> {
    let all: Vec<Row<'a>> = views.iter().map(|view| row(view, under_way)).collect();
    let tally = all.iter().fold(Tally::default(), Tally::add);
    let wanted = query.q.trim().to_lowercase();
    let mut rows: Vec<Row<'a>> = all
        .into_iter()
        .zip(views)
        .filter(|(row, view)| (!query.attention || row.need != Need::Well) && matches(view, &wanted))
        .map(|(row, _)| row)
        .collect();
    rows.sort_by(|one, other| (one.need, one.cluster).cmp(&(other.need, other.cluster)));
    let found = rows.len();
    let pages = found.div_ceil(ROWS).max(1);
    let page = query.page.clamp(1, pages);
    let mut groups: Vec<Group<'a>> = Vec::new();
    for row in rows {
        let name = row.heading(query.by);
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { name, tally: Tally::default(), rows: vec![row] }),
        }
    }
    let groups = cut(groups, (page - 1) * ROWS);
    Fleet { groups, tally, found, page, pages }
}

/// The rows of one page, of all that stand below each other; headings without one go.
fn cut(mut groups: Vec<Group<'_>>, mut skipped: usize) -> Vec<Group<'_>> {
    let mut room = ROWS;
    for group in &mut groups {
        group.tally = group.rows.iter().fold(Tally::default(), Tally::add);
        let before = skipped.min(group.rows.len());
        skipped -= before;
        group.rows.drain(..before);
        group.rows.truncate(room);
        room -= group.rows.len();
    }
    groups.retain(|group| !group.rows.is_empty());
    groups
}

impl<'a> Row<'a> {
    fn heading(&self, by: By) -> &'a str {
        match by {
            By::Nothing => "",
            By::State => self.need.words(),
            By::Region => self.home,
        }
    }
}

fn matches(view: &ClusterView, wanted: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(wanted);
    wanted.is_empty()
        || has(view.cluster.as_str())
        || view.problems.iter().any(|problem| has(problem))
        || view.nodes.iter().any(|node| has(node.name.as_str()) || has(node.host.as_str()) || has(node.region.as_str()))
}

fn row<'a>(view: &'a ClusterView, under_way: &'a UnderWay) -> Row<'a> {
    let attacks = under_way.attacks.get(&view.cluster).copied().unwrap_or_default();
    let operations: Vec<&Operation> = under_way.operations.iter().filter(|one| one.cluster == view.cluster).collect();
    let runs: Vec<&RunEntry> = under_way.runs.iter().filter(|run| run.cluster == view.cluster).collect();
    let primary = view.primary.as_ref().and_then(|name| view.nodes.iter().find(|node| node.name == *name));
    let takes_writes = primary.is_some_and(|node| matches!(node.health, Health::Healthy | Health::Suspect));
    let mut regions: Vec<&str> = view.nodes.iter().map(|node| node.region.as_str()).collect();
    regions.sort_unstable();
    regions.dedup();
    let lag = |node: &NodeView| node.observation.as_ref()?.status.as_ref()?.replication.as_ref()?.lag;
    Row {
        need: match () {
            () if !takes_writes => Need::Down,
            () if view.fully_redundant && operations.is_empty() && runs.is_empty() && attacks == 0 => Need::Well,
            () if view.fully_redundant => Need::Busy,
            () => Need::Short,
        },
        cluster: &view.cluster,
        primary,
        healthy: view.nodes.iter().filter(|node| node.health == Health::Healthy).count(),
        nodes: view.nodes.len(),
        regions,
        home: primary.or(view.nodes.first()).map_or("no node", |node| node.region.as_str()),
        lag: view.nodes.iter().filter(|node| node.role != Role::Primary).filter_map(lag).max(),
        ackers: view.nodes.iter().filter(|node| node.acker).count(),
        problem: view.problems.first().map(String::as_str),
        operations,
        runs,
        attacks,
    }
}

/// How far an operation is, as steps that are over of those that are known.
pub(crate) fn progress(operation: &Operation) -> String {
    let over = operation.steps.iter().filter(|step| step.ended.is_some()).count();
    match operation.steps.last() {
        Some(last) => format!("{over}/{}: {}", operation.steps.len(), last.title),
        None => "begins".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::cluster::{Endpoint, Policy};
    use firedrill_model::{Generation, Timestamp};

    fn view(name: &str, primary: Option<Health>, redundant: bool) -> ClusterView {
        let node = |node: &str, role, health| NodeView {
            name: node.parse().expect("a name"),
            host: format!("host-{node}").parse().expect("a name"),
            region: "east".parse().expect("a name"),
            endpoint: Endpoint { address: "10.0.0.1".parse().expect("an address"), port: 3306 },
            role,
            health,
            reason: String::new(),
            acker: role == Role::Replica,
            behind: None,
            observation: None,
            observed_at: None,
        };
        ClusterView {
            cluster: name.parse().expect("a name"),
            generation: Generation(1),
            primary: primary.map(|_| "n1".parse().expect("a name")),
            route: None,
            nodes: vec![
                node("n1", Role::Primary, primary.unwrap_or(Health::Dead)),
                node("n2", Role::Replica, Health::Healthy),
            ],
            operations: Vec::new(),
            fully_redundant: redundant,
            problems: if redundant { Vec::new() } else { vec![format!("{name} lacks a replica")] },
            policy: Policy::default(),
            at: Timestamp(0),
        }
    }

    fn names<'a>(fleet: &Fleet<'a>) -> Vec<&'a str> {
        fleet.groups.iter().flat_map(|group| &group.rows).map(|row| row.cluster.as_str()).collect()
    }

    #[test]
    fn who_needs_somebody_comes_first() {
        let quiet = UnderWay::default();
        let views = [
            view("a-well", Some(Health::Healthy), true),
            view("b-down", None, false),
            view("c-short", Some(Health::Healthy), false),
            view("d-dead", Some(Health::Dead), false),
        ];
        let all = fleet(&views, &quiet, &FleetQuery::default());
        assert_eq!(names(&all), ["b-down", "d-dead", "c-short", "a-well"]);
        assert_eq!((all.tally, all.found), (Tally { clusters: 4, down: 2, short: 1, busy: 0 }, 4));
        let attention = FleetQuery { attention: true, ..FleetQuery::default() };
        assert_eq!(names(&fleet(&views, &quiet, &attention)), ["b-down", "d-dead", "c-short"]);
        let search = FleetQuery { q: " LACKS ".to_owned(), ..FleetQuery::default() };
        assert_eq!(fleet(&views, &quiet, &search).found, 3, "what is wrong is looked at too");
        let search = FleetQuery { q: "c-".to_owned(), ..FleetQuery::default() };
        assert_eq!(names(&fleet(&views, &quiet, &search)), ["c-short"]);
    }

    /// What the first page may weigh over the wire; nothing is compressed.
    const PAGE_BYTES_MAX: usize = 100 << 10;

    #[test]
    fn the_first_page_of_a_thousand_clusters_is_small_and_says_what_is_wrong() {
        let mut clusters: Vec<ClusterView> =
            (0..1000).map(|number| view(&format!("c{number:04}"), Some(Health::Healthy), true)).collect();
        clusters[977] = view("c0977", None, false);
        clusters[977].problems = vec!["<b>no & primary</b>".to_owned()];
        for cluster in &mut clusters {
            let second = cluster.nodes[1].clone();
            cluster.nodes.extend([second.clone(), second.clone(), second.clone(), second]);
        }
        let page = crate::pages::Overview {
            clusters,
            query: FleetQuery { q: "\"><script>".to_owned(), ..FleetQuery::default() },
            under_way: UnderWay::default(),
            operations: Vec::new(),
            runs: Vec::new(),
            library: Vec::new(),
            timeline: Vec::new(),
        };
        let frame = crate::Frame::shown_to(firedrill_model::access::Role::Operator);
        let nothing = crate::pages::overview(&frame, &page);
        assert!(!nothing.contains("\"><script>") && nothing.contains("No cluster is like that"), "{nothing}");
        let all = crate::pages::overview(&frame, &crate::pages::Overview { query: FleetQuery::default(), ..page });
        assert!(all.len() < PAGE_BYTES_MAX, "{} bytes", all.len());
        let (first, second) = (all.find("c0977").expect("it is on the page"), all.find("c0000").expect("so is this"));
        assert!(first < second, "who needs somebody comes first");
        assert!(all.contains("page 1 of 20") && all.contains("1 without a primary") && !all.contains("<b>no &"));
    }

    #[test]
    fn clusters_stand_under_headings_and_the_worst_off_heading_comes_first() {
        let quiet = UnderWay::default();
        let mut views: Vec<ClusterView> =
            (0..100).map(|number| view(&format!("c{number:03}"), Some(Health::Healthy), true)).collect();
        for view in &mut views[60..] {
            for node in &mut view.nodes {
                node.region = "west".parse().expect("a name");
            }
        }
        views[99] = view("c099", None, false);
        views[99].nodes[0].region = "west".parse().expect("a name");
        let asked = |page| FleetQuery { by: By::Region, page, ..FleetQuery::default() };
        let headings = |fleet: &Fleet<'_>| -> Vec<(String, usize, usize)> {
            fleet.groups.iter().map(|group| (group.name.to_owned(), group.tally.clusters, group.rows.len())).collect()
        };
        let first = fleet(&views, &quiet, &asked(1));
        assert_eq!(headings(&first), [("west".to_owned(), 40, 40), ("east".to_owned(), 60, 10)]);
        assert_eq!((names(&first)[0], first.groups[0].tally.down), ("c099", 1));
        let second = fleet(&views, &quiet, &asked(2));
        assert_eq!(headings(&second), [("east".to_owned(), 60, 50)]);
        let by_state = FleetQuery { by: By::State, ..FleetQuery::default() };
        assert_eq!(fleet(&views, &quiet, &by_state).groups[0].name, Need::Down.words());
    }

    #[test]
    fn a_thousand_clusters_are_cut_into_pages_and_no_page_is_out_of_reach() {
        let quiet = UnderWay::default();
        let views: Vec<ClusterView> =
            (0..1000).map(|number| view(&format!("c{number:04}"), Some(Health::Healthy), true)).collect();
        let first = fleet(&views, &quiet, &FleetQuery::default());
        assert_eq!((names(&first).len(), first.page, first.pages), (ROWS, 1, 20));
        let beyond = FleetQuery { page: 999, ..FleetQuery::default() };
        let last = fleet(&views, &quiet, &beyond);
        assert_eq!((last.page, names(&last).last().copied()), (20, Some("c0999")));
        assert_eq!(fleet(&[], &quiet, &beyond).pages, 1);
    }
}
