//! Drawing by lot from a seed: the same seed, the same lot, on every machine and in every version.

use crate::week::Opening;

/// A sequence of numbers that is fixed by its seed: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
/// number generators", 2014). Nobody gains from guessing it: the plan is shown beforehand.
#[derive(Debug, Clone)]
pub(crate) struct Lot(u64);

impl Lot {
    /// From a seed and what the lot is drawn for, so that one drawing says nothing of another.
    pub(crate) fn new(seed: u64, purpose: &[i64]) -> Self {
        let mut lot = Self(seed);
        for part in purpose {
            lot.0 = lot.next() ^ part.cast_unsigned();
        }
        lot
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `bound`, which is above 0. The bounds are minutes of a week: the error of the cut is
    /// below one in 10^15.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

/// How many times fit into the openings with `spread` minutes between them, when nothing but their sum counts.
pub(crate) fn room(open: &[Opening], spread: i64) -> i64 {
    let minutes: i64 = open.iter().map(|opening| opening.minutes()).sum();
    if minutes <= 0 { 0 } else { (minutes - 1) / spread.max(1) + 1 }
}

/// Draws `times` minutes from the openings, in order, at least `spread` minutes (and one) apart; fewer when no more
/// fit. Every such choice is as likely as any other.
///
/// The openings are put end to end; `times` points are drawn on what is left of that line after all gaps were taken
/// out, sorted, and moved apart by the gaps again. What is apart on the line is apart at least as far on the clock.
pub(crate) fn minutes(lot: &mut Lot, open: &[Opening], times: u32, spread: i64) -> Vec<i64> {
    let spread = spread.max(1);
    let times = i64::from(times).min(room(open, spread));
    let total: i64 = open.iter().map(|opening| opening.minutes()).sum();
    let free = total - (times - 1).max(0) * spread;
    let Ok(free) = u64::try_from(free) else { return Vec::new() };
    if times <= 0 || free == 0 {
        return Vec::new();
    }
    let mut drawn: Vec<u64> = (0..times).map(|_| lot.below(free)).collect();
    drawn.sort_unstable();
    let apart = drawn.into_iter().zip(0_i64..).map(|(point, before)| point.cast_signed() + before * spread);
    apart.filter_map(|point| on_the_clock(open, point)).collect()
}

/// The minute at a point of the line.
fn on_the_clock(open: &[Opening], mut point: i64) -> Option<i64> {
    for opening in open {
        if point < opening.minutes() {
            return Some(opening.from + point);
        }
        point -= opening.minutes();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open(parts: &[(i64, i64)]) -> Vec<Opening> {
        let day = jiff::civil::date(2026, 11, 24);
        let mut at = 0;
        let stretch = |(gap, length): &(i64, i64)| {
            let from = at + gap;
            at = from + length;
            Opening { day, from, until: at }
        };
        parts.iter().map(stretch).collect()
    }

    #[test]
    fn the_lot_is_the_published_one() {
        // The first numbers of the reference implementation for the seed 1234567.
        let mut lot = Lot(1_234_567);
        assert_eq!([lot.next(), lot.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn every_minute_is_as_likely() {
        let open = open(&[(0, 5), (10, 5)]);
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..10_000 {
            for minute in minutes(&mut Lot::new(seed, &[1]), &open, 1, 1) {
                *counts.entry(minute).or_insert(0) += 1;
            }
        }
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 15, 16, 17, 18, 19]);
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn what_is_drawn_is_open_apart_and_complete(
            seed: u64,
            parts in prop::collection::vec((0_i64..2000, 1_i64..400), 0..8),
            times in 0_u32..40,
            spread in 0_i64..300,
        ) {
            let open = open(&parts);
            let drawn = minutes(&mut Lot::new(seed, &[7]), &open, times, spread);
            prop_assert_eq!(i64::try_from(drawn.len()).expect("few"), i64::from(times).min(room(&open, spread)));
            prop_assert!(drawn.windows(2).all(|pair| pair[1] - pair[0] >= spread.max(1)));
            prop_assert!(drawn.iter().all(|minute| open.iter().any(|o| o.from <= *minute && *minute < o.until)));
            prop_assert_eq!(&drawn, &minutes(&mut Lot::new(seed, &[7]), &open, times, spread));
        }
    }
}
