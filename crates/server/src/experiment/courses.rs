//! The probes that are asked while the steps of a run are taken, each over time. Pure.

use firedrill_model::probe::{Change, Course, Finding, Probe, ProbeState, When};
use firedrill_model::report::{PROBE_VALUES_MAX, ProbeResult, ProbeSeries};
use firedrill_model::{Severity, Span, Timestamp};

/// Most lines of the timeline about one probe in one run: one that comes and goes all the time would hide the rest.
const CHANGES_TOLD_MAX: u32 = 100;

/// All of them, in the order of the experiment.
#[derive(Debug, Clone)]
pub(super) struct Courses {
    watched: Vec<Watched>,
}

#[derive(Debug, Clone)]
struct Watched {
    probe: Probe,
    course: Course,
    told: u32,
    /// When it is due again; only probes of facts are asked by this beat.
    due: Timestamp,
    broken_found: bool,
    doubt_found: bool,
}

impl Courses {
    /// Of those that are asked during the steps.
    pub(super) fn new(probes: &[Probe]) -> Self {
        let during: Vec<&Probe> = probes.iter().filter(|probe| probe.when.contains(&When::During)).collect();
        let room = PROBE_VALUES_MAX / during.len().max(1);
        let watched = |probe: &Probe| Watched {
            course: Course::new(probe.name.clone(), room),
            probe: probe.clone(),
            told: 0,
            due: Timestamp::default(),
            broken_found: false,
            doubt_found: false,
        };
        Self { watched: during.into_iter().map(watched).collect() }
    }

    /// The probes, by their place.
    pub(super) fn probes(&self) -> impl Iterator<Item = (usize, &Probe)> {
        self.watched.iter().map(|watched| &watched.probe).enumerate()
    }

    /// The course of a probe.
    pub(super) fn of(&self, name: &str) -> Option<&Course> {
        self.watched.iter().find(|watched| watched.probe.name == name).map(|watched| &watched.course)
    }

    /// The probes of facts that are due, by their place; they are due again after their interval.
    pub(super) fn due_facts(&mut self, now: Timestamp) -> Vec<(usize, Probe)> {
        let due = self
            .watched
            .iter_mut()
            .enumerate()
            .filter(|(_, watched)| watched.probe.measure.is_fact() && watched.due <= now);
        due.map(|(index, watched)| {
            watched.due = now + watched.probe.every;
            (index, watched.probe.clone())
        })
        .collect()
    }

    /// Takes an answer in; gives a line for the timeline when the probe's state has changed.
    pub(super) fn take(
        &mut self,
        index: usize,
        at: Timestamp,
        took: Span,
        finding: Finding,
    ) -> Option<(Severity, String)> {
        let watched = self.watched.get_mut(index)?;
        let change = watched.course.take(at, took, finding)?;
        if watched.told >= CHANGES_TOLD_MAX {
            return None;
        }
        watched.told += 1;
        let (severity, mut line) = told(&watched.probe.name, change);
        if watched.told == CHANGES_TOLD_MAX {
            line.push_str("; no more of its changes are told, the report counts them");
        }
        Some((severity, line))
    }

    /// What speaks against the run, once for each probe and kind: broken, or not to be told, for longer than tolerated.
    pub(super) fn found(&mut self, now: Timestamp) -> Vec<ProbeResult> {
        let mut found = Vec::new();
        for watched in &mut self.watched {
            let Watched { probe, course, broken_found, doubt_found, .. } = watched;
            let result = |at, observed: &str, unknown| ProbeResult {
                name: probe.name.clone(),
                when: When::During,
                at,
                held: false,
                unknown,
                observed: observed.to_owned(),
            };
            if let (false, Some((at, observed))) = (*broken_found, course.breach(probe.tolerate, now)) {
                *broken_found = true;
                found.push(result(at, observed, false));
            }
            if let (false, Some((at, observed))) = (*doubt_found, course.doubt(probe.tolerate, now)) {
                *doubt_found = true;
                found.push(result(at, observed, true));
            }
        }
        found
    }

    /// For the report.
    pub(super) fn series(&self) -> Vec<ProbeSeries> {
        self.watched.iter().map(|watched| watched.course.series().clone()).collect()
    }
}

fn told(name: &str, change: Change) -> (Severity, String) {
    let Change { to, observed, after } = change;
    match to {
        ProbeState::Held => {
            let after = after.map_or_else(String::new, |after| format!(" after {after}"));
            (Severity::Info, format!("probe {name} holds again{after}: {observed}"))
        }
        ProbeState::Broken => (Severity::Warning, format!("probe {name} broke: {observed}")),
        ProbeState::Unknown => (Severity::Warning, format!("probe {name} cannot be told: {observed}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(name: &str, tolerate: &str) -> Probe {
        serde_json::from_value(serde_json::json!({
            "name": name, "measure": "cluster-healthy", "when": ["during"], "every": "200ms", "tolerate": tolerate
        }))
        .expect("a probe")
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp(millis * 1000)
    }

    fn take(courses: &mut Courses, index: usize, millis: i64, state: ProbeState) -> Option<(Severity, String)> {
        courses.take(index, at(millis), Span::ZERO, Finding { state, observed: "seen".into() })
    }

    #[test]
    fn what_is_tolerated_speaks_against_nothing() {
        let mut courses = Courses::new(&[probe("strict", "0s"), probe("lenient", "2s")]);
        for index in 0..2 {
            take(&mut courses, index, 1000, ProbeState::Broken);
        }
        let names = |found: Vec<ProbeResult>| found.into_iter().map(|result| result.name).collect::<Vec<_>>();
        assert_eq!(names(courses.found(at(1000))), ["strict"]);
        assert_eq!(names(courses.found(at(2999))), Vec::<String>::new(), "once");
        assert_eq!(names(courses.found(at(3000))), ["lenient"]);
    }

    #[test]
    fn doubt_is_found_beside_a_break() {
        let mut courses = Courses::new(&[probe("x", "0s")]);
        take(&mut courses, 0, 1, ProbeState::Unknown);
        take(&mut courses, 0, 2, ProbeState::Broken);
        let found = courses.found(at(3));
        assert_eq!(found.iter().map(|result| result.unknown).collect::<Vec<_>>(), [false]);
        take(&mut courses, 0, 4, ProbeState::Unknown);
        assert!(courses.found(at(5)).iter().all(|result| result.unknown));
    }

    #[test]
    fn facts_are_due_on_their_beat() {
        let mut courses = Courses::new(&[probe("x", "0s")]);
        let mut due = |millis| courses.due_facts(at(millis)).len();
        assert_eq!([due(1000), due(1199), due(1200), due(1250)], [1, 0, 1, 0]);
    }

    #[test]
    fn a_probe_that_flaps_does_not_fill_the_timeline() {
        let mut courses = Courses::new(&[probe("x", "0s")]);
        let states = [ProbeState::Broken, ProbeState::Held];
        let lines: Vec<_> =
            (0..1000).filter_map(|time| take(&mut courses, 0, time, states[time as usize % 2])).collect();
        assert_eq!(lines.len(), CHANGES_TOLD_MAX as usize);
        assert!(lines.last().is_some_and(|(_, line)| line.contains("no more of its changes")), "{lines:?}");
        assert!(lines[1].1.contains("holds again after 1ms"), "{}", lines[1].1);
    }
}
