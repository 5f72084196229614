//! The call about evidence.

use super::call::ANSWER_WITHIN;
use super::{Client, ClientError};
use firedrill_model::ClusterName;
use firedrill_schedule::Zone;
use reqwest::Method;
use serde::Serialize;

/// Which evidence is meant.
#[derive(Debug, Clone, Serialize)]
pub struct EvidenceQuery {
    /// From then on: a day, or a day and a time.
    pub from: String,
    /// Until then; a day is included.
    pub to: String,
    /// Only of this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// By the clock of this zone; UTC when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// In which form.
    pub format: EvidenceFormat,
}

/// A form of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceFormat {
    /// The values.
    Json,
    /// One page that needs nothing else, for print.
    Html,
    /// One row for each run.
    Csv,
}

impl Client {
    /// The document of evidence, as text in its form.
    ///
    /// # Errors
    /// [`ClientError`]; the period cannot be used.
    pub async fn evidence(&self, query: &EvidenceQuery) -> Result<String, ClientError> {
        let path = "/api/v1/evidence";
        let request = self.call(Method::GET, path).query(query).timeout(ANSWER_WITHIN);
        let response = self.answer(path, request).await?;
        response.text().await.map_err(|source| self.broken(path, source))
    }
}
