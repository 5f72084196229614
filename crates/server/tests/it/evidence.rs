//! Evidence over the API, from a run that a person started.

use crate::fixture::{Fixture, until};
use crate::keeper::{register, shop};
use firedrill_api::client::{ClientError, EvidenceFormat, EvidenceQuery};
use firedrill_api::http::StartRun;
use firedrill_model::evidence::{Ability, Evidence, Retest};

/// It needs no agent, and ends at once; whether it passes is all the same here.
const HARMLESS: &str = "name: harmless\ntitle: Nothing is done\nhypothesis: Nothing happens.\n\
    warm_up: 0s\ncool_down: 0s\nsteps:\n  - wait: 1ms\nexpect:\n  - no-promotion\n";

fn query(from: &str, to: &str, format: EvidenceFormat) -> EvidenceQuery {
    EvidenceQuery { from: from.to_owned(), to: to.to_owned(), cluster: Some(shop()), zone: None, format }
}

fn code(error: &ClientError) -> &str {
    match error {
        ClientError::Problem(problem) => &problem.code,
        other => panic!("not a problem: {other}"),
    }
}

#[tokio::test]
async fn a_run_is_in_the_document_of_its_day_with_who_started_it() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let ann = fixture.client.clone().in_the_name_of(Some("ann".to_owned()));
    let start = StartRun { yaml: HARMLESS.to_owned(), cluster: Some(shop()), ..StartRun::default() };
    for _ in 0..2 {
        let run = ann.start_run(&start).await.expect("started").run;
        until("the end", async || ann.run(&run).await.expect("a report").ended).await;
    }
    let get = async |from: &str, to: &str, format| ann.evidence(&query(from, to, format)).await;
    let text = get("2026-01-01", "2099-12-31", EvidenceFormat::Json).await.expect("a document");
    let evidence: Evidence = serde_json::from_str(&text).expect("evidence");
    let shown: Vec<_> = evidence.runs.iter().map(|run| (run.experiment.as_str(), run.by.as_deref())).collect();
    assert_eq!(shown, [("harmless", Some("ann")), ("harmless", Some("ann"))]);
    for (at, run) in evidence.runs.iter().enumerate() {
        let Some(finding) = &run.finding else { continue };
        assert_eq!(finding.retest == Retest::NotYet, at == 1, "{evidence:#?}");
    }
    assert_eq!(evidence.proven[0].abilities[&Ability::Promotion], None);
    let none = get("2020-01-01", "2020-12-31", EvidenceFormat::Json).await.expect("a document");
    assert_eq!(serde_json::from_str::<Evidence>(&none).expect("evidence").runs, []);
    let page = get("2026-01-01", "2099-12-31", EvidenceFormat::Html).await.expect("a page");
    assert!(page.contains("Evidence of failure tests") && page.contains("ann"));
    let table = get("2026-01-01", "2099-12-31", EvidenceFormat::Csv).await.expect("a table");
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[tokio::test]
async fn a_period_that_cannot_be_is_refused() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    for (from, to) in [("soon", "2026-01-01"), ("2026-01-02", "2026-01-01"), ("", ""), ("2026-02-30", "2026-03-01")] {
        let refused = fixture.client.evidence(&query(from, to, EvidenceFormat::Csv)).await.expect_err(from);
        assert_eq!(code(&refused), "S055", "{from:?} to {to:?}");
    }
    let other = EvidenceQuery {
        cluster: Some("nobody".parse().expect("a name")),
        ..query("2026-01-01", "2026-01-02", EvidenceFormat::Json)
    };
    assert_eq!(code(&fixture.client.evidence(&other).await.expect_err("unknown")), "S001");
}
