//! Reads that missed a write acknowledged before they began.

use super::finals::Finals;
use super::writes::Writes;
use crate::history::{Header, Via};
use crate::interval::Intervals;
use crate::token::{Nanos, Token};
use firedrill_model::Span;
use firedrill_model::report::StaleReads;
use std::collections::BTreeMap;
use std::ops::Range;

/// A read that missed something. Whether it was stale or the write is lost shows only in the end.
#[derive(Debug)]
struct Missed {
    via: Via,
    writer: u32,
    began: Nanos,
    /// Which of [`Reads::ranges`] were missed.
    ranges: Range<usize>,
}

/// All reads of a history.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Answered and failed reads.
    counts: BTreeMap<Via, (u64, u64)>,
    missed: Vec<Missed>,
    /// Ranges of sequences that contain acknowledged writes which a read missed.
    ranges: Vec<(u32, u32)>,
}

impl Reads {
    pub(super) fn failed(&mut self, via: Via) {
        self.counts.entry(via).or_default().1 += 1;
    }

    /// Takes in a read that began at `began` and was told that from `from` on exactly `seen` is there.
    pub(super) fn answered(
        &mut self,
        via: Via,
        writer: u32,
        began: Nanos,
        from: u32,
        seen: &Intervals,
        writes: &Writes,
    ) {
        self.counts.entry(via).or_default().0 += 1;
        let (Some(acked), Some(newest)) = (writes.acked_of(writer), writes.acked_before(writer, began)) else { return };
        let start = self.ranges.len();
        let mut keep = |first: u32, last: u32| {
            if first <= last && acked.at_or_after(first).is_some_and(|sequence| sequence <= last) {
                self.ranges.push((first, last));
            }
        };
        // The holes of `seen` between `from` and the newest write that should be there.
        let mut next = from.max(1);
        for (first, last) in seen.ranges() {
            if first > newest {
                break;
            }
            if first > next {
                keep(next, first - 1);
            }
            next = next.max(last.saturating_add(1));
        }
        keep(next, newest);
        let ranges = start..self.ranges.len();
        if !ranges.is_empty() {
            self.missed.push(Missed { via, writer, began, ranges });
        }
    }

    /// Answered and failed reads over all.
    pub(super) fn totals(&self) -> (u64, u64) {
        self.counts.values().fold((0, 0), |(ok, failed), count| (ok + count.0, failed + count.1))
    }

    /// Stale reads per node: the missed write is there in the end, so it was only late.
    pub(super) fn stale(&self, header: &Header, writes: &Writes, finals: &Finals) -> Vec<StaleReads> {
        let mut ages: BTreeMap<Via, Vec<Span>> = BTreeMap::new();
        for missed in &self.missed {
            if let Some(age) = self.age(missed, header, writes, finals) {
                ages.entry(missed.via).or_default().push(age);
            }
        }
        ages.into_iter()
            .map(|(via, mut ages)| {
                ages.sort_unstable();
                StaleReads {
                    node: name(via, header),
                    count: ages.len() as u64,
                    of: self.counts.get(&via).map_or(0, |counts| counts.0),
                    p50: quantile(&ages, 50),
                    p99: quantile(&ages, 99),
                    max: quantile(&ages, 100),
                }
            })
            .collect()
    }

    /// How long before the read began the oldest write that it missed, and that is no loss, was acknowledged.
    fn age(&self, missed: &Missed, header: &Header, writes: &Writes, finals: &Finals) -> Option<Span> {
        let acked = writes.acked_of(missed.writer)?;
        let held = match missed.via {
            Via::Gateway => finals.primary_state(),
            Via::Node(_) => finals.state_of(&name(missed.via, header)).or(finals.primary_state()),
        };
        let held = held.map(|state| state.present.of(missed.writer));
        let oldest = self.ranges[missed.ranges.clone()].iter().find_map(|&(first, last)| match held {
            // Nobody knows what is there in the end: take it as late, not lost.
            None => acked.at_or_after(first).filter(|&sequence| sequence <= last),
            Some(present) => first_common(acked, present?, first, last),
        })?;
        let ack = writes.ack_of(Token { writer: missed.writer, sequence: oldest })?;
        Some(missed.began.since(ack.at))
    }
}

/// The lowest number of `first..=last` that is in both sets.
fn first_common(ours: &Intervals, theirs: &Intervals, first: u32, last: u32) -> Option<u32> {
    let mut candidate = first;
    loop {
        let in_ours = ours.at_or_after(candidate)?;
        candidate = theirs.at_or_after(in_ours)?;
        if candidate > last {
            return None;
        }
        if candidate == in_ours {
            return Some(candidate);
        }
    }
}

fn name(via: Via, header: &Header) -> String {
    match via {
        Via::Gateway => "gateway".to_owned(),
        Via::Node(node) => {
            header.nodes.get(usize::from(node)).map_or_else(|| format!("node {node}"), ToString::to_string)
        }
    }
}

/// The value below which `percent` of the sorted values lie (nearest rank).
fn quantile(sorted: &[Span], percent: usize) -> Span {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(Span::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let ages: Vec<Span> = (1..=200).map(Span::millis).collect();
        assert_eq!(quantile(&ages, 50), Span::millis(100));
        assert_eq!(quantile(&ages, 99), Span::millis(198));
        assert_eq!(quantile(&ages, 100), Span::millis(200));
        assert_eq!(quantile(&ages[..1], 50), Span::millis(1));
    }

    #[test]
    fn the_first_common_number_is_inside_the_range() {
        let set = |ranges: &[(u32, u32)]| Intervals::from(ranges.to_vec());
        let (a, b) = (set(&[(1, 4), (9, 20)]), set(&[(5, 8), (12, 13)]));
        assert_eq!(first_common(&a, &b, 1, 30), Some(12));
        assert_eq!(first_common(&a, &b, 13, 30), Some(13));
        assert_eq!(first_common(&a, &b, 1, 11), None);
        assert_eq!(first_common(&a, &b, 14, 30), None);
    }
}
