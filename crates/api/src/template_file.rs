//! Reads templates and fills them in.
//!
//! ```yaml
//! name: short-cut
//! title: A short cut
//! about: The primary is cut off for a while.
//! parameters:
//!   - {name: cut, about: How long, type: duration, default: 43s, at_least: 1s, at_most: 10m}
//! experiment: |
//!   name: short-cut
//!   …
//!   - attack: {kind: partition, target: {role: primary}, duration: "${cut}"}
//! ```

use crate::experiment_file::{self, ExperimentFileError};
use firedrill_model::attack::CheckFault;
use firedrill_model::experiment::Experiment;
use firedrill_model::template::Template;
use std::collections::BTreeMap;

/// Larger files are refused before they are read: an experiment and its parameters take a few kilobytes.
const FILE_BYTES_MAX: usize = 300_000;

/// Reads and checks a template. Where every parameter has a default, the experiment is checked as well, as it is with
/// those.
///
/// # Errors
/// Not YAML, not a template, or a broken rule.
pub fn read(text: &str, check: CheckFault) -> Result<Template, ExperimentFileError> {
    if text.len() > FILE_BYTES_MAX {
        let problem = format!("the file has {} bytes; a template has at most {FILE_BYTES_MAX}", text.len());
        return Err(ExperimentFileError { problems: vec![problem] });
    }
    let template: Template = serde_saphyr::from_str(text).map_err(|error| experiment_file::refusal(&error))?;
    let problems = template.problems();
    if !problems.is_empty() {
        return Err(ExperimentFileError { problems });
    }
    if template.parameters.iter().all(|parameter| parameter.default.is_some()) {
        fill_in(&template, &BTreeMap::new(), check)?;
    }
    Ok(template)
}

/// The experiment with these values, as text and as it is understood.
///
/// # Errors
/// Values that are missing, unknown or of another kind; an experiment that breaks a rule with them.
pub fn fill_in(
    template: &Template,
    given: &BTreeMap<String, String>,
    check: CheckFault,
) -> Result<(String, Experiment), ExperimentFileError> {
    let values = template.values(given).map_err(|problems| ExperimentFileError { problems })?;
    let of_experiment = |error: ExperimentFileError| ExperimentFileError {
        problems: error.problems.into_iter().map(|problem| format!("experiment: {problem}")).collect(),
    };
    let yaml = experiment_file::fill_in(&template.experiment, &values).map_err(of_experiment)?;
    let experiment = experiment_file::read(&yaml, &BTreeMap::new(), check).map_err(of_experiment)?;
    Ok((yaml, experiment))
}

/// An experiment as the text of a file.
///
/// # Errors
/// A value that YAML cannot hold; no experiment that was read has one.
pub fn text_of(experiment: &Experiment) -> Result<String, String> {
    serde_saphyr::to_string(experiment).map_err(|problem| problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: &str = r#"
name: short-cut
title: A short cut
about: The primary is cut off for a while.
parameters:
  - {name: cut, about: How long, type: duration, default: 43s, at_least: 1s, at_most: 10m}
  - {name: writes, about: Writes per second, type: count, default: 500}
experiment: |
  name: short-cut
  title: A short cut
  hypothesis: Nothing is lost.
  workload: {writers: 4, writes_per_second: ${writes}}
  steps:
    - attack: {kind: partition, target: {role: primary}, duration: "${cut}"}
  expect:
    - lost-acknowledged-writes-at-most: 0
"#;

    fn given(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_template_is_filled_in_with_what_is_given() {
        let template = read(CUT, firedrill_fault::check).expect("a template");
        let (text, experiment) = fill_in(&template, &given("cut", "90s"), firedrill_fault::check).expect("fills in");
        assert!(text.contains("\"1m30s\"") && text.contains("writes_per_second: 500"), "{text}");
        let again = text_of(&experiment).expect("YAML");
        let read = experiment_file::read(&again, &BTreeMap::new(), firedrill_fault::check).expect("reads back");
        assert_eq!(read, experiment);
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let template = read(CUT, firedrill_fault::check).expect("a template");
        let problem = fill_in(&template, &given("cut", "1h"), firedrill_fault::check).expect_err("too long");
        assert!(problem.to_string().contains("cut: 1h is more than 10m"), "{problem}");
        for (from, to, wanted) in [
            ("kind: partition", "kind: tickle", "experiment: line 6"),
            ("${writes}", "${reads}", "no ${writes}"),
            ("default: 500", "default: many", "parameters[1].default"),
            ("type: count", "type: colour", "colour"),
            ("about: How", "abuot: How", "about"),
        ] {
            let problem = read(&CUT.replace(from, to), firedrill_fault::check).expect_err(to);
            assert!(problem.to_string().contains(wanted), "{to}: {problem}");
        }
    }
}
