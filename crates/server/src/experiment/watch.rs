//! What a run sees while it goes on: the live load, the cluster's nodes, and the conditions made of them. Pure: samples
//! and views come in, answers come out.

use super::courses::Courses;
use firedrill_model::experiment::{AbortCondition, Condition};
use firedrill_model::probe::Facts;
use firedrill_model::progress::WritesSoFar;
use firedrill_model::report::LagSample;
use firedrill_model::workload::Sample;
use firedrill_model::{ClusterView, Operation, OperationState, Span, Timestamp};

/// Writes count as flowing again when this many were acknowledged in one interval of the load.
const WRITES_FLOW: u32 = 1;
/// A rate is measured over this long: shorter is noise, longer hides a dip.
const RATE_OVER: Span = Span::secs(1);
/// Most samples kept with a report: two hours at four a second; later ones thin the older half out.
const SAMPLES_MAX: usize = 2 * 3600 * 4;
/// Lags are kept about this often for each node.
const LAG_EVERY: Span = Span::millis(450);

/// The live load and lag so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) samples: Vec<Sample>,
    pub(super) lags: Vec<LagSample>,
    pub(super) writes: WritesSoFar,
    last_lag: Option<Timestamp>,
}

impl Seen {
    /// Takes one interval of the load.
    pub(super) fn sample(&mut self, sample: Sample) {
        if self.samples.len() >= SAMPLES_MAX {
            thin(&mut self.samples);
            thin(&mut self.lags);
        }
        self.writes.acknowledged = sample.acknowledged_total.max(self.writes.acknowledged);
        self.writes.failed += u64::from(sample.writes_failed);
        self.writes.unknown += u64::from(sample.writes_unknown);
        self.samples.push(sample);
    }

    /// Takes the lag of every replica, unless it was taken a moment ago.
    pub(super) fn view(&mut self, view: &ClusterView) {
        if self.last_lag.is_none_or(|last| view.at.since(last) >= LAG_EVERY) {
            self.last_lag = Some(view.at);
            self.lags.extend(view.nodes.iter().filter_map(|node| lag_of(view, node)));
        }
    }

    /// The samples of the last second.
    fn recent(&self) -> impl Iterator<Item = &Sample> {
        let last = self.samples.last().map(|last| last.at);
        self.samples.iter().rev().take_while(move |sample| last.is_some_and(|last| last.since(sample.at) < RATE_OVER))
    }

    /// The worst 99th percentile of the time to the acknowledgement in the last second.
    fn ack_latency(&self) -> Option<Span> {
        self.recent().filter_map(|sample| sample.write_p99).max()
    }

    /// What probes of the cluster's facts are told from.
    pub(super) fn facts<'a>(&self, view: Option<&'a ClusterView>) -> Facts<'a> {
        Facts { view, write_rate: self.write_rate(), ack_latency: self.ack_latency() }
    }

    /// Acknowledged writes per second over the last second; `None` before there is a sample of it.
    pub(super) fn write_rate(&self) -> Option<u32> {
        let (writes, length) = self.recent().fold((0u64, 0f64), |(writes, length), sample| {
            (writes + u64::from(sample.writes_ok), length + sample.over.duration().as_secs_f64())
        });
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rate"
        )]
        (length > 0.0).then(|| (writes as f64 / length).round() as u32)
    }

    /// How long no write has been acknowledged, as the samples tell.
    pub(super) fn without_writes(&self, now: Timestamp) -> Span {
        let flowing = self.samples.iter().rev().find(|sample| sample.writes_ok > 0);
        let since = flowing.or(self.samples.first()).map_or(now, |sample| sample.at);
        now.since(since)
    }

    fn writes_flow_since(&self, since: Timestamp) -> bool {
        self.samples.last().is_some_and(|last| last.at >= since && last.writes_ok >= WRITES_FLOW)
    }
}

/// Drops every second element of the older half.
fn thin<T>(list: &mut Vec<T>) {
    let half = list.len() / 2;
    let mut place = 0;
    list.retain(|_| {
        place += 1;
        place > half || place.is_multiple_of(2)
    });
}

