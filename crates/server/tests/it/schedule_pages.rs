//! The pages of schedules and the calendar: what their forms do, and that what was typed is not lost.

use crate::access::{PASSWORD, add, anew, closed, credentials, http, on};
use crate::fixture::{Fixture, until};
use crate::keeper::{register, shop};
use firedrill_api::http::{SaveTemplate, StartRun};
use firedrill_model::access::Role;
use firedrill_schedule::{Scope, Timing};
use reqwest::StatusCode;

/// It needs no agent, strikes nothing, and ends at once.
const HARMLESS: &str = "name: harmless\ntitle: Nothing is done\nhypothesis: Nothing happens.\n\
    warm_up: 0s\ncool_down: 0s\nsteps:\n  - wait: 1ms\nexpect:\n  - no-promotion\n";
const OWN: &str = "{name: own, title: Own, about: A wait., parameters: [{name: wait, about: How long, type: duration, default: 1s}], \
    experiment: '{name: own, title: Own, hypothesis: Nothing happens., steps: [{wait: \"${wait}\"}], expect: [no-divergence]}'}";

/// A page, which is there.
pub(crate) async fn page(fixture: &Fixture, path: &str) -> String {
    let answer = http().get(fixture.http(path)).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.expect("a page")
}

/// What a browser sends with a form.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| -> String {
        let one =
            |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        text.bytes().map(one).collect()
    };
    fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect::<Vec<_>>().join("&")
}

/// Sends a form: the status, where it leads, and the page.
pub(crate) async fn send(fixture: &Fixture, path: &str, fields: &[(&str, &str)]) -> (StatusCode, String, String) {
    let post = http().post(fixture.http(path)).body(form(fields));
    let post = post.header("content-type", "application/x-www-form-urlencoded");
    let answer = post.send().await.expect("an answer");
    let to = answer.headers().get("location").map_or("", |to| to.to_str().expect("an address")).to_owned();
    (answer.status(), to, answer.text().await.expect("a page"))
}

async fn with_shop() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    fixture
}

/// What the form sends for a schedule that is fine.
fn filled<'a>(changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let good = [
        ("name", "twice"),
        ("what", "file"),
        ("file", HARMLESS),
        ("clusters", "shop"),
        ("zone", "Europe/Berlin"),
        ("when", "cron"),
        ("cron", "30 10 * * MON-FRI"),
        ("times", "2"),
        ("spread", "1h"),
        ("climb_after", "2"),
        ("daily_after", "3"),
        ("pause_on", "failed"),
        ("do", "save"),
    ];
    let kept = good.into_iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    kept.chain(changed.iter().copied()).collect()
}

#[tokio::test]
async fn a_schedule_is_previewed_saved_changed_paused_and_deleted() {
    let fixture = with_shop().await;
    assert!(page(&fixture, "/schedules").await.contains("No schedule yet"));
    let new = page(&fixture, "/schedules/new").await;
    assert!(new.contains(">shop</textarea>") && new.contains("experiment:kill-replica"), "the only cluster: {new}");

    let (status, _, shown) = send(&fixture, "/schedules", &filled(&[("do", "preview")])).await;
    assert_eq!(status, 200);
    assert!(
        shown.contains("id=\"preview\"") && shown.contains("10:30 CE") && shown.contains("harmless on shop"),
        "{shown}"
    );
    assert!(fixture.client.schedules().await.expect("a list").is_empty(), "to look keeps nothing");

    let (status, to, _) = send(&fixture, "/schedules", &filled(&[])).await;
    assert_eq!((status.as_u16(), to.as_str()), (303, "/schedules/twice"));
    let kept = fixture.client.schedule(&"twice".parse().expect("a name")).await.expect("kept").schedule;
    assert_eq!((kept.zone.name(), kept.pause_on.len(), kept.presence), ("Europe/Berlin", 1, false));
    let shown = page(&fixture, &to).await;
    assert!(shown.contains("id=\"preview\"") && shown.contains("/schedules/twice/pause"), "{shown}");
    assert!(page(&fixture, "/schedules").await.contains("href=\"/schedules/twice\""));

    let (status, ..) = send(&fixture, "/schedules/twice", &filled(&[("when", "random"), ("presence", "true")])).await;
    assert_eq!(status, 303);
    let kept = fixture.client.schedule(&"twice".parse().expect("a name")).await.expect("kept").schedule;
    assert!(kept.presence && matches!(kept.when, Timing::Random(_)), "{kept:?}");

    let (status, _, shown) = send(&fixture, "/schedules/twice/pause", &[("reason", " ")]).await;
    assert!(status == 409 && shown.contains("role=\"alert\""), "{status}: {shown}");
    assert_eq!(send(&fixture, "/schedules/twice/pause", &[("reason", "a sale")]).await.0, 303);
    assert!(page(&fixture, "/schedules").await.contains("a sale"));
    assert_eq!(send(&fixture, "/schedules/twice/pause", &[("reason", "again")]).await.0, 409);
    assert_eq!(send(&fixture, "/schedules/twice/resume", &[("reason", "")]).await.0, 303);
    let (status, to, _) = send(&fixture, "/schedules/twice/delete", &[]).await;
    assert_eq!((status.as_u16(), to.as_str()), (303, "/schedules"));
    assert!(fixture.client.schedules().await.expect("a list").is_empty());
    assert_eq!(send(&fixture, "/schedules/twice/delete", &[]).await.0, 404);
}

