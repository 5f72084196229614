//! A cluster as a person writes it: YAML with what [`RegisterCluster`] takes. Its rules are checked by the server.

use crate::http::RegisterCluster;

/// Why a text is not a cluster: with the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cluster: {0}")]
pub struct NotACluster(String);

/// Reads a cluster from YAML.
///
/// # Errors
/// It is not YAML, or not a cluster; with the place.
pub fn read(text: &str) -> Result<RegisterCluster, NotACluster> {
    serde_saphyr::from_str(text).map_err(|error| NotACluster(error.without_snippet().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_cluster_is_its_nodes_and_what_is_missing_is_named() {
        let node = "{name: east-1, host: db-1, region: east, endpoint: {address: 10.0.0.1, port: 3306}, initial_role: primary, server_id: 1}";
        let cluster = read(&format!("spec: {{name: shop, nodes: [{node}]}}")).expect("a cluster");
        assert_eq!((cluster.spec.name.as_str(), cluster.spec.nodes.len(), cluster.login), ("shop", 1, None));
        let wrong = read("spec:\n  name: shop\n").expect_err("no nodes");
        assert!(wrong.to_string().contains("nodes"), "{wrong}");
        assert!(read("{").is_err());
    }
}
