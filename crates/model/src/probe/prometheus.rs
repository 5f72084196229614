//! What an instant query of Prometheus says (its HTTP API, version 1).

use super::Finding;
use super::judge::with_wish;
use super::question::PrometheusQuestion;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The labels that are shown of a series; the rest is not needed to find it.
const LABELS_SHOWN: usize = 4;

#[derive(Deserialize, JsonSchema)]
struct Reply {
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// One series of an instant vector.
#[derive(Deserialize, JsonSchema)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (Value, String),
}

/// Every series must be as wanted. Without one, or when Prometheus cannot say, nothing is known.
pub(super) fn judge(question: &PrometheusQuestion, status: u16, body: Option<&Result<String, String>>) -> Finding {
    let text = match body {
        Some(Ok(text)) => text,
        Some(Err(why)) => return Finding::unknown(&format!("Prometheus's answer could not be read: {why}")),
        None => return Finding::unknown("Prometheus's answer could not be read: there is no body"),
    };
    let reply: Reply = match serde_json::from_str(text) {
        Ok(reply) => reply,
        Err(_) => return Finding::unknown(&format!("Prometheus answered with status {status} and no JSON of its own")),
    };
    if let Some(error) = reply.error {
        return Finding::unknown(&format!("Prometheus says: {error}"));
    }
    let values = match reply.data.map(values) {
        Some(Ok(values)) => values,
        Some(Err(problem)) => return Finding::unknown(&problem),
        None => return Finding::unknown("Prometheus's answer is not understood: it has no data"),
    };
    let held = |value: &str| question.value.holds(&Value::from(value));
    let Some((name, value)) = values.iter().find(|(_, value)| !held(value)).or(values.first()) else {
        return Finding::unknown("there is no series that the query names");
    };
    let more = values.len().saturating_sub(1);
    let others = if more > 0 { format!(" (and {more} more series)") } else { String::new() };
    let held = held(value);
    let observed = with_wish(held, format!("{name} is {value}"), &question.value.to_string());
    Finding::of(held, observed + &others)
}

fn values(data: Data) -> Result<Vec<(String, String)>, String> {
    let not_understood = |error: serde_json::Error| format!("Prometheus's answer is not understood: {error}");
    match data.result_type.as_str() {
        "vector" => {
            let series: Vec<Series> = serde_json::from_value(data.result).map_err(not_understood)?;
            Ok(series.into_iter().map(|series| (name_of(&series.metric), series.value.1)).collect())
        }
        "scalar" => {
            let (_, value): (Value, String) = serde_json::from_value(data.result).map_err(not_understood)?;
            Ok(vec![("it".to_owned(), value)])
        }
        other => Err(format!("the query gives a {other}; one that gives an instant vector or a number is needed")),
    }
}

fn name_of(labels: &BTreeMap<String, String>) -> String {
    let name = labels.get("__name__").map_or("it", String::as_str);
    let shown: Vec<String> = labels
        .iter()
        .filter(|(label, _)| *label != "__name__")
        .take(LABELS_SHOWN)
        .map(|(label, value)| format!("{label}={value:?}"))
        .collect();
    if shown.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", shown.join(",")) }
}
