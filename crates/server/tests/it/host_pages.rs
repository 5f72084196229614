//! The pages of hosts, of registering and comparing clusters, and of evidence.

use crate::access::http;
use crate::agent::{Agent, enrol, obliging};
use crate::fixture::{Fixture, until};
use crate::keeper::{register, shop};
use crate::schedule_pages::{page, send};
use firedrill_api::http::StartRun;

const HARMLESS: &str = "name: harmless\ntitle: Nothing is done\nhypothesis: Nothing happens.\n\
    warm_up: 0s\ncool_down: 0s\nsteps:\n  - wait: 1ms\nexpect:\n  - no-promotion\n";

#[tokio::test]
async fn a_token_from_the_page_lets_a_host_in_and_a_revocation_keeps_it_out() {
    let fixture = Fixture::new().await;
    assert!(page(&fixture, "/hosts").await.contains("No host yet"));
    let (status, _, shown) = send(&fixture, "/hosts", &[("host", "My Host")]).await;
    assert!(status == 409 && shown.contains("value=\"My Host\"") && shown.contains("role=\"alert\""), "{shown}");
    let (status, _, shown) = send(&fixture, "/hosts", &[("host", "east-1")]).await;
    assert_eq!(status, 200);
    let secret = shown.split("secret mono\">").nth(1).and_then(|rest| rest.split('<').next()).expect("a token");
    enrol(&fixture, "east-1", secret).await.expect("enrolled");

    fixture.client.register_cluster(&register()).await.expect("registered");
    let _agent = Agent::connect(&fixture, "east-1", obliging()).await;
    let list = page(&fixture, "/hosts?q=east-1+shop").await;
    assert!(
        list.contains("● connected") && list.contains("href=\"/clusters/shop\"") && list.contains("good for"),
        "{list}"
    );
    assert!(page(&fixture, "/hosts?q=nothing-like-it").await.contains("No host is like that"));
    let one = page(&fixture, "/hosts/east-1").await;
    assert!(one.contains("/hosts/east-1/revoke") && one.contains("agent's configuration"), "{one}");
    let unknown = http().get(fixture.http("/hosts/nobody")).send().await.expect("an answer");
    assert_eq!(unknown.status(), 404);

    let long = "x".repeat(501);
    let (status, _, shown) = send(&fixture, "/hosts/east-1/revoke", &[("reason", &long)]).await;
    assert!(status == 409 && shown.contains(&long), "{shown}");
    let (status, to, _) = send(&fixture, "/hosts/east-1/revoke", &[("reason", "stolen")]).await;
    assert_eq!((status.as_u16(), to.as_str()), (303, "/hosts/east-1"));
    assert!(page(&fixture, &to).await.contains("stolen"));
    assert!(page(&fixture, "/hosts?state=revoked").await.contains("✖ revoked"));
    let (status, _, shown) = send(&fixture, "/hosts/east-1/token", &[]).await;
    assert!(status == 200 && shown.contains("Shown this once"), "{shown}");
}

#[tokio::test]
async fn a_cluster_is_registered_from_its_file_and_compared() {
    let fixture = Fixture::new().await;
    assert!(page(&fixture, "/register").await.contains("initial_role: primary"));
    let (status, _, shown) = send(&fixture, "/register", &[("file", "spec: {name: half}")]).await;
    assert!(
        status == 409 && shown.contains("spec: {name: half}</textarea>") && shown.contains("/errors/S002"),
        "{shown}"
    );
    let file = serde_json::to_string(&register()).expect("text");
    let (status, to, _) = send(&fixture, "/register", &[("file", &file)]).await;
    assert_eq!((status.as_u16(), to.as_str()), (303, "/clusters/shop"));
    assert_eq!(fixture.client.cluster(&shop()).await.expect("there").nodes.len(), 3);

    assert!(page(&fixture, "/clusters/shop/fingerprint").await.contains("Compare now"));
    let (status, _, shown) = send(&fixture, "/clusters/shop/fingerprint", &[]).await;
    assert!(status == 200 && shown.contains("host east-1 is not connected") && shown.contains("No node"), "{shown}");
}

#[tokio::test]
async fn evidence_is_summed_up_for_a_period_and_taken_away() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    assert!(page(&fixture, "/evidence").await.contains("Nothing was tested in that time"));
    let start = StartRun { yaml: HARMLESS.to_owned(), cluster: Some(shop()), ..StartRun::default() };
    let run = fixture.client.start_run(&start).await.expect("started").run;
    until("the end", async || fixture.client.run(&run).await.expect("a report").ended).await;
    let shown = page(&fixture, "/evidence?from=2026-01-01&to=2099-12-31&cluster=shop&zone=Europe/Berlin").await;
    assert!(shown.contains(&format!("href=\"/runs/{run}\"")) && shown.contains("not on record"), "{shown}");
    for form in ["html", "csv", "json"] {
        let link = format!(
            "/api/v1/evidence?format={form}&#38;from=2026-01-01&#38;to=2099-12-31&#38;cluster=shop&#38;zone=Europe%2FBerlin"
        );
        assert!(shown.contains(&link), "{form}: {shown}");
        assert!(page(&fixture, &link.replace("&#38;", "&")).await.contains("harmless"), "{form}");
    }
    let wrong = http().get(fixture.http("/evidence?from=soon&to=2026-01-01")).send().await.expect("an answer");
    assert_eq!(wrong.status(), 400);
    let shown = wrong.text().await.expect("a page");
    assert!(shown.contains("value=\"soon\"") && shown.contains("/errors/S055"), "{shown}");
}
