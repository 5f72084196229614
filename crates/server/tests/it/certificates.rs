//! Certificates of agents: renewed, revoked, expired.

use crate::agent::{Agent, Identity, anonymous, enrol, hello, identified, obliging, say_hello};
use crate::fixture::{Fixture, config, until};
use firedrill_api::client::{ClientError, TimelineQuery};
use firedrill_api::http::Problem;
use firedrill_api::link::{Renew, Renewed};
use firedrill_model::{HostName, Timestamp};
use firedrill_server::ServerConfig;
use rcgen::{CertificateParams, KeyPair};
use reqwest::StatusCode;
use std::time::Duration;

/// Long enough for slow machines, short enough to wait for.
const LIFE: Duration = Duration::from_secs(6);

async fn short_lived() -> Fixture {
    Fixture::with(|dir| ServerConfig { agent_certificate_life: LIFE, ..config(dir) }).await
}

fn host() -> HostName {
    "east-1".parse().expect("a name")
}

async fn renew(fixture: &Fixture, identity: &Identity) -> Result<(Identity, Timestamp), (StatusCode, Problem)> {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::default();
    let request = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    let asked = identified(identity).post(fixture.link("/link/v1/renew")).json(&Renew { signing_request: request });
    let answer = asked.send().await.expect("an answer");
    let status = answer.status();
    if !status.is_success() {
        return Err((status, answer.json().await.expect("a problem")));
    }
    let Renewed { certificate, renew_at } = answer.json().await.expect("a certificate");
    Ok((Identity { pem: format!("{certificate}{}", key.serialize_pem()), ..identity.clone() }, renew_at))
}

async fn confirm(fixture: &Fixture, identity: &Identity) -> StatusCode {
    let sent = identified(identity).post(fixture.link("/link/v1/renewed")).json(&serde_json::json!({})).send().await;
    sent.expect("an answer").status()
}

async fn until_due(at: Timestamp) {
    until("the moment", async || (firedrill_server::clock::now() >= at).then_some(())).await;
}

#[tokio::test]
async fn it_is_renewed_before_it_expires_and_the_session_outlives_the_old_one() {
    let fixture = short_lived().await;
    let old = fixture.enrolled("east-1").await;
    let agent = Agent::connect_as(&fixture, old.clone(), hello(&old.host), obliging()).await;
    let shown = fixture.client.host(&host()).await.expect("shown");
    let (old_end, session) = (shown.certificate_until.expect("short-lived"), agent.session);
    let (status, problem) = renew(&fixture, &old).await.expect_err("too early");
    assert_eq!((status, problem.code.as_str()), (StatusCode::BAD_REQUEST, "S002"));

    until_due(old_end - Duration::from_secs(3).into()).await;
    let (lost, _) = renew(&fixture, &old).await.expect("renewed");
    // The answer to that is lost with its key; the agent asks again.
    let (new, _) = renew(&fixture, &old).await.expect("renewed");
    let (status, problem) = say_hello(&fixture, &lost, &hello(&host())).await.expect_err("replaced");
    assert_eq!((status, problem.code.as_str()), (StatusCode::FORBIDDEN, "S011"));
    assert_eq!(confirm(&fixture, &new).await, StatusCode::OK);
    assert_eq!(confirm(&fixture, &new).await, StatusCode::OK, "a second time");
    let (_, problem) = renew(&fixture, &old).await.expect_err("the new one was used");
    assert_eq!(problem.code, "S011");
    assert!(problem.message.contains("firedrill host token east-1"), "{problem}");

    until_due(old_end + Duration::from_secs(1).into()).await;
    let shown = fixture.client.host(&host()).await.expect("shown");
    assert!(shown.connected && shown.certificate_until > Some(old_end), "{shown:?}");
    assert_eq!(agent.session, session);
    // Nobody renews that one.
    agent.cut_off().await;
    // Refused in the handshake, or in the last second of what is written in the certificate by the server's own record.
    let sent = identified(&new).post(fixture.link("/link/v1/hello")).json(&hello(&host())).send().await;
    if let Ok(answer) = sent {
        assert_eq!(answer.json::<Problem>().await.expect("a problem").code, "S131");
    }
}

