//! Times without a single success while the load was offered.

use crate::token::Nanos;
use firedrill_model::report::Outage;
use firedrill_model::{Span, Timestamp};

/// A gap below this is a hiccup of one commit, not an outage; the longest gap is listed whatever its length.
const OUTAGE_MIN: Span = Span::millis(50);

/// A gap up to this many times the spacing of the load is nothing but the spacing.
const SPACINGS: u32 = 2;

/// Most outages listed.
const LISTED_MAX: usize = 20;

/// Most gaps kept while reading; when there are more, the shorter ones go.
const KEPT_MAX: usize = 4096;

/// Collects the gaps between successes.
#[derive(Debug)]
pub(super) struct Gaps {
    /// Longest gap that is nothing but the spacing of the load, in nanoseconds.
    spacing: u64,
    /// The last success, or the beginning of the load.
    last: Option<Nanos>,
    /// Start and length of each gap.
    gaps: Vec<(Nanos, u64)>,
    ended: bool,
}

impl Gaps {
    pub(super) fn new(resolution: Span) -> Self {
        let spacing = Nanos::from(resolution.duration().saturating_mul(SPACINGS)).0;
        Self { spacing, last: None, gaps: Vec::new(), ended: false }
    }

    /// An operation is begun; the first one begins the load.
    pub(super) fn begin(&mut self, at: Nanos) {
        self.last.get_or_insert(at);
    }

    /// An operation succeeded.
    pub(super) fn served(&mut self, at: Nanos) {
        if let Some(last) = self.last.replace(at)
            && !self.ended
        {
            self.keep(last, at);
        }
    }

    /// Nothing is offered any more.
    pub(super) fn end(&mut self, at: Nanos) {
        if let Some(last) = self.last
            && !self.ended
        {
            self.keep(last, at);
        }
        self.ended = true;
    }

    fn keep(&mut self, from: Nanos, to: Nanos) {
        let length = to.0.saturating_sub(from.0);
        if length > self.spacing {
            self.gaps.push((from, length));
            if self.gaps.len() >= KEPT_MAX {
                self.gaps.sort_unstable_by_key(|&(began, length)| (std::cmp::Reverse(length), began));
                self.gaps.truncate(LISTED_MAX);
            }
        }
    }

    /// The outages, longest first.
    pub(super) fn outages(&self, origin: Timestamp) -> Vec<Outage> {
        let mut gaps = self.gaps.clone();
        gaps.sort_unstable_by_key(|&(began, length)| (std::cmp::Reverse(length), began));
        let long_enough =
            |&(index, &(_, length)): &(usize, &(Nanos, u64))| index == 0 || Nanos(length).since(Nanos(0)) >= OUTAGE_MIN;
        gaps.iter()
            .enumerate()
            .filter(long_enough)
            .take(LISTED_MAX)
            .map(|(_, &(began, length))| Outage {
                began: origin + began.since(Nanos(0)),
                // Whole microseconds, as everywhere on a timeline.
                length: Nanos(length / 1000 * 1000).since(Nanos(0)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Nanos {
        Nanos(millis * 1_000_000)
    }

    #[test]
    fn silence_counts_only_while_the_load_is_offered() {
        let mut gaps = Gaps::new(Span::millis(2));
        gaps.begin(millis(100));
        for at in [101, 103, 500, 505] {
            gaps.served(millis(at));
        }
        gaps.end(millis(605));
        gaps.served(millis(9000));
        gaps.end(millis(9999));
        let listed = gaps.outages(Timestamp(1_000_000));
        let found: Vec<_> = listed.iter().map(|outage| (outage.began.0, outage.length)).collect();
        assert_eq!(found, [(1_103_000, Span::millis(397)), (1_505_000, Span::millis(100))]);
    }

    #[test]
    fn the_longest_gap_is_listed_even_when_it_is_short() {
        let mut gaps = Gaps::new(Span::millis(2));
        gaps.begin(millis(0));
        [1, 11, 16, 17].into_iter().for_each(|at| gaps.served(millis(at)));
        gaps.end(millis(18));
        let listed = gaps.outages(Timestamp(0));
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].length, Span::millis(10));
    }

    #[test]
    fn a_load_that_is_never_served_is_one_outage() {
        let mut gaps = Gaps::new(Span::millis(1));
        gaps.begin(millis(5));
        gaps.begin(millis(9));
        gaps.end(millis(1005));
        assert_eq!(gaps.outages(Timestamp(0))[0].length, Span::secs(1));
    }
}
