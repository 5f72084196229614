//! What a trace is made of, and how it is written: OTLP 1 over HTTP in its JSON form (opentelemetry-proto,
//! "JSON Protobuf Encoding"). Pure.

use crate::authority::sha256_hex;
use axum::http::StatusCode;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::report::RunReport;
use firedrill_model::{Operation, OperationState, Timestamp, Verdict};
use firedrill_store::AttackRecord;
use serde_json::{Value, json};

/// Longest text of an attribute, in characters: reasons and evidence are a sentence or two.
const TEXT_CHARS_MAX: usize = 500;
/// `SPAN_KIND_INTERNAL`, `SPAN_KIND_SERVER`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The identity of a span: 32 and 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpanId {
    trace: String,
    span: String,
}

impl SpanId {
    /// That of something with a name, the same each time: who knows the name can refer to its span.
    fn of(kind: &str, name: &str) -> Self {
        let hex = sha256_hex(format!("firedrill {kind} {name}").as_bytes());
        Self { trace: hex[..32].to_owned(), span: hex[32..48].to_owned() }
    }

    /// Another span of a trace.
    fn within(self, kind: &str, name: &str) -> Self {
        Self { trace: self.trace, ..Self::of(kind, name) }
    }

    /// From the header `traceparent` of a caller who traces, too (W3C Trace Context, 3.2).
    pub(crate) fn of_caller(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, digits: usize| {
            let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            text.len() == digits && text.bytes().all(plain) && text.bytes().any(|byte| byte != b'0')
        };
        let known = version.len() == 2 && version != "ff" && parts.next().is_some();
        (known && hex(trace, 32) && hex(span, 16)).then(|| Self { trace: trace.to_owned(), span: span.to_owned() })
    }
}

/// Something that took a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    id: SpanId,
    parent: Option<String>,
    name: String,
    kind: u8,
    began: Timestamp,
    ended: Timestamp,
    attributes: Vec<(&'static str, Value)>,
    /// It failed, and why.
    error: Option<String>,
    links: Vec<SpanId>,
}

impl Span {
    fn new(id: SpanId, name: String, began: Timestamp, ended: Timestamp) -> Self {
        let (attributes, links) = (Vec::new(), Vec::new());
        Self { id, parent: None, name, kind: INTERNAL, began, ended: ended.max(began), attributes, error: None, links }
    }

    fn below(mut self, parent: &SpanId) -> Self {
        self.parent = Some(parent.span.clone());
        self
    }

    fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((key, json!({ "stringValue": cut(&value.into()) })));
        self
    }

    fn with_number(mut self, key: &'static str, value: u16) -> Self {
        self.attributes.push((key, json!({ "intValue": value.to_string() })));
        self
    }

    fn failed(mut self, why: Option<String>) -> Self {
        self.error = why;
        self
    }

    fn written(&self) -> Value {
        let attribute = |(key, value): &(&str, Value)| json!({ "key": key, "value": value });
        let mut span = json!({
            "traceId": self.id.trace,
            "spanId": self.id.span,
            "name": cut(&self.name),
            "kind": self.kind,
            "startTimeUnixNano": nanos(self.began),
            "endTimeUnixNano": nanos(self.ended),
            "attributes": self.attributes.iter().map(attribute).collect::<Vec<_>>(),
        });
        if let Some(parent) = &self.parent {
            span["parentSpanId"] = json!(parent);
        }
        if let Some(why) = &self.error {
            span["status"] = json!({ "code": ERROR, "message": cut(why) });
        }
        if !self.links.is_empty() {
            let link = |other: &SpanId| json!({ "traceId": other.trace, "spanId": other.span });
            span["links"] = self.links.iter().map(link).collect();
        }
        span
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// 64-bit numbers travel as text.
fn nanos(at: Timestamp) -> String {
    i128::from(at.0).saturating_mul(1000).max(0).to_string()
}

/// The body of one export.
pub(crate) fn document(spans: &[Span]) -> Value {
    let attribute = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let version = env!("CARGO_PKG_VERSION");
    json!({ "resourceSpans": [{
        "resource": {
            "attributes": [attribute("service.name", "firedrill"), attribute("service.version", version)],
        },
        "scopeSpans": [{
            "scope": { "name": "firedrill", "version": version },
            "spans": spans.iter().map(Span::written).collect::<Vec<_>>(),
        }],
    }] })
}

/// One call of the API. Only the route is told: an address may hold what is nobody's business.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) route: &'a str,
    pub(crate) status: StatusCode,
    /// The code of its problem, when it was not done.
    pub(crate) problem: Option<&'a str>,
    /// Whose span it is below.
    pub(crate) caller: Option<SpanId>,
    pub(crate) began: Timestamp,
    pub(crate) ended: Timestamp,
}

