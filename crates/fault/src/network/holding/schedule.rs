//! Packets that wait: pure, with the clock handed in.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Packets that wait, by the time they are due; those due together leave in the order they came.
#[derive(Debug)]
pub(super) struct Schedule<P> {
    waiting: BinaryHeap<Waiting<P>>,
    arrivals: u64,
}

#[derive(Debug)]
struct Waiting<P> {
    due: Instant,
    arrival: u64,
    packet: P,
}

impl<P> Ord for Waiting<P> {
    /// A heap has the greatest on top: that is the one that leaves first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.arrival).cmp(&(self.due, self.arrival))
    }
}

impl<P> PartialOrd for Waiting<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> PartialEq for Waiting<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<P> Eq for Waiting<P> {}

impl<P> Schedule<P> {
    pub(super) fn new() -> Self {
        Self { waiting: BinaryHeap::new(), arrivals: 0 }
    }

    /// Keeps a packet until `due`.
    pub(super) fn keep(&mut self, packet: P, due: Instant) {
        self.arrivals += 1;
        self.waiting.push(Waiting { due, arrival: self.arrivals, packet });
    }

    /// When the next packet leaves.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|first| first.due)
    }

    /// Takes out all that are due.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<P> {
        let mut due = Vec::new();
        while self.next_due().is_some_and(|at| at <= now) {
            due.extend(self.waiting.pop().map(|first| first.packet));
        }
        due
    }

    /// Takes out all, due or not, in the order they would have left.
    pub(super) fn take_all(&mut self) -> Vec<P> {
        std::iter::from_fn(|| self.waiting.pop().map(|first| first.packet)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
}
