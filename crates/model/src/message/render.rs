//! A notice in the form of each receiver.
//!
//! Sources: Slack, "Formatting text for app surfaces" and `chat.postMessage`; Microsoft, "Create incoming webhooks with
//! Workflows" (adaptive cards); PagerDuty, "Events API v2"; the Standard Webhooks specification 1.0.

use super::channel::{Channel, Secret};
use super::{Notice, NoticeKind, cut};
use crate::timeline::Severity;
use serde_json::{Value, json};

/// Slack refuses a section of more than 3000 characters; escaping makes some of them longer.
const SLACK_TEXT_CHARS: usize = 2800;
/// Teams refuses a message of more than 28 KiB; a character may take six bytes.
const TEAMS_TEXT_CHARS: usize = 3000;
/// Each line of a card brings some 100 bytes of its own.
const TEAMS_LINES_MAX: usize = 60;
/// PagerDuty cuts summaries there.
const PAGER_SUMMARY_CHARS: usize = 1024;
/// PagerDuty refuses longer keys.
const PAGER_KEY_CHARS: usize = 255;
/// PagerDuty refuses events of more than 512 KiB.
const PAGER_DETAILS_CHARS: usize = 20_000;

const SLACK_API: &str = "https://slack.com";
const PAGER_API: &str = "https://events.pagerduty.com";

/// What goes out, ready but for the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A POST of a JSON document.
    Post {
        /// Where to.
        url: Secret,
        /// Sent as `Authorization: Bearer`.
        bearer: Option<Secret>,
        /// Signs the call.
        signing: Option<Secret>,
        /// The document.
        body: String,
        /// What the answer must be.
        accepts: Accepts,
    },
    /// A mail of plain text.
    Mail {
        /// Its subject.
        subject: String,
        /// Its text.
        text: String,
    },
}

/// Which answer means that a message was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// Any of 200 to 299.
    Success,
    /// 200 with `"ok": true` in it: Slack's API says no with 200 as well.
    SlackOk,
}

/// Writes a notice for a receiver. `id` is the delivery's, the same at each try: the receivers that can tell a message
/// that comes twice do it by that, or by the key of what lasts.
#[must_use]
pub fn render(channel: &Channel, notice: &Notice, id: &str) -> Outgoing {
    let post = |url: Secret, body: &Value| Outgoing::Post {
        url,
        bearer: None,
        signing: None,
        body: body.to_string(),
        accepts: Accepts::Success,
    };
    match channel {
        Channel::SlackWebhook { url } => post(url.clone(), &slack(notice)),
        Channel::SlackApp { token, channel, api } => {
            let mut body = slack(notice);
            body["channel"] = json!(channel);
            let base = api.as_deref().unwrap_or(SLACK_API).trim_end_matches('/');
            Outgoing::Post {
                url: Secret(format!("{base}/api/chat.postMessage")),
                bearer: Some(token.clone()),
                signing: None,
                body: body.to_string(),
                accepts: Accepts::SlackOk,
            }
        }
        Channel::Teams { url } => post(url.clone(), &teams(notice)),
        Channel::PagerDuty { routing_key, api } => {
            let base = api.as_deref().unwrap_or(PAGER_API).trim_end_matches('/');
            post(Secret(format!("{base}/v2/enqueue")), &pager(notice, routing_key))
        }
        Channel::Webhook { url, secret } => Outgoing::Post {
            url: url.clone(),
            bearer: None,
            signing: Some(secret.clone()),
            body: webhook(notice, id).to_string(),
            accepts: Accepts::Success,
        },
        Channel::Email { .. } => Outgoing::Mail { subject: subject(notice), text: plain(notice) },
    }
}

/// What a signature of Standard Webhooks is made over.
#[must_use]
pub fn signed_content(id: &str, timestamp_seconds: i64, body: &str) -> String {
    format!("{id}.{timestamp_seconds}.{body}")
}

