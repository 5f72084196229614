//! The runs there were, newest first.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::http::RunEntry;
use serde::{Deserialize, Deserializer};

/// Which runs are wanted, as it stands in the address of the page. Empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RunsQuery {
    /// On that cluster.
    pub cluster: String,
    /// Of that experiment.
    pub experiment: String,
    /// That came to that verdict; `running`: those without one.
    pub verdict: String,
    /// Begun before that run.
    #[serde(deserialize_with = "unless_empty")]
    pub before: Option<String>,
}

/// A form sends the empty text for what was left out.
fn unless_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|text| !text.is_empty()))
}

/// What a run can have come to, as the filter names it.
const VERDICTS: [&str; 5] = ["passed", "failed", "inconclusive", "error", "running"];

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Runs {
    /// Which are wanted.
    pub query: RunsQuery,
    /// Newest first.
    pub runs: Vec<RunEntry>,
    /// The run after which older ones go on, when there are any.
    pub next: Option<String>,
}

#[derive(Template)]
#[template(path = "runs.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Runs,
}

/// The list of runs.
#[must_use]
pub fn page(frame: &Frame, page: &Runs) -> String {
    finish(Page { frame, page }.render())
}

impl Page<'_> {
    fn is_filtered(&self) -> bool {
        let RunsQuery { cluster, experiment, verdict, before } = &self.page.query;
        before.is_some() || [cluster, experiment, verdict].iter().any(|text| !text.is_empty())
    }
}
