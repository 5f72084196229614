//! Refusals have codes, and refusing changes nothing.

use crate::fleet::{Fleet, node};
use firedrill_keeper::Request;
use firedrill_model::OperationId;
use firedrill_model::cluster::Policy;

fn code(fleet: &mut Fleet, request: Request) -> String {
    let before = fleet.keeper.state().clone();
    let refusal = fleet.keeper.ask(fleet.now, request).expect_err("it must be refused");
    assert_eq!(*fleet.keeper.state(), before, "a refusal changes nothing ({})", refusal.code);
    assert!(!refusal.message.is_empty());
    refusal.code
}

#[test]
fn what_cannot_be_is_refused_with_a_code() {
    let mut fleet = Fleet::at_peace(Policy::default());
    let promote = |to: &str, without_proof| Request::Promote { to: Some(node(to)), without_proof };
    assert_eq!(code(&mut fleet, promote("nobody", false)), "K001");
    assert_eq!(code(&mut fleet, promote("east-1", false)), "K003");
    assert_eq!(code(&mut fleet, promote("west-1", false)), "K004");
    assert_eq!(code(&mut fleet, Request::Switchover { to: Some(node("west-2")) }), "K003");
    assert_eq!(code(&mut fleet, Request::Clone { node: node("east-1"), donor: None }), "K008");
    let itself = Request::Clone { node: node("east-2"), donor: Some(node("east-2")) };
    assert_eq!(code(&mut fleet, itself), "K009");
    assert_eq!(code(&mut fleet, Request::Rejoin { node: node("east-1") }), "K008");
    assert_eq!(code(&mut fleet, Request::Cancel { operation: OperationId("c-99".to_owned()) }), "K006");
}

#[test]
fn one_change_of_primary_at_a_time() {
    let mut fleet = Fleet::at_peace(Policy::default());
    let (operation, actions) = fleet.keeper.ask(fleet.now, Request::Switchover { to: None }).expect("it is taken");
    assert!(operation.is_some());
    fleet.take(actions);
    assert!(fleet.asked().contains(&"CloseWrites east-1".to_owned()));
    assert_eq!(code(&mut fleet, Request::Switchover { to: None }), "K002");
    assert_eq!(code(&mut fleet, Request::Rejoin { node: node("east-2") }), "K002");
}

#[test]
fn a_switchover_that_is_cancelled_opens_the_old_primary_again() {
    let mut fleet = Fleet::at_peace(Policy::default());
    let (operation, actions) = fleet.keeper.ask(fleet.now, Request::Switchover { to: None }).expect("it is taken");
    fleet.take(actions);
    let cancel = Request::Cancel { operation: operation.expect("an operation") };
    let (_, actions) = fleet.keeper.ask(fleet.now, cancel).expect("it can be taken back");
    fleet.take(actions);
    assert!(fleet.asked().contains(&"ReopenWrites east-1".to_owned()), "{:?}", fleet.asked());
}
