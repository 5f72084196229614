//! Templates: three steps from the list to a start, and own ones.

use crate::agent::Agent;
use crate::fixture::Fixture;
use crate::keeper::register;
use firedrill_api::client::ClientError;
use firedrill_api::http::{FillTemplate, ImportExperiment, SaveTemplate};
use std::collections::BTreeMap;

const OWN: &str = r#"
name: own
title: Our own
about: The primary is paused.
parameters:
  - {name: pause, about: How long, type: duration, default: 5s, at_most: 1m}
experiment: |
  name: own
  title: Our own
  hypothesis: It goes on.
  steps:
    - attack: {kind: pause, target: {role: primary}, duration: ${pause}}
  expect:
    - no-divergence
"#;

fn with(name: &str, value: &str) -> FillTemplate {
    FillTemplate { values: BTreeMap::from([(name.to_owned(), value.to_owned())]), ..FillTemplate::default() }
}

fn code(error: ClientError) -> String {
    match error {
        ClientError::Problem(problem) => format!("{}: {}", problem.code, problem.message),
        other => panic!("not a problem: {other}"),
    }
}

#[tokio::test]
async fn the_library_is_listed_and_previewed_on_the_cluster_of_now() {
    let fixture = Fixture::new().await;
    let _agent = Agent::connect(&fixture, "east-1", Box::new(|_| None)).await;
    let all = fixture.client.templates().await.expect("listed");
    assert!(all.len() >= 7 && all.iter().all(|entry| entry.shipped));
    let nowhere = fixture.client.preview_template("stripe-2019", &FillTemplate::default()).await;
    assert!(code(nowhere.expect_err("no cluster")).starts_with("S005"));
    fixture.client.register_cluster(&register()).await.expect("registered");
    let preview = fixture.client.preview_template("stripe-2019", &with("before", "90s")).await.expect("previewed");
    assert!(preview.yaml.contains("wait: 1m30s"), "{}", preview.yaml);
    let kill = preview.attacks.last().expect("attacks");
    assert_eq!((kill.fault.kind.as_str(), kill.hosts.len()), ("kill", 1), "{kill:?}");
    for (name, value, wanted) in
        [("before", "soon", "a time"), ("after", "1s", "no parameter"), ("standing", "3", "more than 2")]
    {
        let refused = code(fixture.client.preview_template("stripe-2019", &with(name, value)).await.expect_err(name));
        assert!(refused.starts_with("S002") && refused.contains(wanted), "{refused}");
    }
    let unknown = code(fixture.client.template("no-such").await.expect_err("unknown"));
    assert!(unknown.starts_with("S001") && unknown.contains("github-2018"), "{unknown}");
}

#[tokio::test]
async fn own_templates_are_kept_over_a_restart_and_shipped_ones_stay() {
    let mut fixture = Fixture::new().await;
    let file = |yaml: &str| SaveTemplate::File { yaml: yaml.to_owned() };
    let saved = fixture.client.save_template(&file(OWN)).await.expect("saved");
    assert!(!saved.shipped);
    fixture.restart().await;
    assert_eq!(fixture.client.template("own").await.expect("kept"), saved);
    let taken = fixture.client.save_template(&file(&OWN.replacen("name: own", "name: stripe-2019", 1))).await;
    assert!(code(taken.expect_err("shipped")).starts_with("S022"));
    let wrong = fixture.client.save_template(&file(&OWN.replace("kind: pause", "kind: tickle"))).await;
    assert!(code(wrong.expect_err("no such fault")).contains("tickle"));
    assert!(code(fixture.client.remove_template("stripe-2019").await.expect_err("ships")).starts_with("S022"));
    fixture.client.remove_template("own").await.expect("removed");
    assert!(code(fixture.client.remove_template("own").await.expect_err("gone")).starts_with("S001"));
    let run = SaveTemplate::Run { run: firedrill_model::RunId("none".into()), name: "x".into(), title: None };
    assert!(code(fixture.client.save_template(&run).await.expect_err("no such run")).starts_with("S001"));
}

#[tokio::test]
async fn a_file_of_the_chaos_toolkit_is_kept_wholly_or_not_at_all() {
    const GOOD: &str = include_str!("../../../api/src/chaos_toolkit/samples/database-process.json");
    const BAD: &str = include_str!("../../../api/src/chaos_toolkit/samples/refused.yaml");
    let mut fixture = Fixture::new().await;
    let import = |text: &str, dry_run| ImportExperiment {
        text: text.to_owned(),
        name: Some("imported".to_owned()),
        target: Some("role=primary".parse().expect("a selector")),
        dry_run,
        ..ImportExperiment::default()
    };
    let looked_at = fixture.client.import_experiment(&import(BAD, true)).await.expect("a dry run tells");
    assert!(looked_at.template.is_none() && looked_at.problems.len() > 10, "{looked_at:?}");
    let refused = code(fixture.client.import_experiment(&import(BAD, false)).await.expect_err("refused"));
    assert!(
        refused.starts_with("S023") && refused.contains("terminate_pods") && !refused.contains("hunter2"),
        "{refused}"
    );
    fixture.client.import_experiment(&import(GOOD, true)).await.expect("a dry run");
    assert!(code(fixture.client.template("imported").await.expect_err("not kept")).starts_with("S001"));
    let kept = fixture.client.import_experiment(&import(GOOD, false)).await.expect("imported");
    fixture.restart().await;
    assert_eq!(Some(fixture.client.template("imported").await.expect("kept").template), kept.template);
    let _agent = Agent::connect(&fixture, "east-1", Box::new(|_| None)).await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let preview = fixture.client.preview_template("imported", &with("settle", "7")).await.expect("previewed");
    assert!(preview.yaml.contains("wait: \"7s\""), "{}", preview.yaml);
    assert_eq!((preview.attacks.len(), preview.attacks[0].hosts.len()), (1, 1), "{:?}", preview.attacks);
    let shipped = ImportExperiment { name: Some("github-2018".to_owned()), ..import(GOOD, false) };
    assert!(code(fixture.client.import_experiment(&shipped).await.expect_err("ships")).starts_with("S022"));
}
