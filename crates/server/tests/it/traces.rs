//! Traces: what a collector gets, and that nobody waits for one.

use crate::fixture::{Fixture, WITHIN, config, until};
use crate::receiver::{Receiver, Say};
use firedrill_api::http::Live;
use firedrill_model::operation::{Operation, OperationKind, OperationState};
use firedrill_model::{OperationId, Timestamp};
use firedrill_server::ServerConfig;
use serde_json::Value;
use std::time::Instant;

async fn traced(collector: &str) -> Fixture {
    let otlp = Some(collector.parse().expect("a collector"));
    Fixture::with(|dir| ServerConfig { otlp, ..config(dir) }).await
}

/// All spans that have come.
fn spans(receiver: &Receiver) -> Vec<Value> {
    let of_call = |call: crate::receiver::Call| {
        assert_eq!((call.path.as_str(), call.header("content-type")), ("/v1/traces", "application/json"));
        let resource = &call.json()["resourceSpans"][0];
        let service = &resource["resource"]["attributes"][0];
        assert_eq!((&service["key"], &service["value"]["stringValue"]), (&"service.name".into(), &"firedrill".into()));
        resource["scopeSpans"][0]["spans"].as_array().expect("spans").clone()
    };
    receiver.calls().into_iter().flat_map(of_call).collect()
}

fn attribute(span: &Value, key: &str) -> Option<Value> {
    span["attributes"].as_array()?.iter().find(|one| one["key"] == key).map(|one| one["value"].clone())
}

fn operation() -> Operation {
    Operation {
        id: OperationId("orders-1".to_owned()),
        cluster: "orders".parse().expect("a name"),
        kind: OperationKind::Clone,
        subject: "east-3".parse().expect("a name"),
        partner: None,
        cause: "a replica is lost".to_owned(),
        state: OperationState::Undone,
        reason: Some("the donor is gone".to_owned()),
        failure_at: None,
        began: Timestamp(5_000_000),
        ended: Some(Timestamp(9_000_000)),
        steps: Vec::new(),
    }
}

#[tokio::test]
async fn calls_and_operations_come_as_spans_and_what_waits_comes_at_the_end() {
    let receiver = Receiver::start().await;
    let mut fixture = traced(&receiver.url("")).await;
    let url = fixture.http("/api/v1/runs/no-such-run?token=hunter2");
    let asked = reqwest::Client::new().get(url);
    let asked = asked.header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(asked.send().await.expect("an answer").status(), 404);
    reqwest::get(fixture.http("/healthz")).await.expect("an answer");
    let call = until("the span of the call", async || spans(&receiver).into_iter().next()).await;
    assert_eq!(call["name"], "GET /api/v1/runs/{run}");
    assert_eq!((&call["traceId"], &call["kind"]), (&"0af7651916cd43dd8448eb211c80319c".into(), &2.into()));
    assert_eq!(attribute(&call, "http.response.status_code"), Some(serde_json::json!({ "intValue": "404" })));
    assert_eq!(attribute(&call, "error.type"), Some(serde_json::json!({ "stringValue": "S001" })));
    for _ in 0..2 {
        // The same end, told twice, is one span.
        fixture.server().live.send(Live::Operation { operation: Box::new(operation()) });
    }
    let done = until("the span of the operation", async || spans(&receiver).into_iter().nth(1)).await;
    assert_eq!((&done["name"], &done["startTimeUnixNano"]), (&"operation clone".into(), &"5000000000".into()));
    assert_eq!(done["status"]["message"], "the donor is gone");
    fixture.client.status().await.expect("an answer");
    fixture.stop().await;
    let all = spans(&receiver);
    assert_eq!(all.last().expect("spans")["name"], "GET /api/v1/status");
    assert_eq!(all.len(), 3, "{all:#?}");
    assert!(receiver.calls().iter().all(|call| !call.body.contains("hunter2") && !call.body.contains("no-such-run")));
}

#[tokio::test]
async fn nobody_waits_for_a_collector_and_what_is_lost_is_counted() {
    let receiver = Receiver::start().await;
    receiver.say(&[Say::Status(400), Say::Nothing, Say::Nothing]);
    let mut fixture = traced(&receiver.url("")).await;
    fixture.client.status().await.expect("an answer");
    let lost = async || {
        let text = reqwest::get(fixture.http("/metrics")).await.ok()?.text().await.ok()?;
        text.contains("firedrill_trace_spans_lost 1").then_some(())
    };
    until("one lost span", lost).await;
    // The collector is silent now; the server answers, and stops in time.
    for _ in 0..50 {
        fixture.client.status().await.expect("an answer");
    }
    let began = Instant::now();
    fixture.stop().await;
    assert!(began.elapsed() < WITHIN / 2, "{:?}", began.elapsed());
}
