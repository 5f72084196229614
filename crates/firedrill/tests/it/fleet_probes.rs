//! Probes against a real cluster, and the time from a breach to the last fault gone.

use crate::fleet::{Fleet, block_on, told};
use firedrill_model::attack::AttackState;
use firedrill_model::experiment::When;
use firedrill_model::report::RunState;
use firedrill_model::{Span, Verdict};
use firedrill_sandbox::Profile;

fn experiment(gateway: &str) -> String {
    format!(
        "
name: abort
title: A replica hangs, and the run is aborted for it
hypothesis: The probe of the replicas breaks, and the hung one goes on within a second of that.
workload: {{writers: 8, writes_per_second: 300, readers: 2, reads_per_second: 50}}
warm_up: 3s
probes:
  - name: replicas answer
    measure: {{sql: {{target: {{role: replica}}, query: SELECT COUNT(*) FROM information_schema.TABLES, value: {{above: 0}}}}}}
    when: [before, during]
    every: 200ms
    timeout: 600ms
  - name: replicas are read-only
    measure: {{sql: {{target: {{role: replica}}, query: SELECT @@read_only, value: {{equals: 1}}}}}}
    when: [before]
  - name: the gateway listens
    measure: {{tcp: {{address: \"{gateway}\"}}}}
    when: [before, during]
  - name: programs end
    measure: {{command: {{target: {{region: east}}, program: /bin/true}}}}
    when: [before]
  - name: acknowledged soon
    measure: {{ack-latency-at-most: 5s}}
    when: [before]
  - name: two replicas
    measure: {{role-count: {{role: replica, count: {{equals: 2}}}}}}
    when: [before]
steps:
  - attack: {{kind: pause, target: {{role: replica, limit: 1}}, duration: 60s}}
  - wait: 40s
expect:
  - no-promotion
abort_when:
  - probe: replicas answer
"
    )
}

#[test]
fn a_broken_probe_takes_the_fault_out_within_a_second() {
    block_on(async {
        let fleet = Fleet::up("t-probes", Profile::Safe).await;
        let gateway = &fleet.status.gateway;
        let report = fleet.run(&experiment(&format!("{}:{}", gateway.address, gateway.port))).await;
        let before: Vec<_> = report.probes.iter().filter(|probe| probe.when == When::Before).collect();
        assert_eq!(before.iter().filter(|probe| probe.held).count(), 6, "{}", told(&report));
        assert_eq!((report.state, report.verdict), (RunState::Halted, Some(Verdict::Failed)), "{}", told(&report));
        let aborted = report.aborted.as_ref().expect("aborted");
        eprintln!("halted {}, gone {:?} after the breach", aborted.halt_at.since(aborted.breach_at), aborted.took());
        assert!(aborted.observed.contains("no answer within"), "{aborted:?}");
        let halted = aborted.halt_at.since(aborted.breach_at);
        assert!(halted < Span::secs(1), "halted {halted} after the breach: {}", told(&report));
        let gone = aborted.took().expect("the fault is out");
        assert!(gone < Span::secs(1), "the fault was there for {gone} after the breach: {}", told(&report));
        assert!(report.attacks.iter().all(|attack| attack.state == AttackState::Undone), "{}", told(&report));
        // The fault was there to be seen: what comes out at its deadline would be no abort.
        let began = report.attacks.iter().map(|attack| attack.at).max().expect("an attack");
        assert!(began.since(report.began) < Span::secs(30), "{}", told(&report));
        fleet.until_redundant().await;
    });
}
