//! Every way to start something asks for the right to start it: by hand, by a template, by a schedule, by approving.

use crate::access::{add, anew, closed, code, credentials, logged_in, on};
use crate::keeper::shop;
use firedrill_api::client::{Client, ClientError};
use firedrill_api::http::{FillTemplate, SaveTemplate, StartAttack, StartRun};
use firedrill_api::schedules::{AddClosure, SayPresence};
use firedrill_model::access::{AttackFamily, Grant, Role};
use firedrill_model::experiment::AttackStep;
use firedrill_model::guard::{Guard, GuardPolicy, Override};
use firedrill_model::{Fault, Span};
use firedrill_schedule::{Schedule, Scope};

const PAUSE: &str = "{name: p, title: P, hypothesis: H., cluster: shop, steps: [{attack: {kind: pause, target: {role: primary}}}], expect: [no-divergence]}";

fn run() -> StartRun {
    StartRun { yaml: PAUSE.to_owned(), ..StartRun::default() }
}

fn attack(overridden: Option<Guard>) -> StartAttack {
    let target = "role=primary".parse().expect("a selector");
    let attack = AttackStep { name: None, fault: Fault::new("pause"), target, duration: Span::secs(30) };
    let overrides = overridden.map(|guard| Override { guard, reason: "a drill".to_owned() });
    StartAttack { overrides: overrides.into_iter().collect(), ..StartAttack::new(shop(), attack) }
}

fn weekly() -> Schedule {
    let yaml = serde_json::to_string(PAUSE).expect("text");
    let text = format!("{{name: weekly, file: {yaml}, groups: [{{clusters: [shop]}}], when: {{cron: '0 10 * * 1'}}}}");
    firedrill_api::schedules::read(&text).expect("a schedule")
}

fn denied<A: std::fmt::Debug>(answer: Result<A, ClientError>) -> bool {
    answer.is_err_and(|error| code(&error) == "S061")
}

/// Which of the ways in is closed to them, by name.
async fn closed_to(client: &Client) -> Vec<&'static str> {
    let template = ("twilio-2013", FillTemplate { cluster: Some(shop()), ..FillTemplate::default() });
    let tried = [
        ("run", denied(client.start_run(&run()).await)),
        ("plan of a run", denied(client.plan_run(&run()).await)),
        ("attack", denied(client.start_attack(&attack(None)).await)),
        ("plan of an attack", denied(client.plan_attack(&attack(None)).await)),
        ("preview", denied(client.preview_template(template.0, &template.1).await)),
        ("template", denied(client.start_template(template.0, &template.1).await)),
        ("schedule", denied(client.put_schedule(&weekly()).await)),
        ("end of a schedule", denied(client.remove_schedule(&weekly().name).await)),
    ];
    tried.into_iter().filter_map(|(way, denied)| denied.then_some(way)).collect()
}

#[tokio::test]
async fn no_way_in_is_open_to_those_who_may_not_attack() {
    let (fixture, admin) = closed().await;
    let state = Grant { families: vec![AttackFamily::State], ..on(Role::Operator, "shop") };
    for (user, grant, ways) in [
        ("watcher", Grant::everywhere(Role::Viewer), 8),
        ("stranger", on(Role::Admin, "elsewhere"), 8),
        ("operator", on(Role::Operator, "shop"), 0),
        // Twilio's template has attacks of another family.
        ("pauser", state, 2),
    ] {
        add(&admin, user, vec![grant]).await;
        admin.put_schedule(&weekly()).await.expect("there is one to remove");
        let closed = closed_to(&logged_in(&fixture, user).await).await;
        assert_eq!(closed.len(), ways, "{user}: {closed:?}");
        assert!(closed.is_empty() || closed.contains(&"template"), "{user}: {closed:?}");
    }
}

#[tokio::test]
async fn passing_a_guard_over_is_for_those_whom_it_names() {
    let (fixture, admin) = closed().await;
    add(&admin, "bob", vec![on(Role::Operator, "shop")]).await;
    let bob = logged_in(&fixture, "bob").await;
    assert!(!denied(bob.start_attack(&attack(Some(Guard::Degraded))).await));
    assert!(denied(bob.start_attack(&attack(Some(Guard::LastReplica))).await));
    let over = StartRun { overrides: attack(Some(Guard::LastReplica)).overrides, ..run() };
    assert!(denied(bob.start_run(&over).await));
    assert!(!denied(admin.start_attack(&attack(Some(Guard::LastReplica))).await));
    assert!(denied(bob.set_guards(&GuardPolicy::all_off()).await));
    // The name that a header says counts for nothing once there are users.
    assert!(denied(bob.clone().in_the_name_of(Some("ada".into())).set_guards(&GuardPolicy::all_off()).await));
}

#[tokio::test]
async fn what_stops_schedules_is_within_the_reach_of_a_viewer_and_what_lets_them_go_is_not() {
    let (fixture, admin) = closed().await;
    admin.put_schedule(&weekly()).await.expect("added");
    let name = weekly().name;
    for (user, grant) in [("eve", on(Role::Viewer, "shop")), ("mallory", on(Role::Admin, "elsewhere"))] {
        add(&admin, user, vec![grant]).await;
    }
    let (eve, mallory) = (logged_in(&fixture, "eve").await, logged_in(&fixture, "mallory").await);
    assert!(denied(mallory.pause_schedule(&name, "no").await) && denied(mallory.schedule(&name).await));
    assert!(mallory.schedules().await.expect("a list").is_empty());
    eve.pause_schedule(&name, "smoke").await.expect("paused");
    assert!(denied(eve.resume_schedule(&name, "go on").await));
    admin.resume_schedule(&name, "go on").await.expect("goes on");

    let out = |scope| AddClosure { scope, from: None, until: None, reason: "a migration".to_owned() };
    assert!(denied(mallory.add_blackout(&out(Scope::Cluster(shop()))).await));
    assert!(denied(mallory.add_blackout(&out(Scope::All)).await));
    let closure = admin.add_blackout(&out(Scope::Cluster(shop()))).await.expect("added");
    assert!(denied(mallory.remove_blackout(&closure.id).await));
    let until = firedrill_server::clock::now() + Span::secs(3600);
    let present = |person: &str| SayPresence { person: person.to_owned(), cluster: Some(shop()), until };
    add(&admin, "bob", vec![on(Role::Operator, "shop")]).await;
    let bob = logged_in(&fixture, "bob").await;
    bob.say_presence(&present("bob")).await.expect("of himself");
    assert!(denied(bob.say_presence(&present("ada")).await));
    assert!(denied(eve.say_presence(&present("eve")).await));
}

#[tokio::test]
async fn a_template_is_saved_by_those_who_attack() {
    let (fixture, admin) = closed().await;
    add(&admin, "eve", vec![Grant::everywhere(Role::Viewer)]).await;
    let eve = logged_in(&fixture, "eve").await;
    let save = SaveTemplate::File { yaml: "nonsense".to_owned() };
    assert!(denied(eve.save_template(&save).await) && !denied(admin.save_template(&save).await));
    assert!(denied(eve.remove_template("twilio-2013").await));
    assert!(anew(&fixture).log_in(&credentials("eve", "wrong")).await.is_err());
}
