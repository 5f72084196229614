//! Pulse: a fault that comes and goes. The parameters are the same for every kind that can, and so is the way it is
//! done: each time it is put in place and taken out as a whole.

use crate::journal::Record;
use crate::kinds::Mechanism;
use firedrill_model::Span;
use firedrill_model::attack::{FaultProblem, Parameters as Written};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;
use std::time::Duration;

/// Shorter phases are over before they are measured.
const PHASE_MIN: Duration = Duration::from_secs(1);
/// No attack lasts longer.
const PHASE_MAX: Duration = Duration::from_secs(24 * 3600);

/// As written.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the description alone; the values are read one by one, to name the wrong one")]
struct Given {
    /// It comes and goes: it is in place for so long at a time, at least 1s. Needs `dormant`. Its effect is measured the
    /// first time.
    active: Option<Span>,
    /// It is out for so long in between, at least 1s. Needs `active`.
    dormant: Option<Span>,
}

/// How long a fault is in place and out, in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pulse {
    pub(crate) active: Duration,
    pub(crate) dormant: Duration,
}

/// One time that a fault is in place, from its preflight on.
pub(crate) struct Phase {
    pub(crate) mechanism: Box<dyn Mechanism>,
    pub(crate) record: Record,
    /// Counted from 1.
    pub(crate) number: u32,
}

/// Names of the parameters.
pub(crate) const NAMES: [&str; 2] = ["active", "dormant"];

/// Adds the parameters to those of a kind.
pub(crate) fn describe(properties: &mut Value, generator: &mut SchemaGenerator) {
    let own = Given::json_schema(generator);
    let own = own.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(own);
    }
}

/// The parameters of the kind alone.
pub(crate) fn without(written: &Written) -> Written {
    let mut rest = written.clone();
    rest.retain(|name, _| !NAMES.contains(&name.as_str()));
    rest
}

impl Pulse {
    /// Reads it; `None` when the fault is to stay all the time.
    pub(crate) fn read(written: &Written) -> Result<Option<Self>, FaultProblem> {
        let problem = |name: &str, message: String| FaultProblem { parameter: Some(name.to_owned()), message };
        let one = |name: &str| match written.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let span: Span =
                    serde_json::from_value(value.clone()).map_err(|wrong| problem(name, wrong.to_string()))?;
                if (PHASE_MIN..=PHASE_MAX).contains(&span.duration()) {
                    return Ok(Some(span.duration()));
                }
                let (least, most) = (Span(PHASE_MIN), Span(PHASE_MAX));
                Err(problem(name, format!("{span} is not between {least} and {most}")))
            }
        };
        match (one("active")?, one("dormant")?) {
            (None, None) => Ok(None),
            (Some(active), Some(dormant)) => Ok(Some(Self { active, dormant })),
            (Some(_), None) => {
                Err(problem("active", "say with `dormant` for how long it is out in between".to_owned()))
            }
            (None, Some(_)) => Err(problem("dormant", "say with `active` for how long it is in place".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::shape::check_fault;
    use firedrill_model::Fault;

    #[test]
    fn both_phases_are_given_or_none() {
        let check = |fault: Fault| check_fault(&fault).map_err(|problem| problem.to_string());
        let slow = || Fault::new("latency").with("delay", "10ms");
        assert!(check(slow().with("active", "2s").with("dormant", "1s")).is_ok());
        assert!(check(slow().with("active", "2s")).is_err_and(|why| why.starts_with("`active`: ")));
        assert!(check(slow().with("dormant", "2s")).is_err_and(|why| why.starts_with("`dormant`: ")));
        assert!(check(slow().with("active", "2s").with("dormant", "1ms")).is_err_and(|why| why.contains("1s")));
        assert!(check(slow().with("active", 2).with("dormant", "2s")).is_err());
    }

    #[test]
    fn what_cannot_come_and_go_says_so() {
        for kind in ["kill", "crash-loop", "reboot", "power-loss"] {
            let fault = Fault::new(kind).with("active", "1s").with("dormant", "1s");
            assert!(check_fault(&fault).is_err_and(|why| why.message.contains("come and go")), "{kind}");
        }
    }

    #[test]
    fn every_kind_that_leaves_something_can_and_no_other() {
        for kind in crate::kinds::KINDS {
            let has = kind.shape.parameters().iter().any(|parameter| parameter.name == "dormant");
            assert!(!(kind.instant && has), "{} is over at once: `const PULSES: bool = false`", kind.name);
        }
    }
}
