//! Sets of numbers kept as intervals: a writer's tokens are dense, so a set of millions is a few pairs.

use crate::token::Token;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A set of sequence numbers as sorted, disjoint, non-touching inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub struct Intervals(Vec<(u32, u32)>);

impl Intervals {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// True when nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The ranges, in order, both ends included.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// Every number, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|&(first, last)| first..=last)
    }

    /// The highest number.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        self.0.last().map(|&(_, last)| last)
    }

    /// Adds one number; constant time when it is not below the highest.
    pub fn insert(&mut self, number: u32) {
        self.insert_range(number, number);
    }

    /// Adds `first..=last`; nothing when the ends are the wrong way round.
    pub fn insert_range(&mut self, first: u32, last: u32) {
        if first > last {
            return;
        }
        // All ranges that overlap or touch the new one become one with it.
        let from = match self.0.last() {
            Some(&(_, end)) if end.checked_add(1).is_some_and(|next| next < first) => self.0.len(),
            _ => self.0.partition_point(|&(_, end)| end.checked_add(1).is_some_and(|next| next < first)),
        };
        let reach = last.saturating_add(1);
        let to = from + self.0[from..].iter().take_while(|&&(start, _)| start <= reach).count();
        match self.0.get(from..to) {
            Some([one]) => {
                let merged = (one.0.min(first), one.1.max(last));
                self.0[from] = merged;
            }
            Some([head, .., tail]) => {
                let merged = (head.0.min(first), tail.1.max(last));
                self.0.splice(from..to, [merged]);
            }
            _ => self.0.insert(from, (first, last)),
        }
    }

    /// True when the number is in it.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        self.at_or_after(number) == Some(number)
    }

    /// The lowest member that is at least `number`.
    #[must_use]
    pub fn at_or_after(&self, number: u32) -> Option<u32> {
        let index = self.0.partition_point(|&(_, last)| last < number);
        self.0.get(index).map(|&(first, _)| first.max(number))
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut taken = other.0.iter().copied().peekable();
        for &(mut first, last) in &self.0 {
            let mut rest = true;
            while let Some(&(from, to)) = taken.peek() {
                if to < first {
                    taken.next();
                } else if from > last {
                    break;
                } else {
                    if from > first {
                        left.push((first, from - 1));
                    }
                    if to >= last {
                        rest = false;
                        break;
                    }
                    first = to + 1;
                }
            }
            if rest {
                left.push((first, last));
            }
        }
        Self(left)
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&&(a, b)), Some(&&(c, d))) = (ours.peek(), theirs.peek()) {
            let (first, last) = (a.max(c), b.min(d));
            if first <= last {
                both.push((first, last));
            }
            if b < d {
                ours.next();
            } else {
                theirs.next();
            }
        }
        Self(both)
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        other.ranges().for_each(|(first, last)| self.insert_range(first, last));
    }
}

impl From<Vec<(u32, u32)>> for Intervals {
    /// Accepts ranges in any order, overlapping or not; a range with its ends the wrong way round is empty.
    fn from(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut set = Self::new();
        ranges.into_iter().for_each(|(first, last)| set.insert_range(first, last));
        set
    }
}

impl From<Intervals> for Vec<(u32, u32)> {
    fn from(set: Intervals) -> Self {
        set.0
    }
}

impl FromIterator<u32> for Intervals {
    fn from_iter<T: IntoIterator<Item = u32>>(numbers: T) -> Self {
        let mut set = Self::new();
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}

/// A set of tokens: intervals per writer, never an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenSet(BTreeMap<u32, Intervals>);

impl TokenSet {
    /// Adds one token.
    pub fn insert(&mut self, token: Token) {
        self.0.entry(token.writer).or_default().insert(token.sequence);
    }

    /// Adds many of one writer.
    pub fn add(&mut self, writer: u32, sequences: &Intervals) {
        if !sequences.is_empty() {
            self.0.entry(writer).or_default().add(sequences);
        }
    }

    /// True when nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Intervals::is_empty)
    }

