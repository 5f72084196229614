//! Attacks by hand.

use crate::agent::{Agent, Script, hello};
use crate::fixture::{Fixture, until};
use crate::keeper::{register, shop};
use firedrill_api::client::ClientError;
use firedrill_api::http::StartAttack;
use firedrill_api::link::{Answer, Order, Upward};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::command::FailureKind;
use firedrill_model::experiment::AttackStep;
use firedrill_model::guard::GuardPolicy;
use firedrill_model::timeline::EventKind;
use firedrill_model::{AttackId, AttackSpec, CommandFailure, Fault, Role, RunId, Selector, Span, Timestamp};
use firedrill_store::AttackRecord;

fn start(fault: Fault, target: Selector) -> StartAttack {
    StartAttack::new(shop(), AttackStep { name: None, fault, target, duration: Span::secs(30) })
}

fn role(role: Role) -> Selector {
    Selector { role: Some(role), ..Selector::default() }
}

fn report(spec: &AttackSpec, state: AttackState) -> AttackReport {
    AttackReport {
        id: spec.id.clone(),
        host: "east-1".parse().expect("a name"),
        fault: spec.fault.clone(),
        state,
        at: firedrill_server::clock::now(),
        in_place: None,
        mechanism: "played".to_owned(),
        evidence: "as asked".to_owned(),
    }
}

/// Puts faults in place and takes them out again.
fn willing() -> Script {
    let mut specs: Vec<AttackSpec> = Vec::new();
    Box::new(move |order| {
        Some(Ok(match order {
            Order::Inject { attack } => {
                specs.push(attack.clone());
                Answer::Attack { report: report(attack, AttackState::Active) }
            }
            Order::Undo { attack } => {
                let spec = specs.iter().find(|spec| spec.id == *attack).expect("a known attack");
                Answer::Attack { report: report(spec, AttackState::Undone) }
            }
            _ => Answer::Done,
        }))
    })
}

async fn fixture(script: Script) -> (Fixture, Agent) {
    let fixture = Fixture::new().await;
    let agent = Agent::connect(&fixture, "east-1", script).await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    // Nobody observes its nodes, so every guard of its state would refuse.
    fixture.client.set_guards(&GuardPolicy::all_off()).await.expect("set");
    (fixture, agent)
}

#[tokio::test]
async fn it_goes_in_and_out_and_is_told_once() {
    let (fixture, agent) = fixture(willing()).await;
    let reports = fixture.client.start_attack(&start(Fault::new("pause"), role(Role::Primary))).await.expect("started");
    assert_eq!(reports.iter().map(|report| report.state).collect::<Vec<_>>(), [AttackState::Active]);
    // The agent reports the same change too.
    agent.report(vec![Upward::Attack { report: reports[0].clone() }]).await;
    let undone = fixture.client.undo_attack(&reports[0].id).await.expect("undone");
    assert_eq!(undone.state, AttackState::Undone);
    assert_eq!(fixture.client.undo_attack(&reports[0].id).await.expect("again"), undone);
    assert_eq!(fixture.client.attacks().await.expect("a list"), [undone]);
    let lines = fixture.client.timeline(&Default::default()).await.expect("lines");
    let count = |kind| lines.iter().filter(|line| line.kind == kind).count();
    assert_eq!((count(EventKind::AttackStarted), count(EventKind::AttackEnded)), (1, 1), "{lines:#?}");
}

#[tokio::test]
async fn an_empty_target_and_an_absent_agent_begin_nothing() {
    let (fixture, _agent) = fixture(willing()).await;
    let message = |error: ClientError| error.to_string();
    let empty = fixture.client.start_attack(&start(Fault::new("pause"), role(Role::PseudoPrimary))).await;
    let empty = message(empty.expect_err("nobody"));
    assert!(empty.contains("role=pseudo-primary"), "{empty}");
    let region = Selector { region: Some("east".parse().expect("a name")), ..Selector::default() };
    let absent =
        message(fixture.client.start_attack(&start(Fault::new("pause"), region)).await.expect_err("not there"));
    assert!(absent.contains("host east-2 is not connected"), "{absent}");
    assert!(fixture.client.attacks().await.expect("a list").is_empty());
}

#[tokio::test]
async fn what_an_agent_refuses_is_refused() {
    let refusing: Script = Box::new(|order| {
        matches!(order, Order::Inject { .. })
            .then(|| Err(CommandFailure { kind: FailureKind::Failed, message: "no nftables here".to_owned() }))
    });
    let (fixture, _agent) = fixture(refusing).await;
    let reports =
        fixture.client.start_attack(&start(Fault::new("pause"), role(Role::Primary))).await.expect("answered");
    assert_eq!(reports[0].state, AttackState::Refused);
    assert!(reports[0].evidence.contains("no nftables here"), "{:?}", reports[0]);
}

