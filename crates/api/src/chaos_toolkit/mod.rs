//! Reads experiments of the [Chaos Toolkit](https://chaostoolkit.org) and says in firedrill's words what they do: wholly,
//! as a template, or not at all, with everything that stands in the way. Pure: text and choices in, a value out; neither
//! the environment nor a vault is asked for anything.
//!
//! The form of the files is that of the Chaos Toolkit's own reference ("An Open API for Chaos Engineering Experiments");
//! what is made of each part of it stands in `docs/chaos-toolkit.md`, whose tables are made from those of this module.
//!
//! **Where to begin**: [`import`]; then `method`, which walks through the file; `extensions` and `programs` hold the tables
//! of what is known.

mod activity;
mod document;
mod effect;
mod extensions;
mod method;
mod nearest;
mod probes;
mod programs;
#[cfg(test)]
mod tests;
mod tolerance;
mod values;
mod writing;

use crate::experiment_file;
use document::Document;
use firedrill_model::Selector;
use firedrill_model::attack::CheckFault;
use firedrill_model::id::HostName;
use firedrill_model::template::{ParameterKind, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use values::Values;

/// Larger files are refused before they are read: an experiment is read by people.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// What a file of the Chaos Toolkit does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// The template's name; made from the title when absent.
    pub name: Option<String>,
    /// The hosts of every step that needs some.
    pub target: Option<Selector>,
    /// The hosts of single steps, by the name of their activity.
    pub targets: BTreeMap<String, Selector>,
}

/// What a file has become.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Import {
    /// The template; there is one exactly when there are no problems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// What each part of the file became, in the order of the file; of a file with problems those parts that could be read.
    pub parts: Vec<Part>,
    /// All that stands in the way.
    pub problems: Vec<Obstacle>,
}

impl Import {
    /// All problems, a line each, after a line that says how many there are.
    #[must_use]
    pub fn refusal(&self) -> String {
        let lines: Vec<String> = self.problems.iter().map(|problem| format!("\n  {problem}")).collect();
        let nothing = "nothing of it was imported";
        match lines.len() {
            1 => format!("the file cannot be imported; {nothing}:{}", lines.concat()),
            count => format!("{count} parts of the file cannot be imported; {nothing}:{}", lines.concat()),
        }
    }
}

/// One part of a file, and what it became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Where it stands: `method[0]`.
    pub place: String,
    /// The name of the activity, or of what else it is.
    pub name: String,
    /// What it was: `process pkill`.
    pub was: String,
    /// What it is now.
    pub became: String,
    /// In what that differs, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Something that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{place}: {found}; {instead}")]
pub struct Obstacle {
    /// Where: `method[2].provider.func`.
    pub place: String,
    /// What was found there.
    pub found: String,
    /// What to use, or to do, instead.
    pub instead: String,
}

impl Obstacle {
    pub(crate) fn new(place: impl Into<String>, found: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { place: place.into(), found: found.into(), instead: instead.into() }
    }
}

/// Reads a file, JSON or YAML. `check` knows the faults.
#[must_use]
pub fn import(text: &str, choices: &Choices, check: CheckFault) -> Import {
    let document = match document::read(text) {
        Ok(document) => document,
        Err(problem) => return Import { problems: vec![problem], ..Import::default() },
    };
    let mut problems = Vec::new();
    let values = Values::read(&document, &mut problems);
    let mut reading = method::Reading::new(choices, &values);
    reading.read(&document);
    problems.append(&mut reading.problems);
    let parts = std::mem::take(&mut reading.parts);
    if problems.is_empty() {
        match template(&document, choices, &values, &reading, check) {
            Ok(template) => return Import { template: Some(template), parts, problems },
            Err(found) => problems = found,
        }
    }
    Import { template: None, parts, problems }
}

/// Puts the template together and reads it as any other is read: what was made must keep all rules.
fn template(
    document: &Document,
    choices: &Choices,
    values: &Values,
    reading: &method::Reading<'_>,
    check: CheckFault,
) -> Result<Template, Vec<Obstacle>> {
    let title = document.title();
    let name = choices.name.clone().unwrap_or_else(|| name_of(&title));
    if name.parse::<HostName>().is_err() {
        let found = format!("{name:?} is no name for a template");
        return Err(vec![Obstacle::new(
            "title",
            found,
            "give one of a-z, 0-9 and '-', at most 40 characters (--name)",
        )]);
    }
    let mut experiment = writing::experiment(&name, document, reading);
    let (parameters, samples) = values.parameters(&experiment)?;
    for percentage in parameters.iter().filter(|one| one.kind == ParameterKind::Percent) {
        // A number is wanted, not a text.
        let variable = format!("${{{}}}", percentage.name);
        experiment = experiment.replace(&format!("\"{variable}\""), &variable);
    }
    let template = Template { name, title, about: document.about(), outage: None, parameters, experiment };
    let broken =
        |found: String| Obstacle::new("experiment", found, "change that in the file, or write a template by hand");
    let problems = template.problems();
    if !problems.is_empty() {
        return Err(problems.into_iter().map(broken).collect());
    }
    // Parameters without a default have a sample here, which stands for what will be given.
    let read = experiment_file::fill_in(&template.experiment, &samples)
        .and_then(|text| experiment_file::read(&text, &BTreeMap::new(), check));
    match read {
        Ok(_) => Ok(template),
        Err(wrong) => Err(wrong.problems.into_iter().map(broken).collect()),
    }
}

/// Longest name of a template, in characters.
const NAME_CHARS_MAX: usize = 40;

/// `Kill the primary!` is `kill-the-primary`.
fn name_of(title: &str) -> String {
    let mut name = String::new();
    for c in title.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    if name.len() > NAME_CHARS_MAX {
        // At a word's end, where there is one; all of it is ASCII.
        name.truncate(NAME_CHARS_MAX + 1);
        name.truncate(name.rfind('-').unwrap_or(NAME_CHARS_MAX));
    }
    name.trim_matches('-').to_owned()
}

/// The tables of `docs/chaos-toolkit.md`, as Markdown.
#[must_use]
pub fn tables() -> String {
    let mut text = String::from("| in the file | becomes | differs |\n|---|---|---|\n");
    let rows = programs::PROGRAMS.iter().map(|one| (format!("`{}`", one.form), one.becomes, one.differs));
    let functions = extensions::FUNCTIONS.iter().map(|one| (format!("`{}`", one.name), one.becomes, one.differs));
    let probes = probes::FUNCTIONS.iter().map(|one| (format!("`{}`", one.name), one.becomes, one.differs));
    for (from, becomes, differs) in rows.chain(functions).chain(probes) {
        // A bar within a cell would end it.
        text.push_str(&format!("| {} | {becomes} | {differs} |\n", from.replace('|', "\\|")));
    }
    text.push_str("\n## Refused by name\n\n| refused | use instead |\n|---|---|\n");
    for (from, instead) in nearest::NEAREST {
        text.push_str(&format!("| `{from}…` | {instead} |\n"));
    }
    text
}
