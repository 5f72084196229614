//! What must not cause a failover.

use firedrill_model::OperationKind;
use firedrill_sim::{Ending, Fault, FaultKind, Plan, Victim, run_plan};

const SECOND: i64 = 1_000_000;

fn nothing_happens(kind: FaultKind) {
    for seed in 0..60 {
        for server_in_west in [false, true] {
            let mut plan = Plan::of(vec![Fault::new(kind, 4 * SECOND, 14 * SECOND)]);
            plan.server_in_west = server_in_west;
            let outcome = run_plan(seed, plan, false);
            assert_eq!(outcome.ending, Ending::Settled, "seed {seed}, {kind:?}");
            let promotion = outcome.operations.iter().find(|operation| operation.kind == OperationKind::Promotion);
            assert!(promotion.is_none(), "seed {seed}, {kind:?}: {}", promotion.map_or("", |one| one.cause.as_str()));
        }
    }
}

#[test]
fn a_slow_and_lossy_link_between_server_and_primary() {
    nothing_happens(FaultKind::SlowToServer(Victim::Primary));
}

#[test]
fn a_primary_that_only_the_server_does_not_hear() {
    nothing_happens(FaultKind::HideFromServer(Victim::Primary));
}

#[test]
fn a_server_that_hears_nobody() {
    nothing_happens(FaultKind::IsolateServer);
}

#[test]
fn regions_that_do_not_hear_each_other() {
    nothing_happens(FaultKind::CutRegions);
}

#[test]
fn an_agent_that_dies_and_comes_back() {
    nothing_happens(FaultKind::KillAgent(Victim::Primary));
}

#[test]
fn a_server_that_dies_and_comes_back() {
    nothing_happens(FaultKind::KillServer);
}

#[test]
fn an_acker_on_a_slow_link() {
    nothing_happens(FaultKind::SlowAcker);
}

#[test]
fn an_acker_that_is_cut_off_for_a_while() {
    nothing_happens(FaultKind::Isolate(Victim::Acker(0)));
}

#[test]
fn an_acker_that_is_paused_for_a_while() {
    nothing_happens(FaultKind::Pause(Victim::Acker(1)));
}
