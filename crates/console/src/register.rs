//! Registering a cluster by its file, and comparing the data of its nodes by their fingerprints.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::http::{NodeFingerprint, Problem};
use firedrill_model::ClusterName;
use std::collections::BTreeMap;

/// How the file of a small cluster looks.
const EXAMPLE: &str = "spec:
  name: shop
  nodes:
    - {name: east-1, host: db-1, region: east, endpoint: {address: 10.0.0.21, port: 3306}, initial_role: primary, server_id: 1}
    - {name: east-2, host: db-2, region: east, endpoint: {address: 10.0.0.22, port: 3306}, initial_role: replica, server_id: 2}
";

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct Register {
    /// The text that was pasted.
    pub file: String,
    /// Why it was not taken.
    pub problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "register.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Register,
    example: &'static str,
}

/// The page on which a cluster is registered, or changed.
#[must_use]
pub fn page(frame: &Frame, page: &Register) -> String {
    finish(Page { frame, page, example: EXAMPLE }.render())
}

/// What the page of fingerprints shows.
#[derive(Debug, Clone)]
pub struct Fingerprints {
    /// Of which cluster.
    pub cluster: ClusterName,
    /// Each node's, or why there is none; `None`: it was not asked for yet.
    pub nodes: Option<Vec<NodeFingerprint>>,
}

/// One table, compared.
struct Compared<'a> {
    table: &'a str,
    /// The rows of each node that has it.
    rows: Vec<String>,
    same: bool,
}

#[derive(Template)]
#[template(path = "fingerprint.html")]
struct FingerprintPage<'a> {
    frame: &'a Frame,
    page: &'a Fingerprints,
    nodes: &'a [NodeFingerprint],
    tables: Vec<Compared<'a>>,
}

/// What comparing does, and what came of it.
#[must_use]
pub fn fingerprints(frame: &Frame, page: &Fingerprints) -> String {
    let nodes = page.nodes.as_deref().unwrap_or_default();
    finish(FingerprintPage { frame, page, nodes, tables: compared(nodes) }.render())
}

/// Each table with what the nodes that answered have of it, those that differ first.
fn compared(nodes: &[NodeFingerprint]) -> Vec<Compared<'_>> {
    let answered: Vec<_> = nodes.iter().filter_map(|node| node.result.as_ref().ok()).collect();
    let mut tables: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for table in answered.iter().flat_map(|fingerprint| &fingerprint.tables) {
        tables.entry(&table.table).or_default().push((table.rows, table.hash));
    }
    let compare = |(table, found): (_, Vec<(u64, u64)>)| Compared {
        table,
        same: found.len() == answered.len() && found.windows(2).all(|pair| pair[0] == pair[1]),
        rows: found.iter().map(|(rows, _)| format::count(*rows)).collect(),
    };
    let mut compared: Vec<Compared<'_>> = tables.into_iter().map(compare).collect();
    compared.sort_by_key(|one| one.same);
    compared
}

impl FingerprintPage<'_> {
    fn differing(&self) -> usize {
        self.tables.iter().filter(|table| !table.same).count()
    }

    fn answered(&self) -> usize {
        self.nodes.iter().filter(|node| node.result.is_ok()).count()
    }

    /// All nodes that answered were looked at in the same position, so that differences are real.
    fn at_one_position(&self) -> bool {
        let positions: Vec<_> =
            self.nodes.iter().filter_map(|node| Some(&node.result.as_ref().ok()?.position)).collect();
        positions.windows(2).all(|pair| pair[0] == pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::HOSTILE;
    use firedrill_model::access::Role;
    use serde_json::json;

    #[test]
    fn the_example_is_a_cluster_and_what_was_pasted_is_kept() {
        let cluster = firedrill_api::cluster_file::read(EXAMPLE).expect("a cluster");
        assert_eq!(cluster.spec.validate(), Ok(()));
        let problem = Problem { code: "S002".into(), message: HOSTILE.into(), refused: false };
        let shown = Register { file: HOSTILE.into(), problem: Some(problem) };
        let html = page(&Frame::shown_to(Role::Admin), &shown);
        assert!(
            !html.contains("<script>alert") && html.contains("alert(1)") && html.contains("/errors/S002"),
            "{html}"
        );
        assert!(html.contains("initial_role: primary"));
    }

    fn shown(nodes: serde_json::Value) -> String {
        let nodes = serde_json::from_value(nodes).expect("fingerprints");
        let shown = Fingerprints { cluster: "shop".parse().expect("a name"), nodes };
        fingerprints(&Frame::shown_to(Role::Operator), &shown)
    }

    #[test]
    fn what_differs_stands_out() {
        let node = |name: &str, hash: u64| {
            json!({"node": name, "result": {"Ok": {"position": "0-1-9", "tables": [
                {"table": HOSTILE, "rows": 3, "hash": 1}, {"table": "shop.orders", "rows": 12345, "hash": hash}]}}})
        };
        let same = shown(json!([node("east-1", 7), node("east-2", 7)]));
        assert!(same.contains("The data of 2 nodes is the same") && !same.contains("<script>alert"), "{same}");
        let other =
            shown(json!([node("east-1", 7), node("east-2", 8), {"node": "east-3", "result": {"Err": HOSTILE}}]));
        assert!(
            other.contains("1 table differs") && other.contains("✖ differs") && !other.contains("<script>alert"),
            "{other}"
        );
        assert!(other.find("shop.orders").expect("first") < other.rfind("alert(1)").expect("second"), "{other}");
        let none = shown(json!([{"node": "east-3", "result": {"Err": "away"}}]));
        assert!(none.contains("No node") && !none.contains("is the same"), "{none}");
    }

    #[test]
    fn nothing_is_read_before_it_is_asked_for() {
        let html = shown(serde_json::Value::Null);
        assert!(html.contains("Compare now") && !html.contains("<table"), "{html}");
    }
}