#[tokio::test]
async fn the_old_one_is_good_until_the_new_one_is_used() {
    let fixture = short_lived().await;
    let old = fixture.enrolled("east-1").await;
    let welcome = say_hello(&fixture, &old, &hello(&host())).await.expect("welcome");
    until_due(welcome.renew_at.expect("short-lived")).await;
    let (new, _) = renew(&fixture, &old).await.expect("renewed");
    say_hello(&fixture, &old, &hello(&host())).await.expect("the agent was killed before it had the new one");
    say_hello(&fixture, &new, &hello(&host())).await.expect("or after");
    let (_, problem) = say_hello(&fixture, &old, &hello(&host())).await.expect_err("out of force");
    assert_eq!(problem.code, "S011");
}

#[tokio::test]
async fn a_revoked_host_is_cut_off_and_kept_out() {
    let fixture = Fixture::new().await;
    let agent = Agent::connect(&fixture, "east-1", obliging()).await;
    let identity = agent.identity.clone();
    let token = fixture.client.token(&host()).await.expect("a token");
    let link = agent.link();
    let shown = fixture.client.revoke_host(&host(), "stolen laptop").await.expect("revoked");
    let revoked = shown.revoked.expect("shown");
    assert_eq!((revoked.by.as_str(), revoked.reason.as_str()), ("local", "stolen laptop"));
    assert_eq!((shown.connected, shown.certificate_until), (false, None));
    assert_eq!(link.report(Vec::new()).await, StatusCode::CONFLICT);
    agent.cut_off().await;

    let (status, problem) = say_hello(&fixture, &identity, &hello(&host())).await.expect_err("revoked");
    assert_eq!((status, problem.code.as_str()), (StatusCode::FORBIDDEN, "S130"));
    assert!(problem.message.contains("stolen laptop") && problem.message.contains("host token east-1"), "{problem}");
    let http = identified(&identity);
    for request in [
        http.put(fixture.link("/link/v1/history/run-1")).body("x"),
        http.post(fixture.link("/link/v1/renewed")).json(&serde_json::json!({})),
    ] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.json::<Problem>().await.expect("a problem").code, "S130");
    }
    let (_, problem) = enrol(&fixture, "east-1", &token.token).await.expect_err("made before the revocation");
    assert_eq!(problem.code, "S010");

    let agent = Agent::connect(&fixture, "east-1", obliging()).await;
    assert_eq!(fixture.client.host(&host()).await.expect("shown").revoked, None);
    let lines = fixture.client.timeline(&TimelineQuery::default()).await.expect("lines");
    assert!(lines.iter().any(|line| line.text.contains("revoked host east-1: stolen laptop")), "{lines:?}");
    drop(agent);
}

#[tokio::test]
async fn a_revocation_outlives_a_restart_and_names_a_host_that_there_is() {
    let mut fixture = Fixture::new().await;
    let identity = fixture.enrolled("east-1").await;
    for (host, reason, code) in [("east-2", "typing error", "S001"), ("east-1", " ", "S002")] {
        let refused = fixture.client.revoke_host(&host.parse().expect("a name"), reason).await.expect_err("refused");
        assert!(matches!(&refused, ClientError::Problem(problem) if problem.code == code), "{refused}");
    }
    // Enrolled, though its agent has never connected.
    fixture.client.revoke_host(&host(), "not needed any more").await.expect("revoked");
    fixture.restart().await;
    let (_, problem) = say_hello(&fixture, &identity, &hello(&host())).await.expect_err("revoked");
    assert_eq!(problem.code, "S130");
}

#[tokio::test]
async fn renewing_needs_a_certificate() {
    let fixture = Fixture::new().await;
    for path in ["/link/v1/renew", "/link/v1/renewed"] {
        let body = serde_json::json!({"signing_request": ""});
        let answer = anonymous(&fixture).post(fixture.link(path)).json(&body).send().await.expect("an answer");
        assert_eq!(answer.json::<Problem>().await.expect("a problem").code, "S011");
    }
}

#[tokio::test]
async fn metrics_say_how_long_certificates_are_good() {
    let fixture = Fixture::new().await;
    fixture.enrolled("east-1").await;
    let text = reqwest::get(fixture.http("/metrics")).await.expect("an answer").text().await.expect("text");
    let left = text.lines().find_map(|line| line.strip_prefix("firedrill_host_certificate_left_seconds "));
    let left: f64 = left.expect("the metric").parse().expect("a number");
    assert!((6.9..=7.0).contains(&(left / 86_400.0)), "{left}");
    assert!(text.contains("firedrill_hosts_revoked 0"), "{text}");
}
