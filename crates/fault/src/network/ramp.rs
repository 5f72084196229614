//! How a fault grows to what is asked, and how what was cut comes back: pure, with the clock handed in.

use firedrill_model::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// A ramp that takes longer is no ramp but a drift; repeat the attack with more.
const RAMP_MAX: Span = Span::secs(3600);
/// A ramp is measured after so long, unless it is over before.
const RISEN_AFTER: Duration = Duration::from_secs(2);
/// Chances are of this many.
const WHOLE: f64 = 100_000.0;

/// Something rises evenly from nothing to the whole over so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Ramp(Span);

impl Ramp {
    #[cfg(test)]
    pub(super) const fn of(length: Duration) -> Self {
        Self(Span(length))
    }

    /// As a parameter of that name.
    pub(super) fn check(self, name: &str) -> Result<(), String> {
        if self.0 > RAMP_MAX {
            return Err(format!("a `{name}` of {} is longer than {RAMP_MAX}", self.0));
        }
        Ok(())
    }

    pub(super) fn is_there(self) -> bool {
        self.0 != Span::ZERO
    }

    pub(super) fn length(self) -> Span {
        self.0
    }

    pub(super) fn is_over(self, since: Duration) -> bool {
        since >= self.0.duration()
    }

    /// What has risen so long after the beginning, from 0 to 1.
    pub(super) fn share(self, since: Duration) -> f64 {
        if self.is_over(since) { 1.0 } else { since.as_secs_f64() / self.0.duration().as_secs_f64() }
    }

    /// That share of a chance.
    pub(super) fn part(self, chance: u32, since: Duration) -> u32 {
        if self.is_over(since) {
            return chance;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and what it was")]
        let part = (f64::from(chance) * self.share(since)).round() as u32;
        part
    }

    /// What has hardly begun to rise cannot be measured: so long is waited before.
    pub(super) fn settling(self) -> Duration {
        self.0.duration().min(RISEN_AFTER)
    }
}

/// How strong a fault that strikes by chance is, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Course {
    /// Of 100,000 at full strength; `None`: every packet.
    pub(super) chance: Option<u32>,
    /// How it rises to that.
    pub(super) ramp: Ramp,
    /// How it ends.
    pub(super) slow_start: Option<SlowStart>,
}

/// What struck every packet lets more and more of them pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlowStart {
    /// So long after the beginning of the fault it begins.
    pub(super) after: Duration,
    /// So long after that every packet passes.
    pub(super) over: Ramp,
}

impl Course {
    /// Every packet, from the beginning to the end.
    pub(super) const EVERY: Self = Self { chance: None, ramp: Ramp(Span::ZERO), slow_start: None };

    pub(super) fn by_chance(chance: u32, ramp: Ramp) -> Self {
        Self { chance: Some(chance), ramp, slow_start: None }
    }

    /// The chance so long after the beginning; `None`: every packet.
    pub(super) fn chance(&self, since: Duration) -> Option<u32> {
        match self.slow_start {
            Some(SlowStart { after, over }) if since >= after => Some(coming_back(over.share(since - after))),
            _ => self.chance.map(|chance| self.ramp.part(chance, since)),
        }
    }
}

/// Of what was cut off, so much is still lost when that share of the slow start has passed. TCP moves data by the root
/// of the inverse of the loss: by the square, its speed grows evenly, where an even fall would bring nothing for long and
/// then everything.
fn coming_back(share: f64) -> u32 {
    let rest = 1.0 - share.clamp(0.0, 1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100,000")]
    let lost = (WHOLE * rest * rest).round() as u32;
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_rises_evenly_and_stays() {
        let course = Course::by_chance(10_000, Ramp::of(Duration::from_secs(10)));
        let after = |secs| course.chance(Duration::from_secs(secs));
        assert_eq!([after(0), after(3), after(10), after(99)], [Some(0), Some(3000), Some(10_000), Some(10_000)]);
        assert_eq!(Course::by_chance(7, Ramp::default()).chance(Duration::ZERO), Some(7));
        assert_eq!(Course::EVERY.chance(Duration::ZERO), None);
    }

    #[test]
    fn what_was_cut_comes_back_slowly_at_the_end() {
        let over = Ramp::of(Duration::from_secs(10));
        let slow_start = Some(SlowStart { after: Duration::from_secs(20), over });
        let course = Course { slow_start, ..Course::EVERY };
        let after = |secs| course.chance(Duration::from_secs(secs));
        assert_eq!([after(0), after(19)], [None, None]);
        assert_eq!([after(20), after(25), after(29), after(30)], [Some(100_000), Some(25_000), Some(1000), Some(0)]);
        assert_eq!(after(99), Some(0), "nothing comes again");
    }
}
