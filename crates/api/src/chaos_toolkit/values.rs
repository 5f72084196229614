//! `configuration` and `secrets`: what is static is put in its place, what would be looked up when the experiment runs
//! becomes a parameter of the template. A secret goes nowhere: what a parameter is given stands in every report.

use super::Obstacle;
use super::document::{Document, clean, kind, map};
use firedrill_model::Span;
use firedrill_model::template::{Parameter, ParameterKind};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest time that is read, in seconds: that of the longest experiment.
const SECONDS_MAX: f64 = 86_400.0;

/// Where a value of the configuration comes from.
enum Source {
    /// It stands in the file.
    Static(Value),
    /// It is asked for when the template is started.
    Asked { parameter: String, about: String, default: Option<String> },
    /// It cannot be had; why.
    Nowhere(String),
}

/// As what a parameter is used, so which values it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    Word,
    /// A whole address of the web.
    Address,
    Count,
    Percent,
}

impl Wanted {
    const fn words(self) -> &'static str {
        match self {
            Self::Word => "a text",
            Self::Address => "an address",
            Self::Count => "a whole number",
            Self::Percent => "a percentage",
        }
    }
}

/// Parameters of a template, and for each a value to try it with.
pub(super) type Parameters = (Vec<Parameter>, BTreeMap<String, String>);

/// The values of a file.
pub(super) struct Values {
    sources: BTreeMap<String, Source>,
    secrets: BTreeSet<String>,
    wanted: RefCell<BTreeMap<String, BTreeSet<Wanted>>>,
}

impl Values {
    pub(super) fn read(document: &Document, problems: &mut Vec<Obstacle>) -> Self {
        let mut part = |name: &str| {
            map(document.get(name), name).unwrap_or_else(|problem| {
                problems.push(problem);
                Map::new()
            })
        };
        let (configuration, secrets) = (part("configuration"), part("secrets"));
        let mut sources: BTreeMap<String, Source> = BTreeMap::new();
        for (name, value) in &configuration {
            let source = source(name, value);
            if let Source::Asked { parameter, .. } = &source
                && sources
                    .values()
                    .any(|other| matches!(other, Source::Asked { parameter: taken, .. } if taken == parameter))
            {
                let found = format!("two values would both be the parameter {parameter}");
                problems.push(Obstacle::new(format!("configuration.{}", clean(name)), found, "rename one of them"));
            }
            sources.insert(name.clone(), source);
        }
        // `secrets` holds groups of values; a group itself can be named, too.
        let groups = secrets.iter().flat_map(|(group, inner)| {
            let inner = inner.as_object().into_iter().flat_map(|inner| inner.keys());
            std::iter::once(group).chain(inner)
        });
        let secrets = groups.cloned().collect();
        Self { sources, secrets, wanted: RefCell::default() }
    }

    /// A value with all `${name}` in it resolved; those that are asked for later stand in it as `${parameter}`.
    pub(super) fn fill(&self, value: &Value, place: &str) -> Result<Value, Obstacle> {
        match value {
            Value::String(text) => self.fill_text(text, place),
            Value::Array(items) => {
                let one = |(at, item)| self.fill(item, &format!("{place}[{at}]"));
                Ok(Value::Array(items.iter().enumerate().map(one).collect::<Result<_, _>>()?))
            }
            Value::Object(fields) => {
                let one = |(key, field): (&String, &Value)| {
                    if key.contains("${") {
                        return Err(Obstacle::new(place, "a variable in the name of a value", "write the name out"));
                    }
                    Ok((key.clone(), self.fill(field, &format!("{place}.{}", clean(key)))?))
                };
                Ok(Value::Object(fields.iter().map(one).collect::<Result<_, _>>()?))
            }
            plain => Ok(plain.clone()),
        }
    }

