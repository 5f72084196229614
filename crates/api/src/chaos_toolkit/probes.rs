//! Probes: what is asked, in firedrill's words.

use super::activity::{Activity, Arguments, Provider};
use super::document::clean;
use super::tolerance::{Tolerance, between};
use super::values::Values;
use super::{Obstacle, nearest, programs};
use firedrill_model::Selector;
use serde_json::{Map, Value, json};

/// Longest patience of a probe, in milliseconds.
const TIMEOUT_MILLIS_MAX: f64 = 10_000.0;
/// Patience of a probe that says nothing of it.
const TIMEOUT: &str = "10s";

/// One question; a tolerance with two bounds comes to two of them.
pub(super) struct Question {
    /// Added to the probe's name.
    pub(super) suffix: &'static str,
    pub(super) measure: Value,
}

/// What a probe has become.
pub(super) struct Questions {
    pub(super) all: Vec<Question>,
    pub(super) timeout: String,
    pub(super) notes: Vec<String>,
}

impl Questions {
    fn one(measure: Value) -> Self {
        Self { all: vec![Question { suffix: "", measure }], timeout: TIMEOUT.to_owned(), notes: Vec::new() }
    }

    fn each(comparisons: Vec<(&'static str, Value)>, measure: impl Fn(Value) -> Value) -> Self {
        let all = comparisons.into_iter().map(|(suffix, value)| Question { suffix, measure: measure(value) });
        Self { all: all.collect(), timeout: TIMEOUT.to_owned(), notes: Vec::new() }
    }
}

type ReadFunction = fn(Arguments<'_>, Asking<'_>) -> Result<Questions, Obstacle>;

/// A function of Python that asks something that can be asked here.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) becomes: &'static str,
    pub(super) differs: &'static str,
    read: ReadFunction,
}

/// What is known of a probe besides its arguments.
pub(super) struct Asking<'a> {
    place: &'a str,
    tolerance: Tolerance,
    target: Option<&'a Selector>,
}

/// All of them.
pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "chaosprometheus.probes.query",
        becomes: "probe `prometheus`",
        differs: "with a `jsonpath` to `$.data.result[*].value[1]` and `expect`; every series must be as wanted",
        read: prometheus,
    },
    Function {
        name: "chaosreliably.activities.http.probes.measure_response_time",
        becomes: "probe `http` with `latency_at_most`",
        differs: "with two bounds, the lower one 0; the time is that of the answer's head, and its status must be 200 to 299",
        read: response_time,
    },
    Function {
        name: "os.path.exists",
        becomes: "probe `command` with `/usr/bin/test -e`",
        differs: "asked on the hosts of the target, whose agents must allow the command",
        read: exists,
    },
];

/// Whether a function is one of these.
pub(super) fn knows(name: &str) -> bool {
    FUNCTIONS.iter().any(|known| known.name == name)
}

/// Reads a probe that has a tolerance. `target`: the hosts of a probe that is asked on hosts.
pub(super) fn read(activity: &Activity, target: Option<&Selector>, values: &Values) -> Result<Questions, Obstacle> {
    let place = activity.place.as_str();
    let place_of_tolerance = format!("{place}.tolerance");
    let tolerance = activity.tolerance.as_ref();
    let tolerance = match tolerance.map(|value| Tolerance::read(value, &place_of_tolerance, values)) {
        Some(tolerance) => tolerance?,
        None => return Err(Obstacle::new(place_of_tolerance, "there is none", "say what the answer must be")),
    };
    let arguments = |given: &Map<String, Value>, name: &str| Arguments::new(given, format!("{place}.{name}"), values);
    match &activity.provider {
        Provider::Http(fields) => http(arguments(fields, "provider"), tolerance, &place_of_tolerance),
        Provider::Process(fields) => process(arguments(fields, "provider"), Asking { place, tolerance, target }),
        Provider::Python(name, given) => match FUNCTIONS.iter().find(|known| known.name == name) {
            Some(known) => (known.read)(arguments(given, "provider.arguments"), Asking { place, tolerance, target }),
            None => Err(Obstacle::new(
                format!("{place}.provider.func"),
                format!("the function {name}"),
                nearest::probe(name),
            )),
        },
    }
}

