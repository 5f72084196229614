//! Values of parameters as people type them, on a command line or in a form.

use crate::shape::{Input, Parameter};
use firedrill_model::{Network, Selector};
use serde_json::{Map, Value, json};

/// A list without anything in it, which is another thing than a list that is not given.
const NOBODY: &str = "[]";

impl Parameter {
    /// The value that a text means. Whether the fault takes it is asked elsewhere, of all parameters together.
    ///
    /// # Errors
    /// A sentence that says what the text is not.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        value(&self.input, text)
    }

    /// A text that means this value.
    #[must_use]
    pub fn text(&self, value: &Value) -> String {
        // A list of peers is one of networks; anything else there is a selector.
        match (&self.input, value) {
            (Input::Peers, Value::Object(_)) => serde_json::from_value::<Selector>(value.clone())
                .map_or_else(|_| printed(value), |selector| selector.to_string()),
            _ => printed(value),
        }
    }
}

fn value(input: &Input, text: &str) -> Result<Value, String> {
    if text.trim() == NOBODY && matches!(input, Input::List(_) | Input::Peers) {
        return Ok(json!([]));
    }
    let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Ok(match input {
        Input::Text => json!(text),
        // What is no number may be one with a unit.
        Input::Number => serde_json::from_str::<serde_json::Number>(text).map_or_else(|_| json!(text), Value::Number),
        Input::Flag => json!(text.parse::<bool>().map_err(|_| format!("{text:?} is neither true nor false"))?),
        Input::List(item) => Value::Array(parts().map(|part| value(item, part)).collect::<Result<_, String>>()?),
        Input::Peers => match parts().map(str::parse::<Network>).collect::<Result<Vec<_>, _>>() {
            Ok(networks) => json!(networks),
            Err(_) => json!(text.parse::<Selector>().map_err(|problem| problem.to_string())?),
        },
        Input::Object => {
            let pair = |part: &str| {
                let (name, text) = part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=VALUE"))?;
                let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
                Ok::<_, String>((name.to_owned(), value))
            };
            Value::Object(parts().map(pair).collect::<Result<Map<_, _>, _>>()?)
        }
    })
}

fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => NOBODY.to_owned(),
        Value::Array(items) => items.iter().map(printed).collect::<Vec<_>>().join(","),
        Value::Object(pairs) => {
            pairs.iter().map(|(name, value)| format!("{name}={}", printed(value))).collect::<Vec<_>>().join(",")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds;
    use serde_json::{Value, json};

    fn there_and_back(kind: &str, name: &str, value: &Value, text: &str) {
        let parameters = kinds::find(kind).expect("a kind").shape.parameters();
        let parameter = parameters.iter().find(|one| one.name == name).expect("a parameter");
        assert_eq!(parameter.text(value), text);
        assert_eq!(parameter.read(text).as_ref(), Ok(value));
    }

    #[test]
    fn a_value_is_read_as_it_is_printed() {
        there_and_back("latency", "delay", &json!("100ms"), "100ms");
        there_and_back("latency", "peers", &json!({"role": "replica"}), "role=replica");
        there_and_back("latency", "peers", &json!(["10.0.0.0/8", "10.1.0.0/16"]), "10.0.0.0/8,10.1.0.0/16");
        there_and_back("partition", "spare", &json!([]), "[]");
        there_and_back("partition", "remote_ports", &json!(["3306", "4000-4010"]), "3306,4000-4010");
        there_and_back("kill", "process", &json!({"select": "pid", "pid": 42}), "pid=42,select=pid");
    }

    #[test]
    fn what_is_no_such_value_is_refused() {
        let parameters = kinds::find("latency").expect("a kind").shape.parameters();
        let peers = parameters.iter().find(|one| one.name == "peers").expect("a parameter");
        assert!(peers.read("everything").is_err());
    }
}