const fn loudness(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// A word before the first line, so that it can be told at a glance; nothing for the ordinary course of things.
fn headline(notice: &Notice) -> String {
    let over = notice.trouble.as_ref().is_some_and(|trouble| trouble.over);
    match notice.severity {
        _ if over => format!("over: {}", notice.title),
        Severity::Info => notice.title.clone(),
        Severity::Warning => format!("warning: {}", notice.title),
        Severity::Critical => format!("CRITICAL: {}", notice.title),
    }
}

/// Where it belongs: `cluster shop, run 0193…`.
fn place(notice: &Notice) -> String {
    let cluster = notice.cluster.iter().map(|cluster| format!("cluster {cluster}"));
    let run = notice.run.iter().map(|run| format!("run {run}"));
    cluster.chain(run).chain([format!("kind {}", notice.kind)]).collect::<Vec<_>>().join(", ")
}

fn slack(notice: &Notice) -> Value {
    // `&`, `<` and `>` would begin markup: a name must not become a mention of everybody.
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let plain_text = |text: &str| json!({"type": "plain_text", "text": text, "emoji": false});
    let mut blocks = vec![json!({"type": "section", "text": plain_text(&headline(notice))})];
    if !notice.text.is_empty() {
        let text = escape(&cut(&notice.text, SLACK_TEXT_CHARS)).replace("```", "'''");
        let text = cut(&text, SLACK_TEXT_CHARS);
        blocks.push(
            json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("```{text}```"), "verbatim": true}}),
        );
    }
    blocks.push(json!({"type": "context", "elements": [plain_text(&place(notice))]}));
    json!({"text": escape(&headline(notice)), "blocks": blocks})
}

fn teams(notice: &Notice) -> Value {
    let colour = match notice.severity {
        Severity::Info => "default",
        Severity::Warning => "warning",
        Severity::Critical => "attention",
    };
    // A run of text, unlike a text block, has no markup in it.
    let run = |text: &str, more: Value| {
        let mut run = json!({"type": "TextRun", "text": text});
        if let (Some(run), Value::Object(more)) = (run.as_object_mut(), more) {
            run.extend(more);
        }
        json!({"type": "RichTextBlock", "inlines": [run]})
    };
    let mut body = vec![run(&headline(notice), json!({"weight": "bolder", "color": colour}))];
    if !notice.text.is_empty() {
        let text = cut(&notice.text, TEAMS_TEXT_CHARS);
        // A card leaves empty runs out.
        let shown = |line: &str| if line.is_empty() { " ".to_owned() } else { line.to_owned() };
        let lines = text.lines().take(TEAMS_LINES_MAX);
        body.extend(lines.map(|line| run(&shown(line), json!({"fontType": "monospace", "size": "small"}))));
    }
    body.push(run(&place(notice), json!({"isSubtle": true, "size": "small"})));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
            },
        }],
    })
}

fn pager(notice: &Notice, routing_key: &Secret) -> Value {
    let key = notice.trouble.as_ref().map_or(&notice.key, |trouble| &trouble.key);
    let key = cut(&format!("firedrill/{key}"), PAGER_KEY_CHARS);
    if notice.trouble.as_ref().is_some_and(|trouble| trouble.over) {
        return json!({"routing_key": routing_key.0, "event_action": "resolve", "dedup_key": key});
    }
    let source = notice.cluster.as_ref().map_or("firedrill", |cluster| cluster.as_str());
    json!({
        "routing_key": routing_key.0,
        "event_action": "trigger",
        "dedup_key": key,
        "client": "firedrill",
        "payload": {
            "summary": cut(&notice.title, PAGER_SUMMARY_CHARS),
            "source": source,
            "severity": loudness(notice.severity),
            "class": notice.kind.word(),
            "custom_details": {
                "text": cut(&notice.text, PAGER_DETAILS_CHARS),
                "run": notice.run.as_ref().map(|run| &run.0),
                "at": notice.at.millis(),
            },
        },
    })
}

/// The document of a generic webhook: part of the API, so fields are added, never changed.
fn webhook(notice: &Notice, id: &str) -> Value {
    json!({
        "id": id,
        "type": format!("firedrill.{}", notice.kind),
        "event": notice.key,
        "severity": loudness(notice.severity),
        "at": notice.at.0,
        "title": notice.title,
        "text": notice.text,
        "cluster": notice.cluster,
        "run": notice.run,
        "trouble": notice.trouble,
    })
}

/// A subject is one line, without anything that could begin another header.
fn subject(notice: &Notice) -> String {
    let line: String = headline(notice).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cluster = match (&notice.cluster, notice.kind) {
        (Some(cluster), kind) if kind != NoticeKind::Daily => format!(" {cluster}"),
        _ => String::new(),
    };
    format!("[firedrill{cluster}] {line}")
}

fn plain(notice: &Notice) -> String {
    let mut text = format!("{}\n", headline(notice));
    if !notice.text.is_empty() {
        text.push_str(&format!("\n{}\n", notice.text));
    }
    text.push_str(&format!("\n-- \nfiredrill: {}\n", place(notice)));
    text
}
