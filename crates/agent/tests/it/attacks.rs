//! Faults: put in place and taken out by order, by halt, when the server falls silent, when the agent ends.

use crate::agent::{Agent, AgentProcess, config};
use crate::link_server::{Heard, LinkServer, instruction};
use firedrill_agent::AgentConfig;
use firedrill_api::link::{Answer, Order, Upward};
use firedrill_host::process::{Child, Signal, Spawn, State};
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackId, AttackSpec, Fault, Span};
use std::path::Path;
use std::time::{Duration, Instant};

/// A process to be paused; it goes with the test.
struct Victim(Child);

impl Victim {
    fn start() -> Self {
        Self(Spawn::new("sleep").arg("600").spawn().expect("coreutils are installed"))
    }

    fn stopped(&self) -> bool {
        self.0.identity().state() == Some(State::Stopped)
    }

    async fn until_running(&self, within: Duration) {
        let began = Instant::now();
        while self.stopped() {
            assert!(began.elapsed() < within, "still stopped after {within:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.signal(Signal::SIGKILL);
    }
}

fn pause(id: &str, victim: &Victim) -> AttackSpec {
    AttackSpec {
        id: AttackId(id.to_owned()),
        fault: Fault::new("pause").with("process", serde_json::json!({ "select": "pid", "pid": victim.0.pid() })),
        node: None,
        duration: Span::secs(60),
        severs_server: false,
    }
}

fn state(answer: &Answer) -> AttackState {
    match answer {
        Answer::Attack { report } => report.state,
        other => panic!("{other:?}"),
    }
}

fn reported(heard: &Heard, id: &str, state: AttackState) -> Option<()> {
    let this = |item: &Upward| matches!(item, Upward::Attack { report } if report.id.0 == id && report.state == state);
    heard.items.iter().any(this).then_some(())
}

async fn inject(server: &LinkServer, attack: AttackSpec) -> AttackState {
    let id = format!("inject {}", attack.id);
    server.send(instruction(&id, 1, Order::Inject { attack }));
    state(&server.answer(&id, 1).await.expect("answered"))
}

fn short_lease(server: &LinkServer, dir: &Path) -> AgentConfig {
    AgentConfig { lease: Some(Span::millis(1200)), ..config(server, dir) }
}

#[tokio::test]
async fn a_fault_goes_in_and_out_by_order() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, victim) = (LinkServer::start().await, Victim::start());
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    assert_eq!(inject(&server, pause("a1", &victim)).await, AttackState::Active);
    assert!(victim.stopped());
    server.until("a report", |heard| reported(heard, "a1", AttackState::Active)).await;
    server.send(instruction("undo", 1, Order::Undo { attack: AttackId("a1".to_owned()) }));
    assert_eq!(state(&server.answer("undo", 1).await.expect("undone")), AttackState::Undone);
    assert!(!victim.stopped());
    server.send(instruction("unknown", 1, Order::Undo { attack: AttackId("a2".to_owned()) }));
    assert!(server.answer("unknown", 1).await.is_err());
    agent.stop().await;
}

#[tokio::test]
async fn a_halt_takes_all_out_and_lasts_until_resume_also_over_a_restart() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, victim) = (LinkServer::start().await, Victim::start());
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    assert_eq!(inject(&server, pause("a1", &victim)).await, AttackState::Active);
    server.send(instruction("halt", 1, Order::Halt { reason: "enough".to_owned() }));
    match server.answer("halt", 1).await {
        Ok(Answer::Halted { reports }) => {
            assert_eq!(reports.iter().map(|report| report.state).collect::<Vec<_>>(), [AttackState::Undone]);
        }
        other => panic!("{other:?}"),
    }
    assert!(!victim.stopped());
    assert_eq!(inject(&server, pause("a2", &victim)).await, AttackState::Refused);
    agent.kill().await;

    let agent = Agent::start(config(&server, dir.path()));
    server.until("another hello", |heard| heard.hellos.get(1).map(|_| ())).await;
    server.connected().await;
    assert_eq!(inject(&server, pause("a3", &victim)).await, AttackState::Refused);
    server.send(instruction("resume", 1, Order::Resume));
    assert_eq!(server.answer("resume", 1).await, Ok(Answer::Done));
    assert_eq!(inject(&server, pause("a4", &victim)).await, AttackState::Active);
    agent.stop().await;
}

#[tokio::test]
async fn a_silent_server_ends_its_faults_but_not_one_that_silences_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, victim, severed) = (LinkServer::start().await, Victim::start(), Victim::start());
    let agent = Agent::start(short_lease(&server, dir.path()));
    server.connected().await;
    assert_eq!(inject(&server, pause("a1", &victim)).await, AttackState::Active);
    let severing = AttackSpec { severs_server: true, duration: Span::secs(4), ..pause("a2", &severed) };
    assert_eq!(inject(&server, severing).await, AttackState::Active);
    // Longer than the lease, but heard: nothing happens.
    tokio::time::sleep(Duration::from_millis(1600)).await;
    assert!(victim.stopped(), "pings keep the lease");
    *server.shared.mute.lock().expect("lock") = true;
    victim.until_running(Duration::from_millis(2000)).await;
    assert!(severed.stopped(), "its own deadline ends it");
    severed.until_running(Duration::from_secs(4)).await;
    *server.shared.mute.lock().expect("lock") = false;
    for attack in ["a1", "a2"] {
        server.until("it is reported in the next session", |heard| reported(heard, attack, AttackState::Undone)).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_ends_takes_its_faults_out_and_says_so() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, victim) = (LinkServer::start().await, Victim::start());
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    assert_eq!(inject(&server, pause("a1", &victim)).await, AttackState::Active);
    agent.stop().await;
    assert!(!victim.stopped());
    let heard = server.shared.heard.lock().expect("lock");
    assert!(reported(&heard, "a1", AttackState::Undone).is_some(), "{:?}", heard.items);
}

#[tokio::test]
async fn hello_names_what_is_in_place() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (mut server, victim) = (LinkServer::start().await, Victim::start());
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    assert_eq!(inject(&server, pause("a1", &victim)).await, AttackState::Active);
    server.kill().await;
    server.start_again().await;
    let hello = server.until("another hello", |heard| heard.hellos.get(1).cloned()).await;
    assert_eq!(hello.attacks, [AttackId("a1".to_owned())]);
    agent.stop().await;
}

#[tokio::test]
async fn a_killed_agent_leaves_no_fault_behind() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (server, victim) = (LinkServer::start().await, Victim::start());
    let agent = AgentProcess::start(&config(&server, dir.path()), dir.path());
    server.connected().await;
    assert_eq!(inject(&server, pause("a1", &victim)).await, AttackState::Active);
    agent.0.signal(Signal::SIGKILL).expect("killed");
    victim.until_running(Duration::from_secs(2)).await;
}
