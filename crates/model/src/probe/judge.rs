//! From what was seen to held, broken or unknown.
//!
//! One rule divides the last two: a question that reached whom it was meant for and got no good answer is *broken*; one
//! that did not get so far is *unknown*. Prometheus only tells of others, so its own trouble is unknown too.

use super::question::{CommandQuestion, HttpQuestion, JsonCheck};
use super::{Measure, ProbeState, prometheus};
use crate::id::NodeName;
use crate::time::Span;
use crate::workload::Login;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;

/// Most characters of what was seen that are kept: the timeline and the report are read by people.
const OBSERVED_CHARS_MAX: usize = 300;
/// Most characters of one value in such a text.
const VALUE_CHARS_MAX: usize = 80;

/// What came of one question to one host or address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose, where several may be asked.
    pub from: Option<String>,
    /// What.
    pub seen: Seen,
}

/// What was seen of whom was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A value of a database.
    Cell(Option<String>),
    /// A web server's answer.
    Http {
        /// Its status.
        status: u16,
        /// From the question to the head of the answer.
        took: Span,
        /// The body, when it was wanted; or why it could not be read.
        body: Option<Result<String, String>>,
    },
    /// A connection stood.
    Connected {
        /// After this long.
        took: Span,
    },
    /// A program ended.
    Ended {
        /// With this status; `None`: by a signal.
        exit: Option<i32>,
        /// What it printed on standard output.
        output: String,
    },
    /// It was asked, and there was no good answer: refused, cut off, or too late.
    Failed(String),
    /// It could not be asked.
    NotAsked(String),
}

/// A question that an agent puts on its own host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "probe")]
pub enum HostProbe {
    /// A query to a database server; one that only reads.
    Sql {
        /// Which.
        node: NodeName,
        /// The statement.
        query: String,
        /// As whom.
        login: Login,
    },
    /// A program that the host's owner allows.
    Command {
        /// Its whole path.
        program: String,
        /// Its arguments.
        args: Vec<String>,
    },
}

/// What came of a [`HostProbe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "seen")]
pub enum HostSeen {
    /// The first value of the first row; `None` for NULL.
    Cell {
        /// As text.
        value: Option<String>,
    },
    /// The program ended.
    Ended {
        /// With this status; `None`: by a signal.
        exit: Option<i32>,
        /// The first [`VALUE_BYTES_MAX`](super::VALUE_BYTES_MAX) bytes of its standard output.
        output: String,
    },
    /// It was asked and gave no good answer.
    Failed {
        /// What it said instead.
        problem: String,
    },
}

/// What can be said of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Held, broken, or not to be told.
    pub state: ProbeState,
    /// What was seen, for people.
    pub observed: String,
}

impl Finding {
    pub(super) fn of(held: bool, observed: String) -> Self {
        let state = if held { ProbeState::Held } else { ProbeState::Broken };
        Self { state, observed: cut(&observed, OBSERVED_CHARS_MAX) }
    }

    pub(super) fn unknown(why: &str) -> Self {
        Self { state: ProbeState::Unknown, observed: cut(why, OBSERVED_CHARS_MAX) }
    }
}

/// What the answers to a probe that was asked come to. Every one must be as wanted; without any, nothing is known.
#[must_use]
pub fn judge(measure: &Measure, answers: &[Answer]) -> Finding {
    let findings: Vec<(Option<&str>, Finding)> =
        answers.iter().map(|answer| (answer.from.as_deref(), judge_one(measure, &answer.seen))).collect();
    let Some(state) = findings.iter().map(|(_, finding)| finding.state).reduce(ProbeState::and) else {
        return Finding::unknown("nobody could be asked");
    };
    // Those that make it what it is come first: what is cut off at the end is beside the point.
    let (deciding, others): (Vec<_>, Vec<_>) = findings.into_iter().partition(|(_, finding)| finding.state == state);
    let text = |(from, finding): (Option<&str>, Finding)| match from {
        Some(from) => format!("{from}: {}", finding.observed),
        None => finding.observed,
    };
    let observed: Vec<String> = deciding.into_iter().chain(others).map(text).collect();
    Finding { state, observed: cut(&observed.join("; "), OBSERVED_CHARS_MAX) }
}

