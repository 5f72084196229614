//! Rules, forms and waits, by examples and by properties.

use super::channel::{Channel, Encryption, Secret};
use super::render::{Outgoing, render};
use super::retry::{AGE_MAX, ATTEMPTS_MAX, Next, Tried, WAIT_MAX, next};
use super::*;
use crate::id::{ReceiverName, RuleName};
use crate::time::Span;
use crate::timeline::Scope;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn shop() -> ClusterName {
    "shop".parse().expect("a name")
}

fn event(kind: EventKind, severity: Severity, about: Option<Topic>) -> TimelineEvent {
    let scope = Scope { cluster: Some(shop()), about, ..Scope::default() };
    TimelineEvent { sequence: 7, at: Timestamp(1_000_000), severity, kind, text: "it happened".to_owned(), scope }
}

fn notice() -> Notice {
    Notice {
        key: "event/7".to_owned(),
        kind: NoticeKind::RunFailed,
        severity: Severity::Warning,
        at: Timestamp(1_795_503_600_000_000),
        title: "run of kill-primary failed: <!channel> & 3 writes lost".to_owned(),
        text: "first line\nsecond ```line``` <https://example.org|click>".to_owned(),
        cluster: Some(shop()),
        run: Some(RunId("0193".to_owned())),
        trouble: Some(Trouble { key: "run/shop/kill-primary".to_owned(), over: false }),
    }
}

fn body(channel: &Channel, notice: &Notice) -> serde_json::Value {
    match render(channel, notice, "msg_1") {
        Outgoing::Post { body, .. } => serde_json::from_str(&body).expect("JSON"),
        mail @ Outgoing::Mail { .. } => panic!("{mail:?}"),
    }
}

fn secret(text: &str) -> Secret {
    Secret(text.to_owned())
}

fn pager() -> Channel {
    Channel::PagerDuty { routing_key: secret("R0"), api: None }
}

fn email() -> Channel {
    Channel::Email {
        host: "mail.example.org".to_owned(),
        port: 587,
        encryption: Encryption::Starttls,
        user: None,
        password: None,
        from: "firedrill@example.org".to_owned(),
        to: vec!["dba@example.org".to_owned()],
    }
}

#[test]
fn each_receiver_has_its_form() {
    let slack = Channel::SlackWebhook { url: secret("https://hooks.slack.com/services/T/B/x") };
    let app = Channel::SlackApp { token: secret("xoxb-1"), channel: "#drills".to_owned(), api: None };
    let teams = Channel::Teams { url: secret("https://example.org/workflow?sig=x") };
    let webhook = Channel::Webhook { url: secret("https://example.org/hook"), secret: secret("whsec_x") };
    insta::assert_json_snapshot!("slack", body(&slack, &notice()));
    insta::assert_json_snapshot!("teams", body(&teams, &notice()));
    insta::assert_json_snapshot!("pager", body(&pager(), &notice()));
    insta::assert_json_snapshot!("webhook", body(&webhook, &notice()));
    assert_eq!(body(&app, &notice())["channel"], "#drills");
    let Outgoing::Mail { subject, text } = render(&email(), &notice(), "msg_1") else { panic!("no mail") };
    insta::assert_snapshot!("mail", format!("Subject: {subject}\n\n{text}"));
}

#[test]
fn the_end_of_what_lasts_closes_the_incident_that_its_beginning_opened() {
    let begun = body(&pager(), &notice());
    let over = Notice {
        kind: NoticeKind::RunPassed,
        trouble: notice().trouble.map(|trouble| Trouble { over: true, ..trouble }),
        ..notice()
    };
    let ended = body(&pager(), &over);
    assert_eq!((&begun["event_action"], &ended["event_action"]), (&"trigger".into(), &"resolve".into()));
    assert_eq!(begun["dedup_key"], ended["dedup_key"]);
}

