//! One probe while the steps of a run are taken: since when it is broken, and what it has shown.

use super::{Finding, ProbeState};
use crate::report::{ProbeSeries, ProbeValue};
use crate::time::{Span, Timestamp};

/// A probe over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    series: ProbeSeries,
    /// Most values kept.
    room: usize,
    last: Option<ProbeState>,
    /// The beginning of the stretch in which it was broken and has not held since.
    broken_since: Option<(Timestamp, String)>,
    /// The beginning of the stretch in which it could not be told.
    unknown_since: Option<(Timestamp, String)>,
}

/// A probe's state is another one than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is now.
    pub to: ProbeState,
    /// What was seen.
    pub observed: String,
    /// How long it had not held, when it holds again.
    pub after: Option<Span>,
}

impl Course {
    /// Of a probe of that name; at most `room` values are kept, the older half thinned out when there are more.
    #[must_use]
    pub fn new(name: String, room: usize) -> Self {
        let series = ProbeSeries { name, asked: 0, broken: 0, unknown: 0, values: Vec::new() };
        Self { series, room: room.max(2), last: None, broken_since: None, unknown_since: None }
    }

    /// Takes an answer in; answers come in the order of their times. Says so when the state has changed; the first
    /// answer is a change when it does not hold.
    pub fn take(&mut self, at: Timestamp, took: Span, finding: Finding) -> Option<Change> {
        let Finding { state, observed } = finding;
        self.count(state);
        self.keep(ProbeValue { at, took, state, observed: observed.clone() });
        let before = self.last.replace(state);
        let mut after = None;
        match state {
            ProbeState::Held => {
                let began = self.broken_since.take().into_iter().chain(self.unknown_since.take());
                after = began.map(|(since, _)| at.since(since)).max();
            }
            // What cannot be told has not recovered: the broken stretch goes on.
            ProbeState::Unknown => {
                self.unknown_since.get_or_insert_with(|| (at, observed.clone()));
            }
            ProbeState::Broken => {
                self.unknown_since = None;
                self.broken_since.get_or_insert_with(|| (at, observed.clone()));
            }
        }
        let changed = before.unwrap_or(ProbeState::Held) != state;
        changed.then_some(Change { to: state, observed, after })
    }

    fn count(&mut self, state: ProbeState) {
        self.series.asked += 1;
        match state {
            ProbeState::Held => {}
            ProbeState::Broken => self.series.broken += 1,
            ProbeState::Unknown => self.series.unknown += 1,
        }
    }

    fn keep(&mut self, value: ProbeValue) {
        if self.series.values.len() >= self.room {
            let half = self.series.values.len() / 2;
            let mut place = 0;
            self.series.values.retain(|_| {
                place += 1;
                place > half || place % 2 == 0
            });
        }
        self.series.values.push(value);
    }

    /// The moment at which it had been broken for `lasting`, when that has come, and what was seen at the beginning.
    #[must_use]
    pub fn breach(&self, lasting: Span, now: Timestamp) -> Option<(Timestamp, &str)> {
        due(self.broken_since.as_ref(), lasting, now)
    }

    /// As [`Course::breach`], of a stretch in which it could not be told.
    #[must_use]
    pub fn doubt(&self, lasting: Span, now: Timestamp) -> Option<(Timestamp, &str)> {
        due(self.unknown_since.as_ref(), lasting, now)
    }

    /// For the report.
    #[must_use]
    pub fn series(&self) -> &ProbeSeries {
        &self.series
    }
}