fn judge_one(measure: &Measure, seen: &Seen) -> Finding {
    match (measure, seen) {
        (_, Seen::NotAsked(why)) => Finding::unknown(why),
        (Measure::Prometheus(_), Seen::Failed(why)) => Finding::unknown(&format!("Prometheus did not answer: {why}")),
        (_, Seen::Failed(why)) => Finding::of(false, why.clone()),
        (Measure::Sql(question), Seen::Cell(cell)) => {
            let value = cell.clone().map_or(Value::Null, Value::String);
            let held = question.value.holds(&value);
            Finding::of(held, with_wish(held, show(&value), &question.value.to_string()))
        }
        (Measure::Http(question), Seen::Http { status, took, body }) => http(question, *status, *took, body.as_ref()),
        (Measure::Tcp(question), Seen::Connected { took }) => {
            let held = question.latency_at_most.is_none_or(|most| *took <= most);
            let wish = question.latency_at_most.map_or_else(String::new, |most| format!("within {most}"));
            Finding::of(held, with_wish(held, format!("connected in {took}"), &wish))
        }
        (Measure::Prometheus(question), Seen::Http { status, body, .. }) => {
            prometheus::judge(question, *status, body.as_ref())
        }
        (Measure::Command(question), Seen::Ended { exit, output }) => command(question, *exit, output),
        _ => Finding::unknown("the answer is of another kind than the question"),
    }
}

fn http(question: &HttpQuestion, status: u16, took: Span, body: Option<&Result<String, String>>) -> Finding {
    let fine = question.status.map_or((200..300).contains(&status), |wanted| status == wanted);
    let in_time = question.latency_at_most.is_none_or(|most| took <= most);
    let mut observed = format!("status {status} in {took}");
    if !fine {
        let wanted = question.status.map_or_else(|| "200 to 299".to_owned(), |wanted| wanted.to_string());
        observed.push_str(&format!(", wanted {wanted}"));
    }
    if let (false, Some(most)) = (in_time, question.latency_at_most) {
        observed.push_str(&format!(", wanted within {most}"));
    }
    let Some(check) = &question.json else { return Finding::of(fine && in_time, observed) };
    let (good, found) = json(check, body);
    Finding::of(fine && in_time && good, format!("{observed}; {found}"))
}

fn json(check: &JsonCheck, body: Option<&Result<String, String>>) -> (bool, String) {
    let text = match body {
        Some(Ok(text)) => text,
        Some(Err(why)) => return (false, format!("the body could not be read: {why}")),
        None => return (false, "there is no body".to_owned()),
    };
    let document: Value = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => return (false, format!("the body is not JSON: {error}")),
    };
    // It was checked when the experiment was read.
    let Ok(path) = JsonPath::parse(&check.path) else { return (false, format!("{} is no JSONPath", check.path)) };
    let found = path.query(&document).all();
    let Some(first) = found.iter().find(|value| !check.value.holds(value)).or(found.first()) else {
        return (false, format!("there is nothing at {}", check.path));
    };
    let held = check.value.holds(first);
    (held, with_wish(held, format!("{} is {}", check.path, show(first)), &check.value.to_string()))
}

fn command(question: &CommandQuestion, exit: Option<i32>, output: &str) -> Finding {
    let ended = exit.map_or_else(|| "ended by a signal".to_owned(), |exit| format!("status {exit}"));
    let fine = exit == Some(question.exit);
    let ended = with_wish(fine, ended, &format!("status {}", question.exit));
    let Some(wanted) = &question.output else { return Finding::of(fine, ended) };
    // Programs end their last line, people do not mean that.
    let printed = Value::from(output.trim_end_matches('\n'));
    let good = wanted.holds(&printed);
    let printed = with_wish(good, format!("it printed {}", show(&printed)), &wanted.to_string());
    Finding::of(fine && good, format!("{ended}; {printed}"))
}

/// What was seen, and what was wanted when that is another thing.
pub(super) fn with_wish(held: bool, observed: String, wanted: &str) -> String {
    if held { observed } else { format!("{observed}, wanted {wanted}") }
}

/// A value for people: text without quotes would read as something else.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        other => cut(&other.to_string(), VALUE_CHARS_MAX),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