#[test]
fn what_lasts_has_one_key_from_its_beginning_to_its_end() {
    let ended = |verdict| Topic::RunEnded { experiment: "kill-primary".to_owned(), verdict, stopped: false };
    let schedule: ScheduleName = "nightly".parse().expect("a name");
    let pairs = [
        (ended(Verdict::Failed), ended(Verdict::Passed)),
        (Topic::Halted, Topic::Resumed),
        (Topic::SchedulePaused { schedule: schedule.clone() }, Topic::ScheduleResumed { schedule }),
        (Topic::RedundancyLost, Topic::RedundancyRestored),
    ];
    for (beginning, end) in pairs {
        let told = |topic| notice_of(&event(EventKind::Server, Severity::Info, Some(topic)), true).expect("told");
        let (one, two) = (told(beginning).trouble.expect("lasts"), told(end).trouble.expect("lasts"));
        assert_eq!((one.key, one.over, two.over), (two.key, false, true));
    }
}

#[test]
fn a_drill_explains_warnings_and_nothing_explains_what_is_critical() {
    let kind = |kind, severity, drill| notice_of(&event(kind, severity, None), drill).map(|notice| notice.kind);
    assert_eq!(kind(EventKind::Health, Severity::Warning, true), None);
    assert_eq!(kind(EventKind::Health, Severity::Warning, false), Some(NoticeKind::Unexpected));
    assert_eq!(kind(EventKind::Health, Severity::Info, false), None);
    for drill in [true, false] {
        assert_eq!(kind(EventKind::AttackEnded, Severity::Critical, drill), Some(NoticeKind::Unexpected));
        assert_eq!(kind(EventKind::OperationEnded, Severity::Critical, drill), Some(NoticeKind::OperationFailed));
    }
    assert_eq!(kind(EventKind::OperationEnded, Severity::Warning, true), None);
    assert_eq!(kind(EventKind::OperationStarted, Severity::Critical, true), Some(NoticeKind::OperationFailed));
    let told = notice_of(&event(EventKind::Health, Severity::Warning, None), false).expect("told");
    assert_eq!(told.trouble, Some(Trouble { key: "unexpected/shop".to_owned(), over: false }));
}

#[test]
fn a_long_line_is_cut_and_kept_whole_below() {
    let mut long = event(EventKind::Health, Severity::Critical, None);
    long.text = "x".repeat(500);
    let told = notice_of(&long, false).expect("told");
    assert_eq!((told.title.chars().count(), told.text.len()), (TITLE_CHARS_MAX, 500));
    long.text = "one\ntwo\nthree\n".to_owned();
    let told = notice_of(&long, false).expect("told");
    assert_eq!((told.title.as_str(), told.text.as_str()), ("one", "two\nthree"));
}

#[test]
fn a_channel_that_would_give_a_secret_away_is_refused() {
    let slack = |url: &str| Channel::SlackWebhook { url: secret(url) }.check();
    for good in ["https://hooks.slack.com/services/x", "http://127.0.0.1:99/x", "http://localhost/x", "http://[::1]:1/"]
    {
        assert_eq!(slack(good), Ok(()), "{good}");
    }
    for bad in [
        "http://hooks.slack.com/x",
        "http://127.0.0.1.example.org/x",
        "http://localhost@example.org/",
        "https://",
        "ftp://x",
        "",
        "https://a b/",
    ] {
        assert!(slack(bad).is_err(), "{bad}");
    }
    let mail = |change: fn(&mut Channel)| {
        let mut channel = email();
        change(&mut channel);
        channel.check()
    };
    assert_eq!(mail(|_| ()), Ok(()));
    let clear = |channel: &mut Channel| {
        if let Channel::Email { encryption, .. } = channel {
            *encryption = Encryption::None;
        }
    };
    assert_eq!(mail(clear), Err(ChannelError::Clear));
    let nobody = |channel: &mut Channel| {
        if let Channel::Email { to, .. } = channel {
            to.clear();
        }
    };
    assert_eq!(mail(nobody), Err(ChannelError::Mailboxes(0)));
    let webhook = |text: &str| Channel::Webhook { url: secret("https://e.org/"), secret: secret(text) }.check();
    assert_eq!(webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Ok(()));
    for bad in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_", "whsec_????????????????????????????????"] {
        assert_eq!(webhook(bad), Err(ChannelError::SigningSecret), "{bad}");
    }
}