fn http(mut given: Arguments<'_>, tolerance: Tolerance, place: &str) -> Result<Questions, Obstacle> {
    let values = given.values;
    given.pass_over(&["type"]);
    let mut url = values.address(&given.must("url")?, &given.place("url"))?;
    let method = given.take("method").and_then(|method| method.as_str().map(str::to_ascii_uppercase));
    if method.is_some_and(|method| method != "GET") {
        let instead = "a probe reads with GET: ask a page that does, or use a `command` probe";
        return Err(Obstacle::new(given.place("method"), "another method than GET", instead));
    }
    if given.take("headers").is_some_and(|headers| headers.as_object().is_none_or(|headers| !headers.is_empty())) {
        let instead = "a probe sends no headers of its own: ask a page that needs none, or use a `command` probe";
        return Err(Obstacle::new(given.place("headers"), "headers", instead));
    }
    if given.take("verify_tls") == Some(Value::Bool(false)) {
        let instead = "certificates are always checked: let the server trust that authority";
        return Err(Obstacle::new(given.place("verify_tls"), "certificates are not to be checked", instead));
    }
    let place_of_arguments = given.place("arguments");
    if let Some(arguments) = given.take("arguments") {
        url = with_query(&url, &arguments, &place_of_arguments, values)?;
    }
    let (timeout, mut notes) = timeout(&mut given)?;
    given.pass_over(&["expected_status"]);
    given.finish()?;
    let mut measure = json!({ "http": { "url": url } });
    let refused = |found: &str, instead: &str| Err(Obstacle::new(place, found, instead));
    match tolerance {
        Tolerance::Is(status @ Value::Number(_)) => measure["http"]["status"] = status,
        Tolerance::List(statuses) => match statuses.as_slice() {
            [status @ Value::Number(_)] => measure["http"]["status"] = status.clone(),
            _ => {
                return refused(
                    "a list of statuses",
                    "give one status, or a `range` from 200 to 299 with `target: status`",
                );
            }
        },
        Tolerance::Range { low, high, target } if target.as_deref() == Some("status") => {
            if low == high {
                measure["http"]["status"] = low;
            } else if (low.as_u64(), high.as_u64()) != (Some(200), Some(299)) {
                return refused("a range of statuses", "give one status, or the range from 200 to 299");
            }
        }
        Tolerance::Path { path, target, expect, notes: more } => {
            let path = body_path(&path, target.as_deref(), place)?;
            let wanted = expect.map_or_else(|| json!({ "not-equals": null }), |wanted| json!({ "equals": wanted }));
            measure["http"]["json"] = json!({ "path": path, "value": wanted });
            notes.extend(more);
            notes.push("the status must be 200 to 299, too".to_owned());
        }
        Tolerance::Text { .. } => {
            return refused("a text in the body", "use a `jsonpath` with `target: body`, or a `command` probe");
        }
        Tolerance::Is(_) | Tolerance::Range { .. } => {
            return refused("a tolerance that no answer of a web server meets", "give the status, as a number");
        }
    }
    Ok(Questions { timeout, notes, ..Questions::one(measure) })
}

/// A path into the body; without a target it is one into the whole answer.
fn body_path(path: &str, target: Option<&str>, place: &str) -> Result<String, Obstacle> {
    let instead = "let it lead into the body (`target: body`)";
    match target {
        Some("body") => Ok(path.to_owned()),
        None => match path.strip_prefix("$.body") {
            Some(rest) if rest.is_empty() || rest.starts_with(['.', '[']) => Ok(format!("${rest}")),
            _ => Err(Obstacle::new(format!("{place}.path"), "a path that leads elsewhere than into the body", instead)),
        },
        Some(_) => Err(Obstacle::new(format!("{place}.target"), "a path into something else than the body", instead)),
    }
}

