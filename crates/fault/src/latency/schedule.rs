//! Which packet waits how long: pure, with clock and chance handed in.

use rand::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// What is done to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Added to each packet.
    pub(crate) delay: Duration,
    /// Evenly spread around the delay; at most the delay.
    pub(crate) jitter: Duration,
    /// Packets lost of 100,000.
    pub(crate) loss_per_100_000: u32,
}

impl Shape {
    /// How long one packet waits; `None`: it is lost.
    pub(crate) fn wait(&self, random: &mut impl Rng) -> Option<Duration> {
        const WHOLE: u32 = 100_000;
        if self.loss_per_100_000 > 0 && random.random_range(0..WHOLE) < self.loss_per_100_000 {
            return None;
        }
        if self.jitter.is_zero() {
            return Some(self.delay);
        }
        let earliest = self.delay.saturating_sub(self.jitter);
        Some(random.random_range(earliest..=self.delay + self.jitter))
    }
}

/// Packets that wait, by the time they are due; those due together leave in the order they came.
#[derive(Debug)]
pub(crate) struct Schedule<P> {
    waiting: BinaryHeap<Reverse<(Instant, u64, P)>>,
    arrivals: u64,
}

impl<P: Ord> Schedule<P> {
    pub(crate) fn new() -> Self {
        Self { waiting: BinaryHeap::new(), arrivals: 0 }
    }

    /// Keeps a packet until `due`.
    pub(crate) fn keep(&mut self, packet: P, due: Instant) {
        self.arrivals += 1;
        self.waiting.push(Reverse((due, self.arrivals, packet)));
    }

    /// When the next packet leaves.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, ..))| *due)
    }

    /// Takes out all that are due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<P> {
        let mut due = Vec::new();
        while self.next_due().is_some_and(|at| at <= now) {
            due.extend(self.waiting.pop().map(|Reverse((.., packet))| packet));
        }
        due
    }

    /// Takes out all, due or not, in the order they would have left.
    pub(crate) fn take_all(&mut self) -> Vec<P> {
        std::iter::from_fn(|| self.waiting.pop().map(|Reverse((.., packet))| packet)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn packets_leave_when_due_and_in_order() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = Schedule::new();
        for (packet, due) in [('c', 20), ('a', 10), ('b', 10), ('d', 30)] {
            schedule.keep(packet, at(due));
        }
        assert_eq!(schedule.next_due(), Some(at(10)));
        assert_eq!(schedule.take_due(at(9)), [] as [char; 0]);
        assert_eq!(schedule.take_due(at(20)), ['a', 'b', 'c']);
        assert_eq!(schedule.take_all(), ['d']);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn waits_and_losses_are_as_asked() {
        let mut random = SmallRng::seed_from_u64(7);
        let millis = Duration::from_millis;
        let shape = Shape { delay: millis(10), jitter: millis(5), loss_per_100_000: 25_000 };
        let waits: Vec<Option<Duration>> = (0..10_000).map(|_| shape.wait(&mut random)).collect();
        let kept: Vec<Duration> = waits.iter().flatten().copied().collect();
        assert!(kept.iter().all(|wait| (millis(5)..=millis(15)).contains(wait)));
        assert!((7_300..7_700).contains(&kept.len()), "{} of 10,000 kept, 7,500 expected", kept.len());
        let mean = kept.iter().sum::<Duration>() / u32::try_from(kept.len()).expect("few");
        assert!((millis(9)..millis(11)).contains(&mean), "{mean:?}");
        assert!(Shape { loss_per_100_000: 100_000, ..shape }.wait(&mut random).is_none());
    }
}