    fn fill_text(&self, text: &str, place: &str) -> Result<Value, Obstacle> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, tail)) = after.split_once('}') else {
                return Err(Obstacle::new(place, "`${` without `}`", "close it"));
            };
            filled.push_str(before);
            match self.sources.get(name) {
                Some(Source::Static(value)) if before.is_empty() && tail.is_empty() && filled.is_empty() => {
                    return Ok(value.clone());
                }
                Some(Source::Static(Value::String(inner))) => filled.push_str(inner),
                Some(Source::Static(value @ (Value::Number(_) | Value::Bool(_)))) => {
                    filled.push_str(&value.to_string())
                }
                Some(Source::Static(other)) => {
                    return Err(Obstacle::new(
                        place,
                        format!("{name:?} is {} in the midst of a text", kind(other)),
                        "make it a text",
                    ));
                }
                Some(Source::Asked { parameter, .. }) => filled.push_str(&format!("${{{parameter}}}")),
                Some(Source::Nowhere(why)) => {
                    return Err(Obstacle::new(
                        place,
                        why.clone(),
                        "write the value into the file, or take it from `env`",
                    ));
                }
                None => return Err(self.missing(name, place)),
            }
            rest = tail;
        }
        filled.push_str(rest);
        Ok(Value::String(filled))
    }

    fn missing(&self, name: &str, place: &str) -> Obstacle {
        if self.secrets.contains(name) {
            return Obstacle::new(
                place,
                format!("the secret {:?}", clean(name)),
                "what an experiment holds is shown in its report: ask something that needs no secret, or a `command` \
                 probe whose program has it",
            );
        }
        Obstacle::new(place, format!("{:?} is not in `configuration`", clean(name)), "add it there, or write the value")
    }

    /// A value of the configuration that is asked for by its name.
    pub(super) fn configured(&self, name: &str, place: &str) -> Result<Option<Value>, Obstacle> {
        self.sources.contains_key(name).then(|| self.fill_text(&format!("${{{name}}}"), place)).transpose()
    }

    /// As a text.
    pub(super) fn text(&self, value: &Value, place: &str) -> Result<String, Obstacle> {
        self.text_as(value, Wanted::Word, place)
    }

    /// As an address of the web.
    pub(super) fn address(&self, value: &Value, place: &str) -> Result<String, Obstacle> {
        let whole = value.as_str().is_some_and(|text| text.starts_with("${"));
        self.text_as(value, if whole { Wanted::Address } else { Wanted::Word }, place)
    }

    fn text_as(&self, value: &Value, wanted: Wanted, place: &str) -> Result<String, Obstacle> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            other => {
                return Err(Obstacle::new(place, format!("{} where a text belongs", kind(other)), "make it a text"));
            }
        };
        for (at, parameter) in parameters_in(&text).enumerate() {
            self.want(parameter, if at == 0 { wanted } else { Wanted::Word });
        }
        Ok(text)
    }

    /// As a time in seconds, or as a text such as `30s`.
    pub(super) fn seconds(&self, value: &Value, place: &str) -> Result<String, Obstacle> {
        self.time(value, 1.0, "s", place)
    }

    /// As a time in milliseconds.
    pub(super) fn millis(&self, value: &Value, place: &str) -> Result<String, Obstacle> {
        self.time(value, 1000.0, "ms", place)
    }

    fn time(&self, value: &Value, per_second: f64, unit: &str, place: &str) -> Result<String, Obstacle> {
        let no_time =
            || Obstacle::new(place, format!("{} is no time", clean(&value.to_string())), "give 0 to 86400 seconds");
        if let Some(parameter) = whole_parameter(value) {
            self.want(parameter, Wanted::Count);
            return Ok(format!("${{{parameter}}}{unit}"));
        }
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        if let Some(seconds) = number.map(|number| number / per_second) {
            if !(0.0..=SECONDS_MAX).contains(&seconds) {
                return Err(no_time());
            }
            let whole =
                Duration::from_millis(Duration::from_secs_f64(seconds).as_millis().try_into().unwrap_or_default());
            return Ok(exactly(Span(whole)));
        }
        let span = value.as_str().and_then(|text| text.trim().parse::<Span>().ok());
        let span = span.filter(|span| span.0.as_secs_f64() <= SECONDS_MAX);
        span.map(exactly).ok_or_else(no_time)
    }

    /// As a share in percent.
    pub(super) fn percent(&self, value: &Value, place: &str) -> Result<Value, Obstacle> {
        if let Some(parameter) = whole_parameter(value) {
            self.want(parameter, Wanted::Percent);
            return Ok(value.clone());
        }
        let read = match value {
            Value::Number(_) => Some(value.clone()),
            Value::String(text) => serde_json::from_str(text.trim().trim_end_matches('%')).ok(),
            _ => None,
        };
        let none = || Obstacle::new(place, format!("{} is no percentage", clean(&value.to_string())), "give 0 to 100");
        read.filter(Value::is_number).ok_or_else(none)
    }

    /// Whatever is read as a number or a time is a text as well, so a text asks for the least.
    fn want(&self, parameter: &str, wanted: Wanted) {
        let mut all = self.wanted.borrow_mut();
        all.entry(parameter.to_owned()).or_default().insert(wanted);
    }

    /// The parameters that stand in a text, and for each a value to try the template with.
    pub(super) fn parameters(&self, text: &str) -> Result<Parameters, Vec<Obstacle>> {
        let (mut parameters, mut samples, mut problems) = (Vec::new(), BTreeMap::new(), Vec::new());
        let wanted = self.wanted.borrow();
        for (name, source) in &self.sources {
            let Source::Asked { parameter, about, default } = source else { continue };
            let Some(wanted) = wanted.get(parameter).filter(|_| text.contains(&format!("${{{parameter}}}"))) else {
                continue;
            };
            let place = format!("configuration.{}", clean(name));
            let uses: Vec<Wanted> = wanted.iter().copied().filter(|one| *one != Wanted::Word).collect();
            let (kind, sample) = match uses.as_slice() {
                [] => (ParameterKind::Word, "localhost"),
                [Wanted::Address] => (ParameterKind::Word, "http://localhost"),
                [Wanted::Count] => (ParameterKind::Count { at_least: None, at_most: None }, "1"),
                [Wanted::Percent] => (ParameterKind::Percent, "1"),
                several => {
                    let words = several.iter().map(|one| one.words()).collect::<Vec<_>>().join(" and as ");
                    problems.push(Obstacle::new(place, format!("used as {words}"), "make several values of it"));
                    continue;
                }
            };
            if let Some(Err(why)) = default.as_ref().map(|default| kind.read(default)) {
                problems.push(Obstacle::new(place, format!("its default: {why}"), "give another, or none"));
                continue;
            }
            samples.insert(parameter.clone(), default.clone().unwrap_or_else(|| sample.to_owned()));
            parameters.push(Parameter {
                name: parameter.clone(),
                about: about.clone(),
                default: default.clone(),
                kind,
            });
        }
        if problems.is_empty() { Ok((parameters, samples)) } else { Err(problems) }
    }
}

