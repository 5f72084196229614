//! Messages, from an event to the receiver, with receivers on loopback.

use crate::fixture::{Fixture, until};
use crate::keeper::register;
use crate::receiver::{Call, MailServer, Receiver, Say};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use firedrill_api::client::ClientError;
use firedrill_api::messages::{Daily, MessageEntry, MessageState, RetryMessages};
use firedrill_model::message::{Channel, Encryption, NoticeKind, Rule, Secret};
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{ReceiverName, Severity, Span};
use firedrill_server::{clock, messages};

const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn named(name: &str) -> ReceiverName {
    name.parse().expect("a name")
}

fn secret(text: &str) -> Secret {
    Secret(text.to_owned())
}

fn webhook(receiver: &Receiver) -> Channel {
    Channel::Webhook { url: secret(&receiver.url("/hook?HUSH")), secret: secret(SIGNING) }
}

/// Adds a receiver that gets everything.
async fn add(fixture: &Fixture, name: &str, channel: &Channel) {
    fixture.client.put_receiver(&named(name), channel).await.expect("added");
    let rule: Rule = serde_json::from_value(serde_json::json!({"name": name, "to": name})).expect("a rule");
    fixture.client.put_message_rule(&rule).await.expect("added");
}

/// A fixture whose timeline has been looked at, so that what happens from now on is told.
async fn watched() -> Fixture {
    let fixture = Fixture::new().await;
    messages::tick(fixture.server(), clock::now()).await;
    fixture
}

async fn happens(fixture: &Fixture, text: &str) {
    let scope = Scope { cluster: Some("shop".parse().expect("a name")), ..Scope::default() };
    fixture.server().timeline.append(Severity::Warning, EventKind::Health, text, scope).await;
}

async fn after(fixture: &Fixture, span: Span) {
    messages::tick(fixture.server(), clock::now() + span).await;
}

async fn queue(fixture: &Fixture, state: MessageState) -> Vec<MessageEntry> {
    fixture.client.message_queue(Some(state)).await.expect("a queue")
}

/// The queue when so many messages are in that state: the server's own loop sends, too.
async fn in_state(fixture: &Fixture, state: MessageState, wanted: usize) -> Vec<MessageEntry> {
    until(&format!("{wanted} messages {state:?}"), async || {
        Some(queue(fixture, state).await).filter(|entries| entries.len() == wanted)
    })
    .await
}

fn code(error: &ClientError) -> &str {
    match error {
        ClientError::Problem(problem) => &problem.code,
        other => panic!("not a problem: {other}"),
    }
}

fn signed(call: &Call) -> bool {
    let (id, at) = (call.header("webhook-id"), call.header("webhook-timestamp"));
    let bytes = STANDARD.decode(SIGNING.trim_start_matches("whsec_")).expect("base 64");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &bytes);
    let tag = STANDARD.decode(call.header("webhook-signature").trim_start_matches("v1,")).expect("base 64");
    aws_lc_rs::hmac::verify(&key, format!("{id}.{at}.{}", call.body).as_bytes(), &tag).is_ok()
}

#[tokio::test]
async fn each_kind_of_receiver_gets_what_happens_once() {
    let fixture = watched().await;
    let [slack, app, teams, pager, hook] = [
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    ];
    add(&fixture, "slack", &Channel::SlackWebhook { url: secret(&slack.url("/services/T/B/x")) }).await;
    let api = Some(app.url(""));
    add(&fixture, "app", &Channel::SlackApp { token: secret("xoxb-1"), channel: "#drills".into(), api }).await;
    add(&fixture, "teams", &Channel::Teams { url: secret(&teams.url("/workflow?sig=x")) }).await;
    let api = Some(pager.url("/"));
    add(&fixture, "pager", &Channel::PagerDuty { routing_key: secret("R0"), api }).await;
    add(&fixture, "hook", &webhook(&hook)).await;
    happens(&fixture, "node east-1 is dead").await;
    after(&fixture, Span::ZERO).await;
    in_state(&fixture, MessageState::Sent, 5).await;
    after(&fixture, Span::secs(3600)).await;
    let one = |receiver: &Receiver| {
        let calls = receiver.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.into_iter().next().expect("one call")
    };
    let (slack, app, teams, pager, hook) = (one(&slack), one(&app), one(&teams), one(&pager), one(&hook));
    assert_eq!(
        (slack.path.as_str(), slack.json()["text"].as_str()),
        ("/services/T/B/x", Some("warning: node east-1 is dead"))
    );
    assert_eq!((app.path.as_str(), app.header("authorization")), ("/api/chat.postMessage", "Bearer xoxb-1"));
    assert_eq!(teams.json()["attachments"][0]["content"]["type"], "AdaptiveCard");
    assert_eq!(
        (pager.path.as_str(), pager.json()["dedup_key"].as_str()),
        ("/v2/enqueue", Some("firedrill/unexpected/shop"))
    );
    assert!(signed(&hook), "{hook:?}");
    assert_eq!(hook.json()["type"], "firedrill.unexpected");
}

