//! The pages of runs: the list, one run, runs side by side, the game day and its recap.

use crate::access::{PASSWORD, add, anew, closed, credentials, http, on};
use crate::fixture::{Fixture, until};
use crate::keeper::{register, shop};
use firedrill_api::client::{Client, TimelineQuery};
use firedrill_api::http::StartRun;
use firedrill_model::access::Role;
use firedrill_model::progress::Stage;
use firedrill_model::report::{RunReport, RunState};
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{RunId, Severity, TimelineEvent};
use reqwest::{Response, StatusCode};

/// It needs no agent.
fn harmless(name: &str, wait: &str) -> StartRun {
    let yaml = format!(
        "name: {name}\ntitle: Nothing is done\nhypothesis: Nothing happens.\nwarm_up: 0s\ncool_down: 0s\n\
         steps:\n  - wait: 1ms\n  - wait: {wait}\nexpect:\n  - no-promotion\n"
    );
    StartRun { yaml, cluster: Some(shop()), ..StartRun::default() }
}

async fn over(client: &Client, run: &RunId) -> RunReport {
    until("the end", async || client.run(run).await.ok().filter(|report| report.ended.is_some())).await
}

async fn ended(client: &Client, start: &StartRun) -> RunReport {
    let run = client.start_run(start).await.expect("started").run;
    over(client, &run).await
}

async fn fixture() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    fixture
}

async fn get(fixture: &Fixture, path: &str) -> (StatusCode, String) {
    let answer = http().get(fixture.http(path)).send().await.expect("an answer");
    (answer.status(), answer.text().await.expect("a text"))
}

async fn page(fixture: &Fixture, path: &str) -> String {
    let (status, text) = get(fixture, path).await;
    assert_eq!(status, 200, "{path}: {text}");
    text
}

async fn post(fixture: &Fixture, path: &str, body: &str) -> Response {
    let post = http().post(fixture.http(path)).body(body.to_owned());
    post.header("content-type", "application/x-www-form-urlencoded").send().await.expect("an answer")
}

fn leads_to(answer: &Response) -> &str {
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    answer.headers()["location"].to_str().expect("an address")
}

#[tokio::test]
async fn runs_are_listed_filtered_and_compared() {
    let fixture = fixture().await;
    assert!(page(&fixture, "/runs").await.contains("Nothing was started yet"));
    let one = ended(&fixture.client, &harmless("harmless", "1ms")).await;
    let two = ended(&fixture.client, &harmless("harmless", "1ms")).await;
    let other = ended(&fixture.client, &harmless("other", "1ms")).await;
    let link = |report: &RunReport| format!("id=\"run-{}\"", report.run);
    let all = page(&fixture, "/runs").await;
    let place = |report: &RunReport| all.find(&link(report)).expect("listed");
    assert!(place(&other) < place(&two) && place(&two) < place(&one), "newest first");
    let some = page(&fixture, "/runs?experiment=harmless&cluster=shop&verdict=").await;
    assert!(some.contains(&link(&one)) && some.contains(&link(&two)) && !some.contains(&link(&other)), "{some}");
    assert!(page(&fixture, "/runs?verdict=running").await.contains("No run is like that"));
    let verdict = one.verdict.expect("a verdict");
    assert!(page(&fixture, &format!("/runs?verdict={verdict}")).await.contains(&link(&one)));
    let older = page(&fixture, &format!("/runs?before={}", two.run)).await;
    assert!(older.contains(&link(&one)) && !older.contains(&link(&two)));
    assert_eq!(get(&fixture, "/runs?verdict=nonsense").await.0, 400);

    let side_by_side = page(&fixture, &format!("/runs/compare?run={}&run={}", one.run, other.run)).await;
    assert!(
        side_by_side.contains(&format!("/runs/{}", one.run)) && side_by_side.contains(&format!("/runs/{}", other.run))
    );
    assert!(page(&fixture, "/runs/compare").await.contains("Choose at least two runs"));
    assert_eq!(get(&fixture, &format!("/runs/compare?run={}&run=none", one.run)).await.0, 404);
    let second = page(&fixture, &format!("/runs/{}", two.run)).await;
    assert!(second.contains(&format!("/runs/compare?run={}&#38;run={}", two.run, one.run)), "{second}");
}

