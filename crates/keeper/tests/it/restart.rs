//! A killed server goes on from what it had stored.

use crate::fleet::{Fleet, done, exited, healthy, name_of};
use firedrill_keeper::{Event, Keeper, KeeperState};
use firedrill_model::cluster::Policy;
use firedrill_model::{Health, Span};

fn stored(fleet: &Fleet) -> KeeperState {
    let text = serde_json::to_string(fleet.keeper.state()).expect("it serialises");
    let state = serde_json::from_str(&text).expect("it reads back");
    assert_eq!(*fleet.keeper.state(), state);
    state
}

#[test]
fn every_unanswered_step_is_asked_again_under_a_new_number() {
    let mut fleet = Fleet::at_peace(Policy::default());
    fleet.tell(Event::Observed(exited("east-1")));
    let before: Vec<_> = fleet.open.clone();
    let (keeper, actions) = Keeper::restore(stored(&fleet), fleet.now + Span::millis(400));
    fleet.keeper = keeper;
    fleet.open.clear();
    fleet.take(actions);
    for asked in before.iter().filter(|asked| asked.command.node().is_some()) {
        let again = fleet.open.iter().find(|one| one.command == asked.command && one.host == asked.host);
        let again = again.unwrap_or_else(|| panic!("{:?} was not asked again", asked.command));
        assert_ne!(again.call, asked.call, "call numbers are never used twice");
        assert_eq!(again.generation, asked.generation, "a restart is no change of authority");
    }
}

#[test]
fn a_quiet_turn_changes_nothing_that_must_be_stored() {
    let mut fleet = Fleet::at_peace(Policy::default());
    let before = stored(&fleet);
    for _ in 0..100 {
        fleet.look(200);
        fleet.answer_all(200);
    }
    assert_eq!(stored(&fleet).revision, before.revision);
}

#[test]
fn a_cluster_is_not_redundant_before_all_that_was_acknowledged_is_known_to_be_on_two_nodes() {
    let mut fleet = Fleet::connected(Policy::default());
    for _ in 0..30 {
        fleet.look(100);
        fleet.answer(|command| (!name_of(command).starts_with("AwaitPosition")).then(|| Ok(done(command, 100))));
    }
    let view = fleet.keeper.view(fleet.now);
    assert!(view.nodes.iter().all(|node| node.health == Health::Healthy));
    assert!(!view.fully_redundant);
    assert!(view.problems.iter().any(|problem| problem.contains("its promotion could need a person")), "{view:#?}");
    for _ in 0..30 {
        fleet.look(100);
        fleet.answer_all(100);
    }
    let view = fleet.keeper.view(fleet.now);
    assert!(view.fully_redundant, "{:?}", view.problems);
}

/// The primary died, the server right after it had asked everybody, and another one goes on three seconds later.
fn taken_over() -> Fleet {
    let mut fleet = Fleet::at_peace(Policy::default());
    fleet.tell(Event::Observed(exited("east-1")));
    fleet.now = fleet.now + Span::secs(3);
    let (keeper, actions) = Keeper::restore(stored(&fleet), fleet.now);
    fleet.keeper = keeper;
    fleet.open.clear();
    fleet.take(actions);
    for host in ["east-1", "east-2", "east-3", "west-1", "gateway"] {
        fleet.tell(Event::HostConnected(host.parse().expect("a host")));
    }
    fleet.tell(Event::Observed(exited("east-1")));
    fleet
}

#[test]
fn the_time_without_a_server_is_no_time_in_which_nobody_answered() {
    let mut fleet = taken_over();
    fleet.now = fleet.now + Span::millis(900);
    fleet.tell(Event::Tick);
    assert!(fleet.asked().iter().all(|asked| !asked.starts_with("Recover")), "{:?}", fleet.asked());
    // All of them answer now, late, and one is promoted.
    for _ in 0..5 {
        fleet.answer_all(100);
    }
    let view = fleet.keeper.view(fleet.now);
    assert!(view.primary.as_ref().is_some_and(|primary| primary.as_str() != "east-1"), "{view:#?}");
}

#[test]
fn who_does_not_come_back_is_not_waited_for_without_end() {
    let mut fleet = taken_over();
    fleet.now = fleet.now + Span::millis(2600);
    fleet.tell(Event::Tick);
    fleet.answer(|command| (name_of(command) == "Fence east-1").then(|| Ok(done(command, 100))));
    assert!(fleet.asked().contains(&"Recover east-1".to_owned()), "{:?}", fleet.asked());
}

#[test]
fn what_keeps_a_cluster_from_full_strength_is_said() {
    let mut fleet = Fleet::at_peace(Policy::default());
    let mut late = healthy("east-2", 100);
    let replication = late.status.as_mut().and_then(|status| status.replication.as_mut()).expect("a replica");
    replication.lag = Some(Span::secs(12));
    fleet.tell(Event::Observed(late));
    let view = fleet.keeper.view(fleet.now);
    assert!(!view.fully_redundant);
    assert_eq!(view.problems, ["east-2 is 12s behind, which is more than 5s"]);
}
