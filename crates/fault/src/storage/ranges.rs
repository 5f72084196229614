//! Sets of byte ranges.

use std::collections::BTreeMap;

/// Byte ranges, merged where they touch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds `from..to`.
    pub(super) fn add(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let (mut from, mut to) = (from, to);
        // All that begin before the end and end after the beginning, touching ones included.
        let touching: Vec<(u64, u64)> =
            self.0.range(..=to).rev().map(|(begin, end)| (*begin, *end)).take_while(|(_, end)| *end >= from).collect();
        for (begin, end) in touching {
            self.0.remove(&begin);
            from = from.min(begin);
            to = to.max(end);
        }
        self.0.insert(from, to);
    }

    /// What of `from..to` is not in the set.
    pub(super) fn gaps(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = from;
        let before = self.0.range(..=from).next_back();
        for (begin, end) in before.into_iter().chain(self.0.range(from.saturating_add(1)..)) {
            if *begin >= to {
                break;
            }
            if *begin > at {
                gaps.push((at, *begin));
            }
            at = at.max(*end);
        }
        if at < to {
            gaps.push((at, to));
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_was_not_added() {
        // Against a plain list of bytes, over all short sequences of ranges.
        let mut seed = 7_u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let (mut ranges, mut bytes) = (Ranges::default(), [false; 24]);
            for _ in 0..6 {
                let (one, other) = (next(25), next(25));
                let (from, to) = (one.min(other), one.max(other));
                let mut seen = Vec::new();
                for (begin, end) in ranges.gaps(from, to) {
                    assert!(begin < end);
                    seen.extend(begin..end);
                }
                let wanted: Vec<u64> = (from..to).filter(|at| !bytes[*at as usize]).collect();
                assert_eq!(seen, wanted);
                ranges.add(from, to);
                bytes[from as usize..to as usize].fill(true);
                let ends: Vec<_> = ranges.0.iter().collect();
                assert!(ends.windows(2).all(|two| two[0].1 < two[1].0), "{ends:?} are merged");
            }
        }
    }
}