fn due(since: Option<&(Timestamp, String)>, lasting: Span, now: Timestamp) -> Option<(Timestamp, &str)> {
    let (since, observed) = since?;
    let breach = *since + lasting;
    (breach <= now).then_some((breach, observed.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp(millis * 1000)
    }

    fn take(course: &mut Course, millis: i64, state: ProbeState) -> Option<Change> {
        course.take(at(millis), Span::millis(1), Finding { state, observed: format!("{state} at {millis}") })
    }

    #[test]
    fn changes_are_told_once() {
        let mut course = Course::new("x".into(), 10);
        assert_eq!(take(&mut course, 0, ProbeState::Held), None);
        let broke = take(&mut course, 1000, ProbeState::Broken).expect("a change");
        assert_eq!((broke.to, broke.after), (ProbeState::Broken, None));
        assert_eq!(take(&mut course, 2000, ProbeState::Broken), None);
        let held = take(&mut course, 4500, ProbeState::Held).expect("a change");
        assert_eq!((held.to, held.after), (ProbeState::Held, Some(Span::millis(3500))));
        assert_eq!((course.series().asked, course.series().broken), (4, 2));
    }

    #[test]
    fn a_breach_is_due_when_it_has_lasted() {
        let mut course = Course::new("x".into(), 10);
        take(&mut course, 1000, ProbeState::Broken);
        assert_eq!(course.breach(Span::ZERO, at(1000)).map(|(at, _)| at), Some(at(1000)));
        assert_eq!(course.breach(Span::secs(2), at(2999)), None);
        // What cannot be told meanwhile has not recovered.
        take(&mut course, 2000, ProbeState::Unknown);
        assert_eq!(course.breach(Span::secs(2), at(3000)), Some((at(3000), "broken at 1000")));
        assert_eq!(course.doubt(Span::secs(1), at(3000)).map(|(at, _)| at), Some(at(3000)));
        take(&mut course, 3100, ProbeState::Held);
        assert_eq!((course.breach(Span::ZERO, at(9000)), course.doubt(Span::ZERO, at(9000))), (None, None));
    }

    #[test]
    fn doubt_alone_is_no_breach() {
        let mut course = Course::new("x".into(), 10);
        take(&mut course, 0, ProbeState::Unknown);
        assert_eq!(course.breach(Span::ZERO, at(60_000)), None);
        assert!(course.doubt(Span::ZERO, at(0)).is_some());
    }

    fn states() -> impl Strategy<Value = Vec<ProbeState>> {
        let state = prop_oneof![Just(ProbeState::Held), Just(ProbeState::Broken), Just(ProbeState::Unknown)];
        proptest::collection::vec(state, 1..200)
    }

    proptest! {
        /// A breach of any length is there exactly when the probe broke, has not held since, and that was long enough
        /// ago; a longer one never comes before a shorter one.
        #[test]
        fn breaches_are_what_the_states_say(states in states(), lasting in 0u64..100) {
            let mut course = Course::new("x".into(), 16);
            for (index, state) in states.iter().enumerate() {
                take(&mut course, index as i64 * 10, *state);
                let first = states[..=index].iter().rposition(|state| *state == ProbeState::Held).map_or(0, |held| held + 1);
                let broke = (first..=index).find(|at| states[*at] == ProbeState::Broken);
                let now = at(index as i64 * 10);
                let expected = broke.map(|broke| at(broke as i64 * 10) + Span::millis(lasting)).filter(|due| *due <= now);
                let breach = course.breach(Span::millis(lasting), now).map(|(at, _)| at);
                prop_assert_eq!(breach, expected);
                if course.breach(Span::millis(lasting + 1), now).is_some() {
                    prop_assert!(breach.is_some());
                }
            }
        }

        /// However long a run is, the report stays small, and its values stay in order.
        #[test]
        fn values_are_bounded(states in states(), room in 2usize..40) {
            let mut course = Course::new("x".into(), room);
            for (index, state) in states.iter().enumerate() {
                take(&mut course, index as i64, *state);
            }
            let values = &course.series().values;
            prop_assert!(values.len() <= room);
            prop_assert!(values.windows(2).all(|pair| pair[0].at < pair[1].at));
            prop_assert_eq!(values.last().map(|value| value.state), states.last().copied());
            prop_assert_eq!(course.series().asked, states.len() as u64);
        }
    }
}