#[tokio::test]
async fn a_host_that_falls_silent_when_it_is_cut_off_was_hit() {
    let (fixture, mut agent) = fixture(Box::new(|_| None)).await;
    let fault = Fault::new("partition").with("spare", Vec::<String>::new());
    let client = fixture.client.clone();
    let starting = tokio::spawn(async move { client.start_attack(&start(fault, role(Role::Primary))).await });
    let spec = agent
        .told("the fault", |order| match order {
            Order::Inject { attack } => Some(attack.clone()),
            _ => None,
        })
        .await;
    assert!(spec.severs_server);
    agent.fall_silent();
    let reports = starting.await.expect("ended").expect("answered");
    assert_eq!(reports[0].state, AttackState::Active);
    assert!(reports[0].evidence.contains("was not heard any more"), "{:?}", reports[0]);

    // Back again, it says what it measured itself, and that it is over.
    let identity = agent.identity.clone();
    let greeting = hello(&identity.host);
    drop(agent);
    let back = Agent::connect_as(&fixture, identity, greeting, Box::new(|_| None)).await;
    for state in [AttackState::Active, AttackState::Undone] {
        back.report(vec![Upward::Attack { report: report(&spec, state) }]).await;
    }
    let seen = fixture.client.attacks().await.expect("a list");
    assert_eq!((seen[0].state, seen[0].mechanism.as_str()), (AttackState::Undone, "played"));
}

#[tokio::test]
async fn nobody_reports_another_hosts_attack() {
    let (fixture, _agent) = fixture(willing()).await;
    let reports = fixture.client.start_attack(&start(Fault::new("pause"), role(Role::Primary))).await.expect("started");
    let liar = Agent::connect(&fixture, "west-1", willing()).await;
    let mut lie = AttackReport { state: AttackState::Undone, ..reports[0].clone() };
    liar.report(vec![Upward::Attack { report: lie.clone() }]).await;
    lie.host = liar.host().clone();
    liar.report(vec![Upward::Attack { report: lie }]).await;
    assert_eq!(fixture.client.attacks().await.expect("a list")[0].state, AttackState::Active);
}

#[tokio::test]
async fn a_fault_of_a_run_that_is_over_is_taken_out_when_its_host_is_back() {
    let fixture = Fixture::new().await;
    let identity = fixture.enrolled("east-1").await;
    let left = |id: &str, run: Option<&str>| {
        let fault = Fault::new("partition");
        let spec = AttackSpec {
            id: AttackId(id.to_owned()),
            fault,
            node: None,
            duration: Span::secs(60),
            severs_server: false,
        };
        let run = run.map(|run| RunId(run.to_owned()));
        AttackRecord { report: report(&spec, AttackState::Active), cluster: Some(shop()), run, until: None }
    };
    for record in [left("of-a-run", Some("run-1")), left("by-hand", None)] {
        fixture.server().store.save_attack(&record).await.expect("stored");
    }
    let mut greeting = hello(&identity.host);
    greeting.attacks = ["by-hand", "of-a-run"].map(|id| AttackId(id.to_owned())).into();
    let agent = Agent::connect_as(&fixture, identity, greeting, crate::agent::obliging()).await;
    let undone = agent
        .told("the undo", |order| match order {
            Order::Undo { attack } => Some(attack.0.clone()),
            _ => None,
        })
        .await;
    assert_eq!(undone, "of-a-run");
    until("nothing else", async || {
        let told = agent.instructions.lock().expect("whole");
        (told.iter().filter(|told| matches!(told.order, Order::Undo { .. })).count() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_attack_that_never_reached_its_agent_is_given_its_end_when_the_agent_is_back() {
    let fixture = Fixture::new().await;
    let identity = fixture.enrolled("east-1").await;
    let left = |id: &str, state| {
        let spec = AttackSpec {
            id: AttackId(id.to_owned()),
            fault: Fault::new("partition"),
            node: None,
            duration: Span::secs(60),
            severs_server: false,
        };
        let report = AttackReport { at: Timestamp(1), ..report(&spec, state) };
        AttackRecord { report, cluster: Some(shop()), run: None, until: None }
    };
    // As a server leaves them that is killed between the record and the instruction, and a host that lost its journal.
    for (id, state) in [("never", AttackState::Preparing), ("lost", AttackState::Active), ("kept", AttackState::Active)]
    {
        fixture.server().store.save_attack(&left(id, state)).await.expect("stored");
    }
    let mut greeting = hello(&identity.host);
    greeting.attacks = vec![AttackId("kept".to_owned())];
    let _agent = Agent::connect_as(&fixture, identity, greeting, crate::agent::obliging()).await;
    let list = until("their ends", async || {
        let list = fixture.client.attacks().await.expect("a list");
        (list.iter().filter(|attack| attack.state == AttackState::Active).count() == 1).then_some(list)
    })
    .await;
    let state = |id: &str| list.iter().find(|attack| attack.id.0 == id).map(|attack| attack.state);
    assert_eq!(state("never"), Some(AttackState::Refused));
    assert_eq!(state("lost"), Some(AttackState::Undone));
    assert_eq!(state("kept"), Some(AttackState::Active));
}
