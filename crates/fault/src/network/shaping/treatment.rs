//! Which packet waits how long: pure, with clock and chance handed in.

use crate::network::ramp::Ramp;
use rand::Rng;
use std::time::{Duration, Instant};

/// What is done to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Treatment {
    /// Added to each packet.
    pub(crate) delay: Duration,
    /// Evenly spread around the delay; at most the delay.
    pub(crate) jitter: Duration,
    /// Packets lost of 100,000.
    pub(crate) loss_per_100_000: u32,
    /// Packets of 100,000 that do not wait, and so overtake others.
    pub(crate) early_per_100_000: u32,
    /// How fast packets go one after the other; `None`: as fast as they come.
    pub(crate) line: Option<Line>,
    /// By it, delay, jitter and loss rise to what they are, and the line slows down to it.
    pub(crate) ramp: Ramp,
}

/// A line with a speed and a buffer before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// Above 0.
    pub(crate) bits_per_second: u64,
    /// A packet that would wait longer for the line is lost.
    pub(crate) backlog: Duration,
}

/// The line's state: when its last packet has gone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Busy(Option<Instant>);

const WHOLE: u32 = 100_000;

impl Treatment {
    /// What holds so long after the beginning.
    pub(crate) fn after(&self, since: Duration) -> Self {
        /// A line at the beginning of its ramp is so many times as fast as at the end: as good as none.
        const LEAST: f64 = 0.000_1;
        if self.ramp.is_over(since) {
            return *self;
        }
        let share = self.ramp.share(since);
        let scaled = |number: f64| number.clamp(0.0, 1e18);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to the bit")]
        let faster = |rate: u64| scaled(rate as f64 / share.max(LEAST)) as u64;
        Self {
            delay: self.delay.mul_f64(share),
            jitter: self.jitter.mul_f64(share),
            loss_per_100_000: self.ramp.part(self.loss_per_100_000, since),
            line: self.line.map(|line| Line { bits_per_second: faster(line.bits_per_second), ..line }),
            ..*self
        }
    }

    /// How long one packet waits; `None`: it is lost.
    pub(crate) fn wait(&self, bytes: u32, now: Instant, busy: &mut Busy, random: &mut impl Rng) -> Option<Duration> {
        let mut strikes = |chance: u32| chance > 0 && random.random_range(0..WHOLE) < chance;
        if strikes(self.loss_per_100_000) {
            return None;
        }
        let early = strikes(self.early_per_100_000);
        let in_line = match self.line {
            Some(line) => line.pass(bytes, now, busy)?,
            None => Duration::ZERO,
        };
        if early {
            return Some(in_line);
        }
        if self.jitter.is_zero() {
            return Some(in_line + self.delay);
        }
        let earliest = self.delay.saturating_sub(self.jitter);
        Some(in_line + random.random_range(earliest..=self.delay + self.jitter))
    }
}

impl Line {
    /// How long until the packet has passed; `None`: the buffer before the line is full.
    fn pass(&self, bytes: u32, now: Instant, busy: &mut Busy) -> Option<Duration> {
        let begins = busy.0.map_or(now, |until| until.max(now));
        if begins - now > self.backlog {
            return None;
        }
        let nanoseconds = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(self.bits_per_second.max(1));
        let ends = begins + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        busy.0 = Some(ends);
        Some(ends - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn waits(treatment: &Treatment, packets: u32) -> Vec<Option<Duration>> {
        let (mut random, mut busy, now) = (SmallRng::seed_from_u64(7), Busy::default(), Instant::now());
        (0..packets).map(|_| treatment.wait(1000, now, &mut busy, &mut random)).collect()
    }

    #[test]
    fn waits_and_losses_are_as_asked() {
        let millis = Duration::from_millis;
        let treatment =
            Treatment { delay: millis(10), jitter: millis(5), loss_per_100_000: 25_000, ..Treatment::default() };
        let kept: Vec<Duration> = waits(&treatment, 10_000).into_iter().flatten().collect();
        assert!(kept.iter().all(|wait| (millis(5)..=millis(15)).contains(wait)));
        assert!((7_300..7_700).contains(&kept.len()), "{} of 10,000 kept, 7,500 expected", kept.len());
        let mean = kept.iter().sum::<Duration>() / u32::try_from(kept.len()).expect("few");
        assert!((millis(9)..millis(11)).contains(&mean), "{mean:?}");
        let all_lost = Treatment { loss_per_100_000: WHOLE, ..treatment };
        assert!(waits(&all_lost, 10).iter().all(Option::is_none));
    }

    #[test]
    fn a_ramp_rises_evenly_to_what_is_asked() {
        let millis = Duration::from_millis;
        let line = Line { bits_per_second: 1000, backlog: millis(1) };
        let full = Treatment {
            delay: millis(100),
            jitter: millis(10),
            loss_per_100_000: 1000,
            early_per_100_000: 7,
            line: Some(line),
            ramp: Ramp::of(Duration::from_secs(10)),
        };
        assert_eq!(full.after(Duration::from_secs(10)), full);
        let half = full.after(Duration::from_secs(5));
        assert_eq!((half.delay, half.jitter, half.loss_per_100_000), (millis(50), millis(5), 500));
        assert_eq!((half.early_per_100_000, half.line.map(|line| line.bits_per_second)), (7, Some(2000)));
        let first = full.after(Duration::ZERO);
        assert_eq!((first.delay, first.loss_per_100_000), (Duration::ZERO, 0));
        assert!(first.line.is_some_and(|line| line.bits_per_second == 10_000_000));
        let at_once = Treatment { ramp: Ramp::default(), ..full };
        assert_eq!(at_once.after(Duration::ZERO), at_once);
    }

    #[test]
    fn some_overtake() {
        let millis = Duration::from_millis;
        let treatment = Treatment { delay: millis(10), early_per_100_000: 20_000, ..Treatment::default() };
        let early = waits(&treatment, 10_000).into_iter().filter(|wait| *wait == Some(Duration::ZERO)).count();
        assert!((1_800..2_200).contains(&early), "{early} of 10,000 overtook, 2,000 expected");
    }

    #[test]
    fn a_line_passes_packets_one_after_the_other_and_loses_what_waits_too_long() {
        // 1,000 bytes take 1 ms.
        let line = Line { bits_per_second: 8_000_000, backlog: Duration::from_millis(4) };
        let waits = waits(&Treatment { line: Some(line), ..Treatment::default() }, 8);
        let millis: Vec<Option<u128>> = waits.iter().map(|wait| wait.map(|wait| wait.as_millis())).collect();
        assert_eq!(millis, [Some(1), Some(2), Some(3), Some(4), Some(5), None, None, None]);
    }
}
