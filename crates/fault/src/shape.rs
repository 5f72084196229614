//! The parameters of a fault: a struct in its module is their only description. From it come the check of what a user
//! wrote, the JSON schema, the documentation and the options of the command line.

use crate::kinds;
use crate::pulse::{self, Pulse};
use firedrill_model::Span;
use firedrill_model::attack::{Fault, FaultProblem, PEERS_MARK, Parameters as Written};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The typed parameters of one kind of fault. Doc comments of the struct and of its fields are its documentation.
pub(crate) trait Parameters: DeserializeOwned + JsonSchema {
    /// Refuses values that make no sense together, with a sentence that says what would. Pure: asks nothing of the host.
    ///
    /// # Errors
    /// The sentence.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether it can come and go. Not when it is over at once, comes and goes by itself, or is dear to put in and out.
    const PULSES: bool = true;

    /// Whether what it matches is cut off as surely as by a partition, for a silence longer than `lease` ends leases.
    fn cuts_off(&self, _lease: Span) -> bool {
        false
    }
}

/// What is known of a kind's parameters without their type.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    schema: fn() -> Schema,
    check: fn(&Written) -> Result<(), FaultProblem>,
    cuts_off: fn(&Written, Span) -> bool,
}

impl Shape {
    pub(crate) const fn of<P: Parameters>() -> Self {
        Self { schema: schema::<P>, check: check::<P>, cuts_off: cuts_off::<P> }
    }

    /// The JSON schema of the parameters: an object with all definitions in line.
    #[must_use]
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// The documentation: that of the struct.
    #[must_use]
    pub fn documentation(&self) -> String {
        text(self.schema().as_value(), "description")
    }

    /// Every parameter, in alphabetical order.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let schema = self.schema();
        let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let one = |(name, property): (String, Value)| Parameter {
            required: required.iter().any(|required| *required == *name),
            form: form(&property),
            input: input(&property),
            choices: choices(&property).unwrap_or_default(),
            default: property.get("default").filter(|default| !default.is_null()).map(printed),
            documentation: text(&property, "description"),
            name,
        };
        let mut all: Vec<Parameter> = properties.into_iter().map(one).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Names of the parameters that say who is on the other side: where a selector may stand, for the server to resolve.
    #[must_use]
    pub fn peer_parameters(&self) -> Vec<String> {
        let schema = self.schema();
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        properties.into_iter().filter(|(_, property)| mentions(property, PEERS_MARK)).map(|(name, _)| name).collect()
    }

    pub(crate) fn check(&self, written: &Written) -> Result<(), FaultProblem> {
        (self.check)(written)
    }

    pub(crate) fn cuts_off(&self, written: &Written, lease: Span) -> bool {
        (self.cuts_off)(written, lease)
    }
}

/// One parameter, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Parameter {
    /// As in files; on the command line with `-` for `_`.
    pub name: String,
    /// What a value looks like (`duration such as 100ms`).
    pub form: String,
    /// How text on a command line becomes a value.
    #[serde(skip)]
    pub input: Input,
    /// The words among which there is a choice, when there are no other values.
    #[serde(skip)]
    pub choices: Vec<String>,
    /// It must be given.
    pub required: bool,
    /// What holds when it is not given, as in files.
    pub default: Option<String>,
    /// What it is.
    pub documentation: String,
}

/// How text on a command line becomes a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// As it is.
    Text,
    /// A number.
    Number,
    /// `true` or `false`; the option alone means `true`.
    Flag,
    /// Several, joined by commas.
    List(Box<Input>),
    /// A selector, or addresses and networks joined by commas.
    Peers,
    /// `name=value` pairs joined by commas.
    Object,
}

fn input(schema: &Value) -> Input {
    if mentions(schema, PEERS_MARK) {
        return Input::Peers;
    }
    let alternatives = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key).and_then(Value::as_array));
    if let Some(alternatives) = alternatives {
        let inputs = alternatives.iter().filter(|one| one.get("type") != Some(&Value::from("null"))).map(input);
        // What can be an object or a word is given as an object.
        return inputs.max_by_key(|input| *input == Input::Object).unwrap_or(Input::Text);
    }
    match json_type(schema) {
        "integer" | "number" => Input::Number,
        "boolean" => Input::Flag,
        "array" => Input::List(Box::new(schema.get("items").map_or(Input::Text, input))),
        "object" => Input::Object,
        _ => Input::Text,
    }
}

/// The words of a choice; `None`: there are other values too.
fn choices(schema: &Value) -> Option<Vec<String>> {
    let alternatives = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key).and_then(Value::as_array));
    if let Some(alternatives) = alternatives {
        let there = alternatives.iter().filter(|one| one.get("type") != Some(&Value::from("null")));
        return Some(there.map(choices).collect::<Option<Vec<_>>>()?.concat());
    }
    if let Some(constant) = schema.get("const") {
        return Some(vec![printed(constant)]);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().filter(|one| !one.is_null()).map(printed).collect());
    }
    (json_type(schema) == "boolean").then(|| vec!["true".to_owned(), "false".to_owned()])
}

/// The type of a value that is there.
fn json_type(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or(""),
        kind => kind.and_then(Value::as_str).unwrap_or(""),
    }
}

/// Whether a key stands anywhere in a schema.
fn mentions(schema: &Value, key: &str) -> bool {
    match schema {
        Value::Object(fields) => fields.contains_key(key) || fields.values().any(|field| mentions(field, key)),
        Value::Array(items) => items.iter().any(|item| mentions(item, key)),
        _ => false,
    }
}

