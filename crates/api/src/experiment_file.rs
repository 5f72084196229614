//! Reads an experiment from YAML. Every refusal names the line.

use firedrill_model::attack::CheckFault;
use firedrill_model::experiment::Experiment;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;

/// Largest accepted file, bytes: an experiment is read by people.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// Everything that is wrong with a file, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct ExperimentFileError {
    /// Sentences, each beginning with `line N` where a line is known.
    pub problems: Vec<String>,
}

impl ExperimentFileError {
    fn one(problem: String) -> Self {
        Self { problems: vec![problem] }
    }
}

/// Reads and checks an experiment. `variables` replace `${name}` in the text first; `check` knows the faults.
///
/// # Errors
/// Not YAML, not an experiment, a variable without a value, or a broken rule; with the line.
pub fn read(
    text: &str,
    variables: &BTreeMap<String, String>,
    check: CheckFault,
) -> Result<Experiment, ExperimentFileError> {
    if text.len() > FILE_BYTES_MAX {
        let problem = format!("the file has {} bytes; an experiment has at most {FILE_BYTES_MAX}", text.len());
        return Err(ExperimentFileError::one(problem));
    }
    let text = fill_in(text, variables)?;
    let experiment: Experiment = serde_saphyr::from_str(&text).map_err(|error| refusal(&error))?;
    let problems = experiment.problems(check);
    if problems.is_empty() {
        return Ok(experiment);
    }
    let tree: Spanned<Tree> = serde_saphyr::from_str(&text).map_err(|error| refusal(&error))?;
    let problems = problems
        .into_iter()
        .map(|problem| format!("line {}: {}: {}", line_of(&tree, &problem.place), problem.place, problem.message));
    Err(ExperimentFileError { problems: problems.collect() })
}

pub(crate) fn refusal(error: &serde_saphyr::Error) -> ExperimentFileError {
    let error = error.without_snippet();
    let text = error.to_string();
    ExperimentFileError::one(match error.location() {
        Some(location) if !text.contains("line ") => {
            format!("line {}, column {}: {text}", location.line(), location.column())
        }
        _ => text,
    })
}

/// Replaces `${name}`; `$` without a brace stays.
///
/// # Errors
/// A variable without a value, with its line.
pub fn fill_in(text: &str, variables: &BTreeMap<String, String>) -> Result<String, ExperimentFileError> {
    let mut filled = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, tail)) = after.split_once('}') else { break };
            let Some(value) = variables.get(name) else {
                let problem = format!("line {}: ${{{name}}} has no value; give --var {name}=…", index + 1);
                return Err(ExperimentFileError::one(problem));
            };
            filled.push_str(before);
            filled.push_str(value);
            rest = tail;
        }
        filled.push_str(rest);
    }
    Ok(filled)
}

/// The shape of any YAML document, with the place of every value; read only to find the line of a broken rule.
enum Tree {
    Map(Vec<(String, Spanned<Tree>)>),
    List(Vec<Spanned<Tree>>),
    Leaf,
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<String, Spanned<Tree>>()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Tree>>()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }
    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

/// The line of a place such as `steps[2].attack.target`, or of its nearest ancestor that is there.
fn line_of(root: &Spanned<Tree>, place: &str) -> u64 {
    let mut here = root;
    let parts = place.split(['.', '[']).map(|part| part.trim_end_matches(']'));
    for part in parts.filter(|part| !part.is_empty()) {
        let child = match &here.value {
            Tree::Map(entries) => entries.iter().find(|(key, _)| key == part).map(|(_, value)| value),
            Tree::List(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            Tree::Leaf => None,
        };
        match child {
            Some(child) => here = child,
            None => break,
        }
    }
    here.referenced.line()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LADDER: [&str; 6] = [
        include_str!("../../../experiments/1-kill-replica.yaml"),
        include_str!("../../../experiments/2-kill-pseudo-primary.yaml"),
        include_str!("../../../experiments/3-kill-primary.yaml"),
        include_str!("../../../experiments/4-pause-primary.yaml"),
        include_str!("../../../experiments/5-isolate-primary.yaml"),
        include_str!("../../../experiments/6-cut-region-link.yaml"),
    ];

    fn problem(text: &str) -> String {
        read(text, &BTreeMap::new(), firedrill_fault::check).expect_err("must be refused").to_string()
    }

    #[test]
    fn the_ladder_reads_and_its_rungs_are_in_order() {
        for (index, text) in LADDER.iter().enumerate() {
            let experiment = read(text, &BTreeMap::new(), firedrill_fault::check)
                .unwrap_or_else(|error| panic!("rung {}: {error}", index + 1));
            assert_eq!(experiment.rung, Some(u32::try_from(index + 1).expect("small")));
            let json = serde_json::to_string(&experiment).expect("serialises");
            assert_eq!(serde_json::from_str::<Experiment>(&json).expect("reads back"), experiment);
        }
    }

    #[test]
    fn refusals_name_the_line() {
        let unknown_field = LADDER[2].replace("rung: 3", "rungs: 3");
        assert!(problem(&unknown_field).contains("line 7"), "{}", problem(&unknown_field));
        let unknown_role = LADDER[2].replace("{role: primary}", "{role: boss}");
        assert!(problem(&unknown_role).contains("line 15"), "{}", problem(&unknown_role));
        let unknown_kind = LADDER[2].replace("kind: kill", "kind: tickle");
        assert!(problem(&unknown_kind).contains("line 15"), "{}", problem(&unknown_kind));
        assert!(problem(&unknown_kind).contains("known are kill, pause"), "{}", problem(&unknown_kind));
        let stray = LADDER[3].replace("kind: pause,", "kind: pause, delay: 1s,");
        assert!(problem(&stray).contains("no parameter `delay`"), "{}", problem(&stray));
    }

    #[test]
    fn a_broken_rule_names_the_line_too() {
        let empty_target = LADDER[2].replace("target: {role: primary}", "target: {}");
        assert!(problem(&empty_target).starts_with("line 15: steps[0].attack.target"), "{}", problem(&empty_target));
        let nothing_expected = "name: x\ntitle: x\nhypothesis: x\nsteps:\n  - wait: 1s\nexpect: []\n";
        assert!(problem(nothing_expected).starts_with("line 6: expect"), "{}", problem(nothing_expected));
    }

    #[test]
    fn variables_are_filled_in_or_missed() {
        let text = LADDER[2]
            .replace("title: The", "title: ${who}: The")
            .replace("title: $", "title: \"$")
            .replace("process is killed\nhyp", "process is killed\"\nhyp");
        assert!(problem(&text).contains("line 2: ${who} has no value"), "{}", problem(&text));
        let filled =
            read(&text, &BTreeMap::from([("who".to_owned(), "me".to_owned())]), firedrill_fault::check).expect("reads");
        assert!(filled.title.starts_with("me: The"));
    }
}
