//! What a run sees while it goes on: the live load, the cluster's nodes, and the conditions made of them. Pure: samples
//! and views come in, answers come out.

use firedrill_model::experiment::{AbortCondition, Condition, Measure};
use firedrill_model::report::LagSample;
use firedrill_model::workload::Sample;
use firedrill_model::{ClusterView, Health, Operation, OperationState, Span, Timestamp};

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
    last_lag: Option<Timestamp>,
}

impl Seen {
    /// Takes one interval of the load.
    pub(super) fn sample(&mut self, sample: Sample) {
        if self.samples.len() >= SAMPLES_MAX {
            thin(&mut self.samples);
            thin(&mut self.lags);
        }
        self.samples.push(sample);
    }

    /// Takes the lag of every replica, unless it was taken a moment ago.
    pub(super) fn view(&mut self, view: &ClusterView) {
        if self.last_lag.is_none_or(|last| view.at.since(last) >= LAG_EVERY) {
            self.last_lag = Some(view.at);
            self.lags.extend(view.nodes.iter().filter_map(|node| lag_of(view, node)));
        }
    }

    /// Acknowledged writes per second over the last second; `None` before there is a sample of it.
    pub(super) fn write_rate(&self) -> Option<u32> {
        let last = self.samples.last()?;
        let recent = self.samples.iter().rev().take_while(|sample| last.at.since(sample.at) < RATE_OVER);
        let (writes, length) = recent.fold((0u64, 0f64), |(writes, length), sample| {
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

/// What a probe measures now: held or not, and what was seen.
pub(super) fn measure(measure: &Measure, moment: &Moment<'_>) -> (bool, String) {
    let unknown = || (false, "the cluster cannot be seen".to_owned());
    match (measure, moment.view) {
        (Measure::WritesPerSecondAtLeast(least), _) => match moment.seen.write_rate() {
            Some(rate) => (rate >= *least, format!("{rate} writes acknowledged per second")),
            None => (false, "no write was measured".to_owned()),
        },
        (_, None) => unknown(),
        (Measure::LagAtMost(most), Some(view)) => lag_at_most(*most, view),
        (Measure::ClusterHealthy, Some(view)) => {
            let ill: Vec<_> = view
                .nodes
                .iter()
                .filter(|node| node.health != Health::Healthy)
                .map(|node| format!("{} {} {}", node.name, node.health, node.reason))
                .collect();
            let observed = if ill.is_empty() { view.problems.join("; ") } else { ill.join("; ") };
            let observed = if view.fully_redundant { "every node in service".to_owned() } else { observed };
            (view.fully_redundant, observed)
        }
        (Measure::OnePrimary, Some(view)) => {
            let writable: Vec<_> = view
                .nodes
                .iter()
                .filter(|node| {
                    let status = node.observation.as_ref().and_then(|seen| seen.status.as_ref());
                    status.is_some_and(|status| !status.read_only)
                })
                .map(|node| node.name.to_string())
                .collect();
            // A node that does not answer this moment may be the one: only two, or none of all, is a break.
            let unread = view.nodes.iter().any(|node| node.observation.as_ref().is_none_or(|o| o.status.is_none()));
            let held = writable.len() == 1 || (writable.is_empty() && unread);
            (held, format!("writable: {}", writable.join(", ")))
        }
    }
}

fn lag_at_most(most: Span, view: &ClusterView) -> (bool, String) {
    let worst = view
        .nodes
        .iter()
        .filter(|node| view.primary.as_ref() != Some(&node.name))
        .map(|node| {
            let status = node.observation.as_ref().and_then(|seen| seen.status.as_ref());
            let lag = status.and_then(|status| status.replication.as_ref()).and_then(|replication| replication.lag);
            (lag, node.name.to_string())
        })
        .max_by_key(|(lag, _)| lag.map_or(u128::MAX, |lag| lag.duration().as_micros()));
    match worst {
        None => (true, "there is no replica".to_owned()),
        Some((None, node)) => (false, format!("{node} does not know its lag")),
        Some((Some(lag), node)) => (lag <= most, format!("{node} is {lag} behind")),
    }
}

/// Why the run must stop now, if it must.
pub(super) fn abort_reason(conditions: &[AbortCondition], moment: &Moment<'_>) -> Option<String> {
    conditions.iter().find_map(|condition| match condition {
        AbortCondition::WriteOutageAbove(limit) => {
            let outage = moment.seen.without_writes(moment.now);
            (outage > *limit).then(|| format!("no write was acknowledged for {outage}, more than {limit}"))
        }
        AbortCondition::OperationNeedsPerson => {
            let stuck = moment.operations.iter().find(|operation| operation.state == OperationState::NeedsPerson)?;
            Some(format!("{} needs a person: {}", stuck.id, stuck.reason.as_deref().unwrap_or("no reason was given")))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(abort_reason(&limit(700), &moment).is_some());
        assert_eq!(abort_reason(&limit(800), &moment), None);
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
    fn nothing_seen_holds_no_probe() {
        let seen = Seen::default();
        let moment =
            Moment { now: Timestamp(0), seen: &seen, view: None, operations: &[], effect_at: None, was_short: false };
        for what in [Measure::WritesPerSecondAtLeast(1), Measure::ClusterHealthy, Measure::OnePrimary] {
            assert!(!measure(&what, &moment).0);
        }
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
