//! What watches the server.

use crate::agent::Agent;
use crate::fixture::{Fixture, until};
use crate::keeper::register;
use firedrill_api::link::Answer;

async fn get(fixture: &Fixture, path: &str) -> (u16, String) {
    let answer = reqwest::get(fixture.http(path)).await.expect("answers");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

#[tokio::test]
async fn it_says_that_it_lives_that_it_can_work_and_how_it_stands() {
    let fixture = Fixture::new().await;
    assert_eq!(get(&fixture, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&fixture, "/readyz").await, (200, "ready\n".to_owned()));
    let _agent = Agent::connect(&fixture, "east-1", Box::new(|_| Some(Ok(Answer::Done)))).await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    for line in [
        "firedrill_halted 0",
        "firedrill_hosts_connected 1",
        "firedrill_cluster_redundant{cluster=\"shop\"} 0",
        "firedrill_cluster_generation{cluster=\"shop\"}",
        "# EOF",
    ] {
        until(line, async || get(&fixture, "/metrics").await.1.contains(line).then_some(())).await;
    }
    fixture.client.halt("a test").await.expect("halted");
    assert!(get(&fixture, "/metrics").await.1.contains("firedrill_halted 1"));
}

#[tokio::test]
async fn it_cannot_work_without_its_store() {
    let fixture = Fixture::new().await;
    fixture.server().store.close().await;
    let (status, text) = get(&fixture, "/readyz").await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("S003"), "{text}");
    assert_eq!(get(&fixture, "/healthz").await.0, 200);
}
