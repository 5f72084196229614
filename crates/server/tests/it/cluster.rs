//! Registering clusters.

use crate::fixture::Fixture;
use crate::keeper::{register, shop};
use firedrill_api::client::ClientError;
use firedrill_model::{Role, Span};

fn code(error: &ClientError) -> &str {
    match error {
        ClientError::Problem(problem) => &problem.code,
        other => panic!("not a problem: {other}"),
    }
}

#[tokio::test]
async fn registering_again_changes_login_and_policy_only() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    fixture.client.register_cluster(&register()).await.expect("the same again");

    let mut changed = register();
    changed.login = None;
    changed.spec.policy.silent_after = Span::secs(9);
    let view = fixture.client.register_cluster(&changed).await.expect("changed");
    assert_eq!(view.policy.silent_after, Span::secs(9));
    let record = fixture.server().keepers.record(&shop()).expect("a record");
    assert_eq!(record.login.expect("the old login stays").user, "app");

    let mut other = register();
    other.spec.nodes[2].endpoint.port += 1;
    let error = fixture.client.register_cluster(&other).await.expect_err("another layout");
    assert_eq!(code(&error), "S005", "{error}");
}

#[tokio::test]
async fn a_node_belongs_to_one_cluster() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let mut other = register();
    other.spec.name = "bank".parse().expect("a name");
    let error = fixture.client.register_cluster(&other).await.expect_err("shared nodes");
    assert_eq!(code(&error), "S005", "{error}");
    assert!(error.to_string().contains("east-1"), "{error}");
}

#[tokio::test]
async fn a_malformed_cluster_is_refused_and_not_kept() {
    let fixture = Fixture::new().await;
    let mut two = register();
    two.spec.nodes[1].initial_role = Role::Primary;
    let error = fixture.client.register_cluster(&two).await.expect_err("two primaries");
    assert_eq!(code(&error), "S002", "{error}");
    let error = fixture.client.cluster(&shop()).await.expect_err("not there");
    assert_eq!(code(&error), "S001", "{error}");
    assert!(fixture.client.clusters().await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_fingerprint_says_why_there_is_none() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let prints = fixture.client.fingerprint(&shop()).await.expect("an answer");
    assert_eq!(prints.len(), 3);
    let why = prints[0].result.as_ref().expect_err("no agent");
    assert!(why.contains("host east-1 is not connected"), "{why}");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_with_a_next_step() {
    let fixture = Fixture::new().await;
    for error in [
        fixture.client.operation(&firedrill_model::OperationId("shop-1".into())).await.expect_err("none"),
        fixture.client.run(&firedrill_model::RunId("run-1".into())).await.expect_err("none"),
        fixture.client.undo_attack(&firedrill_model::AttackId("x".into())).await.expect_err("none"),
    ] {
        assert_eq!(code(&error), "S001", "{error}");
        assert!(error.to_string().contains("firedrill "), "{error}");
    }
}
