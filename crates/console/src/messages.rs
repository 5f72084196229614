//! Messages: receivers, rules, the queue, and when the message of the day goes out.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use crate::typed::Typed;
use askama::Template;
use firedrill_api::http::Problem;
use firedrill_api::messages::{Daily, MessageEntry, MessageState, ReceiverView};
use firedrill_model::message::{NoticeKind, Rule};
use firedrill_model::{ClusterName, Severity};
use firedrill_schedule::Zone;
use std::fmt::Display;
use std::str::FromStr;

/// Clusters that the help of a rule names.
const CLUSTERS_SHOWN_MAX: usize = 20;
/// Before the names of the boxes of kinds.
const KIND: &str = "kind-";
/// All states of a message, in the order of the choice.
const STATES: [MessageState; 4] =
    [MessageState::Waiting, MessageState::Sending, MessageState::Sent, MessageState::Dead];
/// From the quietest.
const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

/// What the page shows. What was typed of a receiver holds secrets, so this has no `Debug`.
#[derive(Clone, Default)]
pub struct Messages {
    /// Without their secrets.
    pub receivers: Vec<ReceiverView>,
    /// By name.
    pub rules: Vec<Rule>,
    /// The newest messages.
    pub queue: Vec<MessageEntry>,
    /// There are older ones.
    pub more: bool,
    /// Only messages in this state are shown.
    pub state: Option<MessageState>,
    /// The newest of those that were given up.
    pub dead: Vec<MessageEntry>,
    /// When the message of the day goes out.
    pub daily: Option<Daily>,
    /// Clusters that a rule can name.
    pub clusters: Vec<ClusterName>,
    /// What was typed for a receiver, when it was refused.
    pub receiver: Typed,
    /// What was typed for a rule, when it was refused, or a rule that is to be changed.
    pub rule: Typed,
    /// What was typed for the message of the day, when it was refused.
    pub time: Typed,
    /// The receiver that has taken a test message.
    pub tested: String,
    /// So many messages went back into the queue.
    pub again: Option<u64>,
    /// Why something was not done.
    pub problem: Option<Problem>,
}

/// How a receiver is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// The kind of channel.
    pub kind: &'static str,
    /// What it is.
    pub about: &'static str,
    /// To begin with; a person fills in what is `…`.
    pub yaml: &'static str,
}

/// An example of each kind of channel.
pub const EXAMPLES: [Example; 6] = [
    Example {
        kind: "slack-webhook",
        about: "An incoming webhook of Slack. Its address is the secret.",
        yaml: "kind: slack-webhook\nurl: https://hooks.slack.com/services/…\n",
    },
    Example {
        kind: "slack-app",
        about: "An app of Slack with the right chat:write.",
        yaml: "kind: slack-app\ntoken: xoxb-…\nchannel: \"#drills\"\n",
    },
    Example {
        kind: "teams",
        about: "A workflow of Microsoft Teams that posts what it gets. Its address is the secret.",
        yaml: "kind: teams\nurl: https://…\n",
    },
    Example {
        kind: "email",
        about: "Mailboxes, through a mail server. Leave user and password out when it wants none. \
                The encryption is starttls, tls, or none for a server on this host.",
        yaml: "kind: email\nhost: mail.example.org\nport: 587\nencryption: starttls\nuser: firedrill\npassword: \"…\"\n\
               from: firedrill@example.org\nto: [dba@example.org]\n",
    },
    Example {
        kind: "pager-duty",
        about: "A service of PagerDuty, by an integration “Events API V2”. It opens incidents and closes them.",
        yaml: "kind: pager-duty\nrouting_key: \"…\"\n",
    },
    Example {
        kind: "webhook",
        about: "Whatever listens there. Each call is signed by the rules of Standard Webhooks; \
                the secret is whsec_ and 24 to 64 random bytes in base 64.",
        yaml: "kind: webhook\nurl: https://…\nsecret: whsec_…\n",
    },
];

/// What messages of a kind tell of.
const fn about(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::RunBegan => "a run began",
        NoticeKind::RunPassed => "a run passed",
        NoticeKind::RunFailed => "a run failed",
        NoticeKind::RunInconclusive => "nothing can be told from a run",
        NoticeKind::RunHalted => "a run was stopped before its end",
        NoticeKind::Guard => "a guard refused a start, or was passed over",
        NoticeKind::ApprovalWanted => "a second person is asked",
        NoticeKind::SchedulePaused => "a schedule paused itself, or starts again",
        NoticeKind::Halt => "everything was halted, or may start again",
        NoticeKind::OperationFailed => "an operation was given up, or waits for a person",
        NoticeKind::Redundancy => "a cluster is short of a node without a drill, or is whole again",
        NoticeKind::Unexpected => "what no drill explains, and everything critical",
        NoticeKind::Daily => "the message of the day",
        NoticeKind::Test => "a test",
    }
}