fn source(name: &str, value: &Value) -> Source {
    let Some(lookup) = value.as_object() else {
        let has_variable = value.as_str().is_some_and(|text| text.contains("${"));
        let why = || format!("{:?} in `configuration` holds a variable itself", clean(name));
        return if has_variable { Source::Nowhere(why()) } else { Source::Static(value.clone()) };
    };
    let text = |key: &str| lookup.get(key).and_then(Value::as_str).map(clean);
    let from = match lookup.get("type").and_then(Value::as_str) {
        Some("env") => format!("the environment variable {}", text("key").unwrap_or_else(|| clean(name))),
        Some("vault") => format!("{} in a vault", text("path").or_else(|| text("key")).unwrap_or_else(|| clean(name))),
        Some(other) => return Source::Nowhere(format!("{:?} comes from {:?}", clean(name), clean(other))),
        None => return Source::Static(value.clone()),
    };
    let default = match lookup.get("default") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(number @ Value::Number(_)) => Some(number.to_string()),
        _ => None,
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let about = format!("What the Chaos Toolkit took from {from}");
    Source::Asked { parameter: name.chars().map(plain).collect(), about, default }
}

/// Whether nothing but one parameter stands there; its name.
fn whole_parameter(value: &Value) -> Option<&str> {
    value.as_str()?.strip_prefix("${")?.strip_suffix('}').filter(|name| !name.contains(['{', '}', '$']))
}

/// The parameters in a text, after variables were filled in.
fn parameters_in(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

/// A time so that it reads back as the same.
fn exactly(span: Span) -> String {
    // As it is written in files, which is exact, unlike the text for people.
    let text = serde_json::to_value(span).ok().and_then(|text| text.as_str().map(str::to_owned));
    text.unwrap_or_default().replace(' ', "")
}
