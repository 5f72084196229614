//! Templates: experiments with typed parameters, and where they come from. Reading YAML and filling the text in is done
//! at the edge (`firedrill_api::template_file`); here are the types and the rules.

use crate::id::HostName;
use crate::quantity::{Bytes, Percent};
use crate::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Most parameters of one template: more than a person reads before a start.
pub const PARAMETERS_MAX: usize = 30;
/// Longest text of an experiment within a template, in bytes.
pub const EXPERIMENT_BYTES_MAX: usize = 200_000;

/// An experiment that is started with values of one's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct Template {
    /// Short name, unique among templates (`github-2018`).
    pub name: String,
    /// One line for people.
    pub title: String,
    /// What it does and what is needed for it, in full sentences.
    pub about: String,
    /// The outage that it reproduces, when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
    /// What can be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// The text of the experiment file, with `${name}` where a parameter goes.
    pub experiment: String,
}

/// A public outage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct Outage {
    /// Whose it was.
    pub who: String,
    /// When it began (`2018-10-21`, or less exactly `2019-12`).
    pub date: String,
    /// Where it is told.
    pub sources: Vec<String>,
    /// What happened, how long it lasted, how it was noticed.
    pub happened: String,
    /// What a resilient system shows instead.
    pub resilient: String,
    /// In what the reproduction differs.
    pub differs: String,
}

/// Something that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Parameter {
    /// As in `${name}`.
    pub name: String,
    /// What it is, for people.
    pub about: String,
    /// Taken when nothing is given; without one, a value must be given.
    #[serde(default, deserialize_with = "scalar", skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What values it can have.
    #[serde(flatten)]
    pub kind: ParameterKind,
}

/// Kinds of values, with their bounds. Each admits only text that stays one value wherever it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ParameterKind {
    /// A time such as `43s`.
    Duration {
        /// Not shorter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_least: Option<Span>,
        /// Not longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_most: Option<Span>,
    },
    /// A whole number.
    Count {
        /// Not less.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_least: Option<u64>,
        /// Not more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_most: Option<u64>,
    },
    /// 0 to 100.
    Percent,
    /// An amount such as `64MiB`.
    Bytes,
    /// One of these words.
    Choice {
        /// Which.
        of: Vec<String>,
    },
    /// The name of a region, a host, a node or a tag's value: a-z, 0-9 and '-'.
    Name,
    /// A word such as an address or a path: letters, digits and `-._~:/?&=%+@`, ending with a letter, a digit or `/`.
    Word,
}

/// Text, or a number or truth value as its text: in a file `default: 500` needs no quotes.
fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize, JsonSchema)]
    #[serde(untagged)]
    enum Scalar {
        Text(String),
        Whole(u64),
        Number(f64),
        Truth(bool),
    }
    Ok(Option::<Scalar>::deserialize(deserializer)?.map(|value| match value {
        Scalar::Text(text) => text,
        Scalar::Whole(number) => number.to_string(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Truth(truth) => truth.to_string(),
    }))
}

