//! Who may depend on whom. The table is ARCHITECTURE.md's "arrows only go down", as a program.

use super::Finding;
use crate::shell;
use anyhow::{Context, Result};
use serde_json::Value;

/// Our crates, and which of our crates each may use. Tests may use more.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("keeper", &["model"]),
    ("ledger", &["model"]),
    ("schedule", &["model"]),
    ("api", &["keeper", "model", "schedule"]),
    ("store", &["api", "keeper", "model", "schedule"]),
    ("console", &["api", "ledger", "model", "schedule"]),
    ("host", &["model"]),
    ("engine", &["host", "model"]),
    ("fault", &["engine", "host", "model"]),
    ("proxy", &["host", "model"]),
    ("workload", &["ledger", "model"]),
    ("agent", &["api", "engine", "fault", "host", "model", "proxy", "workload"]),
    ("server", &["api", "console", "fault", "keeper", "ledger", "model", "schedule", "store"]),
    ("sandbox", &["agent", "api", "engine", "fault", "host", "model", "proxy"]),
    ("sim", &["keeper", "model"]),
    ("played", &["api", "model"]),
    ("browser", &["api", "model"]),
];

/// The program itself, which wires everything but the development tools.
const PROGRAM: &str = "firedrill";

/// Ours, but no part of the product.
const DEVELOPMENT: [&str; 3] = ["sim", "played", "browser"];

/// What the pure crates may use of other people's: values, errors, arithmetic, nothing that acts.
const PURE: [&str; 4] = ["model", "keeper", "ledger", "schedule"];
const PURE_MAY_USE: [&str; 9] =
    ["crc32fast", "croner", "humantime", "jiff", "schemars", "serde", "serde_json", "serde_json_path", "thiserror"];

/// Crates that only one of ours may use, and why.
const RESERVED: [(&str, &str, &str); 2] =
    [("sqlx", "store", "only `store` knows SQL storage"), ("askama", "console", "only `console` makes pages")];

/// One dependency edge of one of our packages.
struct Edge {
    from: String,
    to: String,
}

/// Checks all packages of the workspace.
///
/// # Errors
/// When cargo cannot say what there is.
pub(super) fn check() -> Result<Vec<Finding>> {
    let text = shell::output("cargo", &["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let edges = edges(&metadata).context("cargo metadata has an unexpected form")?;
    Ok(edges.iter().filter_map(judge).collect())
}

/// Dependencies that are built into the product, not those of tests.
fn edges(metadata: &Value) -> Option<Vec<Edge>> {
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array()? {
        let from = package["name"].as_str()?;
        for dependency in package["dependencies"].as_array()? {
            if dependency["kind"].is_null() {
                edges.push(Edge { from: from.to_owned(), to: dependency["name"].as_str()?.to_owned() });
            }
        }
    }
    Some(edges)
}

fn judge(edge: &Edge) -> Option<Finding> {
    if edge.from == "xtask" {
        return None;
    }
    let from = ours(&edge.from)?;
    let place = format!("crates/{from}/Cargo.toml");
    let wrong = |message: String| Some(Finding::new(place.clone(), message));
    let Some(to) = ours(&edge.to) else {
        if PURE.contains(&from) && !PURE_MAY_USE.contains(&edge.to.as_str()) {
            return wrong(format!("`{}` in a pure crate; it may use {}", edge.to, PURE_MAY_USE.join(", ")));
        }
        let reserved = RESERVED.iter().find(|(name, owner, _)| *name == edge.to && *owner != from);
        return reserved.and_then(|(name, _, why)| wrong(format!("`{name}`: {why}")));
    };
    if from == PROGRAM {
        return if DEVELOPMENT.contains(&to) { wrong(format!("`{to}` is for development only")) } else { None };
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == from) else {
        return wrong("a new crate: give it a place in xtask/src/tidy/layers.rs and in ARCHITECTURE.md".to_owned());
    };
    if allowed.contains(&to) {
        return None;
    }
    wrong(format!("`{from}` may not use `{to}`: arrows only go down (ARCHITECTURE.md); it may use {allowed:?}"))
}

/// The short name of one of our packages.
fn ours(package: &str) -> Option<&str> {
    if package == PROGRAM { Some(PROGRAM) } else { package.strip_prefix("firedrill-") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(from: &str, to: &str) -> Option<String> {
        judge(&Edge { from: from.to_owned(), to: to.to_owned() }).map(|finding| finding.message)
    }

    #[test]
    fn arrows_only_go_down() {
        assert_eq!(verdict("firedrill-server", "firedrill-keeper"), None);
        assert!(verdict("firedrill-keeper", "firedrill-server").is_some());
        assert!(verdict("firedrill-server", "firedrill-host").is_some());
        assert!(verdict("firedrill", "firedrill-sim").is_some());
        assert!(verdict("firedrill", "firedrill-played").is_some());
        assert!(verdict("firedrill-new", "firedrill-model").is_some());
    }

    #[test]
    fn pure_crates_use_nothing_that_acts() {
        for actor in ["tokio", "rand", "libc", "nix"] {
            assert!(verdict("firedrill-keeper", actor).is_some(), "{actor}");
        }
        assert_eq!(verdict("firedrill-keeper", "serde"), None);
        assert_eq!(verdict("firedrill-agent", "tokio"), None);
    }

    #[test]
    fn sql_storage_is_for_store_alone() {
        assert_eq!(verdict("firedrill-store", "sqlx"), None);
        assert!(verdict("firedrill-server", "sqlx").is_some());
    }

    #[test]
    fn the_table_itself_has_no_circle() {
        for (at, (name, uses)) in LAYERS.iter().enumerate() {
            for used in *uses {
                let below = LAYERS[..at].iter().any(|(earlier, _)| earlier == used);
                assert!(below, "{name} uses {used}, which must come before it in the table");
            }
        }
    }
}
