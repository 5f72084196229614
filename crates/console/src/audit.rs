//! The audit log: who asked for what, from where, and what came of it.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::access::{AuditEntry, AuditOutcome, AuditRecord, Verified};
use serde::Deserialize;

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AuditQuery {
    /// Words that an entry must have.
    pub q: String,
    /// `asked`, `done`, `failed` or `denied`; empty: all.
    pub outcome: String,
    /// Only entries before this one.
    pub before: Option<u64>,
}

impl AuditQuery {
    /// Whether anything is left out.
    #[must_use]
    pub fn is_filter(&self) -> bool {
        !(self.q.trim().is_empty() && self.outcome.is_empty())
    }

    /// Whether that entry is wanted.
    #[must_use]
    pub fn wants(&self, entry: &Entry) -> bool {
        let outcome = entry.record.as_ref().map(|record| format::class(&record.outcome));
        if !self.outcome.is_empty() && outcome.as_ref() != Some(&self.outcome) {
            return false;
        }
        let text = entry.text.to_lowercase();
        self.q.split_whitespace().all(|word| text.contains(&word.to_lowercase()))
    }
}

/// An entry, read.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// What it says; `None`: a newer server has written it, or it is broken.
    pub record: Option<AuditRecord>,
    /// The same, as it was hashed.
    pub text: String,
}

impl From<AuditEntry> for Entry {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { sequence, entry: text, .. } = entry;
        Self { sequence, record: serde_json::from_str(&text).ok(), text }
    }
}

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Which are wanted.
    pub query: AuditQuery,
    /// How many entries were looked through, when some were left out.
    pub looked_through: u64,
    /// Where the next page begins, when there is one.
    pub next: Option<u64>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Log,
}

/// Entries of the log.
#[must_use]
pub fn page(frame: &Frame, page: &Log) -> String {
    finish(Page { frame, page }.render())
}

impl Page<'_> {
    fn outcomes(&self) -> [AuditOutcome; 4] {
        [AuditOutcome::Done, AuditOutcome::Asked, AuditOutcome::Failed, AuditOutcome::Denied]
    }
}

/// How an outcome looks: never by its colour alone.
fn outcome_class(outcome: AuditOutcome) -> &'static str {
    match outcome {
        AuditOutcome::Asked => "soft",
        AuditOutcome::Done => "done",
        AuditOutcome::Failed => "warning",
        AuditOutcome::Denied => "critical",
    }
}

fn outcome_words(outcome: AuditOutcome) -> &'static str {
    match outcome {
        AuditOutcome::Asked => "… asked",
        AuditOutcome::Done => "✔ done",
        AuditOutcome::Failed => "▲ failed",
        AuditOutcome::Denied => "✖ denied",
    }
}

/// What a check of the whole log came to.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What came out.
    pub verified: Verified,
    /// The head that somebody had noted; empty: none.
    pub noted: String,
    /// Whether that head is in the log.
    pub held: bool,
}

#[derive(Template)]
#[template(path = "audit_checked.html")]
struct CheckedPage<'a> {
    frame: &'a Frame,
    page: &'a Checked,
}

/// What came of a check.
#[must_use]
pub fn checked(frame: &Frame, page: &Checked) -> String {
    finish(CheckedPage { frame, page }.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::HOSTILE;
    use firedrill_api::access::Broken;
    use firedrill_model::access::Role;
    use serde_json::json;

    fn entry(sequence: u64, outcome: &str) -> Entry {
        let text = json!({"at": 0, "who": "ada", "from": "10.0.0.9", "call": "POST /api/v1/halt", "outcome": outcome,
                          "detail": HOSTILE});
        AuditEntry { sequence, entry: text.to_string(), hash: "00".to_owned() }.into()
    }

    #[test]
    fn entries_are_plain_text_and_none_is_left_out_silently() {
        let strange = Entry { sequence: 3, record: None, text: HOSTILE.to_owned() };
        let entries = vec![entry(5, "denied"), entry(4, "done"), strange];
        let html = page(&Frame::shown_to(Role::Admin), &Log { entries, next: Some(3), ..Log::default() });
        assert!(!html.contains("<script>alert") && html.matches("alert(1)").count() >= 3, "{html}");
        assert!(html.contains("✖ denied") && html.contains("✔ done") && html.contains("before=3"), "{html}");
        let query = AuditQuery { q: "nothing".into(), ..AuditQuery::default() };
        let none = page(&Frame::shown_to(Role::Admin), &Log { query, looked_through: 2000, ..Log::default() });
        assert!(none.contains("None of the 2\u{202f}000 entries"), "{none}");
    }

    #[test]
    fn a_filter_takes_words_and_an_outcome() {
        let query = |q: &str, outcome: &str| AuditQuery { q: q.into(), outcome: outcome.into(), before: None };
        assert!(query("ADA halt", "denied").wants(&entry(1, "denied")) && query("", "").wants(&entry(1, "asked")));
        assert!(!query("bob", "").wants(&entry(1, "denied")) && !query("", "done").wants(&entry(1, "denied")));
        assert!(!query("", "").is_filter() && query(" ", "done").is_filter());
    }

    #[test]
    fn a_broken_chain_and_a_lost_head_stand_out() {
        let broken = Some(Broken { sequence: 7, why: HOSTILE.into() });
        let verified = Verified { entries: 6, head: "abc".into(), broken };
        let shown = |noted: &str, held: bool, verified: &Verified| {
            let page = Checked { verified: verified.clone(), noted: noted.into(), held };
            checked(&Frame::shown_to(Role::Admin), &page)
        };
        let html = shown("", true, &verified);
        assert!(html.contains("✖ Broken at entry 7") && !html.contains("<script>alert"), "{html}");
        let whole = Verified { broken: None, ..verified };
        let html = shown("def", false, &whole);
        assert!(html.contains("✔ 6 entries hold together") && html.contains("✖ The head that was noted"), "{html}");
        assert!(shown("def", true, &whole).contains("✔ The head that was noted"));
    }
}
