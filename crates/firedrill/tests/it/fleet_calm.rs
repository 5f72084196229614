//! What must not end in a failover: the server cannot reach the primary, or reaches it slowly, while everybody else can.

use crate::fleet::{Fleet, block_on, told};
use firedrill_model::Verdict;
use firedrill_sandbox::Profile;

/// Nothing but the server's own way to the primary is disturbed.
fn between_server_and_primary(attack: &str) -> String {
    format!(
        "
name: calm
title: Only the server's way to the primary is disturbed
hypothesis: Replicas still hear the primary, so nothing is promoted and writes go on.
workload: {{writers: 8, writes_per_second: 300, readers: 2, reads_per_second: 50}}
warm_up: 2s
steps:
  - attack: {{{attack}, target: {{role: primary}}, peers: {{server: true}}, duration: 8s}}
  - wait: 9s
  - wait-until: {{condition: redundancy-restored, within: 60s}}
expect:
  - no-promotion
  - lost-acknowledged-writes-at-most: 0
  - write-outage-below: 3s
  - no-fork
"
    )
}

#[test]
fn a_slow_or_cut_way_from_the_server_alone_promotes_nobody() {
    block_on(async {
        let fleet = Fleet::up("t-calm", Profile::Safe).await;
        for attack in ["kind: latency, delay: 200ms, loss_percent: 5, spare: []", "kind: partition, spare: []"] {
            let report = fleet.run(&between_server_and_primary(attack)).await;
            assert_eq!(report.verdict, Some(Verdict::Passed), "{attack}: {}", told(&report));
        }
    });
}
