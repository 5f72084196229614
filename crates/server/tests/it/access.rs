//! Who may do what, over the real API.

use crate::fixture::{Fixture, config, until};
use crate::keeper::{register, shop};
use firedrill_api::access::{AddUser, ChangePassword, CreateToken, Grants, LogIn, SetTeam};
use firedrill_api::client::{Client, ClientError};
use firedrill_api::http::StartAttack;
use firedrill_model::access::{Action, AttackFamily, Grant, Object, Principal, Role, authorise};
use firedrill_model::experiment::AttackStep;
use firedrill_model::{AttackId, ClusterName, Fault, Selector, Span, UserName};
use firedrill_server::access::{Needed, NeededOn, RULES, rule_for};
use firedrill_server::{StartError, start};
use tokio_util::sync::CancellationToken;

pub(crate) const PASSWORD: &str = "correct horse battery";
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];

pub(crate) fn name<N: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> N {
    text.parse().expect("a name")
}

pub(crate) fn code(error: &ClientError) -> &str {
    match error {
        ClientError::Problem(problem) => &problem.code,
        other => panic!("not a problem: {other}"),
    }
}

pub(crate) fn on(role: Role, cluster: &str) -> Grant {
    Grant { cluster: Some(name(cluster)), ..Grant::everywhere(role) }
}

pub(crate) async fn add(admin: &Client, user: &str, grants: Vec<Grant>) {
    let user = AddUser { name: name(user), password: PASSWORD.to_owned(), grants };
    admin.add_user(&user).await.expect("added");
}

pub(crate) fn credentials(user: &str, password: &str) -> LogIn {
    LogIn { user: user.to_owned(), password: password.to_owned(), code: None }
}

pub(crate) fn anew(fixture: &Fixture) -> Client {
    Client::new(fixture.client.base_url()).expect("a client")
}

pub(crate) async fn logged_in(fixture: &Fixture, user: &str) -> Client {
    let session = anew(fixture).log_in(&credentials(user, PASSWORD)).await.expect("logged in");
    anew(fixture).with_credential(&session.token)
}

/// A server with an admin, who is given.
pub(crate) async fn closed() -> (Fixture, Client) {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    add(&fixture.client, "ada", vec![Grant::everywhere(Role::Admin)]).await;
    let admin = logged_in(&fixture, "ada").await;
    (fixture, admin)
}

pub(crate) fn http() -> reqwest::Client {
    firedrill_api::client::install_crypto();
    let none = reqwest::redirect::Policy::none();
    reqwest::Client::builder().tls_certs_only([]).no_proxy().redirect(none).build().expect("a client")
}

fn method(word: &str) -> reqwest::Method {
    word.parse().expect("a method")
}

/// What the form of the log-in page sends.
pub(crate) fn filled_form(user: &str, password: &str, next: &str) -> String {
    format!("user={user}&password={}&code=&next={next}", password.replace(' ', "+"))
}

