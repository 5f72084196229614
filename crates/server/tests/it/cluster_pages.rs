//! The pages of a cluster: what they show, and what they let operators ask for.

use crate::access::{PASSWORD, add, anew, closed, credentials, http, on};
use crate::fixture::{Fixture, until};
use crate::keeper::{Played, healthy, shop};
use firedrill_model::OperationState;
use firedrill_model::access::Role;

async fn page(fixture: &Fixture, path: &str) -> String {
    let answer = http().get(fixture.http(path)).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.expect("a page")
}

#[tokio::test]
async fn a_switchover_is_shown_first_and_then_asked_for_once() {
    let fixture = Fixture::new().await;
    let played = Played::default();
    let _crew = healthy(&fixture, &played).await;
    let drawn = page(&fixture, "/clusters/shop").await;
    assert!(drawn.contains("id=\"wide-node-east-2\"") && drawn.contains("semi-sync acker"), "{drawn}");
    let shown = page(&fixture, "/clusters/shop/act/switchover?node=east-3").await;
    assert!(shown.contains("Nothing that was acknowledged can be lost") && shown.contains("Switch over to east-3 now"));
    assert!(fixture.client.operations(None).await.expect("a list").is_empty(), "to look begins nothing");

    let generation = fixture.client.cluster(&shop()).await.expect("a view").generation.0;
    let ask = async |generation: u64| {
        let form = format!("node=east-3&donor=&without_proof=false&generation={generation}");
        let post = http().post(fixture.http("/clusters/shop/act/switchover")).body(form);
        let post = post.header("content-type", "application/x-www-form-urlencoded");
        post.send().await.expect("an answer")
    };
    let stale = ask(generation + 1).await;
    assert_eq!(stale.status(), 409);
    let text = stale.text().await.expect("a page");
    assert!(text.contains("role=\"alert\"") && text.contains("Nothing was begun"), "{text}");
    let taken = ask(generation).await;
    assert_eq!(taken.status(), 303);
    let to = taken.headers()["location"].to_str().expect("an address").to_owned();
    assert!(to.starts_with("/operations/shop-"), "{to}");
    until("the switchover", async || {
        let operations = fixture.client.operations(None).await.expect("a list");
        (operations.first()?.state == OperationState::Finished).then_some(())
    })
    .await;
    assert!(page(&fixture, &to).await.contains("switchover of east-1"));
}

#[tokio::test]
async fn a_plan_is_given_to_scripts_too_and_nonsense_is_refused() {
    let fixture = Fixture::new().await;
    let played = Played::default();
    let _crew = healthy(&fixture, &played).await;
    let plan = async |body: &'static str| {
        let post = http().post(fixture.http("/api/v1/clusters/shop/requests/plan")).body(body);
        post.header("content-type", "application/json").send().await.expect("an answer")
    };
    let told = plan(r#"{"request":"promote","to":null}"#).await;
    let told: serde_json::Value = serde_json::from_str(&told.text().await.expect("a body")).expect("JSON");
    assert_eq!(told["risk"], "nothing", "{told}");
    assert_eq!(plan(r#"{"request":"cancel","operation":"shop-1"}"#).await.status(), 400);
    let nowhere = http().get(fixture.http("/clusters/shop/act/nonsense")).send().await.expect("an answer");
    assert_eq!(nowhere.status(), 404);
}

#[tokio::test]
async fn the_pages_of_actions_are_for_those_who_may_operate() {
    let (fixture, admin) = closed().await;
    add(&admin, "viewer", vec![on(Role::Viewer, "shop")]).await;
    add(&admin, "operator", vec![on(Role::Operator, "shop")]).await;
    for (user, expected) in [("viewer", 403), ("operator", 200)] {
        let session = anew(&fixture).log_in(&credentials(user, PASSWORD)).await.expect("logged in");
        let token = session.token;
        let get = http().get(fixture.http("/clusters/shop/act/promote")).bearer_auth(token);
        assert_eq!(get.send().await.expect("an answer").status(), expected, "{user}");
    }
}