#[tokio::test]
async fn what_is_refused_is_kept_as_it_was_typed() {
    let fixture = with_shop().await;
    for (changed, code, typed) in [
        (("zone", "Europe/Atlantis"), "S082", "Europe/Atlantis"),
        (("cron", "every other day"), "S080", "every other day"),
        (("cron", "0 9 30 2 *"), "S083", "0 9 30 2 *"),
        (("clusters", "nowhere"), "S001", "nowhere"),
        (("what", ""), "S080", "30 10 * * MON-FRI"),
        (("file", "name: [broken"), "S002", "name: [broken"),
        (("windows", "never@09:00-10:00"), "S080", "never@09:00-10:00"),
    ] {
        let (status, _, shown) = send(&fixture, "/schedules", &filled(&[changed])).await;
        assert_eq!(status, 409, "{changed:?}");
        assert!(shown.contains(&format!("/errors/{code}")) && shown.contains(typed), "{changed:?}: {shown}");
        assert!(shown.contains("value=\"twice\"") && shown.contains("role=\"alert\""), "{changed:?}");
    }
    assert!(fixture.client.schedules().await.expect("a list").is_empty());
    assert_eq!(send(&fixture, "/schedules", &filled(&[])).await.0, 303);
    let (status, _, shown) = send(&fixture, "/schedules", &filled(&[("cron", "0 9 * * *")])).await;
    assert!(status == 409 && shown.contains("there is a schedule twice already"), "{shown}");
    assert_eq!(send(&fixture, "/schedules/twice", &filled(&[("name", "other")])).await.0, 409);
}

#[tokio::test]
async fn a_schedule_is_made_of_a_run_a_template_or_a_file() {
    let fixture = with_shop().await;
    fixture.client.save_template(&SaveTemplate::File { yaml: OWN.to_owned() }).await.expect("saved");
    let shown = page(&fixture, "/schedules/new?template=own&cluster=shop").await;
    assert!(shown.contains("name=\"value.wait\"") && shown.contains("placeholder=\"1s\""), "{shown}");
    let template = filled(&[("what", "template:own"), ("value.wait", "2s"), ("file", "")]);
    assert_eq!(send(&fixture, "/schedules", &template).await.0, 303);
    let kept = fixture.client.schedule(&"twice".parse().expect("a name")).await.expect("kept").schedule;
    assert_eq!(kept.template.expect("a template").values["wait"], "2s");

    let start = StartRun { yaml: HARMLESS.to_owned(), cluster: Some(shop()), ..StartRun::default() };
    let run = fixture.client.start_run(&start).await.expect("started").run;
    until("the end", async || fixture.client.run(&run).await.expect("a report").ended).await;
    let shown = page(&fixture, &format!("/schedules/new?run={run}")).await;
    assert!(shown.contains("value=\"file\" selected") && shown.contains("name: harmless"), "{shown}");
    assert!(shown.contains(">shop</textarea>") && shown.contains("value=\"harmless\""), "a name is suggested: {shown}");
    assert!(shown.contains("id=\"preview\"") && shown.contains("an example"), "{shown}");

    let pasted = "{name: pasted, experiment: kill-replica, groups: [{clusters: [shop]}], when: {random: {times: 2}}}";
    let (status, to, _) = send(&fixture, "/schedules", &[("do", "paste"), ("pasted", pasted)]).await;
    assert_eq!((status.as_u16(), to.as_str()), (303, "/schedules/pasted"));
    let (status, _, shown) = send(&fixture, "/schedules", &[("do", "paste"), ("pasted", "name: half")]).await;
    assert!(status == 409 && shown.contains("name: half</textarea>") && shown.contains("/errors/S080"), "{shown}");
}