#[tokio::test]
async fn a_run_is_followed_step_by_step_and_halted_with_a_button() {
    let fixture = fixture().await;
    let run = fixture.client.start_run(&harmless("harmless", "10m")).await.expect("started").run;
    let path = format!("/runs/{run}");
    let shown = until("the second step", async || {
        let shown = page(&fixture, &path).await;
        (shown.contains("▶ now") && shown.contains("✔ over")).then_some(shown)
    })
    .await;
    assert!(shown.contains("Halt this run") && !shown.contains("○ waits"), "{shown}");
    let progress = fixture.client.run(&run).await.expect("a report").progress.expect("kept");
    assert_eq!((progress.stage, progress.steps.len()), (Stage::Steps, 2));
    assert!(progress.steps[0].ended.is_some() && progress.steps[1].ended.is_none());
    assert_eq!(leads_to(&post(&fixture, &format!("{path}/halt"), "").await), path);
    let report = over(&fixture.client, &run).await;
    assert_eq!((report.state, report.progress.expect("kept").stage), (RunState::Halted, Stage::Judged));
    assert!(!page(&fixture, &path).await.contains("Halt this run"));
    assert_eq!(post(&fixture, &format!("{path}/halt"), "").await.status(), 404);
    assert_eq!(get(&fixture, "/runs/none").await.0, 404);
}

#[tokio::test]
async fn a_run_becomes_a_template() {
    let fixture = fixture().await;
    let run = ended(&fixture.client, &harmless("harmless", "1ms")).await.run;
    let path = format!("/runs/{run}");
    assert!(!page(&fixture, &path).await.contains("Run again"), "nothing has kept its file");
    let refused = post(&fixture, &format!("{path}/template"), "name=Not+A+Name%22").await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let text = refused.text().await.expect("a page");
    assert!(text.contains("role=\"alert\"") && text.contains("value=\"Not A Name&#34;\""), "{text}");
    let saved = post(&fixture, &format!("{path}/template"), "name=harmless").await;
    assert_eq!(leads_to(&saved), "/templates/harmless");
    fixture.client.template("harmless").await.expect("kept");
    assert!(page(&fixture, &path).await.contains("/experiments/start/harmless?cluster=shop&#38;from=template"));
}

#[tokio::test]
async fn what_people_say_is_on_the_timeline_of_the_run_and_in_its_recap() {
    let fixture = fixture().await;
    let report = ended(&fixture.client, &harmless("harmless", "1ms")).await;
    let path = format!("/runs/{}", report.run);
    let day = format!("{path}/gameday");
    assert!(page(&fixture, &day).await.contains("Nobody has said so yet"));
    let note = "who=Ann&back=gameday&text=the+%3Cb%3Eprimary%3C%2Fb%3E+is+gone";
    assert_eq!(leads_to(&post(&fixture, &format!("{path}/notes"), note).await), day);
    for part in ["scribe", "lead"] {
        let taken = post(&fixture, &format!("{path}/parts"), &format!("name=Bob&part={part}")).await;
        assert_eq!(leads_to(&taken), day);
    }
    let query = TimelineQuery { run: Some(report.run.clone()), ..TimelineQuery::default() };
    let lines = fixture.client.timeline(&query).await.expect("lines");
    let written = lines.iter().find(|line| line.kind == EventKind::Note).expect("a note");
    assert_eq!(written.text, "Ann: the <b>primary</b> is gone");
    assert_eq!(written.scope.cluster.as_ref(), Some(&shop()));
    for shown in [page(&fixture, &day).await, page(&fixture, &format!("{path}/recap")).await] {
        assert!(shown.contains("the &#60;b&#62;primary") && shown.contains("<b>lead</b> Bob"), "{shown}");
        assert!(!shown.contains("<b>scribe</b>"), "the last word on a name holds");
    }
    let (_, text) = get(&fixture, &format!("{path}/recap.md")).await;
    assert!(text.contains("- lead: Bob") && text.contains("\\<b\\>primary"), "{text}");

    for (form, what) in
        [(format!("text={}", "x".repeat(1001)), "1001 characters"), ("text=+%0A".to_owned(), "is empty")]
    {
        let refused = post(&fixture, &format!("{path}/notes"), &form).await;
        assert_eq!(refused.status(), StatusCode::CONFLICT);
        let shown = refused.text().await.expect("a page");
        assert!(shown.contains("role=\"alert\"") && shown.contains(what), "{shown}");
    }
    let call = async |path: String, body: &'static str| {
        let post = http().post(fixture.http(&path)).body(body).header("content-type", "application/json");
        post.send().await.expect("an answer").status()
    };
    for (what, body) in [("notes", r#"{"text":"by a script"}"#), ("parts", r#"{"name":"Eve","part":"observer"}"#)] {
        assert_eq!(call(format!("/api/v1{path}/{what}"), body).await, 200, "{what}");
        assert_eq!(call(format!("/api/v1/runs/none/{what}"), body).await, 404, "{what} of a run that there is not");
    }
    let shown = page(&fixture, &day).await;
    assert!(shown.contains("by a script") && shown.contains("<b>observer</b> Eve"), "{shown}");
}