/// An address with arguments as its query.
fn with_query(url: &str, arguments: &Value, place: &str, values: &Values) -> Result<String, Obstacle> {
    let Value::Object(arguments) = arguments else {
        return Err(Obstacle::new(place, "arguments that are no map", "give names and values"));
    };
    let mut url = url.to_owned();
    for (name, value) in arguments {
        let value = values.text(value, &format!("{place}.{}", clean(name)))?;
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&format!("{}={}", escaped(name), escaped(&value)));
    }
    Ok(url)
}

/// As in a query: all but unreserved characters as `%XX` (RFC 3986, 2.3); parameters are put in as they are.
fn escaped(text: &str) -> String {
    if text.contains("${") {
        return text.to_owned();
    }
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// How long an answer may take; of `[to connect, to read]` the sum.
fn timeout(given: &mut Arguments<'_>) -> Result<(String, Vec<String>), Obstacle> {
    let Some(timeout) = given.take("timeout") else { return Ok((TIMEOUT.to_owned(), Vec::new())) };
    let wrong = || Obstacle::new(given.place("timeout"), "no time", "give seconds above 0");
    let parts = timeout.as_array().cloned().unwrap_or_else(|| vec![timeout]);
    let seconds: Option<f64> =
        parts.iter().map(|part| part.as_f64().or_else(|| part.as_str()?.trim().parse().ok())).sum();
    let millis = seconds.map(|seconds| (seconds * 1000.0).round()).filter(|millis| *millis >= 1.0).ok_or_else(wrong)?;
    let kept = millis.clamp(100.0, TIMEOUT_MILLIS_MAX);
    let changed = (kept - millis).abs() >= 1.0;
    let notes = changed.then(|| "a probe waits for 100 ms at least and 10 s at most".to_owned());
    Ok((format!("{kept:.0}ms"), notes.into_iter().collect()))
}

fn on_hosts<'a>(asking: &Asking<'a>) -> Result<&'a Selector, Obstacle> {
    asking.target.ok_or_else(|| {
        let found = "the file does not say on which hosts it is asked";
        Obstacle::new(asking.place, found, "name them, for example role=primary (--target)")
    })
}

const ALLOW: &str = "runs only where the agent's configuration allows exactly this command (`allowed_commands`)";

fn process(mut given: Arguments<'_>, asking: Asking<'_>) -> Result<Questions, Obstacle> {
    let target = json!(on_hosts(&asking)?);
    let values = given.values;
    given.pass_over(&["type"]);
    let program = values.text(&given.must("path")?, &given.place("path"))?;
    let args = programs::arguments(given.take("arguments"), &given.place("arguments"), values)?;
    let (timeout, mut notes) = timeout(&mut given)?;
    given.finish()?;
    notes.push(ALLOW.to_owned());
    let place = format!("{}.tolerance", asking.place);
    let measure = |exit: Value, output: Option<Value>| {
        let mut command = json!({ "target": target, "program": program, "args": args, "exit": exit });
        if let Some(output) = output {
            command["output"] = output;
        }
        json!({ "command": command })
    };
    let on_stdout = |target: &Option<String>| target.as_deref() == Some("stdout");
    let questions = match asking.tolerance {
        Tolerance::Is(exit @ Value::Number(_)) => Questions::one(measure(exit, None)),
        Tolerance::List(items) if items.len() == 1 => Questions::one(measure(items[0].clone(), None)),
        Tolerance::Text { literal, target } if on_stdout(&target) => {
            notes.push("it must also end with status 0".to_owned());
            Questions::one(measure(json!(0), Some(json!({ "contains": literal }))))
        }
        Tolerance::Range { low, high, target } if on_stdout(&target) => {
            notes.push("it must also end with status 0".to_owned());
            Questions::each(between(&low, &high), |wanted| measure(json!(0), Some(wanted)))
        }
        _ => {
            let instead = "give the exit status as a number, or a `regex` or `range` with `target: stdout`";
            return Err(Obstacle::new(place, "what a program's end is not compared with", instead));
        }
    };
    Ok(Questions { timeout, notes, ..questions })
}

