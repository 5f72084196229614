//! What waits to be reported. Bounded, so that an agent that is cut off for a day does not grow; dropped first is what
//! the next look replaces anyway.

use firedrill_api::link::{REPORT_ITEMS_MAX, Upward};
use firedrill_model::NodeObservation;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most waiting items other than answers: four reports full. A sample is about 200 bytes, so this is under 1 MiB.
const REGULAR_MAX: usize = 4 * REPORT_ITEMS_MAX;
/// Most waiting answers. The server holds far fewer instructions open at one agent; beyond this the oldest is dropped
/// and the server gets it from the record of answers by asking again.
const EXPRESS_MAX: usize = 1000;

/// Which way a batch travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// In order, one report at a time.
    Regular,
    /// Beside a regular report that is still under way: answers and process exits, which nothing may delay.
    Express,
}

/// The queue of a running agent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Something should be sent now.
    pub(crate) wake: Notify,
    delivered: Notify,
}

impl Outbox {
    /// Queues an item; answers, observations and changes of state are sent at once, the rest with the next report.
    pub(crate) fn push(&self, item: Upward) {
        let mut queue = self.lock();
        queue.push(item);
        if queue.prompt || !queue.express.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Queues the observation that a process has ended. It is sent past a report that is under way, and once more
    /// behind it: an older look at the same node, carried by that report, must not be the last word.
    pub(crate) fn push_exit(&self, observation: NodeObservation) {
        let item = Upward::Observation { observation: Box::new(observation) };
        let mut queue = self.lock();
        queue.push_express(item.clone());
        queue.push(item);
        self.wake.notify_one();
    }

    /// The next batch, if there is one that may go now. `regular`: no regular report is under way. `due`: the last
    /// report was so long ago that even an empty one is worth sending.
    pub(crate) fn take(&self, regular: bool, due: bool) -> Option<(Way, Vec<Upward>)> {
        self.lock().take(regular, due)
    }

    /// A batch was delivered.
    pub(crate) fn confirm(&self) {
        self.lock().under_way -= 1;
        self.delivered.notify_waiters();
    }

    /// Waits until nothing that must arrive is waiting or under way.
    pub(crate) async fn delivered(&self) {
        loop {
            let changed = self.delivered.notified();
            if self.lock().is_delivered() {
                return;
            }
            changed.await;
        }
    }

    /// A batch was not delivered: its items go back to the front, unless something newer has replaced them.
    pub(crate) fn put_back(&self, way: Way, batch: Vec<Upward>) {
        self.lock().put_back(way, batch);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Queue {
    express: VecDeque<Upward>,
    regular: VecDeque<Upward>,
    /// The regular queue holds something that should not wait.
    prompt: bool,
    /// Batches taken and neither confirmed nor put back.
    under_way: usize,
}

impl Queue {
    fn push(&mut self, item: Upward) {
        match &item {
            Upward::Answer { .. } => return self.push_express(item),
            Upward::Host { .. } | Upward::Sample { .. } => {}
            Upward::Observation { .. } | Upward::Attack { .. } | Upward::Workload { .. } => self.prompt = true,
        }
        match self.regular.iter_mut().rev().find(|queued| replaces(&item, queued)) {
            Some(older) => *older = item,
            None => self.regular.push_back(item),
        }
        self.bound();
    }

    fn push_express(&mut self, item: Upward) {
        self.express.push_back(item);
        if self.express.len() > EXPRESS_MAX {
            tracing::warn!(
                "more than {EXPRESS_MAX} answers wait for the server; the oldest is dropped, it is recorded"
            );
            self.express.pop_front();
        }
    }

    fn take(&mut self, regular: bool, due: bool) -> Option<(Way, Vec<Upward>)> {
        if regular && (due || self.prompt || !self.express.is_empty()) {
            // Exits are in the regular queue too.
            self.express.retain(|item| !matches!(item, Upward::Observation { .. }));
            let mut batch: Vec<Upward> = self.express.drain(..self.express.len().min(REPORT_ITEMS_MAX)).collect();
            let room = REPORT_ITEMS_MAX - batch.len();
            batch.extend(self.regular.drain(..self.regular.len().min(room)));
            self.prompt = !self.regular.is_empty();
            self.under_way += 1;
            return Some((Way::Regular, batch));
        }
        let count = self.express.len().min(REPORT_ITEMS_MAX);
        if count == 0 {
            return None;
        }
        self.under_way += 1;
        Some((Way::Express, self.express.drain(..count).collect()))
    }

    fn is_delivered(&self) -> bool {
        let waits = |item: &Upward| matches!(item, Upward::Attack { .. } | Upward::Workload { .. });
        self.under_way == 0 && self.express.is_empty() && !self.regular.iter().any(waits)
    }

    fn put_back(&mut self, way: Way, batch: Vec<Upward>) {
        self.under_way -= 1;
        for item in batch.into_iter().rev() {
            match item {
                Upward::Answer { .. } => self.express.push_front(item),
                // An exit that travelled express is in the regular queue too, or was delivered from there.
                Upward::Observation { .. } if way == Way::Express => {}
                item if self.regular.iter().any(|newer| replaces(newer, &item)) => {}
                item => self.regular.push_front(item),
            }
        }
        self.prompt = !self.regular.is_empty();
        self.bound();
    }

    fn bound(&mut self) {
        while self.regular.len() > REGULAR_MAX {
            let least = self.regular.iter().position(|item| matches!(item, Upward::Sample { .. }));
            let least =
                least.or_else(|| self.regular.iter().position(|item| matches!(item, Upward::Observation { .. })));
            let dropped = self.regular.remove(least.unwrap_or(0));
            if let Some(dropped @ (Upward::Attack { .. } | Upward::Workload { .. })) = dropped {
                tracing::error!(?dropped, "more than {REGULAR_MAX} changes wait for the server; the oldest is lost");
            }
        }
    }
}

/// Whether `newer` makes the waiting `older` worthless: a later look at the same thing in the same state.
fn replaces(newer: &Upward, older: &Upward) -> bool {
    match (newer, older) {
        (Upward::Observation { observation: newer }, Upward::Observation { observation: older }) => {
            newer.node == older.node && newer.process == older.process
        }
        (Upward::Host { .. }, Upward::Host { .. }) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_api::link::Answer;
    use firedrill_model::observation::ProcessState;
    use firedrill_model::workload::{Sample, WorkloadState};
    use firedrill_model::{InstructionId, RunId, Span, Timestamp};

    fn observation(process: ProcessState, unanswered_ms: u64) -> NodeObservation {
        NodeObservation {
            node: "east-1".parse().expect("name"),
            process,
            status: None,
            unanswered_for: Span::millis(unanswered_ms),
            error: None,
            disk_trouble: None,
        }
    }

    fn look(process: ProcessState, unanswered_ms: u64) -> Upward {
        Upward::Observation { observation: Box::new(observation(process, unanswered_ms)) }
    }

    fn answer(id: usize) -> Upward {
        Upward::Answer { id: InstructionId(id.to_string()), result: Ok(Answer::Done) }
    }

    fn sample(number: usize) -> Upward {
        let at = Timestamp(i64::try_from(number).expect("small"));
        let sample = Sample {
            at,
            over: Span::millis(200),
            writes_ok: 0,
            writes_failed: 0,
            writes_unknown: 0,
            reads_ok: 0,
            reads_failed: 0,
            write_p50: None,
            write_p99: None,
            acknowledged_total: 0,
        };
        Upward::Sample { run: RunId("r".to_owned()), sample }
    }

    const RUNNING: ProcessState = ProcessState::Running { pid: 7, stopped: false };
    const EXITED: ProcessState = ProcessState::Exited { pid: 7 };

    #[test]
    fn only_the_latest_of_like_looks_is_kept() {
        let outbox = Outbox::default();
        outbox.push(look(RUNNING, 1));
        outbox.push(look(EXITED, 2));
        outbox.push(look(EXITED, 3));
        assert_eq!(outbox.take(true, false), Some((Way::Regular, vec![look(RUNNING, 1), look(EXITED, 3)])));
        assert_eq!(outbox.take(true, false), None);
        assert_eq!(outbox.take(true, true), Some((Way::Regular, vec![])));
    }

    #[test]
    fn an_exit_overtakes_a_report_under_way_and_follows_it_too() {
        let outbox = Outbox::default();
        outbox.push(look(RUNNING, 1));
        let (way, under_way) = outbox.take(true, false).expect("a report");
        outbox.push_exit(observation(EXITED, 0));
        assert_eq!(outbox.take(false, false), Some((Way::Express, vec![look(EXITED, 0)])));
        assert_eq!(outbox.take(false, true), None, "regular items wait for their turn");
        assert_eq!(outbox.take(true, false), Some((Way::Regular, vec![look(EXITED, 0)])));
        outbox.put_back(way, under_way);
        assert_eq!(outbox.take(true, false), Some((Way::Regular, vec![look(RUNNING, 1)])));
    }

    #[test]
    fn samples_wait_for_the_next_report() {
        let outbox = Outbox::default();
        outbox.push(sample(1));
        assert_eq!(outbox.take(true, false), None);
        outbox.push(answer(1));
        assert_eq!(outbox.take(true, false), Some((Way::Regular, vec![answer(1), sample(1)])));
    }

    #[test]
    fn what_was_not_delivered_comes_again_in_order() {
        let outbox = Outbox::default();
        let state = Upward::Workload { run: RunId("r".to_owned()), state: WorkloadState::Started };
        outbox.push(answer(1));
        outbox.push(look(RUNNING, 1));
        outbox.push(state.clone());
        let (way, batch) = outbox.take(true, false).expect("a report");
        outbox.push(answer(2));
        outbox.push(look(RUNNING, 2));
        outbox.put_back(way, batch);
        let (_, batch) = outbox.take(true, false).expect("a report");
        assert_eq!(batch, [answer(1), answer(2), state, look(RUNNING, 2)]);
    }

    #[test]
    fn samples_are_dropped_first_and_answers_never_for_them() {
        let outbox = Outbox::default();
        outbox.push(look(EXITED, 0));
        outbox.push(answer(1));
        for number in 0..2 * REGULAR_MAX {
            outbox.push(sample(number));
        }
        let mut seen = Vec::new();
        while let Some((_, batch)) = outbox.take(true, false) {
            assert!(batch.len() <= REPORT_ITEMS_MAX);
            seen.extend(batch);
        }
        assert_eq!(seen[..2], [answer(1), look(EXITED, 0)]);
        assert_eq!(seen.len(), REGULAR_MAX + 1);
        assert_eq!(seen.last(), Some(&sample(2 * REGULAR_MAX - 1)), "the newest samples are kept");
    }
}