fn lag_of(view: &ClusterView, node: &firedrill_model::NodeView) -> Option<LagSample> {
    if view.primary.as_ref() == Some(&node.name) {
        return None;
    }
    let replication =
        node.observation.as_ref().and_then(|seen| seen.status.as_ref()).and_then(|status| status.replication.as_ref());
    let lag = replication.and_then(|replication| replication.lag);
    Some(LagSample { at: view.at, node: node.name.clone(), behind: node.behind?, lag })
}

/// Everything a question can be asked of.
pub(super) struct Moment<'a> {
    pub(super) now: Timestamp,
    pub(super) seen: &'a Seen,
    pub(super) view: Option<&'a ClusterView>,
    pub(super) operations: &'a [Operation],
    /// When the latest attack's effect was measured.
    pub(super) effect_at: Option<Timestamp>,
    /// The cluster has been seen to be short of something since then.
    pub(super) was_short: bool,
}

/// An attack that took nothing away from the cluster shows no shortage; redundancy counts as kept when none was seen for
/// this long, which is longer than any failure takes to be noticed.
const NOTICED_WITHIN: Span = Span::secs(5);

/// Whether a condition has become true.
pub(super) fn is_met(condition: Condition, moment: &Moment<'_>) -> bool {
    match condition {
        Condition::Finished(kind) => moment
            .operations
            .iter()
            .any(|operation| operation.kind == kind && operation.state == OperationState::Finished),
        Condition::RedundancyRestored => moment.view.is_some_and(|view| {
            // A view from just after the effect knows nothing of it yet.
            let noticed = |effect| moment.was_short || view.at.since(effect) > NOTICED_WITHIN;
            view.fully_redundant && moment.effect_at.is_none_or(noticed)
        }),
        Condition::WritesFlow => moment.seen.writes_flow_since(moment.effect_at.unwrap_or_default()),
    }
}

/// What stops a run early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Breach {
    /// The condition, as in the report.
    pub(super) condition: String,
    /// What was seen.
    pub(super) observed: String,
    /// Since when it is true.
    pub(super) at: Timestamp,
}

