//! What a sandbox consists of, derived from its name and a few choices. Pure: everything that will exist is named
//! here before any of it is made.

use serde::{Deserialize, Serialize};

/// How the cluster is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Lossless: what a client had an OK for survives the loss of the primary.
    #[default]
    Safe,
    /// Set up to lose writes with certainty, to prove that the loss is seen: asynchronous, replication held back,
    /// no flush at commit, promotion without proof.
    Unsafe,
}