#[tokio::test]
async fn the_calendar_shows_what_comes_and_what_is_closed() {
    let fixture = with_shop().await;
    assert!(page(&fixture, "/calendar").await.contains("No schedule yet"));
    assert_eq!(send(&fixture, "/schedules", &filled(&[("cron", "30 10 * * *")])).await.0, 303);
    let shown = page(&fixture, "/calendar").await;
    assert!(
        shown.contains("value=\"Europe/Berlin\"") && shown.contains("class=\"month\""),
        "the schedule's clock: {shown}"
    );
    let next = shown.split("rel=\"next\" href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
    let next = page(&fixture, &next.replace("&#38;", "&").replace("&amp;", "&")).await;
    assert!(next.matches("10:30 CE").count() >= 28, "every day of the month: {next}");
    assert!(page(&fixture, "/calendar?zone=Nowhere&month=x").await.contains("/errors/S082"));

    let sale = [("scope", "cluster"), ("cluster", "shop"), ("from", "2026-01-01"), ("until", ""), ("zone", "UTC")];
    let with = |reason: &'static str| sale.into_iter().chain([("reason", reason)]).collect::<Vec<_>>();
    let (status, _, shown) = send(&fixture, "/blackouts", &with("")).await;
    assert!(status == 409 && shown.contains("value=\"2026-01-01\"") && shown.contains("role=\"alert\""), "{shown}");
    assert_eq!(send(&fixture, "/blackouts", &with("a big sale")).await.0, 303);
    let closures = fixture.client.blackouts().await.expect("a list");
    assert_eq!(closures[0].scope, Scope::Cluster(shop()));
    let shown = page(&fixture, "/calendar").await;
    assert!(shown.contains("cluster shop: a big sale") && shown.contains("planned, but"), "{shown}");
    assert_eq!(send(&fixture, &format!("/blackouts/{}/delete", closures[0].id), &[]).await.0, 303);
    assert!(fixture.client.blackouts().await.expect("a list").is_empty());
}

#[tokio::test]
async fn somebody_is_there_and_leaves() {
    let fixture = with_shop().await;
    let say = [("person", "ann"), ("until", "4h"), ("zone", "UTC"), ("cluster", "shop")];
    assert_eq!(send(&fixture, "/presence", &say).await.0, 303);
    let present = fixture.client.presences().await.expect("a list");
    assert_eq!((present[0].person.as_str(), present[0].cluster.as_ref()), ("ann", Some(&shop())));
    assert!(page(&fixture, "/schedules").await.contains("<b>ann</b>"));
    let (status, _, shown) = send(&fixture, "/presence", &[("person", "bob"), ("until", "teatime")]).await;
    assert!(status == 409 && shown.contains("value=\"teatime\"") && shown.contains("value=\"bob\""), "{shown}");
    let leave = [("person", "ann"), ("cluster", "shop"), ("leave", "true")];
    assert_eq!(send(&fixture, "/presence", &leave).await.0, 303);
    assert!(fixture.client.presences().await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_viewer_looks_and_changes_nothing() {
    let (fixture, admin) = closed().await;
    add(&admin, "viewer", vec![on(Role::Viewer, "shop")]).await;
    add(&admin, "elsewhere", vec![on(Role::Operator, "bank")]).await;
    let token = |user: &'static str| {
        let anonymous = anew(&fixture);
        async move { anonymous.log_in(&credentials(user, PASSWORD)).await.expect("logged in").token }
    };
    let (viewer, elsewhere) = (token("viewer").await, token("elsewhere").await);
    for (path, expected) in [
        ("/schedules", 200),
        ("/calendar", 200),
        ("/schedules/new", 403),
        ("/evidence", 200),
        ("/hosts", 200),
        ("/register", 403),
    ] {
        let answer = http().get(fixture.http(path)).bearer_auth(&viewer).send().await.expect("an answer");
        assert_eq!(answer.status(), expected, "{path}");
    }
    let post = async |user: &str, path: &str, fields: &[(&str, &str)]| {
        let post = http().post(fixture.http(path)).bearer_auth(user).body(form(fields));
        post.header("content-type", "application/x-www-form-urlencoded")
            .send()
            .await
            .expect("an answer")
            .status()
            .as_u16()
    };
    assert_eq!(post(&viewer, "/schedules", &filled(&[])).await, 403);
    assert_eq!(post(&viewer, "/blackouts", &[("scope", "all"), ("reason", "x")]).await, 403);
    assert_eq!(post(&viewer, "/presence", &[("until", "1h")]).await, 403);
    assert_eq!(post(&viewer, "/hosts", &[("host", "db-1")]).await, 403);
    assert_eq!(post(&viewer, "/clusters/shop/fingerprint", &[]).await, 403);
    assert_eq!(post(&elsewhere, "/schedules", &filled(&[])).await, 409, "may attack, but not there");
    assert_eq!(post(&elsewhere, "/blackouts", &[("scope", "all"), ("reason", "x")]).await, 409);
    assert!(admin.schedules().await.expect("a list").is_empty() && admin.blackouts().await.expect("a list").is_empty());
}
