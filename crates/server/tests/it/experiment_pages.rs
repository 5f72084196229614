//! The pages on which something is chosen, looked at and started.

use crate::access::{PASSWORD, add, anew, closed, credentials, http, on};
use crate::fixture::{Fixture, until};
use crate::keeper::{Crew, Played, healthy};
use firedrill_api::client::Client;
use firedrill_model::access::Role;
use firedrill_model::attack::AttackState;
use firedrill_model::guard::GuardPolicy;

const YAML: &str = "name: own-pause
title: Ours
hypothesis: It goes on.
warm_up: 1ms
cool_down: 1ms
steps:
  # a comment of ours
  - attack: {kind: pause, target: {role: replica, choose: 1}, duration: 1s}
expect: [no-promotion]
";

async fn cluster() -> (Fixture, Crew) {
    let fixture = Fixture::new().await;
    let crew = healthy(&fixture, &Played::default()).await;
    (fixture, crew)
}

async fn get(fixture: &Fixture, path: &str) -> String {
    let answer = http().get(fixture.http(path)).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.expect("a page")
}

/// The status, the address that it leads to, and the page.
async fn send(fixture: &Fixture, path: &str, fields: &[(&str, &str)]) -> (u16, String, String) {
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pairs: Vec<String> = fields.iter().map(|(name, text)| format!("{}={}", encode(name), encode(text))).collect();
    let post = http().post(fixture.http(path)).body(pairs.join("&"));
    let answer = post.header("content-type", "application/x-www-form-urlencoded").send().await.expect("an answer");
    let to = answer.headers().get("location").map(|to| to.to_str().expect("an address").to_owned());
    (answer.status().as_u16(), to.unwrap_or_default(), answer.text().await.expect("a page"))
}