#[tokio::test]
async fn what_fails_is_tried_again_with_the_same_id() {
    let fixture = watched().await;
    let hook = Receiver::start().await;
    hook.say(&[Say::Status(503), Say::Status(429)]);
    add(&fixture, "hook", &webhook(&hook)).await;
    happens(&fixture, "something").await;
    after(&fixture, Span::ZERO).await;
    let waiting = until("the first failure", async || {
        queue(&fixture, MessageState::Waiting)
            .await
            .into_iter()
            .find(|entry| entry.attempts == 1 && entry.problem.is_some())
    })
    .await;
    let problem = waiting.problem.clone().expect("a problem");
    assert!(problem.contains("503") && !problem.contains("HUSH"), "{problem}");
    assert!(waiting.due.since(waiting.enqueued) >= Span::millis(3000), "{waiting:?}");
    after(&fixture, Span::secs(10)).await;
    after(&fixture, Span::secs(60)).await;
    in_state(&fixture, MessageState::Sent, 1).await;
    let calls = hook.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| signed(call) && call.header("webhook-id") == waiting.id), "{calls:?}");
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_sends_sends_again_with_the_same_id() {
    let mut fixture = watched().await;
    let hook = Receiver::start().await;
    hook.say(&[Say::Nothing]);
    add(&fixture, "hook", &webhook(&hook)).await;
    happens(&fixture, "something").await;
    until("the call that is never answered", async || (!hook.calls().is_empty()).then_some(())).await;
    fixture.restart().await;
    assert_eq!(queue(&fixture, MessageState::Sending).await.len(), 1, "taken, and nobody knows what came of it");
    after(&fixture, Span::ZERO).await;
    assert_eq!(hook.calls().len(), 1, "not before the claim has run out");
    after(&fixture, Span::secs(61)).await;
    in_state(&fixture, MessageState::Sent, 1).await;
    let ids: Vec<String> = hook.calls().iter().map(|call| call.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(fixture.client.message_queue(None).await.expect("a queue").len(), 1, "never a second message");
}

#[tokio::test]
async fn what_is_given_up_is_shown_and_can_be_sent_again() {
    let fixture = watched().await;
    let app = Receiver::start().await;
    app.say(&[Say::Text(r#"{"ok": false, "error": "channel_not_found"}"#)]);
    let api = Some(app.url(""));
    add(&fixture, "app", &Channel::SlackApp { token: secret("xoxb-1"), channel: "#gone".into(), api }).await;
    happens(&fixture, "something").await;
    let dead = in_state(&fixture, MessageState::Dead, 1).await.remove(0);
    assert_eq!(dead.problem.as_deref(), Some("Slack says channel_not_found"));
    after(&fixture, Span::secs(7200)).await;
    assert_eq!(app.calls().len(), 1, "it is not tried again by itself");
    let unknown = RetryMessages { id: Some("msg_unknown".to_owned()) };
    assert_eq!(code(&fixture.client.retry_messages(&unknown).await.expect_err("none")), "S053");
    let which = RetryMessages { id: Some(dead.id.clone()) };
    assert_eq!(fixture.client.retry_messages(&which).await.expect("put in").messages, 1);
    let sent = in_state(&fixture, MessageState::Sent, 1).await.remove(0);
    assert_eq!((sent.id, sent.problem), (dead.id, None));
}

#[tokio::test]
async fn mail_goes_through_a_mail_server_and_is_tried_again_when_that_says_later() {
    let fixture = watched().await;
    let server = MailServer::start(&["451 greylisted"]).await;
    let channel = Channel::Email {
        host: "127.0.0.1".to_owned(),
        port: server.address.port(),
        encryption: Encryption::None,
        user: Some("firedrill".to_owned()),
        password: Some(secret("HUSH")),
        from: "Fire Drill <firedrill@example.org>".to_owned(),
        to: vec!["dba@example.org".to_owned(), "ops@example.org".to_owned()],
    };
    add(&fixture, "mail", &channel).await;
    happens(&fixture, "node east-1 is dead").await;
    after(&fixture, Span::ZERO).await;
    let first = until("the first failure", async || {
        queue(&fixture, MessageState::Waiting).await.into_iter().find(|entry| entry.problem.is_some())
    })
    .await;
    assert_eq!(first.problem.as_deref(), Some("the mail server says later (451)"));
    after(&fixture, Span::secs(10)).await;
    in_state(&fixture, MessageState::Sent, 1).await;
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        for part in [
            "RCPT TO:<ops@example.org>",
            "Subject: [firedrill shop] warning: node east-1 is dead",
            &format!("Message-ID: <{}@example.org>", first.id),
        ] {
            assert!(mail.contains(part), "{part}: {mail}");
        }
    }
}

#[tokio::test]
async fn rules_decide_and_an_incident_is_closed_by_its_end() {
    let fixture = watched().await;
    let (chat, pager) = (Receiver::start().await, Receiver::start().await);
    let client = &fixture.client;
    client.put_receiver(&named("chat"), &Channel::SlackWebhook { url: secret(&chat.url("/x")) }).await.expect("added");
    let api = Some(pager.url(""));
    client.put_receiver(&named("pager"), &Channel::PagerDuty { routing_key: secret("R0"), api }).await.expect("added");
    let rule = |rule: serde_json::Value| serde_json::from_value::<Rule>(rule).expect("a rule");
    let pages = rule(serde_json::json!({"name": "pages", "to": "pager", "at_least": "warning", "kinds": ["halt"]}));
    client.put_message_rule(&pages).await.expect("added");
    let bank = rule(serde_json::json!({"name": "bank", "to": "chat", "clusters": ["bank"], "kinds": ["unexpected"]}));
    client.put_message_rule(&bank).await.expect("added");
    happens(&fixture, "of another cluster").await;
    client.halt("enough").await.expect("halted");
    after(&fixture, Span::ZERO).await;
    client.resume("go on").await.expect("resumed");
    after(&fixture, Span::ZERO).await;
    in_state(&fixture, MessageState::Sent, 2).await;
    let actions: Vec<_> = pager.calls().iter().map(|call| call.json()["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    assert_eq!(chat.calls().len(), 0);
    assert_eq!(code(&client.remove_receiver(&named("chat")).await.expect_err("used")), "S051");
    client.remove_message_rule(&bank.name).await.expect("removed");
    client.remove_receiver(&named("chat")).await.expect("removed");
    assert_eq!(client.receivers().await.expect("a list").len(), 1);
}

#[tokio::test]
async fn secrets_are_shown_nowhere_and_stored_encrypted() {
    let fixture = watched().await;
    let hook = Receiver::start().await;
    hook.say(&[Say::Status(404)]);
    let added = fixture.client.put_receiver(&named("hook"), &webhook(&hook)).await.expect("added");
    assert_eq!((added.kind.as_str(), added.to.as_str()), ("webhook", "127.0.0.1"));
    let refused = fixture.client.test_receiver(&named("hook")).await.expect_err("404");
    assert_eq!(code(&refused), "S052");
    let seen = format!("{refused} {:?} {:?}", fixture.client.receivers().await.expect("a list"), fixture.server());
    fixture.client.test_receiver(&named("hook")).await.expect("taken");
    let data = fixture.dir.path().join("data");
    let mut stored = Vec::new();
    for file in ["firedrill.db", "firedrill.db-wal"] {
        stored.extend(std::fs::read(data.join(file)).unwrap_or_default());
    }
    for hushed in ["HUSH", "MfKQ9r8GKYqr"] {
        assert!(!seen.contains(hushed), "{seen}");
        assert!(!stored.windows(hushed.len()).any(|bytes| bytes == hushed.as_bytes()), "{hushed} is in the database");
    }
    // A value in the wrong place may be a secret: it is not repeated.
    let url = fixture.http("/api/v1/messages/receivers/other");
    let body =
        serde_json::json!({"kind": "email", "host": "h", "port": "HUSH", "encryption": "tls", "from": "", "to": []});
    let answer = reqwest::Client::new().put(url).json(&body).send().await.expect("an answer");
    let text = answer.text().await.expect("text");
    assert!(text.contains("S050") && !text.contains("HUSH"), "{text}");
}

#[tokio::test]
async fn bad_receivers_and_rules_are_refused_and_not_kept() {
    let fixture = watched().await;
    let client = &fixture.client;
    let clear = Channel::SlackWebhook { url: secret("http://hooks.slack.com/x") };
    assert_eq!(code(&client.put_receiver(&named("a"), &clear).await.expect_err("in the clear")), "S050");
    let mail: Channel = serde_json::from_value(serde_json::json!({
        "kind": "email", "host": "mail", "port": 25, "encryption": "tls", "from": "nobody", "to": ["a@example.org"]
    }))
    .expect("a channel");
    assert_eq!(code(&client.put_receiver(&named("a"), &mail).await.expect_err("no address")), "S050");
    assert_eq!(client.receivers().await.expect("a list"), []);
    let rule: Rule = serde_json::from_str(r#"{"name": "r", "to": "nobody"}"#).expect("a rule");
    assert_eq!(code(&client.put_message_rule(&rule).await.expect_err("unknown")), "S001");
    let hook = Receiver::start().await;
    add(&fixture, "hook", &webhook(&hook)).await;
    let tests = Rule { to: named("hook"), kinds: [NoticeKind::Test].into(), ..rule };
    assert_eq!(code(&client.put_message_rule(&tests).await.expect_err("by hand")), "S054");
    assert_eq!(code(&client.test_receiver(&named("nobody")).await.expect_err("unknown")), "S001");
}

#[tokio::test]
async fn the_daily_message_goes_out_once_a_day_also_over_a_restart() {
    let mut fixture = watched().await;
    let hook = Receiver::start().await;
    add(&fixture, "hook", &webhook(&hook)).await;
    let daily = Daily { at: "08:30".parse().expect("a time"), zone: "Europe/Berlin".parse().expect("a zone") };
    assert_eq!(fixture.client.set_daily_message(Some(&daily)).await.expect("set").as_ref(), Some(&daily));
    let dailies = || hook.calls().iter().filter(|call| call.json()["type"] == "firedrill.daily").count();
    let day = Span::secs(24 * 3600);
    let tomorrow = daily.zone.read("08:30", clock::now() + day).expect("a moment");
    messages::tick(fixture.server(), tomorrow - Span::secs(1)).await;
    let before = dailies();
    messages::tick(fixture.server(), tomorrow + Span::secs(1)).await;
    messages::tick(fixture.server(), tomorrow + Span::secs(2)).await;
    assert_eq!(dailies(), before + 1);
    fixture.restart().await;
    messages::tick(fixture.server(), tomorrow + Span::secs(3600)).await;
    assert_eq!(dailies(), before + 1);
    messages::tick(fixture.server(), tomorrow + day + Span::secs(3600)).await;
    assert_eq!(dailies(), before + 2);
    let text = hook.calls().last().expect("a call").json()["text"].as_str().expect("text").to_owned();
    assert!(text.contains("Planned today") && text.contains("Since yesterday"), "{text}");
    assert_eq!(fixture.client.set_daily_message(None).await.expect("off"), None);
}

#[tokio::test]
async fn a_cluster_that_is_short_of_a_node_is_told_of_once() {
    let mut fixture = watched().await;
    let hook = Receiver::start().await;
    add(&fixture, "hook", &webhook(&hook)).await;
    // Nobody has seen its nodes.
    fixture.client.register_cluster(&register()).await.expect("registered");
    let told = || hook.calls().iter().filter(|call| call.json()["type"] == "firedrill.redundancy").count();
    after(&fixture, Span::ZERO).await;
    assert_eq!(told(), 0, "not for a moment's shortage");
    after(&fixture, Span::secs(65)).await;
    until("the message", async || (told() == 1).then_some(())).await;
    after(&fixture, Span::secs(200)).await;
    fixture.restart().await;
    let at = |span| clock::now() + Span::secs(span);
    messages::tick(fixture.server(), at(300)).await;
    messages::tick(fixture.server(), at(400)).await;
    assert_eq!(told(), 1);
    assert_eq!(hook.calls()[0].json()["trouble"], serde_json::json!({"key": "redundancy/shop", "over": false}));
}
