//! Clean histories pass; each planted anomaly is found, and nothing else with it.

use crate::world::{Fate, World};
use firedrill_ledger::history::Via;
use firedrill_ledger::{ACKNOWLEDGED_MIN, Token};
use firedrill_model::report::LedgerSummary;
use firedrill_model::{Span, Verdict};
use proptest::prelude::*;

const WRITERS: u32 = 5;

/// One step of a clean cluster's life.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Begins a write of this writer, or ends the one under way.
    Write(u32, Fate),
    /// Reads a writer's tokens where everything has arrived.
    Read(u32, Via),
    Wait(u64),
    /// Another server becomes the primary, holding everything.
    Failover(u32),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Acknowledged),
        1 => Just(Fate::Failed),
        1 => Just(Fate::UnknownDone),
        1 => Just(Fate::UnknownLost),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let via = prop_oneof![Just(Via::Gateway), (0u16..3).prop_map(Via::Node)];
    prop_oneof![
        20 => (0..WRITERS, fate()).prop_map(|(writer, fate)| Step::Write(writer, fate)),
        3 => (0..WRITERS, via).prop_map(|(writer, via)| Step::Read(writer, via)),
        1 => (0u64..30).prop_map(Step::Wait),
        1 => (1u32..=3).prop_map(Step::Failover),
    ]
}

/// A cluster of three that lost nothing, with enough acknowledged writes for a verdict.
fn clean() -> impl Strategy<Value = World> {
    clean_of(3)
}

/// The same of more servers, of which only the first three are ever primary.
fn clean_of(servers: u32) -> impl Strategy<Value = World> {
    prop::collection::vec(step(), 0..300).prop_map(move |steps| {
        let all: Vec<u32> = (1..=servers).collect();
        let mut world = World::new(servers);
        for step in steps {
            match step {
                Step::Write(writer, fate) if world.is_writing(writer) => world.end(writer, fate, world.primary, &all),
                Step::Write(writer, _) => {
                    world.begin(writer);
                }
                Step::Read(writer, via) => {
                    let all = world.servers[&1].present.clone();
                    world.read(via, writer, 1, &all);
                }
                Step::Wait(millis) => world.wait(millis),
                Step::Failover(to) => world.primary = to,
            }
        }
        // What is still under way ends well here, so that there is something to plant into.
        for writer in 0..WRITERS {
            if world.is_writing(writer) {
                world.end(writer, Fate::Acknowledged, world.primary, &all);
            }
        }
        for number in 0..ACKNOWLEDGED_MIN {
            world.write((number % u64::from(WRITERS)) as u32, Fate::Acknowledged);
        }
        world
    })
}

