//! The last phase of a promotion, which only the load can tell: from the new primary's opening to the first write that a
//! client had an OK for.

use firedrill_model::operation::{OperationKind, Phase, Step, StepState};
use firedrill_model::report::LedgerSummary;
use firedrill_model::{Operation, Timestamp};

/// Adds the phase to each promotion during which the writes were out. Without an outage around the opening the gap was
/// too short to be told, and nothing is added.
pub(super) fn add(operations: &mut [Operation], ledger: &LedgerSummary) {
    for operation in operations.iter_mut().filter(|operation| operation.kind == OperationKind::Promotion) {
        let Some((_, opened)) = operation.phase(Phase::Open) else { continue };
        let around = |began: Timestamp, ended: Timestamp| began <= opened && opened <= ended;
        let outages = ledger.write_outages.iter().map(|outage| (outage.began, outage.began + outage.length));
        let Some((_, written)) = outages.into_iter().find(|(began, ended)| around(*began, *ended)) else { continue };
        let number = operation.steps.iter().map(|step| step.number).max().unwrap_or(0) + 1;
        operation.steps.push(Step {
            number,
            phase: Phase::FirstGoodWrite,
            host: None,
            title: "first acknowledged write, as the load saw it".to_owned(),
            state: StepState::Done,
            began: opened,
            ended: Some(written),
            log: vec![],
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::Span;
    use firedrill_model::report::Outage;

    fn promotion() -> Operation {
        serde_json::from_value(serde_json::json!({
            "id": "demo-1", "cluster": "demo", "kind": "promotion", "subject": "east-1", "partner": "east-2",
            "cause": "process exited", "state": "finished", "reason": null, "failure_at": 1_000_000,
            "began": 1_010_000, "ended": 1_100_000,
            "steps": [{"number": 1, "phase": "open", "host": "east-2", "title": "open east-2", "state": "done",
                       "began": 1_030_000, "ended": 1_050_000, "log": []}]
        }))
        .expect("an operation")
    }

    fn ledger(began: i64, length_ms: u64) -> LedgerSummary {
        let mut ledger: LedgerSummary = serde_json::from_value(serde_json::json!({
            "verdict": "passed", "reasons": [], "operations": 0, "writes_acknowledged": 0, "writes_failed": 0,
            "writes_unknown": 0, "unknown_present": 0, "lost": [], "failed_but_present": {"count": 0, "examples": []},
            "duplicates": {"count": 0, "examples": []}, "vanished": {"count": 0, "examples": []}, "reads_ok": 0,
            "reads_failed": 0, "stale": [], "forks": {"count": 0, "examples": []},
            "divergence": {"count": 0, "examples": []}, "write_outages": [], "read_outages": [], "resolution": "1ms"
        }))
        .expect("a ledger");
        ledger.write_outages = vec![Outage { began: Timestamp(began), length: Span::millis(length_ms) }];
        ledger
    }

    #[test]
    fn the_gap_ends_with_the_outage_around_the_opening() {
        let mut operations = [promotion()];
        add(&mut operations, &ledger(1_000_000, 150));
        let gap = operations[0].phase(Phase::FirstGoodWrite);
        assert_eq!(gap, Some((Timestamp(1_050_000), Timestamp(1_150_000))));
    }

    #[test]
    fn an_outage_elsewhere_says_nothing() {
        let mut operations = [promotion()];
        add(&mut operations, &ledger(5_000_000, 150));
        assert_eq!(operations[0].phase(Phase::FirstGoodWrite), None);
    }
}