/// The state of that name; `None`: all.
#[must_use]
pub fn state_of(word: &str) -> Option<MessageState> {
    STATES.into_iter().find(|state| format::class(state) == word)
}

/// A rule as the fields of its form.
#[must_use]
pub fn fields(rule: &Rule) -> Typed {
    let Rule { name, to, kinds, clusters, at_least } = rule;
    let named = [
        ("name", name.to_string()),
        ("to", to.to_string()),
        ("clusters", joined(clusters, "\n")),
        ("at_least", format::class(at_least)),
    ];
    let named = named.into_iter().map(|(field, text)| (field.to_owned(), text));
    let boxes = kinds.iter().map(|kind| (format!("{KIND}{kind}"), "true".to_owned()));
    Typed::of(named.chain(boxes).collect())
}

/// The rule that the fields mean. Whether it can be is for the server to say.
///
/// # Errors
/// A field is not understood: which, and what would be.
pub fn read_rule(typed: &Typed) -> Result<Rule, String> {
    let names = typed.get("clusters").split(['\n', '\r', ',', ' ', '\t']).filter(|name| !name.is_empty());
    let at_least = typed.text("at_least").unwrap_or("info");
    let at_least = SEVERITIES.into_iter().find(|severity| format::class(severity) == at_least);
    Ok(Rule {
        name: one("Name", typed.get("name"))?,
        to: one("To", typed.get("to"))?,
        kinds: NoticeKind::ALL.into_iter().filter(|kind| typed.is(&format!("{KIND}{kind}"))).collect(),
        clusters: names.map(|name| one::<ClusterName>("Only of clusters", name)).collect::<Result<_, String>>()?,
        at_least: at_least.ok_or_else(|| "“At least”: choose info, warning or critical".to_owned())?,
    })
}

/// When the fields say that the message of the day goes out.
///
/// # Errors
/// A field is not understood: which, and what would be.
pub fn read_daily(typed: &Typed) -> Result<Daily, String> {
    let zone = typed.text("zone");
    let zone = zone.map_or_else(|| Ok(Zone::utc()), |name| one("By the clock of", name))?;
    Ok(Daily { at: one("At", typed.get("at"))?, zone })
}

fn one<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, String> {
    text.trim().parse::<T>().map_err(|why| format!("“{field}”: {why}"))
}

fn joined<T: Display>(all: impl IntoIterator<Item = T>, between: &str) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(between)
}

/// All of these, or what none of them means.
fn all_or<T: Display>(some: impl IntoIterator<Item = T>, none: &str) -> String {
    let text = joined(some, ", ");
    if text.is_empty() { none.to_owned() } else { text }
}

/// A word with a sign, and the class of its badge.
struct Badge {
    class: &'static str,
    words: &'static str,
}

const fn standing(state: MessageState) -> Badge {
    let (class, words) = match state {
        MessageState::Waiting => ("warning", "○ waiting"),
        MessageState::Sending => ("running", "↻ sending"),
        MessageState::Sent => ("passed", "✔ sent"),
        MessageState::Dead => ("critical", "✖ dead"),
    };
    Badge { class, words }
}

const fn loud(severity: Severity) -> Badge {
    let (class, words) = match severity {
        Severity::Info => ("soft", "– info"),
        Severity::Warning => ("warning", "▲ warning"),
        Severity::Critical => ("critical", "✖ critical"),
    };
    Badge { class, words }
}

/// Something that can be chosen.
struct Choice {
    value: String,
    text: String,
    is_chosen: bool,
}

/// A kind that a rule can name.
struct Kind {
    field: String,
    word: &'static str,
    about: &'static str,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "messages.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Messages,
    may_set: bool,
    may_send: bool,
    examples: [Example; 6],
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, page: &Messages) -> String {
    let (may_set, may_send) =
        (frame.may_everywhere(crate::Action::Configure), frame.may_everywhere(crate::Action::Operate));
    finish(Page { frame, page, may_set, may_send, examples: EXAMPLES }.render())
}