#[tokio::test]
async fn lines_of_other_clusters_and_other_runs_are_not_on_the_page() {
    let fixture = fixture().await;
    let over = ended(&fixture.client, &harmless("harmless", "1ms")).await.run;
    let running = fixture.client.start_run(&harmless("harmless", "10m")).await.expect("started").run;
    let of_cluster = |cluster: &str| Some(cluster.parse().expect("a name"));
    for scope in [
        Scope { cluster: of_cluster("elsewhere"), ..Scope::default() },
        Scope { cluster: Some(shop()), run: Some(RunId("another".to_owned())), ..Scope::default() },
    ] {
        let line = TimelineEvent {
            sequence: 0,
            at: firedrill_server::clock::now(),
            severity: Severity::Info,
            kind: EventKind::Note,
            text: "somewhere else".to_owned(),
            scope,
        };
        fixture.server().timeline.append_event(line).await;
    }
    for run in [over, running] {
        for part in ["", "/gameday", "/recap"] {
            let shown = page(&fixture, &format!("/runs/{run}{part}")).await;
            assert!(!shown.contains("somewhere else"), "{run}{part}");
        }
    }
}

#[tokio::test]
async fn a_viewer_may_stop_a_run_and_start_or_write_nothing() {
    let (fixture, admin) = closed().await;
    add(&admin, "viewer", vec![on(Role::Viewer, "shop")]).await;
    add(&admin, "stranger", vec![on(Role::Admin, "elsewhere")]).await;
    let run = admin.start_run(&harmless("harmless", "10m")).await.expect("started").run;
    let path = format!("/runs/{run}");
    let token = async |user: &str| anew(&fixture).log_in(&credentials(user, PASSWORD)).await.expect("logged in").token;
    let (viewer, stranger) = (token("viewer").await, token("stranger").await);
    let ask = async |token: &str, path: String, form: Option<&'static str>| {
        let form_type = ("content-type", "application/x-www-form-urlencoded");
        let call = match form {
            None => http().get(fixture.http(&path)),
            Some(form) => http().post(fixture.http(&path)).header(form_type.0, form_type.1).body(form),
        };
        call.bearer_auth(token).send().await.expect("an answer")
    };
    for part in ["", "/gameday", "/recap", "/recap.md"] {
        assert_eq!(ask(&viewer, format!("{path}{part}"), None).await.status(), 200, "{part}");
        assert_eq!(ask(&stranger, format!("{path}{part}"), None).await.status(), 403, "{part}");
    }
    assert_eq!(ask(&stranger, format!("/runs/compare?run={run}&run={run}"), None).await.status(), 404);
    let list = ask(&stranger, "/runs".to_owned(), None).await.text().await.expect("a page");
    assert!(!list.contains(&run.0), "what one may not see is not listed");
    for (part, form) in [("template", "name=mine"), ("notes", "text=x"), ("parts", "name=x&part=scribe")] {
        assert_eq!(ask(&viewer, format!("{path}/{part}"), Some(form)).await.status(), 403, "{part}");
    }
    assert_eq!(ask(&stranger, format!("{path}/halt"), Some("")).await.status(), 403);
    assert_eq!(ask(&viewer, format!("{path}/halt"), Some("")).await.status(), 303);
    over(&admin, &run).await;
}