fn text(schema: &Value, key: &str) -> String {
    schema.get(key).and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

fn printed(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A schema in a few words.
fn form(schema: &Value) -> String {
    let alternatives = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key).and_then(Value::as_array));
    if let Some(alternatives) = alternatives {
        let mut forms: Vec<String> =
            alternatives.iter().filter(|one| one.get("type") != Some(&Value::from("null"))).map(form).collect();
        forms.dedup();
        return forms.join(" or ");
    }
    if let Some(constant) = schema.get("const") {
        return format!("`{}`", printed(constant));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> =
            values.iter().filter(|one| !one.is_null()).map(|one| format!("`{}`", printed(one))).collect();
        return values.join(", ");
    }
    let kind = json_type(schema);
    let example = schema.get("examples").and_then(Value::as_array).and_then(|examples| examples.first()).map(printed);
    match (kind, text(schema, "title"), example) {
        ("array", ..) => format!("list of {}", schema.get("items").map(form).unwrap_or_default()),
        (_, title, Some(example)) if !title.is_empty() => format!("{title} such as `{example}`"),
        ("number", title, _) if !title.is_empty() => title,
        ("object", ..) => "object".to_owned(),
        (kind, ..) => kind.to_owned(),
    }
}

fn schema<P: Parameters>() -> Schema {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut generator = SchemaGenerator::new(settings);
    let mut schema = generator.root_schema_for::<P>();
    if P::PULSES {
        let properties = schema.ensure_object().entry("properties").or_insert_with(|| Value::Object(Written::new()));
        pulse::describe(properties, &mut generator);
    }
    schema
}

/// Reads the parameters, or says which one is wrong.
pub(crate) fn read<P: Parameters>(written: &Written) -> Result<P, FaultProblem> {
    let whole = |message: String| FaultProblem { parameter: None, message };
    let schema = schema::<P>();
    let known = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(stray) = written.keys().find(|name| !known.contains_key(*name)) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let message = match names.as_slice() {
            _ if pulse::NAMES.contains(&stray.as_str()) => "this kind of fault cannot come and go".to_owned(),
            [] => format!("there is no parameter `{stray}`: this kind takes none"),
            names => format!("there is no parameter `{stray}`; known are {}", names.join(", ")),
        };
        return Err(FaultProblem { parameter: Some(stray.clone()), message });
    }
    Pulse::read(written)?;
    let written = &pulse::without(written);
    let parse = |written: Written| serde_json::from_value::<P>(Value::Object(written));
    let parameters = parse(written.clone()).map_err(|problem| {
        let message = problem.to_string();
        // The parser does not say where. The parameter to blame is the one without which it says something else.
        let blamed = written.keys().find(|name| {
            let mut without = written.clone();
            without.remove(*name);
            parse(without).map_or_else(|other| other.to_string() != message, |_| true)
        });
        FaultProblem { parameter: blamed.cloned(), message }
    })?;
    parameters.check().map_err(whole)?;
    Ok(parameters)
}

fn check<P: Parameters>(written: &Written) -> Result<(), FaultProblem> {
    read::<P>(written).map(drop)
}

fn cuts_off<P: Parameters>(written: &Written, lease: Span) -> bool {
    read::<P>(written).is_ok_and(|parameters| parameters.cuts_off(lease))
}

/// Whether a fault is one of the table, with parameters that it takes. Pure.
///
/// # Errors
/// What is wrong, and with which parameter.
pub fn check_fault(fault: &Fault) -> Result<(), FaultProblem> {
    let Some(kind) = kinds::find(&fault.kind) else {
        let names: Vec<&str> = kinds::KINDS.iter().map(|kind| kind.name).collect();
        let message = format!("there is no attack of kind {:?}; known are {}", fault.kind, names.join(", "));
        return Err(FaultProblem { parameter: Some("kind".to_owned()), message });
    };
    kind.shape.check(&fault.parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(fault: &Fault) -> String {
        check_fault(fault).expect_err("must be refused").to_string()
    }

    #[test]
    fn the_wrong_parameter_is_named() {
        assert!(problem(&Fault::new("tickle")).contains("known are kill, pause"));
        assert!(problem(&Fault::new("pause").with("delay", "1s")).starts_with("`delay`: there is no parameter"));
        assert!(problem(&Fault::new("latency").with("delay", "often")).starts_with("`delay`: "));
        assert!(problem(&Fault::new("latency")).contains("delay"));
        assert!(check_fault(&Fault::new("latency").with("delay", "100ms")).is_ok());
    }

    #[test]
    fn a_choice_among_words_is_known_and_nothing_else_is_one() {
        let choices = |kind: &str, name: &str| {
            let parameters = kinds::find(kind).expect("a kind").shape.parameters();
            parameters.into_iter().find(|one| one.name == name).expect("a parameter").choices
        };
        assert_eq!(choices("partition", "direction"), ["both", "inbound", "outbound"]);
        assert!(choices("latency", "delay").is_empty() && choices("latency", "peers").is_empty());
    }

    #[test]
    fn every_kind_documents_each_of_its_parameters() {
        for kind in kinds::KINDS {
            assert!(!kind.shape.documentation().is_empty(), "{} has no documentation", kind.name);
            for parameter in kind.shape.parameters() {
                let place = format!("`{}` of {}", parameter.name, kind.name);
                assert!(!parameter.documentation.is_empty(), "{place} has no documentation");
                assert!(!parameter.form.is_empty(), "{place} has no form");
            }
        }
    }
}