/// The address of a route, with something for each parameter.
fn filled(path: &str, cluster: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{cluster}" => cluster,
        part if part.starts_with('{') => "nothing-of-that-name",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_has_an_entry_and_every_entry_a_route() {
    let (fixture, _) = closed().await;
    let paths = firedrill_server::paths();
    let http = http();
    let mut seen = 0;
    for path in &paths {
        for word in METHODS {
            let url = fixture.http(&filled(path, "shop"));
            let answer = http.request(method(word), url).send().await.expect("an answer");
            let routed = answer.status() != 405;
            assert_eq!(routed, rule_for(word, path).is_some(), "{word} {path}: {}", answer.status());
            // Nobody who has not logged in gets any further, but to the log-in.
            let public = rule_for(word, path).is_none_or(|rule| rule.access == Needed::Public);
            assert!(public || [401, 303].contains(&answer.status().as_u16()), "{word} {path}: {}", answer.status());
            seen += usize::from(routed);
        }
    }
    assert_eq!(seen, RULES.len(), "an entry of the table has no route");
}

/// What each kind of person has, and no more.
fn people() -> Vec<(&'static str, Vec<Grant>)> {
    let network = Grant { families: vec![AttackFamily::Network], ..on(Role::Operator, "shop") };
    vec![
        ("nobody-special", vec![]),
        ("viewer", vec![Grant::everywhere(Role::Viewer)]),
        ("operator", vec![Grant::everywhere(Role::Operator)]),
        ("admin", vec![Grant::everywhere(Role::Admin)]),
        ("shop-viewer", vec![on(Role::Viewer, "shop")]),
        ("shop-operator", vec![on(Role::Operator, "shop")]),
        ("shop-admin", vec![on(Role::Admin, "shop")]),
        ("shop-network", vec![network]),
        ("elsewhere-admin", vec![on(Role::Admin, "elsewhere")]),
    ]
}

/// What the table asks for in a call about cluster `shop`; runs, attacks and operations that there are not belong to none.
fn object(scope: NeededOn) -> Object {
    match scope {
        NeededOn::Everything => Object::Everything,
        NeededOn::Cluster => Object::Cluster(shop()),
        _ => Object::Somewhere,
    }
}

/// Would end what the other calls of the matrix need, or change who they are.
const SPARED: [&str; 2] = ["/api/v1/logout", "/logout"];

#[tokio::test]
async fn every_route_and_every_role_as_the_table_says() {
    let (fixture, admin) = closed().await;
    let http = http();
    for (user, grants) in people() {
        add(&admin, user, grants.clone()).await;
        let token = anew(&fixture).log_in(&credentials(user, PASSWORD)).await.expect("logged in").token;
        let principal = Principal { name: user.to_owned(), grants, token: None };
        for rule in RULES.iter().filter(|rule| !SPARED.contains(&rule.path)) {
            let Needed::May(action, scope) = rule.access else { continue };
            let call = http.request(method(rule.method), fixture.http(&filled(rule.path, "shop"))).bearer_auth(&token);
            // A body that no call understands: what is allowed fails there, and changes nothing.
            let answer = call.header("content-type", "application/json").body("{").send().await.expect("an answer");
            let allowed = authorise(&principal, action, &object(scope)).is_ok();
            let denied = answer.status() == 403;
            if scope != NeededOn::Body {
                assert_eq!(allowed, !denied, "{user}: {} {}: {}", rule.method, rule.path, answer.status());
            }
            assert!(allowed || denied, "{user}: {} {}: {}", rule.method, rule.path, answer.status());
            assert_ne!(answer.status(), 401, "{user}: {} {}", rule.method, rule.path);
        }
        // Without a body some of them do something: a halt, for all who may.
        admin.resume("the matrix").await.expect("resumed");
    }
}

fn attack(cluster: ClusterName, kind: &str) -> StartAttack {
    let target = Selector { hosts: vec![name("east-1")], ..Selector::default() };
    let attack = AttackStep { name: None, fault: Fault::new(kind), target, duration: Span::secs(30) };
    StartAttack::new(cluster, attack)
}

#[tokio::test]
async fn attacks_are_for_those_who_have_the_cluster_and_the_family() {
    let (fixture, admin) = closed().await;
    for (user, grants) in people() {
        add(&admin, user, grants.clone()).await;
        let client = logged_in(&fixture, user).await;
        let principal = Principal { name: user.to_owned(), grants, token: None };
        for (kind, family) in [("pause", AttackFamily::State), ("partition", AttackFamily::Network)] {
            let allowed = authorise(&principal, Action::Attack, &Object::Attack(shop(), family)).is_ok();
            let answer = client.start_attack(&attack(shop(), kind)).await;
            // No host is connected, so what is allowed fails otherwise.
            let seen = code(&answer.expect_err("no host is there")).to_owned();
            assert_eq!(seen != "S061", allowed, "{user}: {kind}: {seen}");
        }
    }
    let network = logged_in(&fixture, "shop-network").await;
    let denied = network.start_attack(&attack(shop(), "pause")).await.expect_err("another family");
    assert!(denied.refused(), "{denied}");
    for part in ["shop-network may not start attacks of the family state on cluster shop", "role operator", "ada"] {
        assert!(denied.to_string().contains(part), "{denied}");
    }
}

#[tokio::test]
async fn lists_show_what_one_may_see() {
    let (fixture, admin) = closed().await;
    add(&admin, "eve", vec![on(Role::Admin, "elsewhere")]).await;
    let eve = logged_in(&fixture, "eve").await;
    assert!(eve.clusters().await.expect("a list").is_empty());
    assert_eq!(admin.clusters().await.expect("a list").len(), 1);
    assert_eq!(code(&eve.cluster(&shop()).await.expect_err("not hers")), "S061");
    let of_shop = |lines: Vec<firedrill_model::TimelineEvent>| {
        lines.iter().filter(|line| line.scope.cluster == Some(shop())).count()
    };
    admin.start_attack(&attack(shop(), "pause")).await.expect_err("no host is there");
    assert!(of_shop(admin.timeline(&Default::default()).await.expect("lines")) > 0);
    assert_eq!(of_shop(eve.timeline(&Default::default()).await.expect("lines")), 0);
}

#[tokio::test]
async fn the_first_user_closes_the_server_for_good() {
    let mut fixture = Fixture::new().await;
    assert!(fixture.client.me().await.expect("me").open);
    let viewer =
        AddUser { name: name("eve"), password: PASSWORD.into(), grants: vec![Grant::everywhere(Role::Viewer)] };
    assert_eq!(code(&fixture.client.add_user(&viewer).await.expect_err("not an admin")), "S064");
    add(&fixture.client, "ada", vec![Grant::everywhere(Role::Admin)]).await;
    assert_eq!(code(&fixture.client.status().await.expect_err("closed")), "S060");
    fixture.restart().await;
    assert_eq!(code(&fixture.client.status().await.expect_err("closed")), "S060");
    let ada = logged_in(&fixture, "ada").await;
    let me = ada.me().await.expect("me");
    assert!(me.name == "ada" && !me.open, "{me:?}");

    // With a user, other addresses are allowed.
    fixture.stop().await;
    let mut open_to_all = config(&fixture.dir);
    open_to_all.http = "0.0.0.0:0".parse().expect("an address");
    let shutdown = CancellationToken::new();
    let running = start(open_to_all, shutdown.clone()).await.expect("started");
    shutdown.cancel();
    running.finished().await;
}

#[tokio::test]
async fn an_open_server_is_for_this_host_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = config(&dir);
    config.http = "0.0.0.0:0".parse().expect("an address");
    let error = start(config, CancellationToken::new()).await.expect_err("open to everybody");
    assert!(matches!(error, StartError::NotLoopback { .. }) && error.to_string().contains("user add"), "{error}");
}

