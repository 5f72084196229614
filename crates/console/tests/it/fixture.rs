//! One run with everything in it.

use firedrill_model::report::RunReport;

/// A run that lost two writes.
pub(crate) fn failed_run() -> RunReport {
    serde_json::from_value(serde_json::json!({
        "run": "r-1", "cluster": "demo", "state": "finished", "began": 1_795_396_769_000_000i64,
        "ended": 1_795_396_799_000_000i64, "verdict": "failed",
        "reasons": ["expected at most 0 acknowledged writes lost; came: 2 of 12345 lost"],
        "experiment": {
            "name": "kill-primary", "title": "The primary is killed", "hypothesis": "Nothing is lost.",
            "steps": [{"attack": {"kind": "kill", "target": {"role": "primary"}}}],
            "expect": [{"lost-acknowledged-writes-at-most": 0}]
        },
        "expectations": [
            {"expected": "at most 0 acknowledged writes lost", "observed": "2 of 12345 lost", "verdict": "failed"},
            {"expected": "write outage below 600ms", "observed": "94.2ms", "verdict": "passed"}
        ],
        "probes": [{"name": "writes flow", "when": "before", "at": 1, "held": true, "observed": "1190 per second"}],
        "attacks": [{
            "id": "a-1", "host": "east-1", "state": "active", "at": 1_795_396_775_000_000i64, "mechanism": "pidfd signal",
            "evidence": "process 17 gone after 4ms",
            "fault": {"kind": "kill", "signal": "SIGKILL", "process": {"select": "database", "node": "east-1"}}
        }],
        "operations": [{
            "id": "demo-1", "cluster": "demo", "kind": "promotion", "subject": "east-1", "partner": "east-2",
            "cause": "process 17 of east-1 has ended", "state": "finished", "reason": null,
            "failure_at": 1_795_396_775_000_000i64, "began": 1_795_396_775_010_000i64, "ended": 1_795_396_775_150_000i64,
            "steps": [
                {"number": 1, "phase": "fence", "host": "east-1", "title": "fence east-1", "state": "done",
                 "began": 1_795_396_775_010_000i64, "ended": 1_795_396_775_020_000i64, "log": ["already gone"]},
                {"number": 2, "phase": "drain", "host": "east-2", "title": "drain east-2", "state": "done",
                 "began": 1_795_396_775_020_000i64, "ended": 1_795_396_775_030_000i64, "log": []},
                {"number": 3, "phase": "open", "host": "east-2", "title": "open east-2", "state": "done",
                 "began": 1_795_396_775_030_000i64, "ended": 1_795_396_775_150_000i64, "log": []}
            ]
        }],
        "timeline": [
            {"at": 1_795_396_775_000_000i64, "severity": "info", "kind": "attack-started", "text": "kill (SIGKILL)", "host": "east-1"},
            {"at": 1_795_396_775_010_000i64, "severity": "warning", "kind": "operation-started", "text": "promotion begins"}
        ],
        "samples": [{
            "at": 1_795_396_770_000_000i64, "over": "250ms", "writes_ok": 300, "writes_failed": 0, "writes_unknown": 1,
            "reads_ok": 25, "reads_failed": 0, "write_p50": "2ms", "write_p99": "9ms", "acknowledged_total": 300
        }],
        "lags": [{"at": 1_795_396_769_900_000i64, "node": "east-2", "behind": 3, "lag": "0s"}],
        "ledger": {
            "verdict": "failed", "reasons": ["2 acknowledged writes are lost"], "operations": 25_000,
            "writes_acknowledged": 12_345, "writes_failed": 0, "writes_unknown": 16, "unknown_present": 3,
            "lost": [{"class": "failover loss", "findings": {"count": 2, "examples": ["3/17", "4/18"]}}],
            "failed_but_present": {"count": 0, "examples": []}, "duplicates": {"count": 0, "examples": []},
            "vanished": {"count": 0, "examples": []}, "reads_ok": 900, "reads_failed": 1,
            "stale": [{"node": "west-1", "count": 3, "of": 100, "p50": "2ms", "p99": "9ms", "max": "10ms"}],
            "forks": {"count": 0, "examples": []}, "divergence": {"count": 0, "examples": []},
            "write_outages": [{"began": 1_795_396_775_000_000i64, "length": "94ms 200us"}],
            "read_outages": [], "resolution": "2ms"
        },
        "environment": [["MariaDB", "10.11.19"]]
    }))
    .expect("the fixture is a run report")
}