#[test]
fn nothing_shown_of_a_channel_has_a_secret_in_it() {
    let channels = [
        Channel::SlackWebhook { url: secret("https://hooks.slack.com/services/HUSH") },
        Channel::SlackApp { token: secret("HUSH"), channel: "#c".to_owned(), api: None },
        Channel::Teams { url: secret("https://e.org/?sig=HUSH") },
        Channel::PagerDuty { routing_key: secret("HUSH"), api: None },
        Channel::Webhook { url: secret("https://e.org/HUSH"), secret: secret("whsec_HUSH") },
    ];
    for channel in channels {
        assert!(!format!("{} {channel:?}", channel.shown()).contains("HUSH"), "{}", channel.kind());
        let rendered = render(&channel, &notice(), "msg_1");
        if !matches!(channel, Channel::PagerDuty { .. }) {
            // PagerDuty has its key in the body; bodies are not logged.
            assert!(!format!("{rendered:?}").contains("HUSH"), "{rendered:?}");
        }
    }
}

fn a_kind() -> impl Strategy<Value = NoticeKind> {
    prop::sample::select(&NoticeKind::ALL[..])
}

fn a_severity() -> impl Strategy<Value = Severity> {
    prop::sample::select(&[Severity::Info, Severity::Warning, Severity::Critical][..])
}

fn a_cluster() -> impl Strategy<Value = ClusterName> {
    prop::sample::select(&["shop", "bank", "mail"][..]).prop_map(|name| name.parse().expect("a name"))
}

prop_compose! {
    fn a_rule()(
        to in prop::sample::select(&["one", "two", "pager"][..]),
        kinds in prop::collection::btree_set(a_kind(), 0..4),
        clusters in prop::collection::btree_set(a_cluster(), 0..3),
        at_least in a_severity(),
    ) -> Rule {
        let name: RuleName = "rule".parse().expect("a name");
        Rule { name, to: to.parse().expect("a name"), kinds, clusters, at_least }
    }
}

prop_compose! {
    fn a_notice()(
        kind in a_kind(),
        severity in a_severity(),
        cluster in prop::option::of(a_cluster()),
        over in prop::option::of(any::<bool>()),
    ) -> Notice {
        let trouble = over.map(|over| Trouble { key: "k".to_owned(), over });
        Notice { kind, severity, cluster, trouble, ..notice() }
    }
}

fn keeps_incidents(receiver: &ReceiverName) -> bool {
    receiver.as_str() == "pager"
}