fn prometheus(mut given: Arguments<'_>, asking: Asking<'_>) -> Result<Questions, Obstacle> {
    const BASE: &str = "prometheus_base_url";
    let values = given.values;
    let query = values.text(&given.must("query")?, &given.place("query"))?;
    let (timeout, mut notes) = timeout(&mut given)?;
    if given.any(&["when"]) {
        return Err(Obstacle::new(given.place("when"), "a query of the past", "ask for now"));
    }
    given.pass_over(&["verify_tls"]);
    given.finish()?;
    let place = format!("configuration.{BASE}");
    let url = match values.configured(BASE, &place)? {
        Some(url) => values.address(&url, &place)?,
        None => "http://localhost:9090".to_owned(),
    };
    let tolerance = format!("{}.tolerance", asking.place);
    let instead = "use a `jsonpath` to `$.data.result[*].value[1]` with `expect`";
    let Tolerance::Path { path, expect: Some(wanted), notes: more, .. } = asking.tolerance else {
        return Err(Obstacle::new(tolerance, "what the answer of Prometheus is not compared with", instead));
    };
    notes.extend(more);
    match path.as_str() {
        "$.data.result[*].value[1]" | "$.data.result.*.value[1]" => {}
        "$.data.result[0].value[1]" => notes.push("every series must be as wanted, not only the first".to_owned()),
        _ => return Err(Obstacle::new(format!("{tolerance}.path"), format!("the path {path}"), instead)),
    }
    let measure = json!({ "prometheus": { "url": url, "query": query, "value": { "equals": wanted } } });
    Ok(Questions { timeout, notes, ..Questions::one(measure) })
}

fn response_time(mut given: Arguments<'_>, asking: Asking<'_>) -> Result<Questions, Obstacle> {
    let values = given.values;
    let url = values.address(&given.must("url")?, &given.place("url"))?;
    given.finish()?;
    let bounds = match &asking.tolerance {
        Tolerance::List(items) if items.len() == 2 => Some((&items[0], &items[1])),
        Tolerance::Range { low, high, target: None } => Some((low, high)),
        _ => None,
    };
    let place = format!("{}.tolerance", asking.place);
    let most = bounds.filter(|(low, _)| low.as_f64() == Some(0.0)).map(|(_, high)| high);
    let Some(most) =
        most.filter(|most| most.as_f64().is_some_and(|most| most > 0.0 && most * 1000.0 <= TIMEOUT_MILLIS_MAX))
    else {
        return Err(Obstacle::new(
            place,
            "no time from 0 to at most 10 seconds",
            "give two bounds in seconds, the first 0",
        ));
    };
    let most = values.seconds(most, &place)?;
    Ok(Questions::one(json!({ "http": { "url": url, "latency_at_most": most } })))
}

fn exists(mut given: Arguments<'_>, asking: Asking<'_>) -> Result<Questions, Obstacle> {
    let target = json!(on_hosts(&asking)?);
    let path = given.values.text(&given.must("path")?, &given.place("path"))?;
    given.finish()?;
    let exit = match asking.tolerance {
        Tolerance::Is(Value::Bool(there)) => i32::from(!there),
        _ => {
            return Err(Obstacle::new(format!("{}.tolerance", asking.place), "neither true nor false", "say which"));
        }
    };
    let command = json!({ "target": target, "program": "/usr/bin/test", "args": ["-e", path], "exit": exit });
    let questions = Questions::one(json!({ "command": command }));
    Ok(Questions { notes: vec![ALLOW.to_owned()], ..questions })
}
