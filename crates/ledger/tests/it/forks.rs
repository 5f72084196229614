//! A fork is told from every kind of failover.

use crate::world::{Fate, World};
use firedrill_ledger::ACKNOWLEDGED_MIN;
use proptest::prelude::*;

/// Two servers, with enough acknowledged writes on server 1.
fn world() -> World {
    let mut world = World::new(2);
    (0..ACKNOWLEDGED_MIN).for_each(|_| {
        world.write(0, Fate::Acknowledged);
    });
    world
}

/// So many writes that only their own server holds, going on from a position; answers the position after.
fn alone(world: &mut World, by: u32, from: u64, count: u64) -> u64 {
    world.transaction = from;
    (0..count).for_each(|_| {
        world.write_to(by, Fate::Acknowledged, by, &[by]);
    });
    world.transaction
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Both go on from one point and acknowledge by turns; whichever survives and whichever is ahead.
    #[test]
    fn two_lines_in_overlapping_time_are_a_fork(
        turns in prop::collection::vec((1u64..6, 1u64..6), 2..6),
        lead in 0u64..50,
        survivor in 1u32..=2,
    ) {
        let mut world = world();
        let fork = world.transaction;
        let (mut first, mut second) = (alone(&mut world, 1, fork, lead), fork);
        for (ones, twos) in turns {
            second = alone(&mut world, 2, second, twos);
            first = alone(&mut world, 1, first, ones);
        }
        world.primary = survivor;
        let summary = world.check();
        prop_assert!(summary.forks.count > 0, "{:?}", &summary);
        prop_assert!(summary.forks.examples[0].contains("does not descend"));
    }

    /// The new primary lacks the last writes of the old one, which acknowledges nothing any more.
    #[test]
    fn a_failover_that_loses_is_no_fork(lost in 0u64..20, after in 1u64..40) {
        let mut world = world();
        let at = world.transaction;
        alone(&mut world, 1, at, lost);
        world.primary = 2;
        alone(&mut world, 2, at, after);
        let summary = world.check();
        prop_assert_eq!(summary.forks.count, 0, "{:?}", &summary.forks);
        prop_assert_eq!(summary.lost_total(), lost);
    }

    /// Primaries change often, nothing is lost, sequences grow.
    #[test]
    fn switching_to_and_fro_is_no_fork(epochs in prop::collection::vec((1u32..=2, 1u64..8), 1..12)) {
        let mut world = world();
        for (primary, count) in epochs {
            world.primary = primary;
            (0..count).for_each(|_| { world.write(1, Fate::Acknowledged); });
        }
        prop_assert_eq!(world.check().forks.count, 0);
    }

    /// There and back, losing on the way back what was written meanwhile.
    #[test]
    fn a_failover_back_that_loses_is_no_fork(clean in 1u64..10, lost in 1u64..10, after in 1u64..20) {
        let mut world = world();
        world.primary = 2;
        (0..clean).for_each(|_| { world.write(1, Fate::Acknowledged); });
        let at = world.transaction;
        alone(&mut world, 2, at, lost);
        world.primary = 1;
        alone(&mut world, 1, at, after);
        let summary = world.check();
        prop_assert_eq!(summary.forks.count, 0, "{:?}", &summary.forks);
        prop_assert_eq!(summary.lost_total(), lost);
    }
}

#[test]
fn one_stray_acknowledgement_of_the_old_primary_is_a_fork() {
    let mut world = world();
    let at = world.transaction;
    world.primary = 2;
    alone(&mut world, 2, at, 1);
    alone(&mut world, 1, at, 1);
    alone(&mut world, 2, at + 1, 5);
    let summary = world.check();
    assert_eq!(summary.forks.count, 1, "{:?}", summary.forks);
    assert!(summary.forks.examples[0].contains("acknowledged by n1 (0-1-101)"), "{:?}", summary.forks);
}

#[test]
fn writes_under_way_at_once_are_no_fork() {
    let mut world = world();
    world.begin(1);
    world.begin(2);
    let at = world.transaction;
    world.end(1, Fate::Acknowledged, 2, &[1, 2]);
    world.transaction = at;
    world.end(2, Fate::Acknowledged, 1, &[1]);
    world.primary = 2;
    assert_eq!(world.check().forks.count, 0, "neither was begun after the other's answer");
}