proptest! {
    #[test]
    fn who_gets_what(rules in prop::collection::vec(a_rule(), 0..6), notice in a_notice()) {
        let sent = deliveries(&notice, &rules, keeps_incidents);
        // Without a condition everything comes; without a rule nothing does.
        let open = |to: &str| Rule {
            name: "all".parse().expect("a name"), to: to.parse().expect("a name"), kinds: BTreeSet::new(),
            clusters: BTreeSet::new(), at_least: Severity::Info,
        };
        prop_assert_eq!(deliveries(&notice, &[open("one")], keeps_incidents).len(), 1);
        prop_assert_eq!(deliveries(&notice, &[], keeps_incidents).len(), 0);
        // Rules add up: each alone gives a part, and their order does not matter.
        let parts: BTreeSet<ReceiverName> =
            rules.iter().flat_map(|rule| deliveries(&notice, std::slice::from_ref(rule), keeps_incidents)).collect();
        prop_assert_eq!(&parts, &sent);
        for rule in &rules {
            let outside = notice.cluster.as_ref().is_some_and(|cluster| {
                !rule.clusters.is_empty() && !rule.clusters.contains(cluster)
            });
            let quiet = notice.severity < rule.at_least;
            let unasked = !rule.kinds.is_empty() && !rule.kinds.contains(&notice.kind);
            let fits = rule.fits(&notice, false);
            prop_assert_eq!(fits, !outside && !quiet && !unasked);
            // Who keeps incidents gets at least as much, and more of ends only.
            let over = notice.trouble.as_ref().is_some_and(|trouble| trouble.over);
            prop_assert!(rule.fits(&notice, true) >= fits);
            prop_assert!(over || rule.fits(&notice, true) == fits);
            prop_assert!(!(outside && rule.fits(&notice, true)));
        }
    }

    #[test]
    fn an_incident_that_a_rule_opens_is_closed_by_the_same_rule(rule in a_rule(), cluster in a_cluster()) {
        let told = |kind, severity, over| Notice {
            kind, severity, cluster: Some(cluster.clone()),
            trouble: Some(Trouble { key: "k".to_owned(), over }), ..notice()
        };
        let pairs = [(NoticeKind::RunFailed, NoticeKind::RunPassed), (NoticeKind::Halt, NoticeKind::Halt)];
        for (begins, ends) in pairs {
            if rule.fits(&told(begins, Severity::Warning, false), true) {
                prop_assert!(rule.fits(&told(ends, Severity::Info, true), true));
            }
        }
    }

    #[test]
    fn waits_grow_within_bounds_and_end(
        chances in prop::collection::vec(any::<u16>(), 64), asked in prop::option::of(0_u64..100_000),
    ) {
        let enqueued = Timestamp(5_000_000);
        let (mut now, mut attempts) = (enqueued, 0);
        for chance in chances {
            attempts += 1;
            let tried = Tried::Later { why: "busy".to_owned(), after: asked.map(Span::secs) };
            match next(tried, attempts, enqueued, now, chance) {
                Next::Again { due, .. } => {
                    let wait = due.since(now);
                    prop_assert!(wait >= Span::millis(3750) && wait <= WAIT_MAX, "{wait}");
                    prop_assert!(due.since(enqueued) <= AGE_MAX);
                    now = due;
                }
                Next::Dead { why } => {
                    prop_assert!(attempts <= ATTEMPTS_MAX && why.contains("given up"), "{why}");
                    return Ok(());
                }
                Next::Done => prop_assert!(false, "it was not taken"),
            }
        }
        prop_assert!(false, "it never ends");
    }

    #[test]
    fn every_form_is_within_its_receiver_s_limits(title in "\\PC{0,300}", text in "(?s).{0,9000}") {
        let notice = Notice { title, text, ..notice() };
        let slack = body(&Channel::SlackWebhook { url: secret("https://e.org/") }, &notice);
        for block in slack["blocks"].as_array().expect("blocks") {
            prop_assert!(block["text"]["text"].as_str().unwrap_or_default().chars().count() <= 3000);
        }
        let teams = body(&Channel::Teams { url: secret("https://e.org/") }, &notice).to_string();
        prop_assert!(teams.len() <= 28 << 10, "{}", teams.len());
        let Outgoing::Mail { subject, .. } = render(&email(), &notice, "msg_1") else { panic!("no mail") };
        prop_assert!(!subject.contains(['\r', '\n']));
    }
}

#[test]
fn what_never_works_is_not_tried_again() {
    let tried = Tried::Never { why: "404".to_owned() };
    assert_eq!(next(tried, 1, Timestamp(0), Timestamp(1), 0), Next::Dead { why: "404".to_owned() });
    assert_eq!(next(Tried::Taken, 1, Timestamp(0), Timestamp(1), 0), Next::Done);
}
