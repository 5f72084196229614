//! A lost primary that nobody can replace.

use crate::fleet::{Fleet, exited, healthy, name_of, node, position};
use firedrill_keeper::{Action, Event, Request};
use firedrill_model::cluster::{Durability, Policy};
use firedrill_model::command::{FailureKind, NodeReply};
use firedrill_model::{CommandFailure, NodeCommand, Operation, OperationKind, OperationState, Span};

fn started(sequence: u64) -> NodeReply {
    let position = position(sequence);
    NodeReply::Started { binlog_state: position.to_string().parse().expect("a state"), position }
}

/// All three servers of the east are gone at once, and the keeper has had its time to find nobody.
fn east_is_gone() -> Fleet {
    let mut fleet = Fleet::at_peace(Policy::default());
    for name in ["east-1", "east-2", "east-3"] {
        fleet.tell(Event::Observed(exited(name)));
    }
    let down =
        || Err(CommandFailure { kind: FailureKind::NotAnswering, message: "the server does not run".to_owned() });
    fleet.answer(|command| match command {
        NodeCommand::StopReceiving { .. } => Some(down()),
        NodeCommand::Fence { .. } => Some(Ok(NodeReply::Fenced { killed: false })),
        _ => None,
    });
    fleet.now = fleet.now + Span::millis(1100);
    fleet.tell(Event::Observed(healthy("west-1", 100)));
    fleet
}

fn fenced(fleet: &mut Fleet) {
    fleet.answer(|command| {
        matches!(command, NodeCommand::Fence { .. }).then_some(Ok(NodeReply::Fenced { killed: false }))
    });
}

fn latest(fleet: &Fleet, kind: OperationKind) -> Option<Operation> {
    fleet.said.iter().rev().find_map(|action| match action {
        Action::Operation(operation) if operation.kind == kind => Some(operation.clone()),
        _ => None,
    })
}

#[test]
fn a_primary_that_nobody_can_replace_is_started_again_with_all_it_holds() {
    let mut fleet = east_is_gone();
    assert_eq!(latest(&fleet, OperationKind::Promotion).map(|one| one.state), Some(OperationState::Undone));
    fenced(&mut fleet);
    assert!(fleet.asked().contains(&"Recover east-1".to_owned()), "{:?}", fleet.asked());
    assert!(fleet.asked().contains(&"Start east-2".to_owned()), "its ackers are wanted too: {:?}", fleet.asked());
    fleet.answer(|command| match name_of(command).as_str() {
        "Recover east-1" => Some(Ok(started(104))),
        "Start east-2" | "Start east-3" => Some(Ok(started(103))),
        _ => None,
    });
    assert!(fleet.asked().contains(&"Open east-1".to_owned()), "{:?}", fleet.asked());
    fleet.answer_all(104);
    assert_eq!(latest(&fleet, OperationKind::Recovery).map(|one| one.state), Some(OperationState::Finished));
    assert_eq!(fleet.keeper.view(fleet.now).primary, Some(node("east-1")));
}

#[test]
fn one_that_came_back_with_less_than_another_holds_waits_for_a_person() {
    let mut fleet = east_is_gone();
    fenced(&mut fleet);
    fleet.answer(|command| match name_of(command).as_str() {
        "Recover east-1" => Some(Ok(started(97))),
        "Start east-2" | "Start east-3" => Some(Ok(started(96))),
        _ => None,
    });
    assert!(!fleet.asked().contains(&"Open east-1".to_owned()), "west-1 holds 100: {:?}", fleet.asked());
    let waits = latest(&fleet, OperationKind::Recovery).expect("it was handed out");
    assert_eq!(waits.state, OperationState::NeedsPerson);
    let reason = waits.reason.expect("it says why");
    assert!(reason.contains("came back without 3 transactions") && reason.contains("west-"), "{reason}");

    let refused = fleet.keeper.ask(fleet.now, Request::Promote { to: None, without_proof: false });
    assert!(refused.is_err(), "what is gone is given up by name only");
    let (operation, _) = fleet
        .keeper
        .ask(fleet.now, Request::Promote { to: Some(node("east-1")), without_proof: true })
        .expect("a person may give it up");
    assert_eq!(operation, Some(waits.id));
}

