//! Values that are put in come out again, and what is not known is a gap.

use super::*;
use firedrill_model::{Generation, Policy};
use serde_json::json;

fn view(primary: &str, sequence: u64, at: i64) -> ClusterView {
    let node = |name: &str, number: u8| {
        let is_primary = name == primary;
        let replication = (!is_primary).then(|| {
            json!({
                "source": {"address": "10.0.0.1", "port": 3306}, "receiver": "connected", "applier_running": true,
                "received": "", "applied": "", "last_heard": "0s", "lag": "3s", "receiver_error": null,
                "applier_error": null
            })
        });
        json!({
            "name": name, "host": name, "region": "east", "role": if is_primary { "primary" } else { "replica" },
            "endpoint": {"address": format!("10.0.0.{number}"), "port": 3306}, "health": "healthy", "reason": "",
            "acker": true, "behind": 40, "observed_at": at,
            "observation": {
                "node": name, "process": {"state": "absent"}, "unanswered_for": "0s", "error": null,
                "status": {
                    "server_id": number, "version": "", "read_only": false, "position": "",
                    "binlog_state": format!("0-1-{sequence}"), "write_heartbeat_age": null, "replication": replication,
                    "semi_sync": {
                        "primary_enabled": true, "primary_active": true, "acker_enabled": true, "acker_active": true,
                        "ackers_connected": 1, "waiting_sessions": 0, "unacknowledged_commits": 0
                    }
                }
            }
        })
    };
    ClusterView {
        cluster: "shop".parse().expect("a name"),
        generation: Generation(1),
        primary: Some(primary.parse().expect("a name")),
        route: None,
        nodes: serde_json::from_value(json!([node("n1", 1), node("n2", 2)])).expect("nodes"),
        operations: Vec::new(),
        fully_redundant: true,
        problems: Vec::new(),
        policy: Policy::default(),
        at: Timestamp(at),
    }
}

const SECOND: i64 = 1_000_000;

#[test]
fn the_rate_is_the_progress_of_the_primary_and_a_change_of_primary_is_a_gap() {
    let series = Series::default();
    let looks = [("n1", 100, 0), ("n1", 150, 2), ("n1", 150, 2), ("n2", 160, 4), ("n2", 170, 5), ("n2", 165, 6)];
    let latency = Latency { p50: Some(Span::millis(2)), p99: Some(Span::millis(9)) };
    for (second, (primary, sequence, at)) in (50..).zip(looks) {
        record(&mut series.lock(), second, &view(primary, sequence, at * SECOND), (second == 51).then_some(latency));
    }
    let shop: ClusterName = "shop".parse().expect("a name");
    let told = series.read(&shop, None, None);
    assert_eq!((told.from, told.length), (50, 6));
    let rates =
        [Point::One(None), Point::One(Some(25.0)), Point::Run(None, 2), Point::One(Some(10.0)), Point::One(None)];
    assert_eq!(told.transactions_per_second, rates);
    assert_eq!(told.write_p99_ms, [Point::One(None), Point::One(Some(9.0)), Point::Run(None, 4)]);
    let n2 = &told.nodes[&"n2".parse::<NodeName>().expect("a name")];
    assert_eq!(n2.lag_seconds, [Point::Run(Some(3.0), 3), Point::Run(None, 3)]);
    assert_eq!(n2.behind, [Point::Run(Some(40.0), 3), Point::Run(None, 3)]);
    let text = serde_json::to_string(&told.transactions_per_second).expect("JSON");
    assert_eq!(text, "[null,25.0,[null,2],10.0,null]");
    assert_eq!(series.latest(&shop).expect("known").transactions_per_second, None);
}

#[test]
fn periods_are_cut_to_what_is_kept() {
    let series = Series::default();
    let shop: ClusterName = "shop".parse().expect("a name");
    assert_eq!(series.read(&shop, None, None), ClusterSeries::default());
    let look = |second: i64| record(&mut series.lock(), second, &view("n1", 1, second * SECOND), None);
    (1000..1010).for_each(look);
    look(1020);
    let length = |from, to| {
        let told = series.read(&shop, from, to);
        (told.from, told.length)
    };
    assert_eq!(length(Some(0), None), (1000, 21), "seconds in which nobody looked are gaps");
    assert_eq!(length(Some(1021), None).1, 0);
    assert_eq!(length(Some(i64::MAX), Some(i64::MAX)).1, 0);
    assert_eq!(length(Some(i64::MIN), Some(i64::MIN)).1, 0);
    assert_eq!(length(Some(1005), Some(1007)), (1005, 3));
    look(1020 + 2 * SECONDS);
    assert_eq!(length(Some(0), None).1, 1, "after more than a day without a look it begins anew");
}
