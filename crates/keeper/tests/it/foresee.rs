//! What a request would come to is told before it is made, and is what then happens.

use crate::fleet::{Fleet, NODES, exited, healthy, node};
use firedrill_keeper::{Event, Request};
use firedrill_model::cluster::{Durability, Policy};
use firedrill_model::foreseen::{Foreseen, Risk};
use firedrill_model::{OperationId, Span};

fn foresee(fleet: &Fleet, request: &Request) -> Foreseen {
    let before = fleet.keeper.state().clone();
    let foreseen = fleet.keeper.foresee(fleet.now, request).expect("it would begin an operation");
    assert_eq!(*fleet.keeper.state(), before, "to look ahead changes nothing");
    foreseen
}

fn promote(to: Option<&str>, without_proof: bool) -> Request {
    Request::Promote { to: to.map(node), without_proof }
}

#[test]
fn a_promotion_with_proof_loses_nothing_and_says_who_could_take_over() {
    let fleet = Fleet::at_peace(Policy::default());
    let foreseen = foresee(&fleet, &promote(None, false));
    assert_eq!((foreseen.risk, &foreseen.refused, &foreseen.waits), (Risk::Nothing, &None, &None));
    assert_eq!(foreseen.subject, node("east-1"));
    assert!(foreseen.effects.iter().any(|text| text.contains("a switchover moves its role")), "{foreseen:#?}");
    assert!(foreseen.loss.iter().any(|text| text.contains("answers now: east-2, east-3")), "{foreseen:#?}");
    let fit: Vec<&str> =
        foreseen.choices.iter().filter(|one| one.refused.is_none()).map(|one| one.node.as_str()).collect();
    assert_eq!(fit, ["east-2", "east-3"], "the other region cannot prove that it has everything");
    assert!(foreseen.choices.iter().all(|one| one.missing == Some(0)), "{:#?}", foreseen.choices);
}

#[test]
fn what_cannot_be_proven_is_said_to_be_at_risk() {
    let mut fleet = Fleet::at_peace(Policy::default());
    for name in NODES {
        fleet.tell(Event::Observed(healthy(name, if name == "west-1" { 90 } else { 100 })));
    }
    let refused = foresee(&fleet, &promote(Some("west-1"), false));
    assert_eq!(refused.refused.map(|refusal| refusal.code).as_deref(), Some("K004"));
    let risky = foresee(&fleet, &promote(Some("west-1"), true));
    assert_eq!((risky.risk, risky.refused), (Risk::Possible, None));
    assert!(risky.loss.iter().any(|text| text.contains("west-1 lacks 10 transactions")), "{:#?}", risky.loss);
    let asynchronous = Policy { durability: Durability::Asynchronous, ..Policy::default() };
    let fleet = Fleet::registered(asynchronous);
    assert_eq!(foresee(&fleet, &promote(None, true)).risk, Risk::Possible);
}

#[test]
fn a_promotion_that_would_wait_says_for_what() {
    let mut fleet = Fleet::at_peace(Policy::default());
    // One of those who acknowledge is not heard any more, and neither is the primary.
    fleet.tell(Event::HostLost("east-3".parse().expect("a host")));
    fleet.tell(Event::HostLost("east-1".parse().expect("a host")));
    fleet.now = fleet.now + Span::millis(100);
    let foreseen = foresee(&fleet, &promote(None, false));
    let told = foreseen.refused.map(|refusal| refusal.message).or(foreseen.waits).expect("something stands against it");
    assert!(told.contains("east-3"), "{told}");
    let blind = foresee(&fleet, &promote(None, true));
    assert!(blind.loss.iter().any(|text| text.contains("do not answer now: east-3")), "{:#?}", blind.loss);
    assert!(blind.effects.iter().any(|text| text.contains("cannot be fenced")), "{:#?}", blind.effects);
}

#[test]
fn what_is_told_of_the_others_is_what_the_keeper_does() {
    let mut fleet = Fleet::at_peace(Policy::default());
    let foreseen = foresee(&fleet, &Request::Switchover { to: None });
    assert_eq!((foreseen.risk, &foreseen.refused), (Risk::Nothing, &None));
    let copied = foresee(&fleet, &Request::Clone { node: node("east-2"), donor: None });
    assert_eq!((copied.risk, &copied.refused), (Risk::Nothing, &None));
    assert!(copied.effects.iter().any(|text| text.contains("acknowledged by east-3")), "{:#?}", copied.effects);
    assert!(copied.partner.is_some_and(|donor| donor != node("east-2")));
    assert!(foresee(&fleet, &Request::Clone { node: node("east-1"), donor: None }).refused.is_some());
    assert_eq!(foresee(&fleet, &Request::Rejoin { node: node("east-2") }).risk, Risk::Nothing);
    // A node that is gone says nothing of what it holds.
    fleet.tell(Event::Observed(exited("west-3")));
    assert_eq!(foresee(&fleet, &Request::Clone { node: node("west-3"), donor: None }).risk, Risk::Unknown);
    let (operation, _) = fleet.keeper.ask(fleet.now, Request::Switchover { to: None }).expect("taken");
    assert!(operation.is_some());
    let partner = fleet.keeper.view(fleet.now).operations;
    assert_eq!(partner.len(), 1);
    let again = foresee(&fleet, &Request::Switchover { to: None });
    assert_eq!(again.refused.map(|refusal| refusal.code).as_deref(), Some("K002"));
    let none = Request::Cancel { operation: OperationId("c-1".to_owned()) };
    assert_eq!(fleet.keeper.foresee(fleet.now, &none), None);
}