/// The abort condition that is true now and became so first.
pub(super) fn breach(conditions: &[AbortCondition], moment: &Moment<'_>, courses: &Courses) -> Option<Breach> {
    let breaches = conditions.iter().filter_map(|condition| {
        let (at, observed) = match condition {
            AbortCondition::WriteOutageAbove(limit) => {
                let outage = moment.seen.without_writes(moment.now);
                let began = moment.now - outage;
                (outage > *limit).then(|| (began + *limit, format!("no write was acknowledged for {outage}")))?
            }
            AbortCondition::OperationNeedsPerson => {
                let needs = |operation: &&Operation| operation.state == OperationState::NeedsPerson;
                let stuck = moment.operations.iter().find(needs)?;
                let reason = stuck.reason.as_deref().unwrap_or("no reason was given");
                (moment.now, format!("{} needs a person: {reason}", stuck.id))
            }
            AbortCondition::Probe(broken) => {
                let (at, observed) = courses.of(&broken.name)?.breach(broken.lasting, moment.now)?;
                (at, observed.to_owned())
            }
        };
        Some(Breach { condition: condition.to_string(), observed, at })
    });
    breaches.min_by_key(|breach| breach.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::experiment::BrokenProbe;
    use firedrill_model::probe::{Finding, Probe, ProbeState};

    fn sample(at_ms: i64, writes_ok: u32) -> Sample {
        Sample {
            at: Timestamp(at_ms * 1000),
            over: Span::millis(250),
            writes_ok,
            writes_failed: 0,
            writes_unknown: 0,
            reads_ok: 0,
            reads_failed: 0,
            write_p50: None,
            write_p99: None,
            acknowledged_total: 0,
        }
    }

    fn seen(samples: &[(i64, u32)]) -> Seen {
        let mut seen = Seen::default();
        samples.iter().for_each(|&(at, ok)| seen.sample(sample(at, ok)));
        seen
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let seen = seen(&[(250, 1000), (500, 100), (750, 100), (1000, 100), (1250, 100)]);
        assert_eq!(seen.write_rate(), Some(400));
        assert_eq!(Seen::default().write_rate(), None);
    }

    #[test]
    fn an_outage_counts_from_the_last_good_interval() {
        let seen = seen(&[(250, 10), (500, 0), (750, 0)]);
        assert_eq!(seen.without_writes(Timestamp(1_000_000)), Span::millis(750));
        assert_eq!(Seen::default().without_writes(Timestamp(1_000_000)), Span::ZERO);
        let moment = Moment {
            now: Timestamp(1_000_000),
            seen: &seen,
            view: None,
            operations: &[],
            effect_at: None,
            was_short: false,
        };
        let limit = |millis| [AbortCondition::WriteOutageAbove(Span::millis(millis))];
        let none = Courses::new(&[]);
        let breach_at = |millis| breach(&limit(millis), &moment, &none).map(|breach| breach.at);
        assert_eq!(breach_at(700), Some(Timestamp(950_000)), "700 ms after the last acknowledged write");
        assert_eq!(breach_at(800), None);
    }

    #[test]
    fn writes_flow_only_after_the_effect() {
        let seen = seen(&[(250, 10)]);
        let moment = |effect| Moment {
            now: Timestamp(0),
            seen: &seen,
            view: None,
            operations: &[],
            effect_at: Some(Timestamp(effect)),
            was_short: false,
        };
        assert!(is_met(Condition::WritesFlow, &moment(200_000)));
        assert!(!is_met(Condition::WritesFlow, &moment(300_000)));
    }

    #[test]
    fn the_first_breach_counts() {
        let seen = seen(&[(250, 10), (500, 0)]);
        let now = Timestamp(2_000_000);
        let moment = Moment { now, seen: &seen, view: None, operations: &[], effect_at: None, was_short: false };
        let probe: Probe = serde_json::from_value(serde_json::json!({
            "name": "shop", "measure": {"tcp": {"address": "x:1"}}, "when": ["during"]
        }))
        .expect("a probe");
        let mut courses = Courses::new(&[probe]);
        let broken = Finding { state: ProbeState::Broken, observed: "refused".into() };
        courses.take(0, Timestamp(1_500_000), Span::ZERO, broken);
        let lasting = |millis| BrokenProbe { name: "shop".into(), lasting: Span::millis(millis) };
        let conditions = |outage, probe| {
            [AbortCondition::WriteOutageAbove(Span::millis(outage)), AbortCondition::Probe(lasting(probe))]
        };
        let first = |conditions: &[AbortCondition]| breach(conditions, &moment, &courses);
        let by_probe = first(&conditions(1700, 0)).expect("a breach");
        assert_eq!((by_probe.at, by_probe.observed.as_str()), (Timestamp(1_500_000), "refused"));
        let by_outage = first(&conditions(1000, 100)).expect("a breach");
        assert_eq!((by_outage.at, by_outage.condition.as_str()), (Timestamp(1_250_000), "write outage above 1s"));
        assert_eq!(first(&conditions(1800, 501)), None);
        assert_eq!(first(&[AbortCondition::Probe(BrokenProbe { name: "other".into(), lasting: Span::ZERO })]), None);
    }

    #[test]
    fn answers_are_counted_also_those_of_samples_that_are_thinned_out() {
        let mut seen = Seen::default();
        let samples = SAMPLES_MAX as i64 + 10;
        for at in 0..samples {
            let total = u64::try_from(at + 1).expect("positive");
            seen.sample(Sample { writes_failed: 2, writes_unknown: 1, acknowledged_total: total, ..sample(at, 1) });
        }
        let samples = u64::try_from(samples).expect("positive");
        assert_eq!(seen.writes, WritesSoFar { acknowledged: samples, failed: 2 * samples, unknown: samples });
    }

    #[test]
    fn a_long_run_keeps_a_bounded_number_of_samples() {
        let mut seen = Seen::default();
        for at in 0..(SAMPLES_MAX as i64 * 2) {
            seen.sample(sample(at, 1));
        }
        assert!(seen.samples.len() <= SAMPLES_MAX);
        assert!(seen.samples.windows(2).all(|pair| pair[0].at < pair[1].at));
    }
}