/// The span of a call. `unique` is like no other call's.
pub(crate) fn of_call(call: Call<'_>, unique: &str) -> Span {
    let own = SpanId::of("call", unique);
    let id = call.caller.clone().map_or_else(|| own.clone(), |caller| caller.within("call", unique));
    let mut span = Span::new(id, format!("{} {}", call.method, call.route), call.began, call.ended)
        .with("http.request.method", call.method)
        .with("http.route", call.route)
        .with_number("http.response.status_code", call.status.as_u16());
    span.kind = SERVER;
    if let Some(problem) = call.problem {
        span = span.with("error.type", problem);
    }
    if let Some(caller) = &call.caller {
        span = span.below(caller);
    }
    span.failed(call.status.is_server_error().then(|| call.status.to_string()))
}

/// The span of a run that has ended, with links to its operations.
pub(crate) fn of_run(report: &RunReport) -> Span {
    let verdict = report.verdict.unwrap_or(Verdict::Error);
    let why = || report.reasons.first().cloned().unwrap_or_else(|| verdict.to_string());
    let ended = report.ended.unwrap_or(report.began);
    let mut span =
        Span::new(SpanId::of("run", &report.run.0), format!("run {}", report.experiment.name), report.began, ended)
            .with("firedrill.run", report.run.0.clone())
            .with("firedrill.cluster", report.cluster.to_string())
            .with("firedrill.verdict", verdict.to_string())
            .failed(matches!(verdict, Verdict::Failed | Verdict::Error).then(why));
    span.links = report.operations.iter().map(|operation| SpanId::of("operation", &operation.id.to_string())).collect();
    span
}

/// The span of an attack that is over, below that of its run; `None` while it is not.
pub(crate) fn of_attack(record: &AttackRecord) -> Option<Span> {
    let AttackReport { id, host, fault, state, at, in_place, mechanism, evidence } = &record.report;
    let over = matches!(state, AttackState::Undone | AttackState::Refused | AttackState::UndoFailed);
    let run = record.run.as_ref().map(|run| SpanId::of("run", &run.0));
    let own = run.clone().map_or_else(|| SpanId::of("attack", &id.0), |run| run.within("attack", &id.0));
    let began = in_place.unwrap_or(*at);
    let mut span = Span::new(own, format!("attack {}", fault.kind), began, *at)
        .with("firedrill.attack", id.0.clone())
        .with("firedrill.fault", fault.to_string())
        .with("firedrill.state", format!("{state:?}"))
        .with("firedrill.mechanism", mechanism.clone())
        .with("host.name", host.to_string())
        .failed((*state == AttackState::UndoFailed).then(|| evidence.clone()));
    if let Some(cluster) = &record.cluster {
        span = span.with("firedrill.cluster", cluster.to_string());
    }
    if let Some(run) = &run {
        span = span.below(run);
    }
    over.then_some(span)
}

/// The spans of an operation that has ended: its own, and one for each of its phases.
pub(crate) fn of_operation(operation: &Operation) -> Vec<Span> {
    let Some(ended) = operation.ended else { return Vec::new() };
    let id = SpanId::of("operation", &operation.id.to_string());
    let failed = operation.state != OperationState::Finished;
    let why = || operation.reason.clone().unwrap_or_else(|| "it did not finish".to_owned());
    let name = format!("operation {}", operation.kind);
    let own = Span::new(id.clone(), name, operation.began, ended)
        .with("firedrill.operation", operation.id.to_string())
        .with("firedrill.cluster", operation.cluster.to_string())
        .with("firedrill.node", operation.subject.to_string())
        .with("firedrill.cause", operation.cause.clone())
        .failed(failed.then(why));
    let phase = |(phase, began, took): (firedrill_model::operation::Phase, Timestamp, firedrill_model::Span)| {
        let name = format!("{} {phase}", operation.id);
        Span::new(id.clone().within("phase", &name), format!("phase {phase}"), began, began + took).below(&id)
    };
    std::iter::once(own).chain(operation.phases().into_iter().map(phase)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_traces_is_told_from_one_who_does_not() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(SpanId::of_caller(good).is_some());
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "é",
        ] {
            assert_eq!(SpanId::of_caller(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_span_is_written_as_the_protocol_wants_it() {
        let caller = SpanId::of_caller("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let call = Call {
            method: "GET",
            route: "/api/v1/runs/{run}",
            status: StatusCode::SERVICE_UNAVAILABLE,
            problem: Some("S003"),
            caller,
            began: Timestamp(2_000_000),
            ended: Timestamp(1_000_000),
        };
        let written = document(&[of_call(call, "1")]);
        let span = &written["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span["parentSpanId"], "b7ad6b7169203331");
        assert_eq!(span["spanId"].as_str().map(str::len), Some(16));
        assert_eq!((&span["kind"], &span["status"]["code"]), (&json!(2), &json!(2)));
        // A clock that was set back does not make a time of less than nothing.
        assert_eq!(span["startTimeUnixNano"], span["endTimeUnixNano"]);
        assert_eq!(span["startTimeUnixNano"], "2000000000");
    }
}
