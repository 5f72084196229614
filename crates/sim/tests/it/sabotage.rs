//! A check that cannot fail is none: worlds with a planted defect, and rules that give writes away, must come out
//! broken.

use firedrill_model::Span;
use firedrill_model::cluster::{Durability, Policy};
use firedrill_sim::{Ending, Fault, FaultKind, Plan, Sabotage, Victim, run_plan};

const MILLI: i64 = 1_000;
const SECOND: i64 = 1_000_000;

/// The rules that seeds of this plan broke.
fn broken(seeds: u64, plan: impl Fn(u64) -> Plan) -> Vec<String> {
    (0..seeds)
        .filter_map(|seed| match run_plan(seed, plan(seed), false).ending {
            Ending::Broken(rules) => Some(rules.join("; ")),
            Ending::Settled | Ending::Refused(_) => None,
        })
        .collect()
}

fn killed_primary() -> Plan {
    Plan::of(vec![Fault::new(FaultKind::Kill(Victim::Primary), 5 * SECOND, 5 * SECOND)])
}

fn isolated_primary() -> Plan {
    Plan::of(vec![Fault::new(FaultKind::Isolate(Victim::Primary), 5 * SECOND, 12 * SECOND)])
}

#[test]
fn the_same_plans_hold_without_a_defect() {
    assert_eq!(broken(40, |_| killed_primary()), Vec::<String>::new());
    assert_eq!(broken(40, |_| isolated_primary()), Vec::<String>::new());
}

#[test]
fn asynchronous_promotion_without_proof_loses_writes() {
    let rules = broken(40, |_| {
        let policy = Policy { durability: Durability::Asynchronous, promote_without_proof: true, ..Policy::default() };
        // Replication is held back while the primary acknowledges on, as in the sandbox's unsafe profile.
        let held_back = Fault::new(FaultKind::CutAckers, 4500 * MILLI, 5200 * MILLI);
        Plan { policy, far: 40 * MILLI, ..Plan::of(vec![held_back, killed_primary().faults[0].clone()]) }
    });
    assert!(rules.len() > 20, "the loss was seen in {} of 40 runs only", rules.len());
    assert!(rules.iter().all(|rule| rule.contains("acknowledged")), "{rules:?}");
}

#[test]
fn an_asynchronous_cluster_is_not_promoted_by_itself() {
    let policy = Policy { durability: Durability::Asynchronous, ..Policy::default() };
    let policy = Policy { automatic_recovery: false, ..policy };
    let outcome = run_plan(1, Plan { policy, ..killed_primary() }, false);
    assert!(!outcome.refusals.is_empty(), "it went on without a person: {:?}", outcome.ending);
}

#[test]
fn a_primary_whose_disk_has_forgotten_is_not_opened_without_a_person() {
    let mut named = 0;
    for seed in 0..40 {
        let lost = Fault::new(FaultKind::KillRegion, 5 * SECOND, 5 * SECOND);
        let plan = Plan { sabotage: Sabotage::DisksForget, ..Plan::of(vec![lost]) };
        let outcome = run_plan(seed, plan, false);
        // Where nobody else has seen the lost writes, nobody can know: that is the one way to break.
        let told = outcome.refusals.iter().any(|reason| reason.contains("came back without"));
        named += usize::from(told);
        assert_eq!(told, outcome.held(), "seed {seed}: {:?}", outcome.ending);
    }
    assert!(named > 30, "the loss was told in {named} of 40 runs only");
}

#[test]
fn a_drain_that_lies_is_seen() {
    let rules = broken(40, |_| {
        let slow = Fault::new(FaultKind::SlowApplier(Victim::Acker(0)), 4 * SECOND, 8 * SECOND);
        let other = Fault::new(FaultKind::SlowApplier(Victim::Acker(1)), 4 * SECOND, 8 * SECOND);
        let mut plan = Plan::of(vec![slow, other, killed_primary().faults[0].clone()]);
        plan.sabotage = Sabotage::DrainLies;
        plan
    });
    assert!(rules.iter().any(|rule| rule.contains("was opened without")), "not seen: {rules:?}");
}

#[test]
fn an_acker_that_only_says_it_stopped_is_seen() {
    let rules = broken(40, |_| Plan { sabotage: Sabotage::StopLies, ..isolated_primary() });
    assert!(rules.iter().any(|rule| rule.contains("could still acknowledge")), "not seen: {rules:?}");
}

#[test]
fn a_fence_that_lies_is_seen() {
    let rules = broken(40, |_| {
        let policy = Policy {
            durability: Durability::Asynchronous,
            promote_without_proof: true,
            hung_after: Span::millis(800),
            ..Policy::default()
        };
        let pause = Fault::new(FaultKind::Pause(Victim::Primary), 5 * SECOND, 9 * SECOND);
        Plan { policy, sabotage: Sabotage::FenceLies, ..Plan::of(vec![pause]) }
    });
    assert!(rules.iter().any(|rule| rule.contains("could still acknowledge")), "not seen: {rules:?}");
}