#[tokio::test]
async fn from_the_list_to_a_run_it_is_two_clicks() {
    let (fixture, _crew) = cluster().await;
    let list = get(&fixture, "/experiments").await;
    assert!(
        list.contains("href=\"/experiments/start/kill-replica?cluster=shop\"") && list.contains("→ next"),
        "{list}"
    );
    assert!(list.contains("/experiments/start/github-2018?from=template"), "{list}");
    let shown = get(&fixture, "/experiments/start/kill-primary").await;
    for wanted in ["east-1, primary", "Hit: 1 of 3", "It would be refused now", "Start on shop"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    assert!(fixture.client.runs().await.expect("a list").is_empty(), "to look begins nothing");
    let (status, _, page) = send(&fixture, "/experiments/start/kill-primary", &[("cluster", "shop")]).await;
    assert_eq!(status, 409);
    assert!(page.contains("Nothing was begun") && page.contains("/errors/S020"), "{page}");
    // Without a load the ladder is all that speaks against it.
    let on_a_rung = YAML.replace("title: Ours", "title: Ours\nrung: 3");
    let (_, _, page) = send(&fixture, "/experiments/edit", &[("do", "check"), ("yaml", &on_a_rung)]).await;
    assert!(page.contains("name=\"force\"") && page.contains("rung 3 is refused"), "{page}");
    let saved = send(&fixture, "/experiments/edit", &[("do", "save"), ("yaml", YAML)]).await;
    assert_eq!((saved.0, saved.1.as_str()), (303, "/templates/own-pause"), "{}", saved.2);
    assert!(get(&fixture, "/templates/own-pause").await.contains("a comment of ours"));
    let fields = [("cluster", "shop"), ("from", "template")];
    let (status, to, page) = send(&fixture, "/experiments/start/own-pause", &fields).await;
    assert_eq!(status, 303, "{page}");
    let run = fixture.client.runs().await.expect("a list").remove(0).run;
    assert_eq!(to, format!("/runs/{run}"));
    until("the run's end", async || fixture.client.run(&run).await.ok().filter(|report| report.ended.is_some())).await;
    let (status, to, _) = send(&fixture, "/templates/own-pause/delete", &[]).await;
    assert_eq!((status, to.as_str()), (303, "/experiments"));
    assert_eq!(send(&fixture, "/templates/github-2018/delete", &[]).await.0, 409);
}

#[tokio::test]
async fn an_attack_is_shown_refused_overridden_started_and_taken_out() {
    let (fixture, _crew) = cluster().await;
    assert!(get(&fixture, "/experiments/attack").await.contains("/experiments/attack/pause?cluster=shop"));
    let both = get(&fixture, "/experiments/attack/pause?show=true&target=role%3Dreplica&duration=40s").await;
    assert!(both.contains("name=\"override\" value=\"last-replica\"") && both.contains("value=\"40s\""), "{both}");
    let fields = [("cluster", "shop"), ("target", "role=replica"), ("duration", "40s")];
    let (status, _, page) = send(&fixture, "/experiments/attack/pause", &fields).await;
    assert_eq!(status, 409);
    assert!(page.contains("/errors/S071") && page.contains("value=\"role=replica\""), "{page}");
    let (status, _, page) =
        send(&fixture, "/experiments/attack/latency", &[("target", "<b>"), ("p.delay", "soon")]).await;
    assert!(status == 409 && page.contains("value=\"&#60;b&#62;\"") && page.contains("value=\"soon\""), "{page}");
    let said = [("override", "last-replica"), ("override", "cluster-share"), ("reason", "a drill")];
    let (status, to, page) = send(&fixture, "/experiments/attack/pause", &[&fields[..], &said].concat()).await;
    assert_eq!((status, to.as_str()), (303, "/attacks"), "{page}");
    let listed = get(&fixture, "/attacks").await;
    assert!(listed.contains("● in place") && listed.contains("until <time"), "{listed}");
    let attack = fixture.client.attacks().await.expect("a list").remove(0);
    let (status, _, _) = send(&fixture, &format!("/attacks/{}/undo", attack.id), &[]).await;
    assert_eq!(status, 303);
    let after = fixture.client.attacks().await.expect("a list");
    let state = after.iter().find(|one| one.id == attack.id).map(|one| one.state);
    assert_eq!(state, Some(AttackState::Undone));
    assert_eq!(send(&fixture, "/attacks/none/undo", &[]).await.0, 409);
    assert!(get(&fixture, "/approvals").await.contains("a drill"), "overrides are told");
}

#[tokio::test]
async fn what_needs_a_second_person_waits_on_a_page_of_its_own() {
    let (fixture, _crew) = cluster().await;
    let limits = GuardPolicy { approval_kinds: vec!["pause".to_owned()], ..GuardPolicy::default() };
    fixture.client.set_guards(&limits).await.expect("set");
    let fields = [("cluster", "shop"), ("target", "role=replica,choose=1")];
    let (status, to, page) = send(&fixture, "/experiments/attack/pause", &fields).await;
    assert!(status == 303 && to.starts_with("/approvals/"), "{to} {page}");
    let own = get(&fixture, &to).await;
    assert!(own.contains("somebody else approves it") && !own.contains("Approve and begin"), "{own}");
    assert_eq!(send(&fixture, &to, &[]).await.0, 409, "nobody is their own second person");
    let person = firedrill_api::guards::PERSON_HEADER;
    let bob = http().get(fixture.http(&to)).header(person, "bob").send().await.expect("an answer");
    assert!(bob.text().await.expect("a page").contains("Approve and begin"));
    let approved = http().post(fixture.http(&to)).header(person, "bob").send().await.expect("an answer");
    assert_eq!((approved.status().as_u16(), &approved.headers()["location"]), (303, &"/attacks".parse().expect("it")));
    assert_eq!(fixture.client.attacks().await.expect("a list").len(), 1);
    assert!(get(&fixture, &to).await.contains("✔ approved"));
}

#[tokio::test]
async fn the_editor_says_what_is_wrong_keeps_the_text_and_shows_what_would_be_struck() {
    let (fixture, _crew) = cluster().await;
    assert!(get(&fixture, "/experiments/edit?from=kill-replica").await.contains("name: kill-replica"));
    let broken = YAML.replace("kind: pause", "kind: tickle");
    let (status, _, page) = send(&fixture, "/experiments/edit", &[("do", "check"), ("yaml", &broken)]).await;
    assert!(status == 200 && page.contains("line 8") && page.contains("kind: tickle"), "{status} {page}");
    let with_variable = YAML.replace("duration: 1s", "duration: ${long}");
    let fields = [("do", "check"), ("yaml", with_variable.as_str()), ("vars", "long=2s"), ("cluster", "shop")];
    let (_, _, page) = send(&fixture, "/experiments/edit", &fields).await;
    assert!(page.contains("value=\"start\"") && page.contains("for 2s") && page.contains("${long}"), "{page}");
    let ask = async |path: &str, kind: &str, body: String| {
        let post = http().post(fixture.http(path)).header("content-type", kind).body(body);
        let answer = post.send().await.expect("an answer");
        let text = answer.text().await.expect("a body");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let mut told = ask("/experiments/edit/parse", "text/plain", YAML.to_owned()).await;
    assert_eq!(told["steps"][0]["target"], "role=replica,choose=1", "{told}");
    told["steps"][0]["duration"] = "9s".into();
    let changed = serde_json::json!({ "yaml": YAML, "steps": told["steps"] });
    let changed = ask("/experiments/edit/yaml", "application/json", changed.to_string()).await;
    assert!(
        changed["yaml"].as_str().is_some_and(|text| text.contains("9s") && text.contains("own-pause")),
        "{changed}"
    );
    let (status, to, page) = send(&fixture, "/experiments/edit", &[("do", "start"), ("yaml", YAML)]).await;
    assert!(status == 303 && to.starts_with("/runs/"), "{page}");
}

#[tokio::test]
async fn templates_are_added_and_imported_or_refused_with_what_was_typed() {
    const GOOD: &str = include_str!("../../../api/src/chaos_toolkit/samples/database-process.json");
    const BAD: &str = include_str!("../../../api/src/chaos_toolkit/samples/refused.yaml");
    let fixture = Fixture::new().await;
    let (status, _, page) = send(&fixture, "/templates/new", &[("do", "save"), ("yaml", "name: <i>")]).await;
    assert!(status == 409 && page.contains("name: &#60;i&#62;") && page.contains("role=\"alert\""), "{page}");
    let import = |text, how| [("do", how), ("text", text), ("name", "imported"), ("target", "role=primary")];
    let (status, _, page) = send(&fixture, "/templates/new", &import(BAD, "import")).await;
    assert!(status == 409 && page.contains("terminate_pods") && page.contains("What became of the file"), "{page}");
    let (status, _, page) = send(&fixture, "/templates/new", &import(GOOD, "import-look")).await;
    assert!(status == 200 && page.contains("All of it can be imported"), "{page}");
    let (status, to, page) = send(&fixture, "/templates/new", &import(GOOD, "import")).await;
    assert_eq!((status, to.as_str()), (303, "/templates/imported"), "{page}");
    assert!(get(&fixture, "/templates/stripe-2019").await.contains("What happened"));
    assert_eq!(http().get(fixture.http("/templates")).send().await.expect("an answer").status(), 303);
}

#[tokio::test]
async fn a_viewer_looks_and_begins_nothing() {
    let (fixture, admin): (Fixture, Client) = closed().await;
    add(&admin, "viewer", vec![on(Role::Viewer, "shop")]).await;
    let token = anew(&fixture).log_in(&credentials("viewer", PASSWORD)).await.expect("logged in").token;
    for (path, expected) in
        [("/experiments", 200), ("/experiments/start/kill-replica", 200), ("/experiments/edit", 403)]
    {
        let answer = http().get(fixture.http(path)).bearer_auth(&token).send().await.expect("an answer");
        assert_eq!(answer.status(), expected, "{path}");
        let page = answer.text().await.expect("a page");
        assert!(!page.contains("Targets and blast radius") && !page.contains("class=\"danger\""), "{path}: {page}");
    }
    for path in ["/experiments/start/kill-replica", "/experiments/attack/pause", "/templates/new", "/approvals/x"] {
        let post = http().post(fixture.http(path)).bearer_auth(&token).body("cluster=shop");
        let post = post.header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(post.send().await.expect("an answer").status(), 403, "{path}");
    }
}
