//! A file as a tree of values, and what stands at its top.

use super::Obstacle;
use serde_json::{Map, Value};

/// Deepest accepted nesting: ten times what an experiment needs.
const DEPTH_MAX: usize = 64;
/// Longest text that is taken over for people, in characters; what is longer is cut.
const TEXT_CHARS_MAX: usize = 4000;

/// What may stand at the top, and is read.
const KNOWN: [&str; 13] = [
    "version",
    "title",
    "description",
    "tags",
    "contributions",
    "configuration",
    "secrets",
    "steady-state-hypothesis",
    "method",
    "rollbacks",
    "controls",
    "runtime",
    "extensions",
];

/// A file, read but not understood yet.
pub(super) struct Document {
    top: Map<String, Value>,
}

/// Reads JSON or YAML.
pub(super) fn read(text: &str) -> Result<Document, Obstacle> {
    let not_one =
        |found: String| Obstacle::new("file", found, "give an experiment of the Chaos Toolkit, in JSON or YAML");
    if text.len() > super::FILE_BYTES_MAX {
        return Err(not_one(format!("{} bytes are more than {}", text.len(), super::FILE_BYTES_MAX)));
    }
    let top: Value = match serde_json::from_str(text) {
        Ok(top) => top,
        // What begins as JSON is meant as JSON, and its own refusal says more.
        Err(problem) if text.trim_start().starts_with('{') => return Err(not_one(format!("not JSON: {problem}"))),
        Err(_) => serde_saphyr::from_str_with_options(text, yaml())
            .map_err(|problem| not_one(format!("not YAML: {}", problem.without_snippet())))?,
    };
    if !shallow(&top) {
        return Err(not_one(format!("values are nested more than {DEPTH_MAX} deep")));
    }
    match top {
        Value::Object(top) => Document { top }.checked(),
        _ => Err(not_one("it is no map of `title`, `method` and so on".to_owned())),
    }
}

fn yaml() -> serde_saphyr::Options {
    serde_saphyr::options! { budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, }, }
}

/// Whether a value is nested less deep than is accepted; without recursion.
fn shallow(top: &Value) -> bool {
    let mut open = vec![(top, 0)];
    while let Some((value, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            return false;
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(fields) => open.extend(fields.values().map(|field| (field, depth + 1))),
            _ => {}
        }
    }
    true
}

impl Document {
    fn checked(self) -> Result<Self, Obstacle> {
        if let Some(key) = self.top.keys().find(|key| !KNOWN.contains(&key.as_str()) && !key.starts_with("x-")) {
            let known = format!("an experiment has {}", KNOWN.join(", "));
            return Err(Obstacle::new(clean(key), "an unknown part", known));
        }
        if !self.top.contains_key("method") {
            return Err(Obstacle::new("method", "there is none", "an experiment has a `title` and a `method`"));
        }
        Ok(self)
    }

    /// One part of it.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.top.get(name).filter(|value| !value.is_null())
    }

    /// A list at the top; none is an empty one.
    pub(super) fn list(&self, name: &str) -> Result<&[Value], Obstacle> {
        list(self.get(name), name)
    }

    /// Its title, on one line.
    pub(super) fn title(&self) -> String {
        let title = self.get("title").and_then(Value::as_str).unwrap_or_default();
        let line = clean(title).split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() { "An experiment of the Chaos Toolkit".to_owned() } else { line }
    }

    /// The steady state's title: what is believed to hold.
    pub(super) fn hypothesis(&self) -> String {
        let title = self.get("steady-state-hypothesis").and_then(|state| state.get("title")).and_then(Value::as_str);
        let title = clean(title.unwrap_or_default()).trim().to_owned();
        if title.is_empty() { self.title() } else { title }
    }

    /// Its description, and its tags.
    pub(super) fn about(&self) -> String {
        let description = self.get("description").and_then(Value::as_str).unwrap_or_default();
        let mut about = clean(description).trim().to_owned();
        let tags: Vec<&str> =
            self.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let from = "Imported from a file of the Chaos Toolkit.";
        about = if about.is_empty() { from.to_owned() } else { format!("{about}\n\n{from}") };
        if !tags.is_empty() {
            about.push_str(&format!(" Tags: {}.", clean(&tags.join(", "))));
        }
        about
    }
}

/// A list, or none.
pub(super) fn list<'a>(value: Option<&'a Value>, place: &str) -> Result<&'a [Value], Obstacle> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(Obstacle::new(place, format!("{} where a list belongs", kind(other)), "make it a list")),
    }
}

/// A map, or none.
pub(super) fn map(value: Option<&Value>, place: &str) -> Result<Map<String, Value>, Obstacle> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(fields.clone()),
        Some(other) => Err(Obstacle::new(place, format!("{} where a map belongs", kind(other)), "make it a map")),
    }
}

/// What kind of value it is, for people.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Text for people: nothing in it that a template would fill in or that a terminal would obey, and not endless.
pub(super) fn clean(text: &str) -> String {
    let visible = text.chars().map(|c| if c == '\n' || c == '\t' || !c.is_control() { c } else { ' ' });
    visible.take(TEXT_CHARS_MAX).collect::<String>().replace("${", "{")
}
