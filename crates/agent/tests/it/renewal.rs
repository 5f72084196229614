//! The agent's certificate is renewed in time, and there is a good one on disk whenever the agent is killed.

use crate::agent::{Agent, AgentProcess, config};
use crate::link_server::{LinkServer, now};
use firedrill_agent::AgentError;
use firedrill_host::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Kills between the answer and what follows it, at another moment each.
const KILLS: u64 = 12;

#[tokio::test]
async fn it_is_renewed_when_it_is_due_and_the_session_goes_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    *server.shared.renew_at.lock().expect("lock") = Some(now());
    *server.shared.refuse_renewals.lock().expect("lock") = 1;
    let config = config(&server, dir.path());
    let agent = Agent::start(config.clone());
    let kept = server.until("a confirmation", |heard| heard.confirmed.first().cloned()).await;
    {
        let heard = server.shared.heard.lock().expect("lock");
        assert_eq!((heard.hellos.len(), heard.renewals.len()), (1, 1), "after one refusal, in one session");
        assert_eq!(heard.renewals[0], kept);
        assert_ne!(heard.shown[0], kept);
    }
    agent.stop().await;
    let identity = config.data_dir.join("identity.pem");
    assert_eq!(std::fs::metadata(&identity).expect("kept").permissions().mode() & 0o777, 0o600);
    *server.shared.renew_at.lock().expect("lock") = None;
    let agent = Agent::start(config);
    let shown = server.until("a second hello", |heard| heard.shown.get(1).cloned()).await;
    assert_eq!(shown, kept);
    agent.stop().await;
}

#[tokio::test]
async fn killed_at_any_point_of_a_renewal_it_comes_back() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    *server.shared.renew_at.lock().expect("lock") = Some(now());
    let config = config(&server, dir.path());
    let identity = config.data_dir.join("identity.pem");
    for kill in 0..KILLS {
        let count = usize::try_from(kill).expect("small");
        let agent = AgentProcess::start(&config, dir.path());
        let (shown, next) = server
            .until("a renewal", |heard| Some((heard.shown.get(count)?.clone(), heard.renewals.get(count)?.clone())))
            .await;
        // From before the answer has arrived to after the file was replaced.
        tokio::time::sleep(Duration::from_micros(400 * kill)).await;
        agent.0.signal(Signal::SIGKILL).expect("killed");
        drop(agent);
        let text = std::fs::read_to_string(&identity).expect("there");
        assert_eq!(text.matches("-----BEGIN").count(), 3, "a key and two certificates, whole: {text}");
        let in_force = server.shared.in_force.lock().expect("lock").clone();
        assert!(in_force == [shown, next.clone()] || in_force == [next.clone()], "{in_force:?}");
    }
    let agent = Agent::start(config);
    server.connected().await;
    agent.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_says_what_to_do() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    *server.shared.expired.lock().expect("lock") = true;
    let error = Agent::start(config(&server, dir.path())).ended().await;
    assert!(matches!(error, AgentError::CertificateExpired { .. }), "{error:?}");
    let text = error.to_string();
    for part in ["S131", "app-1", "firedrill host token app-1", "identity.pem"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}