#[tokio::test]
async fn sessions_end_with_log_out_a_new_password_and_a_disabled_user() {
    let (fixture, admin) = closed().await;
    add(&admin, "bob", vec![Grant::everywhere(Role::Operator)]).await;
    let bob: UserName = name("bob");
    let client = logged_in(&fixture, "bob").await;
    client.log_out().await.expect("out");
    assert_eq!(code(&client.status().await.expect_err("over")), "S060");

    let client = logged_in(&fixture, "bob").await;
    let change = |old: &str| ChangePassword { old: Some(old.to_owned()), new: "another horse battery".to_owned() };
    assert_eq!(code(&client.change_password(&bob, &change("wrong")).await.expect_err("wrong")), "S062");
    client.change_password(&bob, &change(PASSWORD)).await.expect("changed");
    assert_eq!(code(&client.status().await.expect_err("over")), "S060");
    assert_eq!(code(&anew(&fixture).log_in(&credentials("bob", PASSWORD)).await.expect_err("the old one")), "S062");
    let session = anew(&fixture).log_in(&credentials("bob", "another horse battery")).await.expect("logged in");

    let client = anew(&fixture).with_credential(&session.token);
    assert_eq!(code(&client.disable_user(&name("ada"), true).await.expect_err("an operator")), "S061");
    admin.disable_user(&bob, true).await.expect("disabled");
    assert_eq!(code(&client.status().await.expect_err("disabled")), "S060");
    let last = admin.disable_user(&name("ada"), true).await.expect_err("the last admin");
    assert!(last.refused() && code(&last) == "S064", "{last}");
    let last = admin.set_grants(&name("ada"), &Grants { grants: vec![] }).await.expect_err("the last admin");
    assert_eq!(code(&last), "S064");
}

