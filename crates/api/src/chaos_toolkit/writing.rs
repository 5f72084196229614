//! The text of the experiment: what stands in a template is read and changed by people.

use super::document::Document;
use super::method::Reading;
use serde_json::Value;

/// In which order the parts of a map stand; the others follow by name.
const FIRST: [&str; 8] = ["kind", "name", "target", "measure", "url", "program", "query", "path"];

/// An experiment file.
pub(super) fn experiment(name: &str, document: &Document, reading: &Reading<'_>) -> String {
    let mut text = format!("name: {name}\n");
    for (field, words) in [("title", document.title()), ("hypothesis", document.hypothesis())] {
        text.push_str(&format!("{field}: {}\n", quoted(&words)));
    }
    // The Chaos Toolkit waits neither before nor after the method.
    text.push_str("warm_up: 0s\ncool_down: 0s\n");
    if reading.overlap {
        text.push_str("overlap: true\n");
    }
    for (field, items) in [("probes", &reading.probes), ("steps", &reading.steps), ("abort_when", &reading.abort_when)]
    {
        if items.is_empty() {
            continue;
        }
        text.push_str(&format!("{field}:\n"));
        items.iter().for_each(|item| text.push_str(&format!("  - {}\n", entry(item))));
    }
    text.push_str("expect: []\n");
    text
}

/// One item of a list: a step stands as `kind: value`, without braces.
fn entry(item: &Value) -> String {
    match item.as_object().map(|fields| fields.iter().collect::<Vec<_>>()) {
        Some(fields) if fields.len() == 1 => format!("{}: {}", fields[0].0, flow(fields[0].1)),
        _ => flow(item),
    }
}

/// A value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
            fields.sort_by_key(|(name, _)| (rank(name), (*name).clone()));
            let one = |(name, value): (&String, &Value)| format!("{}: {}", scalar(name), flow(value));
            format!("{{{}}}", fields.into_iter().map(one).collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}

/// A text without quotes when it can be nothing else, such as `kill`, `30s`, `at-least`.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let word = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(plain) && !WORDS.contains(&text);
    // Other words that begin with a digit might be numbers: `1e3`, `0x1f`.
    if word || (text.chars().all(plain) && is_time(text)) { text.to_owned() } else { quoted(text) }
}

/// `1m30s`.
fn is_time(text: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_lowercase()) && text.parse::<firedrill_model::Span>().is_ok()
}

/// In double quotes: a text of JSON is one of YAML.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
