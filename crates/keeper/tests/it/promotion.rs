//! The path on which writers wait: few rounds, and nothing opened before both proofs are in.

use crate::fleet::{Fleet, exited, healthy, name_of, node, position};
use firedrill_keeper::{Action, Event};
use firedrill_model::cluster::{Durability, Policy};
use firedrill_model::command::{FailureKind, NodeCommand, NodeReply};
use firedrill_model::observation::DiskTrouble;
use firedrill_model::operation::Phase;
use firedrill_model::timeline::EventKind;
use firedrill_model::{CommandFailure, OperationState, Span};

fn holds(received: u64, applied: u64) -> NodeReply {
    NodeReply::Position { received: position(received), applied: position(applied) }
}

#[test]
fn a_dead_primary_costs_three_rounds() {
    let mut fleet = Fleet::at_peace(Policy::default());
    let before = fleet.keeper.state().generation();

    fleet.tell(Event::Observed(exited("east-1")));
    let mut asked = fleet.asked();
    asked.sort();
    let first = ["Fence east-1", "Route", "StopReceiving east-2", "StopReceiving east-3", "StopReceiving west-1"];
    assert_eq!(asked, first, "everything that can be asked at once is asked at once");
    assert!(fleet.open.iter().all(|asked| asked.generation == before.0 + 1));

    // east-3 has more, and all of it applied: no drain.
    fleet.answer(|command| match name_of(command).as_str() {
        "StopReceiving east-2" | "StopReceiving west-1" => Some(Ok(holds(100, 100))),
        "StopReceiving east-3" => Some(Ok(holds(101, 101))),
        _ => None,
    });
    let mut asked = fleet.asked();
    asked.sort();
    let second = ["Fence east-1", "Follow east-2", "Follow west-1", "Open east-3", "Route"];
    assert_eq!(asked, second, "the fence of a dead process is not waited for; opening and following go together");

    fleet.answer(|command| matches!(command, NodeCommand::Open { .. }).then(|| Ok(holds(101, 101))));
    assert_eq!(fleet.asked().iter().filter(|one| *one == "Route").count(), 2, "the gateway is told at once");
    assert_eq!(fleet.keeper.view(fleet.now).primary, Some(node("east-3")));

    fleet.answer_all(101);
    let ended: Vec<Phase> = fleet
        .said
        .iter()
        .filter_map(|action| match action {
            Action::Note(note) => match note.kind {
                EventKind::PhaseEnded(phase) => Some(phase),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(ended[..6], [Phase::Detect, Phase::Confirm, Phase::Fence, Phase::Drain, Phase::Open, Phase::Repoint]);
}

#[test]
fn what_is_received_and_not_applied_is_drained_first() {
    let mut fleet = Fleet::at_peace(Policy::default());
    fleet.tell(Event::Observed(exited("east-1")));
    fleet.answer(|command| match name_of(command).as_str() {
        "StopReceiving east-2" => Some(Ok(holds(107, 90))),
        "StopReceiving east-3" | "StopReceiving west-1" => Some(Ok(holds(100, 100))),
        _ => None,
    });
    assert!(fleet.asked().contains(&"Drain east-2".to_owned()), "the highest received wins, applied or not");
    assert!(!fleet.asked().iter().any(|one| one.starts_with("Open")), "nothing is open before it is drained");
    fleet.answer(|command| matches!(command, NodeCommand::Drain { .. }).then(|| Ok(holds(107, 107))));
    assert!(fleet.asked().contains(&"Open east-2".to_owned()));
}

#[test]
fn an_acker_that_does_not_answer_stops_the_promotion_until_it_does() {
    let mut fleet = Fleet::at_peace(Policy { automatic_recovery: false, ..Policy::default() });
    fleet.tell(Event::Observed(exited("east-1")));
    let silent = || Err(CommandFailure { kind: FailureKind::TimedOut, message: "nothing came".to_owned() });
    fleet.answer(|command| match name_of(command).as_str() {
        "StopReceiving east-2" | "StopReceiving west-1" => Some(Ok(holds(100, 100))),
        "StopReceiving east-3" => Some(silent()),
        _ => None,
    });
    fleet.now = fleet.now + Span::secs(2);
    fleet.tell(Event::Tick);
    assert!(!fleet.asked().iter().any(|one| one.starts_with("Open")), "east-3 may hold the only copy");
    let waits = fleet.said.iter().rev().find_map(|action| match action {
        Action::Operation(operation) => Some(operation.clone()),
        _ => None,
    });
    let waits = waits.expect("the operation was handed out");
    assert_eq!(waits.state, OperationState::NeedsPerson);
    assert!(waits.reason.as_ref().is_some_and(|reason| reason.contains("east-3")), "{:?}", waits.reason);

    // It is asked again, answers, and the promotion goes on by itself.
    assert!(fleet.asked().contains(&"StopReceiving east-3".to_owned()));
    fleet.answer(|command| (name_of(command) == "StopReceiving east-3").then(|| Ok(holds(103, 103))));
    assert!(fleet.asked().contains(&"Open east-3".to_owned()));
}

#[test]
fn an_asynchronous_cluster_is_not_touched_without_a_word() {
    let policy = Policy { durability: Durability::Asynchronous, ..Policy::default() };
    let mut fleet = Fleet::registered(policy);
    fleet.tell(Event::Observed(exited("east-1")));
    fleet.now = fleet.now + Span::secs(2);
    fleet.tell(Event::Tick);
    assert!(!fleet.asked().iter().any(|one| one.starts_with("Open") || one.starts_with("Stop")), "{:?}", fleet.asked());
    assert!(!fleet.keeper.view(fleet.now).problems.is_empty());
}

#[test]
fn a_silent_primary_is_left_alone_while_a_replica_hears_it() {
    let mut fleet = Fleet::at_peace(Policy::default());
    fleet.tell(Event::HostLost("east-1".parse().expect("a host")));
    for _ in 0..50 {
        for name in ["east-2", "east-3", "west-1", "west-2", "west-3"] {
            fleet.tell(Event::Observed(healthy(name, 100)));
        }
        fleet.now = fleet.now + Span::millis(100);
        fleet.tell(Event::Tick);
    }
    assert!(!fleet.asked().iter().any(|one| one.starts_with("Fence") || one.starts_with("Stop")));
}

#[test]
fn a_primary_whose_disk_takes_no_writes_is_replaced_although_it_answers() {
    let stuck = |trouble: Span, committed: Span| {
        let mut seen = healthy("east-1", 100);
        seen.disk_trouble = Some(DiskTrouble { lasts: trouble, problem: "not answered".to_owned() });
        seen.status.as_mut().expect("it answers").write_heartbeat_age = Some(committed);
        let mut fleet = Fleet::at_peace(Policy::default());
        fleet.tell(Event::Observed(seen));
        fleet.asked()
    };
    let fenced = |asked: &[String]| asked.contains(&"Fence east-1".to_owned());
    assert!(fenced(&stuck(Span::secs(6), Span::secs(7))));
    assert!(!fenced(&stuck(Span::secs(2), Span::secs(7))), "it may be a snapshot");
    assert!(!fenced(&stuck(Span::secs(6), Span::millis(300))), "it commits");
}