/// The counts of all findings: lost, failed but present, duplicates, vanished, forks, divergence.
fn counts(summary: &LedgerSummary) -> [u64; 6] {
    [
        summary.lost_total(),
        summary.failed_but_present.count,
        summary.duplicates.count,
        summary.vanished.count,
        summary.forks.count,
        summary.divergence.count,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn clean_histories_pass(world in clean()) {
        let summary = world.check();
        prop_assert_eq!(counts(&summary), [0; 6], "{:?}", &summary);
        prop_assert_eq!(summary.verdict, Verdict::Passed, "{:?}", &summary.reasons);
        prop_assert!(summary.stale.is_empty(), "{:?}", &summary.stale);
        prop_assert!(summary.unknown_present <= summary.writes_unknown);
    }

    #[test]
    fn a_write_that_only_the_old_primary_has_is_a_failover_loss(mut world in clean(), writer in 0..WRITERS) {
        let old = world.primary;
        let token = world.write_to(writer, Fate::Acknowledged, old, &[old]);
        world.primary = old % 3 + 1;
        world.transaction -= 1;
        world.server(old).converged = false;
        let others: Vec<u32> = (1..=3).filter(|&id| id != old).collect();
        world.write_to(writer, Fate::Acknowledged, world.primary, &others);
        let summary = world.check();
        prop_assert_eq!(summary.verdict, Verdict::Failed);
        prop_assert_eq!(summary.lost.len(), 1);
        prop_assert_eq!(&summary.lost[0].class, "failover loss");
        let example = &summary.lost[0].findings.examples[0];
        prop_assert!(example.starts_with(&format!("{token} ")) && example.ends_with(&format!("held by n{old}")), "{}", example);
        prop_assert_eq!(counts(&summary), [1, 0, 0, 0, 0, 0], "{:?}", &summary);
        let named = format!("n{old} has transactions 0-{old}-");
        let left = summary.reasons.iter().any(|reason| reason.starts_with(&named));
        prop_assert!(left, "{:?}", &summary.reasons);
    }

    #[test]
    fn a_write_that_nobody_has_is_a_crash_loss(mut world in clean(), writer in 0..WRITERS) {
        let token = world.write(writer, Fate::Acknowledged);
        (1..=3).for_each(|id| world.drop_from(id, token));
        let summary = world.check();
        prop_assert_eq!(counts(&summary), [1, 0, 0, 0, 0, 0]);
        prop_assert_eq!(&summary.lost[0].class, "crash loss");
        let named = summary.lost[0].findings.examples[0].starts_with(&format!("{token} "));
        prop_assert!(named, "{:?}", &summary.lost);
    }

    #[test]
    fn a_failed_write_that_is_there_is_found(mut world in clean(), writer in 0..WRITERS) {
        let token = world.write(writer, Fate::Failed);
        (1..=3).for_each(|id| world.server(id).present.insert(token));
        let summary = world.check();
        prop_assert_eq!(counts(&summary), [0, 1, 0, 0, 0, 0]);
        prop_assert_eq!(summary.verdict, Verdict::Failed);
    }

    #[test]
    fn a_failed_write_that_a_read_saw_is_found(mut world in clean(), writer in 0..WRITERS) {
        let token = world.write(writer, Fate::Failed);
        let mut seen = world.servers[&1].present.clone();
        seen.insert(token);
        world.read(Via::Node(1), writer, 1, &seen);
        prop_assert_eq!(counts(&world.check()), [0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_token_that_is_there_twice_is_found(mut world in clean(), writer in 0..WRITERS) {
        let token = world.write(writer, Fate::Acknowledged);
        let primary = world.primary;
        world.server(primary).duplicates.insert(token);
        let summary = world.check();
        prop_assert_eq!(counts(&summary), [0, 0, 1, 0, 0, 0]);
        prop_assert!(summary.duplicates.examples[0].starts_with(&token.to_string()));
    }

    #[test]
    fn an_unknown_write_that_was_seen_and_is_gone_has_vanished(mut world in clean(), writer in 0..WRITERS) {
        let token = world.write(writer, Fate::UnknownLost);
        let mut seen = world.servers[&1].present.clone();
        seen.insert(token);
        world.read(Via::Gateway, writer, token.sequence, &seen);
        let summary = world.check();
        prop_assert_eq!(counts(&summary), [0, 0, 0, 1, 0, 0]);
        prop_assert_eq!(summary.verdict, Verdict::Failed);
    }

    #[test]
    fn a_replica_may_show_a_write_that_is_never_acknowledged(mut world in clean(), writer in 0..WRITERS) {
        let token = world.write(writer, Fate::UnknownLost);
        let mut seen = world.servers[&1].present.clone();
        seen.insert(token);
        world.read(Via::Node(2), writer, token.sequence, &seen);
        let summary = world.check();
        prop_assert_eq!(counts(&summary), [0; 6]);
        prop_assert_eq!(summary.verdict, Verdict::Passed);
        let said = summary.reasons.iter().any(|reason| reason.starts_with("1 writes without an answer were seen"));
        prop_assert!(said, "{:?}", &summary.reasons);
    }

    #[test]
    fn a_late_read_is_stale_by_the_age_of_what_it_missed(mut world in clean(), writer in 0..WRITERS, millis in 1u64..500) {
        let before = world.servers[&1].present.clone();
        world.write(writer, Fate::Acknowledged);
        world.wait(millis);
        world.write(writer, Fate::Acknowledged);
        world.read(Via::Node(2), writer, 1, &before);
        let summary = world.check();
        prop_assert_eq!(counts(&summary), [0; 6]);
        prop_assert_eq!(summary.verdict, Verdict::Passed);
        prop_assert_eq!(summary.stale.len(), 1);
        let stale = &summary.stale[0];
        prop_assert_eq!((stale.node.as_str(), stale.count), ("n3", 1));
        prop_assert!(stale.max >= Span::millis(millis) && stale.max < Span::millis(millis + 2), "{:?}", stale);
    }

    #[test]
    fn a_read_that_misses_only_what_is_lost_is_not_stale(mut world in clean(), writer in 0..WRITERS) {
        let token = world.write(writer, Fate::Acknowledged);
        (1..=3).for_each(|id| world.drop_from(id, token));
        let all = world.servers[&1].present.clone();
        world.read(Via::Gateway, writer, 1, &all);
        let summary = world.check();
        prop_assert_eq!(summary.lost_total(), 1);
        prop_assert!(summary.stale.is_empty(), "{:?}", &summary.stale);
    }

    #[test]
    fn a_changed_row_is_a_divergence(mut world in clean(), other in 1u32..=2) {
        let changed = (world.primary + other - 1) % 3 + 1;
        world.server(changed).hash = 8;
        let summary = world.check();
        prop_assert_eq!(counts(&summary), [0, 0, 0, 0, 0, 1]);
        prop_assert!(summary.divergence.examples[0].starts_with(&format!("n{changed} differs")), "{:?}", &summary.divergence);
    }

    #[test]
    fn a_transaction_of_a_replicas_own_is_a_divergence(mut world in clean_of(4)) {
        let changed = 4;
        let own = world.transaction + 1;
        let server = world.server(changed);
        server.last.insert(changed, own);
        server.hash = 9;
        server.converged = false;
        let summary = world.check();
        prop_assert_eq!(counts(&summary), [0, 0, 0, 0, 0, 1]);
        let name = format!("n{changed} has transactions up to 0-{changed}-{own} ");
        prop_assert!(summary.divergence.examples[0].starts_with(&name), "{:?}", &summary.divergence);
    }
}

fn enough(world: &mut World) {
    (0..ACKNOWLEDGED_MIN).for_each(|_| {
        world.write(0, Fate::Acknowledged);
    });
}

#[test]
fn too_few_writes_prove_nothing() {
    let mut world = World::new(2);
    (1..ACKNOWLEDGED_MIN).for_each(|_| {
        world.write(0, Fate::Acknowledged);
    });
    assert_eq!(world.check().verdict, Verdict::Inconclusive);
    world.write(0, Fate::Acknowledged);
    assert_eq!(world.check().verdict, Verdict::Passed);
}

#[test]
fn an_unread_primary_makes_it_inconclusive_and_an_unread_replica_does_not() {
    let mut world = World::new(3);
    enough(&mut world);
    world.server(3).unread = true;
    let summary = world.check();
    assert_eq!(summary.verdict, Verdict::Passed, "{:?}", summary.reasons);
    assert!(summary.reasons.iter().any(|reason| reason.starts_with("not known: whether n3 differs")));

    world.server(2).unread = true;
    let summary = world.check();
    assert_eq!(summary.verdict, Verdict::Inconclusive, "nothing was compared");
    assert!(summary.reasons[0].contains("none could be compared"), "{:?}", summary.reasons);

    world.server(2).unread = false;
    world.server(1).unread = true;
    let summary = world.check();
    assert_eq!(summary.verdict, Verdict::Inconclusive);
    assert!(summary.reasons[0].contains("primary n1 could not be read"), "{:?}", summary.reasons);
}

#[test]
fn what_has_not_caught_up_is_not_compared() {
    let mut world = World::new(3);
    enough(&mut world);
    world.server(2).converged = false;
    world.server(2).hash = 8;
    let summary = world.check();
    assert_eq!((summary.verdict, summary.divergence.count), (Verdict::Passed, 0), "{:?}", summary.reasons);
    assert!(summary.reasons.iter().any(|reason| reason.contains("n2") && reason.contains("did not reach")));
}

#[test]
fn outages_are_on_the_wall_clock() {
    let mut world = World::new(2);
    enough(&mut world);
    let began = world.now;
    world.wait(400);
    enough(&mut world);
    let summary = world.check();
    assert_eq!(summary.write_outages.len(), 1);
    let outage = &summary.write_outages[0];
    assert_eq!(outage.began.0, i64::try_from(began / 1000).expect("small"));
    assert!(outage.length >= Span::millis(400) && outage.length < Span::millis(401), "{outage:?}");
}

#[test]
fn examples_are_bounded_and_counts_are_not() {
    let mut world = World::new(2);
    let lost: Vec<Token> = (0..200).map(|_| world.write(3, Fate::Acknowledged)).collect();
    for token in lost {
        world.drop_from(1, token);
        world.drop_from(2, token);
    }
    let summary = world.check();
    assert_eq!(summary.lost_total(), 200);
    assert_eq!(summary.lost[0].findings.examples.len(), firedrill_model::report::EXAMPLES_MAX);
}