impl Page<'_> {
    /// The receiver that has taken a test message, when there is one of that name.
    fn tested(&self) -> Option<&str> {
        let known = self.page.receivers.iter().find(|receiver| receiver.name.as_str() == self.page.tested);
        known.map(|receiver| receiver.name.as_str())
    }

    fn takes(&self, rule: &Rule) -> String {
        all_or(&rule.kinds, "all kinds")
    }

    fn of_clusters(&self, rule: &Rule) -> String {
        all_or(&rule.clusters, "all clusters")
    }

    fn at_least(&self, rule: &Rule) -> Badge {
        loud(rule.at_least)
    }

    fn standing(&self, entry: &MessageEntry) -> Badge {
        standing(entry.state)
    }

    fn loud(&self, entry: &MessageEntry) -> Badge {
        loud(entry.severity)
    }

    fn waits(&self, entry: &MessageEntry) -> bool {
        matches!(entry.state, MessageState::Waiting | MessageState::Sending)
    }

    fn states(&self) -> Vec<Choice> {
        let choice = |state: MessageState| Choice {
            value: format::class(&state),
            text: format::class(&state),
            is_chosen: self.page.state == Some(state),
        };
        STATES.into_iter().map(choice).collect()
    }

    fn kinds(&self) -> Vec<Kind> {
        let kind = |kind: NoticeKind| {
            let field = format!("{KIND}{kind}");
            Kind { is_chosen: self.page.rule.is(&field), field, word: kind.word(), about: about(kind) }
        };
        NoticeKind::ALL.into_iter().map(kind).collect()
    }

    /// To whom a rule can send.
    fn receivers(&self) -> Vec<Choice> {
        let to = self.page.rule.get("to");
        let choice = |receiver: &ReceiverView| Choice {
            value: receiver.name.to_string(),
            text: format!("{} ({})", receiver.name, receiver.kind),
            is_chosen: receiver.name.as_str() == to,
        };
        self.page.receivers.iter().map(choice).collect()
    }

    fn severities(&self) -> Vec<Choice> {
        let given = self.page.rule.text("at_least").unwrap_or("info");
        let choice = |severity: Severity| {
            let value = format::class(&severity);
            let text = match severity {
                Severity::Info => "info: everything",
                Severity::Warning => "warning: what is unexpected",
                Severity::Critical => "critical: what needs a person",
            };
            Choice { is_chosen: value == given, value, text: text.to_owned() }
        };
        SEVERITIES.into_iter().map(choice).collect()
    }

    fn clusters(&self) -> String {
        let names = self.page.clusters.iter().take(CLUSTERS_SHOWN_MAX);
        let more = self.page.clusters.len().saturating_sub(CLUSTERS_SHOWN_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", joined(names, ", "))
    }

    /// The time of the message of the day, for its form.
    fn at(&self) -> String {
        let set = || self.page.daily.as_ref().map(|daily| daily.at.to_string()).unwrap_or_default();
        self.page.time.text("at").map_or_else(set, str::to_owned)
    }

    fn zone(&self) -> String {
        let set = || self.page.daily.as_ref().map(|daily| daily.zone.name().to_owned());
        self.page.time.text("zone").map_or_else(|| set().unwrap_or_else(|| "UTC".to_owned()), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::HOSTILE;
    use firedrill_model::access::Role;
    use serde_json::json;

    fn rule(kinds: &[&str], clusters: &[&str], at_least: &str) -> Rule {
        let rule = json!({"name": "pages", "to": "pager", "kinds": kinds, "clusters": clusters, "at_least": at_least});
        serde_json::from_value(rule).expect("a rule")
    }

    fn entry(id: &str, state: &str) -> MessageEntry {
        serde_json::from_value(json!({
            "id": id, "receiver": "pager", "state": state, "kind": "run-failed", "severity": "critical",
            "cluster": "shop", "title": HOSTILE, "enqueued": 0, "due": 1_000_000, "attempts": 3, "problem": HOSTILE,
        }))
        .expect("a message")
    }

    fn messages() -> Messages {
        let receivers = json!([{"name": "pager", "kind": "pager-duty", "to": HOSTILE, "added": 0}]);
        let typed = |field: &str| Typed::of(vec![(field.to_owned(), HOSTILE.to_owned())]);
        Messages {
            receivers: serde_json::from_value(receivers).expect("receivers"),
            rules: vec![rule(&["run-failed", "halt"], &["shop"], "warning")],
            queue: vec![entry("msg_1", "dead"), entry("msg_2", "waiting")],
            more: true,
            dead: vec![entry("msg_1", "dead")],
            daily: Some(serde_json::from_value(json!({"at": "08:30", "zone": "Europe/Berlin"})).expect("a time")),
            clusters: vec!["shop".parse().expect("a name")],
            receiver: typed("channel"),
            rule: typed("clusters"),
            time: typed("at"),
            problem: Some(Problem { code: "S050".into(), message: HOSTILE.into(), refused: false }),
            ..Messages::default()
        }
    }

    fn shown(role: Role, messages: &Messages) -> String {
        page(&Frame::shown_to(role), messages)
    }

    #[test]
    fn rules_are_the_same_after_a_way_through_the_form() {
        for rule in [
            rule(&[], &[], "info"),
            rule(&["run-failed", "daily", "unexpected"], &["bank", "shop"], "critical"),
            rule(&["guard"], &[], "warning"),
        ] {
            assert_eq!(read_rule(&fields(&rule)), Ok(rule));
        }
        let mut typed = fields(&rule(&[], &[], "info"));
        typed.fields.insert("clusters".to_owned(), " shop,bank\r\nweb ".to_owned());
        assert_eq!(read_rule(&typed).expect("a rule").clusters.len(), 3);
    }

    #[test]
    fn a_bad_value_is_refused_by_the_name_of_its_field() {
        for (field, wrong, label) in [
            ("name", "", "Name"),
            ("to", "Pager", "To"),
            ("clusters", "SHOP", "Only of clusters"),
            ("at_least", "x", "At least"),
        ] {
            let mut typed = fields(&rule(&[], &[], "info"));
            typed.fields.insert(field.to_owned(), wrong.to_owned());
            let why = read_rule(&typed).expect_err(field);
            assert!(why.starts_with(&format!("“{label}”")), "{why}");
        }
        let daily = |at: &str, zone: &str| {
            read_daily(&Typed::of(vec![("at".to_owned(), at.to_owned()), ("zone".to_owned(), zone.to_owned())]))
        };
        assert!(daily("8:30", "").is_ok_and(|daily| daily.at.to_string() == "08:30" && daily.zone == Zone::utc()));
        assert!(daily("08:30", "Europe/Berlin").is_ok_and(|daily| daily.zone.name() == "Europe/Berlin"));
        assert!(daily("noon", "").is_err_and(|why| why.starts_with("“At”")));
        assert!(daily("08:30", "Moon").is_err_and(|why| why.starts_with("“By the clock of”")));
    }

    #[test]
    fn nothing_that_people_have_written_becomes_markup() {
        let html = shown(Role::Admin, &messages());
        assert!(!html.contains("<script>alert") && !html.contains("style=\""), "{html}");
        for text in ["✖ dead", "○ waiting", "run-failed, halt", "/errors/S050", "Remove pager", "the newest"] {
            assert!(html.contains(text), "{text}: {html}");
        }
    }

    #[test]
    fn buttons_are_for_those_who_may() {
        let html = shown(Role::Admin, &messages());
        for action in
            ["receivers", "receivers/pager/test", "receivers/pager/delete", "rules", "rules/pages/delete", "daily"]
        {
            assert!(html.contains(&format!("action=\"/settings/messages/{action}\"")), "{action}: {html}");
        }
        let html = shown(Role::Operator, &messages());
        assert!(
            html.contains("receivers/pager/test") && html.contains("action=\"/settings/messages/retry\""),
            "{html}"
        );
        assert!(!html.contains("/delete\"") && !html.contains("<textarea"), "{html}");
        let html = shown(Role::Viewer, &messages());
        assert!(!html.contains("action=\"/settings/messages/") && !html.contains("<textarea"), "{html}");
        assert!(html.contains("msg_2") && html.contains("08:30"), "{html}");
    }

    #[test]
    fn parts_that_refresh_themselves_hold_no_form() {
        let html = shown(Role::Admin, &messages());
        let (_, queue) = html.split_once("id=\"queue\"").expect("the queue");
        let (queue, _) = queue.split_once("<!-- end of the queue -->").expect("its end");
        assert!(queue.contains("msg_1") && !queue.contains("<form"), "{queue}");
    }

    #[test]
    fn without_a_receiver_the_page_leads_to_the_first() {
        let html = shown(Role::Admin, &Messages::default());
        assert!(html.contains("No receiver yet") && html.contains("kind: slack-webhook"), "{html}");
        assert!(!html.contains("action=\"/settings/messages/rules\"") && html.contains("Nothing is dead"), "{html}");
    }

    #[test]
    fn a_test_is_told_of_when_there_is_such_a_receiver() {
        let tested =
            |name: &str| shown(Role::Admin, &Messages { tested: name.to_owned(), again: Some(2), ..messages() });
        assert!(tested("pager").contains("✔ pager has taken a test message") && tested("").contains("2 messages are"));
        assert!(!tested("chat").contains("has taken a test message") && !tested(HOSTILE).contains("has taken"));
    }
}
