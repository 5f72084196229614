//! What a run's numbers were made on.

use firedrill_model::ClusterView;
use std::collections::BTreeSet;

/// Pairs for the report: what was measured on what.
pub(super) fn describe(view: Option<&ClusterView>) -> Vec<(String, String)> {
    let versions: BTreeSet<String> = view
        .into_iter()
        .flat_map(|view| &view.nodes)
        .filter_map(|node| node.observation.as_ref()?.status.as_ref().map(|status| status.version.clone()))
        .collect();
    let nodes = view.map_or(0, |view| view.nodes.len());
    let durability = view.map(|view| format!("{:?}", view.policy.durability).to_lowercase()).unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or_else(|_| "unknown".to_owned(), |cores| cores.to_string());
    vec![
        ("database server".to_owned(), versions.into_iter().collect::<Vec<_>>().join(", ")),
        ("nodes".to_owned(), nodes.to_string()),
        ("durability".to_owned(), durability),
        ("kernel of the server's machine".to_owned(), kernel.trim().to_owned()),
        ("cores of the server's machine".to_owned(), cores),
        ("firedrill".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]
}
