//! The description of the API, made from the handlers themselves: what they take and give is what their types say.
//! What a call is for and who may make it comes from the table of access.

use super::routes;
use crate::access::{Needed, rule_for};
use crate::problem::Failure;
use aide::openapi::{Info, OpenApi, SecurityScheme};
use aide::transform::TransformOpenApi;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The name of the way to show who one is.
const BEARER: &str = "bearer";

const ABOUT: &str = "Chaos engineering for databases. Errors are problems (RFC 9457) with a stable code; each has a page at \
    `/errors/{code}`. Durations are texts such as `30s`, moments are microseconds since 1970 (UTC). Lists give the newest \
    first; a `Link` header with `rel=\"next\"` leads on. A `POST` with an `Idempotency-Key` is carried out once, and answered \
    again with what it came to.";

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
});

/// The description of the API as JSON (OpenAPI 3.1), with a line end.
#[must_use]
pub fn openapi() -> &'static str {
    &DOCUMENT
}

/// `GET /openapi.json`.
pub(super) async fn show() -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi()).into_response()
}

fn document() -> Value {
    aide::generate::extract_schemas(true);
    aide::generate::infer_responses(true);
    let info = Info {
        title: "firedrill".to_owned(),
        description: Some(ABOUT.to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Info::default()
    };
    let mut api = OpenApi { info, ..OpenApi::default() };
    let calls = routes().described(|path| path.starts_with("/api/v1/"));
    let _router = calls.finish_api_with(&mut api, everywhere);
    let mut document = serde_json::to_value(&api).unwrap_or_default();
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        for (path, calls) in paths {
            each_call(path, calls);
        }
    }
    document
}

/// What all calls have in common.
fn everywhere(api: TransformOpenApi<'_>) -> TransformOpenApi<'_> {
    let bearer = SecurityScheme::Http {
        scheme: "bearer".to_owned(),
        bearer_format: None,
        description: Some(
            "An API token, or the secret of a session. As long as there are no users: nothing.".to_owned(),
        ),
        extensions: Default::default(),
    };
    api.default_response::<Failure>().security_scheme(BEARER, bearer)
}

/// Adds to the calls of one path what their handlers do not know.
fn each_call(path: &str, calls: &mut Value) {
    let Some(calls) = calls.as_object_mut() else { return };
    for (method, call) in calls {
        let method = method.to_ascii_uppercase();
        let (Some(call), Some(rule)) = (call.as_object_mut(), rule_for(&method, path)) else { continue };
        call.insert("summary".to_owned(), json!(rule.about));
        call.insert("operationId".to_owned(), json!(id_of(&method, path)));
        call.insert("tags".to_owned(), json!([path.split('/').nth(3).unwrap_or_default()]));
        if let Needed::May(action, scope) = rule.access {
            call.insert("security".to_owned(), json!([{ BEARER: [] }]));
            call.insert("x-firedrill-needs".to_owned(), json!(format!("{action:?} on {scope:?}").to_lowercase()));
        }
        parameters_of_the_path(path, call);
        if let Some(answers) = call.get_mut("responses").and_then(Value::as_object_mut) {
            // Of an answer that is no JSON its handler only says that it is one.
            answers.entry("200").or_insert_with(|| json!({ "description": rule.about }));
        }
    }
}

/// `POST /api/v1/runs/{run}/halt` is `post_runs_run_halt`.
fn id_of(method: &str, path: &str) -> String {
    let parts = path.trim_start_matches("/api/v1/").split('/').map(|part| part.trim_matches(['{', '}']));
    let words: Vec<String> = parts.map(|part| part.replace(['.', '-'], "_")).collect();
    format!("{}_{}", method.to_ascii_lowercase(), words.join("_"))
}

fn parameters_of_the_path(path: &str, call: &mut Map<String, Value>) {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let described = names.map(
        |name| json!({ "in": "path", "name": name, "required": true, "schema": { "type": "string", "minLength": 1 } }),
    );
    let described: Vec<Value> = described.collect();
    if let Some(Value::Array(parameters)) = call.get_mut("parameters") {
        parameters.splice(0..0, described);
    } else if !described.is_empty() {
        call.insert("parameters".to_owned(), Value::Array(described));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_described_with_what_it_takes_and_gives() {
        let document: Value = serde_json::from_str(openapi()).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        for rule in crate::access::RULES.iter().filter(|rule| rule.path.starts_with("/api/")) {
            let call = &paths[rule.path][rule.method.to_ascii_lowercase()];
            let name = format!("{} {}", rule.method, rule.path);
            assert!(!rule.about.is_empty() && call["summary"] == rule.about, "{name}");
            assert!(call["responses"].as_object().is_some_and(|all| all.contains_key("default")), "{name}: {call:#}");
            assert!(call["responses"].as_object().is_some_and(|all| all.contains_key("200")), "{name}: {call:#}");
            let parameters = rule.path.matches('{').count();
            let found =
                call["parameters"].as_array().map_or(0, |all| all.iter().filter(|one| one["in"] == "path").count());
            assert_eq!(parameters, found, "{name}");
        }
        assert_eq!(id_of("POST", "/api/v1/runs/{run}/halt"), "post_runs_run_halt");
    }

    #[test]
    fn every_name_that_is_referred_to_is_there() {
        let document: Value = serde_json::from_str(openapi()).expect("JSON");
        let text = openapi();
        let names = text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        for name in names {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