#[tokio::test]
async fn a_token_does_what_it_is_for_until_it_is_revoked() {
    let (fixture, admin) = closed().await;
    let create = |grants, good_for| CreateToken { label: "nightly".to_owned(), grants, good_for };
    let made = admin.create_token(&create(vec![on(Role::Viewer, "shop")], Span::secs(3600))).await.expect("made");
    let script = anew(&fixture).with_credential(&made.secret);
    script.cluster(&shop()).await.expect("it may look");
    let denied = script.resume("no").await.expect_err("a viewer's token");
    assert!(code(&denied) == "S061" && denied.to_string().contains("token create"), "{denied}");
    // It cannot make itself a better one, nor change its owner's account.
    let better = create(vec![Grant::everywhere(Role::Admin)], Span::secs(60));
    assert_eq!(code(&script.create_token(&better).await.expect_err("more than it has")), "S061");
    let change = ChangePassword { old: Some(PASSWORD.into()), new: "another horse battery".into() };
    assert_eq!(code(&script.change_password(&name("ada"), &change).await.expect_err("a token")), "S064");

    let listed = admin.api_tokens().await.expect("a list");
    assert!(listed.len() == 1 && listed[0].last_used.is_some(), "{listed:?}");
    admin.revoke_token(&made.token.id).await.expect("revoked");
    let error = script.status().await.expect_err("revoked");
    assert!(code(&error) == "S060" && error.to_string().contains("revoked"), "{error}");

    let short = create(vec![Grant::everywhere(Role::Viewer)], Span::millis(1));
    let short = admin.create_token(&short).await.expect("made");
    let late = anew(&fixture).with_credential(&short.secret);
    let error = until("it expires", async || late.status().await.err()).await;
    assert!(error.to_string().contains("expired"), "{error}");
    assert!(admin.create_token(&create(vec![], Span::secs(60))).await.is_err());
    assert!(admin.create_token(&create(vec![Grant::everywhere(Role::Viewer)], Span::secs(400 * 86400))).await.is_err());
}

#[tokio::test]
async fn a_team_gives_its_members_what_it_has() {
    let (fixture, admin) = closed().await;
    add(&admin, "bob", vec![]).await;
    let bob = logged_in(&fixture, "bob").await;
    assert_eq!(code(&bob.cluster(&shop()).await.expect_err("nothing yet")), "S061");
    let team = SetTeam { grants: vec![on(Role::Operator, "shop")], members: vec![name("bob")] };
    admin.set_team(&name("storage"), &team).await.expect("made");
    bob.cluster(&shop()).await.expect("through the team");
    assert_eq!(admin.teams().await.expect("a list")[0].members, [name::<UserName>("bob")]);
    admin.remove_team(&name("storage")).await.expect("removed");
    assert_eq!(code(&bob.cluster(&shop()).await.expect_err("gone again")), "S061");
    let nobody = SetTeam { grants: vec![], members: vec![name("carol")] };
    assert_eq!(code(&admin.set_team(&name("storage"), &nobody).await.expect_err("no such user")), "S001");
}

#[tokio::test]
async fn too_many_wrong_passwords_are_not_even_looked_at() {
    let (fixture, _) = closed().await;
    let client = anew(&fixture);
    let mut codes = Vec::new();
    for _ in 0..12 {
        codes.push(code(&client.log_in(&credentials("ada", "wrong")).await.expect_err("wrong")).to_owned());
    }
    assert_eq!(codes[0], "S062");
    assert_eq!(codes[11], "S063");
    let right = client.log_in(&credentials("ada", PASSWORD)).await.expect_err("too many tries");
    assert_eq!(code(&right), "S063");
    // Another name is not concerned, and an unknown one is answered like a wrong password.
    assert_eq!(code(&client.log_in(&credentials("eve", PASSWORD)).await.expect_err("unknown")), "S062");
}

#[tokio::test]
async fn anybody_stops_and_the_line_says_who() {
    let (fixture, admin) = closed().await;
    add(&admin, "bob", vec![on(Role::Viewer, "shop")]).await;
    let bob = logged_in(&fixture, "bob").await;
    bob.halt("smoke").await.expect("halted");
    assert_eq!(code(&bob.resume("all well").await.expect_err("a viewer")), "S061");
    assert_eq!(code(&bob.undo_attack(&AttackId("none".into())).await.expect_err("none")), "S001");
    admin.resume("all well").await.expect("resumed");
    let lines = admin.timeline(&Default::default()).await.expect("lines");
    let has = |text: &str, by: &str| lines.iter().any(|line| line.text.contains(text) && line.text.ends_with(by));
    assert!(has("halted: smoke", "by bob") && has("all well", "by ada"), "{lines:#?}");
}
