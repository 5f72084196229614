//! What all calls of the API have in common: problems, pages of lists, keys.

use crate::access::http;
use crate::fixture::Fixture;
use crate::keeper::{register, shop};
use firedrill_api::http::IDEMPOTENCY_KEY;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackId, Fault, Timestamp};
use serde_json::{Value, json};

async fn post(fixture: &Fixture, path: &str, key: &str, body: &Value) -> (u16, bool, Value) {
    let call = http().post(fixture.http(path)).header(IDEMPOTENCY_KEY, key).json(body);
    let answer = call.send().await.expect("an answer");
    let (status, again) = (answer.status().as_u16(), answer.headers().contains_key("idempotency-replayed"));
    (status, again, answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_problem_has_a_type_whose_page_is_there() {
    let fixture = Fixture::new().await;
    let answer = http().get(fixture.http("/api/v1/clusters/none")).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(
        (&problem["code"], &problem["status"], &problem["title"]),
        (&json!("S001"), &json!(404), &json!("Not found"))
    );
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("none")), "{problem}");
    let page = http().get(fixture.http(problem["type"].as_str().expect("a type"))).send().await.expect("a page");
    assert!(page.status().is_success() && page.text().await.expect("text").contains("<h1>S001: "));
    let none = http().get(fixture.http("/errors/..%2F..%2FREADME")).send().await.expect("an answer");
    assert_eq!(none.status(), 404);
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_whole() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    for place in 0..5 {
        let report = AttackReport {
            id: AttackId(format!("attack-{place}")),
            host: "east-1".parse().expect("a name"),
            fault: Fault::new("pause"),
            state: AttackState::Undone,
            at: Timestamp(7),
            in_place: None,
            mechanism: String::new(),
            evidence: String::new(),
        };
        let record = firedrill_store::AttackRecord { report, cluster: Some(shop()), run: None, until: None };
        fixture.server().store.save_attack(&record).await.expect("stored");
    }
    let (mut seen, mut next) = (Vec::new(), Some("?limit=2".to_owned()));
    while let Some(query) = next {
        let answer = http().get(fixture.http(&format!("/api/v1/attacks{query}"))).send().await.expect("an answer");
        let link = answer.headers().get("link").map(|link| link.to_str().expect("text").to_owned());
        next = link.and_then(|link| Some(link.strip_prefix('<')?.split_once(">; rel=\"next\"")?.0.to_owned()));
        let rows: Vec<Value> = answer.json().await.expect("rows");
        assert!(rows.len() <= 2);
        seen.extend(rows.into_iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
    }
    assert_eq!(seen, ["attack-4", "attack-3", "attack-2", "attack-1", "attack-0"]);
    for limit in ["0", "1001", "many"] {
        let answer = http().get(fixture.http(&format!("/api/v1/runs?limit={limit}"))).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{limit}");
    }
}

#[tokio::test]
async fn a_call_with_a_key_is_carried_out_once() {
    let mut fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let out = |reason: &str| json!({ "scope": "all", "reason": reason });
    let first = post(&fixture, "/api/v1/blackouts", "one", &out("a migration")).await;
    let second = post(&fixture, "/api/v1/blackouts", "one", &out("a migration")).await;
    assert_eq!((first.0, first.1, second.0, second.1), (200, false, 200, true));
    assert_eq!(first.2, second.2);
    fixture.restart().await;
    assert_eq!(post(&fixture, "/api/v1/blackouts", "one", &out("a migration")).await.2, first.2);
    assert_eq!(fixture.client.blackouts().await.expect("a list").len(), 1);
    let other = post(&fixture, "/api/v1/blackouts", "one", &out("another")).await;
    assert_eq!((other.0, &other.2["code"]), (422, &json!("S066")));
    // A refusal is an answer, too.
    let refused = post(&fixture, "/api/v1/blackouts", "two", &json!({ "scope": "all" })).await;
    assert_eq!(
        (refused.0, &refused.2),
        (400, &post(&fixture, "/api/v1/blackouts", "two", &json!({ "scope": "all" })).await.2)
    );
    let secret = post(&fixture, "/api/v1/hosts/east-1/token", "three", &json!({})).await;
    assert_eq!((secret.0, &secret.2["code"]), (422, &json!("S066")));
    let long = post(&fixture, "/api/v1/blackouts", &"k".repeat(129), &out("a migration")).await;
    assert_eq!(long.0, 422);
}

#[tokio::test]
async fn a_call_that_was_begun_is_not_begun_again() {
    let fixture = Fixture::new().await;
    let body = json!({ "reason": "go on" });
    let text = format!("POST /api/v1/resume\n{body}");
    fixture.client.halt("enough").await.expect("halted");
    let asked = hash(&text);
    let call = firedrill_store::KeyedCall { person: "local", key: "cut", asked: &asked };
    fixture.server().store.take_key(call, firedrill_server::clock::now()).await.expect("taken");
    let begun = post(&fixture, "/api/v1/resume", "cut", &body).await;
    assert_eq!((begun.0, &begun.2["code"]), (409, &json!("S067")));
    assert!(fixture.client.status().await.expect("status").halted.is_some());
}

/// As the server does it: SHA-256, in hexadecimal digits.
fn hash(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