impl ParameterKind {
    /// The value as it is written into the file, or why it is none of this kind.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn read(&self, text: &str) -> Result<String, String> {
        match self {
            Self::Duration { at_least, at_most } => {
                let span: Span = text.parse().map_err(|_| format!("{text:?} is no time such as 30s or 5m"))?;
                within(&span, at_least.as_ref(), at_most.as_ref())?;
                // Exactly, unlike the text for people.
                Ok(humantime::format_duration(span.duration()).to_string().replace(' ', ""))
            }
            Self::Count { at_least, at_most } => {
                let count: u64 = text.parse().map_err(|_| format!("{text:?} is no whole number"))?;
                within(&count, at_least.as_ref(), at_most.as_ref())?;
                Ok(count.to_string())
            }
            Self::Percent => {
                let plain = text.trim_end_matches('%').trim();
                let number: f64 = plain.parse().map_err(|_| format!("{text:?} is no percentage"))?;
                Percent::try_from(number).map_err(|problem| problem.to_string())?;
                Ok(plain.to_owned())
            }
            Self::Bytes => {
                text.parse::<Bytes>().map_err(|_| format!("{text:?} is no amount such as 64MiB"))?;
                Ok(text.to_owned())
            }
            Self::Choice { of } if of.iter().any(|word| word == text) => Ok(text.to_owned()),
            Self::Choice { of } => Err(format!("{text:?} is none of {}", of.join(", "))),
            Self::Name if text.parse::<HostName>().is_ok() => Ok(text.to_owned()),
            Self::Name => Err(format!("{text:?} is no name of a-z, 0-9 and '-'")),
            Self::Word if is_word(text) => Ok(text.to_owned()),
            Self::Word => Err(format!("{text:?} is no word of letters, digits and -._~:/?&=%+@")),
        }
    }

    /// What may be given, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        fn bounds<T: ToString>(what: &str, low: Option<&T>, high: Option<&T>) -> String {
            match (low, high) {
                (Some(low), Some(high)) => format!("{what} from {} to {}", low.to_string(), high.to_string()),
                (Some(low), None) => format!("{what} from {}", low.to_string()),
                (None, Some(high)) => format!("{what} up to {}", high.to_string()),
                (None, None) => what.to_owned(),
            }
        }
        match self {
            Self::Duration { at_least, at_most } => bounds("a time", at_least.as_ref(), at_most.as_ref()),
            Self::Count { at_least, at_most } => bounds("a number", at_least.as_ref(), at_most.as_ref()),
            Self::Percent => "a percentage".to_owned(),
            Self::Bytes => "an amount of bytes".to_owned(),
            Self::Choice { of } => of.join(" | "),
            Self::Name => "a name".to_owned(),
            Self::Word => "a word, such as an address or a path".to_owned(),
        }
    }
}

/// Longest word, in bytes: that of an address.
const WORD_BYTES_MAX: usize = 1000;

/// Nothing that begins or ends another value, with or without quotes around it: a colon only before something else.
fn is_word(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-._~:/?&=%+@".contains(c);
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let last = text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    first && last && text.len() <= WORD_BYTES_MAX && text.chars().all(inner)
}

fn within<T: PartialOrd + std::fmt::Display>(value: &T, low: Option<&T>, high: Option<&T>) -> Result<(), String> {
    match (low, high) {
        (Some(low), _) if value < low => Err(format!("{value} is less than {low}")),
        (_, Some(high)) if value > high => Err(format!("{value} is more than {high}")),
        _ => Ok(()),
    }
}

