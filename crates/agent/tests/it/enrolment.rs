//! How an agent gets its certificate, and what it says when it does not.

use crate::agent::{Agent, config};
use crate::link_server::{Authority, LinkServer};
use axum::http::StatusCode;
use firedrill_agent::AgentError;
use rcgen::ExtendedKeyUsagePurpose;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_token_is_needed_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let mut config = config(&server, dir.path());
    let agent = Agent::start(config.clone());
    server.connected().await;
    agent.stop().await;
    let identity = config.data_dir.join("identity.pem");
    assert_eq!(std::fs::metadata(&identity).expect("kept").permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&config.data_dir).expect("made").permissions().mode() & 0o777, 0o700);

    config.enrolment = None;
    let agent = Agent::start(config);
    let hello = server.until("a second hello", |heard| heard.hellos.get(1).cloned()).await;
    assert_eq!(hello.region.expect("told").as_str(), "east");
    assert_eq!(hello.tags["tier"], "app");
    assert_eq!(server.shared.heard.lock().expect("lock").without_certificate, 0);
    agent.stop().await;
}

#[tokio::test]
async fn a_wrong_or_used_token_names_host_server_and_the_next_step() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let mut wrong = config(&server, dir.path());
    wrong.enrolment.as_mut().expect("there").token = "guessed".to_owned();
    let error = Agent::start(wrong.clone()).ended().await;
    assert!(matches!(error, AgentError::EnrolmentRefused { .. }), "{error:?}");
    let text = error.to_string();
    for part in ["app-1", &server.address.to_string(), "has not given out", "firedrill host token app-1"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert!(!wrong.data_dir.join("identity.pem").exists(), "nothing half-done");

    let good = config(&server, dir.path());
    let agent = Agent::start(good.clone());
    server.connected().await;
    agent.stop().await;
    std::fs::remove_file(good.data_dir.join("identity.pem")).expect("lost");
    let text = Agent::start(good).ended().await.to_string();
    assert!(text.contains("was used before"), "{text}");
}

#[tokio::test]
async fn without_certificate_and_token_it_says_how_to_get_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let mut config = config(&server, dir.path());
    config.enrolment = None;
    let text = Agent::start(config).ended().await.to_string();
    assert!(text.contains("firedrill host token app-1"), "{text}");
}

#[tokio::test]
async fn an_impostor_gets_no_token() {
    let real = Authority::new();
    let impostor = LinkServer::start().await;
    let dir = tempfile::tempdir().expect("temp dir");
    let mut config = config(&impostor, dir.path());
    config.enrolment.as_mut().expect("there").authority_sha256 = real.fingerprint();
    let error = Agent::start(config.clone()).ended().await;
    assert!(matches!(error, AgentError::ServerNotTrusted { .. }), "{error:?}");
    config.enrolment.as_mut().expect("there").authority_sha256 = impostor.shared.authority.fingerprint();
    let agent = Agent::start(config);
    impostor.connected().await;
    agent.stop().await;
}

#[tokio::test]
async fn an_agents_certificate_does_not_make_a_server() {
    for (usage, name) in
        [(ExtendedKeyUsagePurpose::ClientAuth, "firedrill"), (ExtendedKeyUsagePurpose::ServerAuth, "app-1")]
    {
        let authority = Authority::new();
        let tls = authority.tls(usage, name);
        let server = LinkServer::start_with(authority, tls).await;
        let dir = tempfile::tempdir().expect("temp dir");
        let error = Agent::start(config(&server, dir.path())).ended().await;
        assert!(matches!(error, AgentError::ServerNotTrusted { .. }), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_clearly() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (first, second) = (LinkServer::start().await, LinkServer::start().await);
    let mut config = config(&first, dir.path());
    let agent = Agent::start(config.clone());
    first.connected().await;
    agent.stop().await;
    config.servers = vec![second.address.to_string()];
    let error = Agent::start(config).ended().await;
    let text = error.to_string();
    assert!(matches!(error, AgentError::ServerNotTrusted { .. }), "{error:?}");
    assert!(text.contains("identity.pem") && text.contains(&second.address.to_string()), "{text}");
}

#[tokio::test]
async fn a_refused_hello_ends_the_agent_with_the_servers_words() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    *server.shared.refuse_hello.lock().expect("lock") =
        Some((StatusCode::FORBIDDEN, "the certificate of host app-1 is not in force".to_owned()));
    let error = Agent::start(config(&server, dir.path())).ended().await;
    assert!(matches!(error, AgentError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("T001: the certificate of host app-1 is not in force"), "{error}");
}
