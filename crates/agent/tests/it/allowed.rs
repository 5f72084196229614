//! What the host's owner does not allow is refused on the spot, whatever a server asks.

use crate::agent::{Agent, config};
use crate::link_server::{LinkServer, instruction};
use firedrill_agent::AgentConfig;
use firedrill_api::link::{Answer, Order};
use firedrill_model::access::AttackFamily;
use firedrill_model::attack::AttackState;
use firedrill_model::command::FailureKind;
use firedrill_model::{AllowList, AttackId, AttackSpec, Fault, NodeCommand, Span};

fn attack(id: &str, kind: &str, secs: u64) -> AttackSpec {
    let fault = Fault::new(kind);
    AttackSpec { id: AttackId(id.to_owned()), fault, node: None, duration: Span::secs(secs), severs_server: false }
}

/// State and what was said about it.
async fn inject(server: &LinkServer, attack: AttackSpec) -> (AttackState, String) {
    let id = format!("inject {}", attack.id);
    server.send(instruction(&id, 1, Order::Inject { attack }));
    match server.answer(&id, 1).await.expect("answered") {
        Answer::Attack { report } => (report.state, report.evidence),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_attack_that_is_not_on_the_list_is_refused_though_the_server_asks() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let allow = AllowList {
        families: Some(vec![AttackFamily::State, AttackFamily::Network]),
        except: vec!["shutdown".to_owned()],
        longest: Some(Span::secs(60)),
        ..AllowList::default()
    };
    let agent = Agent::start(AgentConfig { allow: Some(allow.clone()), ..config(&server, dir.path()) });
    server.connected().await;
    assert_eq!(server.shared.heard.lock().expect("lock").hellos[0].allowed, Some(allow));
    for (attack, why) in [
        (attack("1", "memory", 10), "memory are not on the list"),
        (attack("2", "shutdown", 10), "shutdown are excepted"),
        (attack("3", "latency", 61), "longer than the"),
        (attack("4", "made-up", 10), "made-up are not on the list"),
    ] {
        let (state, evidence) = inject(&server, attack).await;
        assert_eq!(state, AttackState::Refused, "{evidence}");
        assert!(evidence.starts_with("S132: the owner of host app-1 does not allow it"), "{evidence}");
        assert!(evidence.contains(why), "{why}: {evidence}");
    }
    // On the list, and refused for what it lacks.
    let (state, evidence) = inject(&server, attack("5", "pause", 10)).await;
    assert!(state == AttackState::Refused && !evidence.contains("S132"), "{evidence}");
    agent.stop().await;
}

#[tokio::test]
async fn keepers_may_look_though_they_may_not_command() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let allow = AllowList { node_commands: false, ..AllowList::default() };
    let agent = Agent::start(AgentConfig { allow: Some(allow), ..config(&server, dir.path()) });
    server.connected().await;
    let node = || "east-1".parse().expect("a name");
    let mut said = Vec::new();
    for (id, command) in [
        ("fence", NodeCommand::Fence { node: node() }),
        ("open", NodeCommand::Open { node: node(), semi_sync: true }),
        ("look", NodeCommand::Fingerprint { node: node() }),
    ] {
        server.send(instruction(id, 1, Order::Node { command }));
        let failure = server.answer(id, 1).await.expect_err("there is no such node");
        assert_eq!(failure.kind, FailureKind::Invalid);
        said.push(failure.message.contains("S132"));
    }
    assert_eq!(said, [true, true, false]);
    agent.stop().await;
}

#[test]
fn a_typing_error_in_the_list_is_no_permission() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("agent.json");
    let load = |allow: &str| {
        let text = format!(
            r#"{{"servers": ["10.0.0.1:7071"], "data_dir": "/tmp/agent", "host": "a", "address": "10.0.0.2", "allow": {allow}}}"#
        );
        std::fs::write(&path, text).expect("written");
        AgentConfig::load(&path)
    };
    load(r#"{"families": ["network"], "except": ["partition"], "longest": "10m", "node_commands": false}"#)
        .expect("good");
    for bad in [r#"{"except": ["shut-down"]}"#, r#"{"exept": []}"#, r#"{"families": ["networks"]}"#] {
        let text = load(bad).expect_err("bad").to_string();
        assert!(text.contains("agent.json"), "{text}");
    }
}
