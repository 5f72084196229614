//! The file: cut short, damaged, or none.

use crate::world::{Fate, World};
use firedrill_ledger::check;
use firedrill_ledger::history::{HistoryError, Reader, Via};
use firedrill_model::Verdict;
use proptest::prelude::*;

fn small() -> World {
    let mut world = World::new(2);
    for number in 0..20 {
        world.write(number % 3, if number % 7 == 6 { Fate::UnknownLost } else { Fate::Acknowledged });
    }
    let all = world.servers[&1].present.clone();
    world.read(Via::Node(1), 2, 1, &all);
    world
}

/// Reads everything; answers the operations read and the error that ended it.
fn read(bytes: &[u8]) -> (u64, Option<HistoryError>) {
    let mut reader = match Reader::open(bytes) {
        Ok(reader) => reader,
        Err(error) => return (0, Some(error)),
    };
    loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => return (reader.operations(), None),
            Err(error) => return (reader.operations(), Some(error)),
        }
    }
}

#[test]
fn a_history_cut_at_any_byte_is_known_to_be_cut() {
    let whole = small().history();
    assert!(read(&whole).1.is_none());
    for length in 0..whole.len() {
        let (operations, ended) = read(&whole[..length]);
        match ended {
            Some(HistoryError::CutShort { operations: said, .. }) => assert_eq!(said, operations, "at byte {length}"),
            other => panic!("at byte {length}: {other:?}"),
        }
    }
}

#[test]
fn a_cut_history_is_inconclusive_and_says_how_far_it_goes() {
    let whole = small().history();
    let summary = check(&whole[..whole.len() - 1]).expect("summed up as far as it goes");
    assert_eq!((summary.verdict, summary.operations), (Verdict::Inconclusive, 21));
    assert!(
        summary.reasons[0].contains("cut short") && summary.reasons[0].contains("21 operations"),
        "{:?}",
        summary.reasons
    );
    let nothing = check(&whole[..20]).expect_err("not even a header");
    assert!(nothing.to_string().contains("0 operations"), "{nothing}");
}

#[test]
fn a_changed_bit_anywhere_is_found() {
    let whole = small().history();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        let (_, ended) = read(&changed);
        assert!(ended.is_some(), "bit 4 of byte {at} can be changed unnoticed");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(matches!(read(&longer).1, Some(HistoryError::Damaged { .. })));
}

#[test]
fn other_files_are_refused_by_name() {
    let refused = check(&b"{\"json\": true}"[..]).expect_err("no history");
    assert!(refused.to_string().contains("this is no history"), "{refused}");
}

#[test]
fn records_that_contradict_each_other_are_refused() {
    let mut world = small();
    let first =
        world.records.iter().position(|record| matches!(record, firedrill_ledger::history::Record::Complete { .. }));
    world.records.remove(first.expect("a completion"));
    let refused = check(world.history().as_slice()).expect_err("one process, two operations");
    assert!(
        matches!(&refused, HistoryError::Disorder { what, .. } if what.contains("before its last one has ended")),
        "{refused}"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), keep in 0usize..200) {
        let _ = check(bytes.as_slice());
        // Behind a good beginning the decoder is reached too.
        let whole = small().history();
        let mixed: Vec<u8> = whole[..keep.min(whole.len())].iter().copied().chain(bytes).collect();
        let _ = check(mixed.as_slice());
    }
}