#[test]
fn one_that_does_not_start_is_not_tried_for_ever() {
    let mut fleet = east_is_gone();
    let broken = || Err(CommandFailure { kind: FailureKind::Failed, message: "it ended at its start".to_owned() });
    for _ in 0..60 {
        fleet.answer(|command| match command {
            NodeCommand::Fence { .. } => Some(Ok(NodeReply::Fenced { killed: false })),
            NodeCommand::Recover { .. } | NodeCommand::Start { .. } | NodeCommand::StopReceiving { .. } => {
                Some(broken())
            }
            _ => None,
        });
        fleet.now = fleet.now + Span::millis(600);
        fleet.tell(Event::Observed(healthy("west-1", 100)));
    }
    let promotion = latest(&fleet, OperationKind::Promotion).expect("one was handed out");
    assert_eq!(promotion.state, OperationState::NeedsPerson, "{:?}", promotion.reason);
}

#[test]
fn what_a_supervisor_has_started_again_is_not_trusted() {
    let mut fleet = Fleet::at_peace(Policy { durability: Durability::Asynchronous, ..Policy::default() });
    let mut again = healthy("east-1", 100);
    again.process = firedrill_model::observation::ProcessState::Running { pid: 999, stopped: false };
    fleet.tell(Event::Observed(again));
    fleet.now = fleet.now + Span::secs(2);
    fleet.tell(Event::Tick);
    assert!(latest(&fleet, OperationKind::Recovery).is_none(), "its crash recovery may have cut the tail");
}

#[test]
fn a_server_that_is_seen_to_run_before_its_start_is_answered_is_not_overlooked_afterwards() {
    let mut fleet = east_is_gone();
    fenced(&mut fleet);
    let running = |name: &str| {
        let mut again = healthy(name, 103);
        again.process = firedrill_model::observation::ProcessState::Running { pid: 999, stopped: false };
        again
    };
    fleet.tell(Event::Observed(running("east-2")));
    fleet.answer(|command| match name_of(command).as_str() {
        "Recover east-1" => Some(Ok(started(104))),
        "Start east-2" | "Start east-3" => Some(Ok(started(103))),
        _ => None,
    });
    for _ in 0..20 {
        fleet.now = fleet.now + Span::millis(100);
        fleet.tell(Event::Observed(running("east-2")));
    }
    let view = fleet.keeper.view(fleet.now);
    let seen = view.nodes.iter().find(|one| one.name == node("east-2")).expect("a node");
    assert_ne!(seen.health, firedrill_model::Health::Silent, "{seen:?}");
}

#[test]
fn a_primary_that_is_seen_to_run_before_its_start_is_answered_is_not_lost_again() {
    let mut fleet = east_is_gone();
    fenced(&mut fleet);
    let mut running = healthy("east-1", 104);
    running.process = firedrill_model::observation::ProcessState::Running { pid: 999, stopped: false };
    fleet.tell(Event::Observed(running.clone()));
    fleet.answer(|command| match name_of(command).as_str() {
        "Recover east-1" => Some(Ok(started(104))),
        "Start east-2" | "Start east-3" => Some(Ok(started(103))),
        _ => None,
    });
    fleet.answer_all(104);
    for _ in 0..5 {
        fleet.now = fleet.now + Span::millis(250);
        fleet.tell(Event::Observed(running.clone()));
    }
    assert_eq!(latest(&fleet, OperationKind::Recovery).map(|one| one.state), Some(OperationState::Finished));
    let promotion = |action: &Action| match action {
        Action::Operation(one) if one.kind == OperationKind::Promotion => Some(one.id.clone()),
        _ => None,
    };
    let promotions: std::collections::BTreeSet<_> = fleet.said.iter().filter_map(promotion).collect();
    assert_eq!(promotions.len(), 1, "only the one that found nobody");
}
