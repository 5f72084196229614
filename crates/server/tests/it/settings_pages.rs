//! The pages of settings: the server, the limits of the guards, and messages.

use crate::fixture::Fixture;
use crate::keeper::register;
use crate::receiver::{Receiver, Say};
use crate::schedule_pages::{page, send};
use firedrill_api::messages::MessageState;
use firedrill_console::guard_limits;
use firedrill_model::guard::GuardPolicy;
use firedrill_server::{clock, messages};

#[tokio::test]
async fn settings_tell_what_the_server_is() {
    let fixture = Fixture::new().await;
    let shown = page(&fixture, "/settings").await;
    for wanted in [env!("CARGO_PKG_VERSION"), "/settings/guards", "/settings/messages", "--data-dir", "/audit"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    fixture.client.halt("somebody tripped").await.expect("halted");
    let shown = page(&fixture, "/settings").await;
    assert!(shown.contains("somebody tripped") && shown.contains("/halt/resume"), "{shown}");
}

/// What the form of the limits sends, with one field changed.
fn limits(changed: (&str, &str)) -> Vec<(String, String)> {
    let typed = guard_limits::fields(&GuardPolicy::default());
    let mut fields: Vec<(String, String)> =
        typed.pairs(&[changed.0]).into_iter().map(|(name, text)| (name, text.to_owned())).collect();
    fields.push((changed.0.to_owned(), changed.1.to_owned()));
    fields
}

async fn set(fixture: &Fixture, changed: (&str, &str)) -> (u16, String, String) {
    let fields = limits(changed);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (status, to, shown) = send(fixture, "/settings/guards", &fields).await;
    (status.as_u16(), to, shown)
}

#[tokio::test]
async fn the_limits_of_the_guards_are_set_refused_and_put_back() {
    let fixture = Fixture::new().await;
    let (status, to, _) = set(&fixture, ("concurrent_cluster_max", "3")).await;
    assert_eq!((status, to.as_str()), (303, "/settings/guards?set=true"));
    let policy = fixture.client.guards().await.expect("limits");
    assert_eq!(policy, GuardPolicy { concurrent_cluster_max: 3, ..GuardPolicy::default() });

    for (changed, said) in [
        (("concurrent_cluster_max", "0"), "allows no attack at all"),
        (("concurrent_cluster_max", "many"), "many"),
        (("approval_kinds", "no-such-kind"), "no-such-kind"),
        (("windows", "sometimes"), "sometimes"),
    ] {
        let (status, _, shown) = set(&fixture, changed).await;
        assert!(status == 409 && shown.contains(said) && shown.contains("/errors/S075"), "{changed:?}: {shown}");
    }
    assert_eq!(fixture.client.guards().await.expect("limits"), policy, "nothing was changed");
    let (status, _, _) = send(&fixture, "/settings/guards/default", &[]).await;
    assert_eq!(status, 303);
    assert_eq!(fixture.client.guards().await.expect("limits"), GuardPolicy::default());
}

#[tokio::test]
async fn receivers_and_rules_are_kept_tested_and_removed() {
    const PAGE: &str = "/settings/messages";
    let (fixture, receiver) = (Fixture::new().await, Receiver::start().await);
    fixture.client.register_cluster(&register()).await.expect("registered");
    messages::tick(fixture.server(), clock::now()).await;
    assert!(page(&fixture, PAGE).await.contains("No receiver yet"));

    let wrong = [("name", "chat"), ("channel", "kind: teams\nurls: 5ecret\n")];
    let (status, _, shown) = send(&fixture, &format!("{PAGE}/receivers"), &wrong).await;
    assert!(status == 409 && shown.contains("unknown field") && shown.contains("/errors/S050"), "{shown}");
    let yaml = format!("kind: teams\nurl: {}\n", receiver.url("/5ecret"));
    let (status, to, _) = send(&fixture, &format!("{PAGE}/receivers"), &[("name", "chat"), ("channel", &yaml)]).await;
    assert_eq!((status.as_u16(), to.as_str()), (303, PAGE));
    let shown = page(&fixture, PAGE).await;
    assert!(shown.contains("Send a test to chat") && !shown.contains("5ecret"), "{shown}");

    let (status, to, _) = send(&fixture, &format!("{PAGE}/receivers/chat/test"), &[]).await;
    assert_eq!(status, 303);
    assert!(page(&fixture, &to).await.contains("✔ chat has taken a test message"));
    receiver.say(&[Say::Status(500)]);
    let (status, _, shown) = send(&fixture, &format!("{PAGE}/receivers/chat/test"), &[]).await;
    assert!(status == 409 && shown.contains("role=\"alert\"") && !shown.contains("5ecret"), "{shown}");

    let rule = [("name", "drills"), ("to", "nobody"), ("at_least", "warning")];
    let (status, _, shown) = send(&fixture, &format!("{PAGE}/rules"), &rule).await;
    assert!(status == 409 && shown.contains("value=\"drills\""), "{shown}");
    let rule = [("name", "drills"), ("to", "chat"), ("at_least", "info"), ("clusters", "shop")];
    let (status, _, shown) = send(&fixture, &format!("{PAGE}/rules"), &rule).await;
    assert_eq!(status, 303, "{shown}");
    let rules = fixture.client.message_rules().await.expect("rules");
    assert_eq!((rules.len(), rules[0].clusters.len(), rules[0].to.as_str()), (1, 1, "chat"));
    assert!(page(&fixture, "/settings/messages?rule=drills").await.contains(">shop</textarea>"));

    let (status, _, shown) = send(&fixture, &format!("{PAGE}/daily"), &[("at", "25:00"), ("zone", "UTC")]).await;
    assert!(status == 409 && shown.contains("value=\"25:00\""), "{shown}");
    let (status, _, _) = send(&fixture, &format!("{PAGE}/daily"), &[("at", "08:30"), ("zone", "Europe/Berlin")]).await;
    assert_eq!(status, 303);
    assert!(page(&fixture, PAGE).await.contains("<b>08:30</b> by the clock of Europe/Berlin"));
    send(&fixture, &format!("{PAGE}/daily"), &[("do", "none")]).await;
    assert_eq!(fixture.client.daily_message().await.expect("an answer"), None);

    let (status, to, _) = send(&fixture, &format!("{PAGE}/retry"), &[]).await;
    assert_eq!((status.as_u16(), to.as_str()), (303, "/settings/messages?again=0"));
    assert!(fixture.client.message_queue(Some(MessageState::Dead)).await.expect("a queue").is_empty());
    let (status, _, shown) = send(&fixture, &format!("{PAGE}/receivers/chat/delete"), &[]).await;
    assert_eq!(status, 409, "a rule still sends to it: {shown}");
    send(&fixture, &format!("{PAGE}/rules/drills/delete"), &[]).await;
    send(&fixture, &format!("{PAGE}/receivers/chat/delete"), &[]).await;
    assert!(page(&fixture, PAGE).await.contains("No receiver yet"));
}
