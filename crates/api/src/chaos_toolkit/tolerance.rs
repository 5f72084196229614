//! Tolerances: what the answer to a probe must be.

use super::Obstacle;
use super::document::{clean, kind};
use super::values::Values;
use serde_json::{Map, Value, json};

/// What an answer is compared with.
#[derive(Debug, PartialEq)]
pub(super) enum Tolerance {
    /// One value.
    Is(Value),
    /// A list: two bounds for a number, else one of these.
    List(Vec<Value>),
    /// A text that is found in a part of the answer.
    Text { literal: String, target: Option<String> },
    /// What a path finds in a part of the answer.
    Path { path: String, target: Option<String>, expect: Option<Value>, notes: Vec<String> },
    /// A number between two bounds, in a part of the answer.
    Range { low: Value, high: Value, target: Option<String> },
}

impl Tolerance {
    pub(super) fn read(value: &Value, place: &str, values: &Values) -> Result<Self, Obstacle> {
        let value = values.fill(value, place)?;
        match &value {
            Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(Self::Is(value)),
            Value::Array(items)
                if !items.is_empty() && items.iter().all(|item| !item.is_object() && !item.is_array()) =>
            {
                Ok(Self::List(items.clone()))
            }
            Value::Object(fields) => of_map(fields, place, values),
            other => {
                let found = format!("{} as a tolerance", kind(other));
                Err(Obstacle::new(
                    place,
                    found,
                    "give one value, a list of values, or a `regex`, `jsonpath` or `range`",
                ))
            }
        }
    }
}

fn of_map(fields: &Map<String, Value>, place: &str, values: &Values) -> Result<Tolerance, Obstacle> {
    let target = fields.get("target").and_then(Value::as_str).map(clean);
    match fields.get("type").and_then(Value::as_str) {
        Some("regex") => {
            let pattern = fields.get("pattern").and_then(Value::as_str).unwrap_or_default();
            let literal = literal(pattern).ok_or_else(|| {
                let found = format!("the pattern {:?}", clean(pattern));
                let instead = "only a text to be found is taken: use one, or a `jsonpath`";
                Obstacle::new(format!("{place}.pattern"), found, instead)
            })?;
            Ok(Tolerance::Text { literal, target })
        }
        Some("jsonpath") => path(fields, target, place, values),
        Some("range") => match fields.get("range").and_then(Value::as_array).map(Vec::as_slice) {
            Some([low @ Value::Number(_), high @ Value::Number(_)]) => {
                Ok(Tolerance::Range { low: low.clone(), high: high.clone(), target })
            }
            _ => Err(Obstacle::new(format!("{place}.range"), "no two numbers", "give the lowest and the highest")),
        },
        Some("probe") => {
            let func =
                |name: &str| fields.get("provider").and_then(|one| one.get(name)).and_then(Value::as_str).map(clean);
            let name = [func("module"), func("func")].into_iter().flatten().collect::<Vec<_>>().join(".");
            let found = format!("a tolerance that is itself a program ({name})");
            Err(Obstacle::new(place, found, "say what the answer must be: a value, a `jsonpath` or a `range`"))
        }
        _ => {
            let found = "a tolerance of an unknown type";
            Err(Obstacle::new(format!("{place}.type"), found, "there are `regex`, `jsonpath` and `range`"))
        }
    }
}

fn path(
    fields: &Map<String, Value>,
    target: Option<String>,
    place: &str,
    values: &Values,
) -> Result<Tolerance, Obstacle> {
    let place_of_path = format!("{place}.path");
    let path = fields.get("path").map(|path| values.text(path, &place_of_path)).transpose()?.unwrap_or_default();
    if path.trim().is_empty() {
        return Err(Obstacle::new(place_of_path, "no path", "give a JSONPath such as `$.status`"));
    }
    if fields.contains_key("count") {
        let found = "how many values are found";
        return Err(Obstacle::new(format!("{place}.count"), found, "say what the values must be (`expect`)"));
    }
    let mut notes = Vec::new();
    let expect = match fields.get("expect") {
        None => None,
        Some(Value::Array(items)) => match items.split_first() {
            Some((first, rest)) if rest.iter().all(|other| other == first) => {
                if !rest.is_empty() {
                    notes.push("how many values are found does not count, only that each is as wanted".to_owned());
                }
                Some(first.clone())
            }
            _ => {
                let found = "several different values, or none";
                return Err(Obstacle::new(format!("{place}.expect"), found, "give one path for each value"));
            }
        },
        Some(one) => Some(one.clone()),
    };
    if expect.as_ref().is_some_and(|wanted| wanted.is_array() || wanted.is_object()) {
        let found = "a list or a map as the wanted value";
        return Err(Obstacle::new(
            format!("{place}.expect"),
            found,
            "let the path lead to one text, number or truth value",
        ));
    }
    Ok(Tolerance::Path { path: path.trim().to_owned(), target, expect, notes })
}

/// The text that a pattern finds, when it is nothing but a text.
fn literal(pattern: &str) -> Option<String> {
    let bare = pattern.strip_prefix(".*").unwrap_or(pattern);
    let bare = bare.strip_suffix(".*").filter(|rest| !rest.ends_with('\\')).unwrap_or(bare);
    let mut text = String::new();
    let mut characters = bare.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.push(characters.next().filter(|next| next.is_ascii_punctuation())?),
            '.' | '^' | '$' | '*' | '+' | '?' | '{' | '}' | '[' | ']' | '|' | '(' | ')' => return None,
            plain => text.push(plain),
        }
    }
    (!text.is_empty()).then_some(text)
}

/// The comparisons that a number between two bounds comes to: one, when the bounds are the same.
pub(super) fn between(low: &Value, high: &Value) -> Vec<(&'static str, Value)> {
    if low == high {
        return vec![("", json!({ "equals": low }))];
    }
    vec![(" (at least)", json!({ "at-least": low })), (" (at most)", json!({ "at-most": high }))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_is_a_text_is_told_from_others() {
        for (pattern, text) in [("OK", "OK"), (".*all is well.*", "all is well"), (r"v1\.2", "v1.2"), ("{", "")] {
            assert_eq!(literal(pattern).unwrap_or_default(), text, "{pattern}");
        }
        for pattern in ["", ".*", "^OK$", "a|b", r"\d", "a+", r"a\.*", "(x)", "\\"] {
            assert_eq!(literal(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn two_bounds_are_two_questions() {
        assert_eq!(between(&json!(1), &json!(1)), [("", json!({"equals": 1}))]);
        assert_eq!(between(&json!(1), &json!(2)).len(), 2);
    }
}
