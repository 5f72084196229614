//! What an earlier process left behind.

use crate::agent::{Agent, hello, obliging};
use crate::fixture::Fixture;
use crate::keeper::{register, shop};
use firedrill_api::client::TimelineQuery;
use firedrill_model::experiment::Experiment;
use firedrill_model::report::{RunReport, RunState};
use firedrill_model::{RunId, Span, Timestamp, Verdict};

fn running() -> RunReport {
    RunReport {
        run: RunId("run-1".to_owned()),
        experiment: Experiment {
            name: "kill-primary".to_owned(),
            title: "t".to_owned(),
            hypothesis: "h".to_owned(),
            cluster: None,
            rung: None,
            workload: None,
            warm_up: Span::secs(1),
            cool_down: Span::secs(1),
            probes: Vec::new(),
            steps: Vec::new(),
            expect: Vec::new(),
            abort_when: Vec::new(),
            overlap: false,
        },
        cluster: shop(),
        state: RunState::Running,
        began: Timestamp(1),
        ended: None,
        verdict: None,
        reasons: Vec::new(),
        expectations: Vec::new(),
        probes: Vec::new(),
        attacks: Vec::new(),
        operations: Vec::new(),
        timeline: Vec::new(),
        samples: Vec::new(),
        lags: Vec::new(),
        probe_series: Vec::new(),
        aborted: None,
        ledger: None,
        environment: Vec::new(),
        by: None,
        approved_by: None,
        progress: None,
    }
}

#[tokio::test]
async fn a_run_that_was_under_way_is_given_its_end() {
    let mut fixture = Fixture::new().await;
    fixture.server().store.save_run(&running()).await.expect("stored");
    fixture.restart().await;
    let report = fixture.client.run(&running().run).await.expect("a report");
    assert_eq!((report.state, report.verdict), (RunState::Halted, Some(Verdict::Error)));
    assert!(report.reasons[0].contains("the server was stopped"), "{:?}", report.reasons);
    assert!(report.ended.is_some());
    let entry = fixture.client.runs().await.expect("a list").remove(0);
    assert_eq!(entry.state, RunState::Halted);
}

#[tokio::test]
async fn clusters_hosts_certificates_and_the_timeline_are_still_there() {
    let mut fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let agent = Agent::connect(&fixture, "east-1", obliging()).await;
    let identity = agent.identity.clone();
    drop(agent);
    let before = fixture.client.timeline(&TimelineQuery::default()).await.expect("lines");
    fixture.restart().await;
    let after = fixture.client.timeline(&TimelineQuery::default()).await.expect("lines");
    assert_eq!(&after[..before.len()], &before[..]);
    assert!(after.iter().zip(&after[1..]).all(|(one, two)| one.sequence < two.sequence));
    assert_eq!(fixture.client.clusters().await.expect("clusters").len(), 1);
    let hosts = fixture.client.hosts().await.expect("hosts");
    assert_eq!((hosts.len(), hosts[0].connected), (1, false));
    let greeting = hello(&identity.host);
    Agent::connect_as(&fixture, identity, greeting, obliging()).await;
}
