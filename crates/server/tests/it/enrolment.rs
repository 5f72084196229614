//! Who may connect.

use crate::agent::{Agent, anonymous, enrol, hello, obliging, say_hello};
use crate::fixture::Fixture;
use firedrill_api::http::Problem;
use reqwest::StatusCode;

#[tokio::test]
async fn a_wrong_token_is_refused_with_the_next_step() {
    let fixture = Fixture::new().await;
    let (status, problem) = enrol(&fixture, "east-1", "made-up").await.expect_err("refused");
    assert_eq!((status, problem.code.as_str()), (StatusCode::FORBIDDEN, "S010"));
    assert!(problem.message.contains("firedrill host token east-1"), "{problem}");
}

#[tokio::test]
async fn a_token_is_good_once_and_for_its_host() {
    let fixture = Fixture::new().await;
    let token = fixture.client.token(&"east-1".parse().expect("a name")).await.expect("a token");
    let (status, problem) = enrol(&fixture, "west-1", &token.token).await.expect_err("another host's");
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(problem.message.contains("is for host east-1, not for west-1"), "{problem}");
    let identity = enrol(&fixture, "east-1", &token.token).await.expect("enrolled");
    assert!(identity.pem.contains("BEGIN CERTIFICATE"));
    let (status, problem) = enrol(&fixture, "east-1", &token.token).await.expect_err("used");
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(problem.message.contains("host east-1 was used before"), "{problem}");
}

#[tokio::test]
async fn a_token_says_whom_to_trust_and_where_to_go() {
    let fixture = Fixture::new().await;
    let token = fixture.client.token(&"east-1".parse().expect("a name")).await.expect("a token");
    assert_eq!(token.link_address, fixture.running().link.to_string());
    assert_eq!(token.authority_sha256.len(), 64);
    assert_eq!(token.token.len(), 64);
}

#[tokio::test]
async fn nothing_but_enrolment_goes_without_a_certificate() {
    let fixture = Fixture::new().await;
    let http = anonymous(&fixture);
    let host = "east-1".parse().expect("a name");
    for request in [
        http.post(fixture.link("/link/v1/hello")).json(&hello(&host)),
        http.get(fixture.link("/link/v1/stream?session=1")),
        http.post(fixture.link("/link/v1/report?session=1")).body("{}"),
        http.put(fixture.link("/link/v1/history/run-1")).body("x"),
    ] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert_eq!(answer.json::<Problem>().await.expect("a problem").code, "S011");
    }
}

#[tokio::test]
async fn enrolling_anew_takes_the_old_certificate_out_of_force() {
    let fixture = Fixture::new().await;
    let old = fixture.enrolled("east-1").await;
    let new = fixture.enrolled("east-1").await;
    let (status, problem) = say_hello(&fixture, &old, &hello(&old.host)).await.expect_err("out of force");
    assert_eq!((status, problem.code.as_str()), (StatusCode::FORBIDDEN, "S011"));
    say_hello(&fixture, &new, &hello(&new.host)).await.expect("in force");
}

#[tokio::test]
async fn an_agent_of_another_version_is_told_both_versions() {
    let fixture = Fixture::new().await;
    let identity = fixture.enrolled("east-1").await;
    let mut greeting = hello(&identity.host);
    greeting.link_version = 99;
    let (status, problem) = say_hello(&fixture, &identity, &greeting).await.expect_err("refused");
    assert_eq!((status, problem.code.as_str()), (StatusCode::BAD_REQUEST, "S013"));
    assert!(problem.message.contains("link version 99"), "{problem}");
}

#[tokio::test]
async fn the_name_comes_from_the_certificate() {
    let fixture = Fixture::new().await;
    let agent = Agent::connect(&fixture, "east-1", obliging()).await;
    let hosts = fixture.client.hosts().await.expect("hosts");
    let seen: Vec<_> = hosts.iter().map(|host| (host.name.as_str(), host.connected)).collect();
    assert_eq!(seen, [(agent.host().as_str(), true)]);
}
