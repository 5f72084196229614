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
    let (experiment, problems) = inspect(text, variables, check)?;
    if problems.is_empty() { Ok(experiment) } else { Err(ExperimentFileError { problems }) }
}

/// Reads an experiment that may not be whole yet: as far as it is understood, with all rules that it breaks.
///
/// # Errors
/// Not YAML, not an experiment, or a variable without a value; with the line.
pub fn inspect(
    text: &str,
    variables: &BTreeMap<String, String>,
    check: CheckFault,
) -> Result<(Experiment, Vec<String>), ExperimentFileError> {
    if text.len() > FILE_BYTES_MAX {
        let problem = format!("the file has {} bytes; an experiment has at most {FILE_BYTES_MAX}", text.len());
        return Err(ExperimentFileError::one(problem));
    }
    let text = fill_in(text, variables)?;
    let experiment: Experiment = serde_saphyr::from_str(&text).map_err(|error| refusal(&error))?;
    let problems = experiment.problems(check);
    if problems.is_empty() {
        return Ok((experiment, Vec::new()));
    }
    let tree: Spanned<Tree> = serde_saphyr::from_str(&text).map_err(|error| refusal(&error))?;
    let problems = problems
        .into_iter()
        .map(|problem| format!("line {}: {}: {}", line_of(&tree, &problem.place), problem.place, problem.message));
    Ok((experiment, problems.collect()))
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
    use firedrill_model::experiment::Measure;

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

    /// One probe of each kind, with everything that can be said of it.
    const PROBES: &str = r#"name: probes
title: Every kind of probe
hypothesis: They read.
probes:
  - name: sql
    measure: {sql: {target: {role: replica}, query: "SELECT COUNT(*) FROM orders", value: {at-least: 1}}}
    when: [before, during, after]
    every: 250ms
    timeout: 2s
    tolerate: 3s
  - name: sql of the primary
    measure: {sql: {query: SELECT @@read_only, value: {equals: 0}}}
  - name: http
    measure:
      http:
        url: https://shop.example:8443/health?deep=1
        status: 204
        latency_at_most: 300ms
        json: {path: "$.queues[?@.name == 'mail'].depth", value: {below: 100}}
    when: [during]
  - name: tcp
    measure: {tcp: {address: "[fd00::7]:3306", latency_at_most: 50ms}}
  - name: prometheus
    measure: {prometheus: {url: "http://prometheus:9090", query: "rate(errors[1m])", value: {at-most: 0.5}}}
  - name: command
    measure:
      command: {target: {tags: {tier: app}}, program: /bin/check, args: [-q, a b], exit: 3, output: {contains: ok}}
  - name: roles
    measure: {role-count: {role: replica, count: {not-equals: 0}}}
  - name: latency
    measure: {ack-latency-at-most: 50ms}
steps:
  - wait: 1s
  - check: roles
expect: [no-promotion]
abort_when:
  - probe: http
  - probe: {name: sql, for: 2s}
  - operation-needs-person
"#;

    #[test]
    fn every_kind_of_probe_reads_and_reads_back() {
        let read = read(PROBES, &BTreeMap::new(), firedrill_fault::check).expect("reads");
        assert_eq!(read.probes.len(), 8);
        assert_eq!(read.probes[0].tolerate.to_string(), "3s");
        assert_eq!(read.probes[1].every.to_string(), "1s");
        let Measure::Sql(question) = &read.probes[1].measure else { panic!("{:?}", read.probes[1]) };
        assert_eq!(question.target.to_string(), "role=primary");
        let conditions: Vec<String> = read.abort_when.iter().map(ToString::to_string).collect();
        assert_eq!(conditions, ["probe http broken", "probe sql broken for 2s", "an operation needs a person"]);
        let json = serde_json::to_string(&read).expect("serialises");
        assert_eq!(serde_json::from_str::<Experiment>(&json).expect("reads back"), read);
    }

    #[test]
    fn bad_probes_are_refused_with_their_line() {
        for (from, to, says) in [
            (
                "SELECT COUNT(*) FROM orders",
                "DELETE FROM orders",
                "line 6: probes[0].measure.sql.query: a probe only reads",
            ),
            ("SELECT COUNT(*) FROM orders", "SELECT 1; DROP TABLE t", "measure.sql.query: give one statement"),
            ("target: {role: replica}", "target: {}", "measure.sql.target: selects nothing"),
            ("{at-least: 1}", "{at-least: many}", "line 6"),
            ("{at-least: 1}", "{like: 1}", "like"),
            ("{equals: 0}", "{equals: [0]}", "probes[1].measure.sql.value: a value is compared with one"),
            ("every: 250ms", "every: 99ms", "line 8: probes[0].every: 99ms is outside of 100ms to 1m"),
            ("timeout: 2s", "timeout: 11s", "line 9: probes[0].timeout: 11s is outside of 100ms to 10s"),
            ("https://shop", "ftp://shop", "probes[2].measure.http.url"),
            ("https://shop", "https://me:pw@shop", "would stand in every report"),
            ("status: 204", "status: 99", "line 17: probes[2].measure.http.status"),
            ("latency_at_most: 300ms", "latency_at_most: 2s", "at most the probe's timeout, which is 1s"),
            ("'mail'].depth", "'mail'.depth", "line 19: probes[2].measure.http.json.path"),
            ("[fd00::7]:3306", "fd00::7", "probes[3].measure.tcp.address"),
            ("http://prometheus", "prometheus", "probes[4].measure.prometheus.url"),
            ("rate(errors[1m])", " ", "probes[4].measure.prometheus.query: give a query"),
            ("program: /bin/check", "program: check", "probes[5].measure.command.program: give the whole path"),
            ("{tags: {tier: app}}", "{server: true}", "probes[5].measure.command.target: selects nothing"),
            ("{contains: ok}", "{contains: ''}", "probes[5].measure.command.output"),
            ("args: [-q, a b]", "shell: true", "shell"),
            ("name: roles", "name: tcp", "there is another probe named \"tcp\""),
            ("{role: replica, count", "{role: boss, count", "boss"),
            ("- probe: http", "- probe: https", "abort_when[0].probe: there is no probe named \"https\""),
            ("- probe: http", "- probe: tcp", "abort_when[0].probe: probe \"tcp\" is not asked during the steps"),
            ("for: 2s", "after: 2s", "the name of a probe, or {name: NAME, for: 2s}"),
        ] {
            let text = PROBES.replacen(from, to, 1);
            assert_ne!(text, PROBES, "{from}");
            assert!(problem(&text).contains(says), "{to}: {}", problem(&text));
        }
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