impl Template {
    /// The value of every parameter: the one given, else the default.
    ///
    /// # Errors
    /// All that is wrong, a sentence each: values that are missing, unknown or of another kind.
    pub fn values(&self, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Vec<String>> {
        let mut problems = Vec::new();
        let known = || self.parameters.iter().map(|parameter| parameter.name.as_str()).collect::<Vec<_>>().join(", ");
        for name in given.keys().filter(|name| !self.parameters.iter().any(|known| known.name == **name)) {
            problems.push(format!("template {} has no parameter {name:?}; it has: {}", self.name, known()));
        }
        let mut values = BTreeMap::new();
        for parameter in &self.parameters {
            let Some(text) = given.get(&parameter.name).or(parameter.default.as_ref()) else {
                problems.push(format!("{} has no value; give {}", parameter.name, parameter.kind.describe()));
                continue;
            };
            match parameter.kind.read(text) {
                Ok(value) => drop(values.insert(parameter.name.clone(), value)),
                Err(why) => problems.push(format!("{}: {why}; give {}", parameter.name, parameter.kind.describe())),
            }
        }
        if problems.is_empty() { Ok(values) } else { Err(problems) }
    }

    /// The rules that a well-formed template keeps beyond the form, but for those of its experiment.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.name.parse::<HostName>().is_err() {
            problems.push(format!("name: {:?} must be of a-z, 0-9 and '-', at most 40 characters", self.name));
        }
        if self.parameters.len() > PARAMETERS_MAX {
            problems.push(format!("parameters: {} of them; at most {PARAMETERS_MAX}", self.parameters.len()));
        }
        if self.experiment.len() > EXPERIMENT_BYTES_MAX {
            let bytes = self.experiment.len();
            problems.push(format!("experiment: {bytes} bytes; at most {EXPERIMENT_BYTES_MAX}"));
        }
        for (at, parameter) in self.parameters.iter().enumerate() {
            let name = &parameter.name;
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if name.is_empty() || !name.chars().all(plain) {
                problems.push(format!("parameters[{at}].name: {name:?} must be of a-z, 0-9 and '_'"));
            }
            if self.parameters.iter().take(at).any(|earlier| earlier.name == *name) {
                problems.push(format!("parameters[{at}].name: {name} is there twice"));
            }
            if !self.experiment.contains(&format!("${{{name}}}")) {
                problems.push(format!("parameters[{at}]: the experiment has no ${{{name}}}"));
            }
            if let Some(Err(why)) = parameter.default.as_ref().map(|default| parameter.kind.read(default)) {
                problems.push(format!("parameters[{at}].default: {why}"));
            }
            if let ParameterKind::Choice { of } = &parameter.kind
                && let Some(word) = of.iter().find(|word| word.parse::<HostName>().is_err())
            {
                problems.push(format!("parameters[{at}].of: {word:?} must be of a-z, 0-9 and '-'"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(kind: ParameterKind, default: Option<&str>) -> Template {
        let parameter = Parameter { name: "x".into(), about: "x".into(), default: default.map(str::to_owned), kind };
        Template {
            name: "t".into(),
            title: "t".into(),
            about: "t".into(),
            outage: None,
            parameters: vec![parameter],
            experiment: "wait: ${x}".into(),
        }
    }

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_are_of_their_kind_and_within_bounds() {
        let second = ParameterKind::Duration { at_least: Some(Span::secs(1)), at_most: Some(Span::secs(60)) };
        let timed = template(second, Some("43s"));
        assert_eq!(timed.problems(), [""; 0]);
        assert_eq!(timed.values(&given(&[])).expect("default")["x"], "43s");
        assert_eq!(timed.values(&given(&[("x", "1m")])).expect("given")["x"].parse(), Ok(Span::secs(60)));
        for bad in ["0s", "61s", "soon", "5s, target: {}"] {
            let problems = timed.values(&given(&[("x", bad)])).expect_err(bad);
            assert!(problems[0].contains("a time from 1s to 1m"), "{problems:?}");
        }
        let unknown = timed.values(&given(&[("y", "1")])).expect_err("unknown");
        assert!(unknown[0].contains("it has: x"), "{unknown:?}");
        assert!(template(ParameterKind::Name, None).values(&given(&[])).is_err());
    }

    #[test]
    fn nothing_but_a_value_gets_into_the_file() {
        let choice = ParameterKind::Choice { of: vec!["primary".into(), "replica".into()] };
        let kinds = [ParameterKind::Count { at_least: None, at_most: None }, ParameterKind::Percent, choice];
        for kind in kinds.into_iter().chain([ParameterKind::Bytes, ParameterKind::Name]) {
            for text in ["", " ", "1}", "a: b", "x\ny", "${x}", "#", "\"", "nan", "1e3 #"] {
                if let Ok(read) = kind.read(text) {
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
                    assert!(!read.is_empty() && read.chars().all(plain), "{kind:?} took {text:?} as {read:?}");
                }
            }
        }
    }

    #[test]
    fn a_word_is_an_address_or_a_path_and_stays_one_value() {
        for good in ["http://shop.example:8080/health?deep=1&x=%20", "/var/lib/mysql/", "db-1.example", "a", "7", "/"] {
            assert_eq!(ParameterKind::Word.read(good).as_deref(), Ok(good));
        }
        for bad in [
            "", "a b", "a:", "a: b", "{a", "a,b", "[a]", "\"a", "a'", "a#b", "${x}", "-a", "é", "a\n", "a\\", "*a",
            "&a",
        ] {
            assert!(ParameterKind::Word.read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_template_must_use_what_it_declares() {
        let mut wrong = template(ParameterKind::Percent, Some("101"));
        wrong.experiment = "wait: 1s".into();
        let problems = wrong.problems();
        assert!(problems.iter().any(|one| one.contains("no ${x}")), "{problems:?}");
        assert!(problems.iter().any(|one| one.starts_with("parameters[0].default")), "{problems:?}");
        wrong.parameters.push(wrong.parameters[0].clone());
        assert!(wrong.problems().iter().any(|one| one.contains("twice")));
    }
}
