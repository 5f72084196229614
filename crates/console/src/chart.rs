//! The data of the charts, as the script in the page reads it.

use firedrill_model::report::RunReport;
use firedrill_model::timeline::EventKind;
use firedrill_model::{Span, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// What `charts.js` draws.
#[derive(Debug, Serialize)]
pub(crate) struct ChartData {
    /// Milliseconds since the epoch of second zero.
    pub(crate) origin: i64,
    /// Seconds since the origin, one per sample.
    pub(crate) t: Vec<f64>,
    /// By name, as long as `t`.
    pub(crate) series: BTreeMap<String, Vec<Option<f64>>>,
    /// From, to (open: still in place), label.
    pub(crate) faults: Vec<(f64, Option<f64>, String)>,
}

#[allow(clippy::cast_precision_loss, reason = "microseconds of a run fit f64 exactly")]
fn seconds(at: Timestamp, origin: Timestamp) -> f64 {
    (at.0 - origin.0) as f64 / 1e6
}

impl ChartData {
    pub(crate) fn of(report: &RunReport) -> Self {
        let origin = report.began;
        let rate = |count: u32, over: Span| {
            let length = over.duration().as_secs_f64();
            Some(f64::from(count) / if length > 0.0 { length } else { 1.0 })
        };
        let column = |pick: &dyn Fn(&firedrill_model::workload::Sample) -> Option<f64>| -> Vec<Option<f64>> {
            report.samples.iter().map(pick).collect()
        };
        let mut series = BTreeMap::from([
            ("acknowledged".to_owned(), column(&|sample| rate(sample.writes_ok, sample.over))),
            ("failed".to_owned(), column(&|sample| rate(sample.writes_failed, sample.over))),
            ("unknown".to_owned(), column(&|sample| rate(sample.writes_unknown, sample.over))),
            ("p50".to_owned(), column(&|sample| sample.write_p50.map(Span::as_millis_f64))),
            ("p99".to_owned(), column(&|sample| sample.write_p99.map(Span::as_millis_f64))),
        ]);
        for (node, lags) in lags_by_node(report) {
            let at_sample = |at: Timestamp| {
                let next = lags.partition_point(|(when, _)| *when <= at);
                #[allow(clippy::cast_precision_loss, reason = "a backlog is far below 2^52 transactions")]
                next.checked_sub(1).map(|index| lags[index].1 as f64)
            };
            let values = report.samples.iter().map(|sample| at_sample(sample.at)).collect();
            series.insert(format!("lag {node}"), values);
        }
        Self {
            origin: origin.millis(),
            t: report.samples.iter().map(|sample| seconds(sample.at, origin)).collect(),
            series,
            faults: faults(report),
        }
    }

    /// As JSON for the script of the charts.
    pub(crate) fn json(&self) -> String {
        in_a_script(self)
    }
}

/// As JSON that can stand inside a script element: no `<` can end it early.
pub(crate) fn in_a_script(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()).replace('<', "\\u003c")
}

fn lags_by_node(report: &RunReport) -> BTreeMap<String, Vec<(Timestamp, u64)>> {
    let mut nodes: BTreeMap<String, Vec<(Timestamp, u64)>> = BTreeMap::new();
    for lag in &report.lags {
        nodes.entry(lag.node.to_string()).or_default().push((lag.at, lag.behind));
    }
    nodes
}

/// Attacks as intervals: each start is closed by the next end on the same host.
pub(crate) fn faults(report: &RunReport) -> Vec<(f64, Option<f64>, String)> {
    let mut open: Vec<(Option<String>, usize)> = Vec::new();
    let mut faults: Vec<(f64, Option<f64>, String)> = Vec::new();
    for event in &report.timeline {
        let host = event.scope.host.as_ref().map(ToString::to_string);
        let at = seconds(event.at, report.began);
        match event.kind {
            EventKind::AttackStarted => {
                open.push((host, faults.len()));
                faults.push((at, None, event.text.chars().take(60).collect()));
            }
            EventKind::AttackEnded => {
                if let Some(place) = open.iter().position(|(at_host, _)| *at_host == host) {
                    faults[open.remove(place).1].1 = Some(at);
                }
            }
            _ => {}
        }
    }
    // A kill has no end of its own: it is drawn as a moment, as is what a finished run never saw end.
    if report.ended.is_some() {
        faults.iter_mut().filter(|fault| fault.1.is_none()).for_each(|fault| fault.1 = Some(fault.0));
    }
    faults
}