    /// How many tokens are in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().map(Intervals::count).sum()
    }

    /// True when the token is in it.
    #[must_use]
    pub fn contains(&self, token: Token) -> bool {
        self.0.get(&token.writer).is_some_and(|sequences| sequences.contains(token.sequence))
    }

    /// One writer's part.
    #[must_use]
    pub fn of(&self, writer: u32) -> Option<&Intervals> {
        self.0.get(&writer)
    }

    /// Each writer's part, by writer.
    pub fn writers(&self) -> impl Iterator<Item = (u32, &Intervals)> {
        self.0.iter().map(|(&writer, sequences)| (writer, sequences))
    }

    /// Every token, by writer and sequence.
    pub fn iter(&self) -> impl Iterator<Item = Token> + '_ {
        self.writers().flat_map(|(writer, sequences)| sequences.iter().map(move |sequence| Token { writer, sequence }))
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let left = |(writer, ours): (&u32, &Intervals)| {
            let rest = other.0.get(writer).map_or_else(|| ours.clone(), |theirs| ours.minus(theirs));
            (!rest.is_empty()).then_some((*writer, rest))
        };
        Self(self.0.iter().filter_map(left).collect())
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let common = |(writer, ours): (&u32, &Intervals)| {
            let both = ours.and(other.0.get(writer)?);
            (!both.is_empty()).then_some((*writer, both))
        };
        Self(self.0.iter().filter_map(common).collect())
    }
}

impl FromIterator<Token> for TokenSet {
    fn from_iter<T: IntoIterator<Item = Token>>(tokens: T) -> Self {
        let mut set = Self::default();
        tokens.into_iter().for_each(|token| set.insert(token));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn numbers() -> impl Strategy<Value = BTreeSet<u32>> {
        prop::collection::btree_set(prop_oneof![0u32..40, u32::MAX - 5..=u32::MAX], 0..25)
    }

    fn well_formed(set: &Intervals) -> bool {
        set.0.iter().all(|&(first, last)| first <= last)
            && set.0.windows(2).all(|pair| u64::from(pair[0].1) + 1 < u64::from(pair[1].0))
    }

    proptest! {
        #[test]
        fn they_behave_as_sets(ours in numbers(), theirs in numbers(), shuffled in prop::collection::vec(0u32..40, 0..30)) {
            let (a, b): (Intervals, Intervals) = (ours.iter().copied().collect(), theirs.iter().copied().collect());
            let mut all = a.clone();
            all.add(&b);
            for (set, expected) in [
                (a.minus(&b), ours.difference(&theirs).copied().collect::<BTreeSet<_>>()),
                (a.and(&b), ours.intersection(&theirs).copied().collect()),
                (all, ours.union(&theirs).copied().collect()),
                (shuffled.iter().copied().collect(), shuffled.iter().copied().collect()),
            ] {
                prop_assert!(well_formed(&set), "{set:?}");
                prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), expected.clone());
                prop_assert_eq!(set.count(), expected.len() as u64);
                for number in 0..42 {
                    prop_assert_eq!(set.contains(number), expected.contains(&number));
                    prop_assert_eq!(set.at_or_after(number), expected.range(number..).next().copied());
                }
            }
        }

        #[test]
        fn any_ranges_make_a_set(ranges in prop::collection::vec((0u32..50, 0u32..50), 0..20)) {
            let set = Intervals::from(ranges.clone());
            prop_assert!(well_formed(&set));
            let expected: BTreeSet<u32> = ranges.into_iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn tokens_are_kept_by_writer() {
        let token = |writer, sequence| Token { writer, sequence };
        let all: TokenSet = [token(1, 1), token(1, 2), token(2, 7)].into_iter().collect();
        let some: TokenSet = [token(1, 2), token(3, 1)].into_iter().collect();
        assert_eq!(all.minus(&some).iter().collect::<Vec<_>>(), [token(1, 1), token(2, 7)]);
        assert_eq!(all.and(&some).iter().collect::<Vec<_>>(), [token(1, 2)]);
        assert_eq!((all.count(), some.contains(token(3, 1))), (3, true));
        let json = serde_json::to_string(&all).expect("serialises");
        assert_eq!(serde_json::from_str::<TokenSet>(&json).expect("reads back"), all);
    }
}
