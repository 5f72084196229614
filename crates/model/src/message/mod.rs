//! Messages: which events of the timeline people are told of, who gets what, in which form, and when it is tried again.
//!
//! All of it are pure rules: [`notice_of`] makes a [`Notice`] of an event, [`deliveries`](rules::deliveries) names its
//! receivers, [`render`] writes it for one, [`retry`] says when to try again. The server only carries out.

pub mod channel;
pub mod render;
pub mod retry;
pub mod rules;
#[cfg(test)]
mod tests;

pub use channel::{Channel, ChannelError, Encryption, Secret};
pub use rules::{Rule, deliveries};

use crate::id::{ClusterName, RunId, ScheduleName};
use crate::report::Verdict;
use crate::time::Timestamp;
use crate::timeline::{EventKind, Severity, TimelineEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What an event of the timeline is about, said by whoever writes it, so that nobody has to read it out of the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "topic", rename_all = "kebab-case")]
pub enum Topic {
    /// A run began.
    RunBegan,
    /// A run came to its verdict.
    RunEnded {
        /// The experiment's name.
        experiment: String,
        /// What it came to.
        verdict: Verdict,
        /// It was stopped before its end.
        stopped: bool,
    },
    /// A guard refused what was to start by itself.
    Refused,
    /// A person passed a guard over.
    Overridden,
    /// A second person is asked.
    ApprovalWanted,
    /// A schedule has paused itself.
    SchedulePaused {
        /// Which.
        schedule: ScheduleName,
    },
    /// A schedule starts again.
    ScheduleResumed {
        /// Which.
        schedule: ScheduleName,
    },
    /// Everything was stopped.
    Halted,
    /// Starts are allowed again.
    Resumed,
    /// A cluster has been short of a node for a while, and no drill is the cause.
    RedundancyLost,
    /// It is whole again.
    RedundancyRestored,
}

/// What a message is about. Rules name these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// A run began.
    RunBegan,
    /// A run passed.
    RunPassed,
    /// A run failed: an expectation was broken.
    RunFailed,
    /// A run from which nothing can be told, or in which the tool broke.
    RunInconclusive,
    /// A run was stopped before its end.
    RunHalted,
    /// A guard refused a start, or was passed over.
    Guard,
    /// A second person is asked for.
    ApprovalWanted,
    /// A schedule paused itself, or starts again.
    SchedulePaused,
    /// Everything was halted, or is allowed again.
    Halt,
    /// A promotion, clone or other operation did not finish.
    OperationFailed,
    /// A cluster is short of a node without a drill, or is whole again.
    Redundancy,
    /// Something that no drill explains, or that is worse than any drill.
    Unexpected,
    /// What is planned, what is expected, and the recap.
    Daily,
    /// A try of a receiver, by hand. No rule is asked.
    Test,
}

impl NoticeKind {
    /// All that a rule can name.
    pub const ALL: [Self; 13] = [
        Self::RunBegan,
        Self::RunPassed,
        Self::RunFailed,
        Self::RunInconclusive,
        Self::RunHalted,
        Self::Guard,
        Self::ApprovalWanted,
        Self::SchedulePaused,
        Self::Halt,
        Self::OperationFailed,
        Self::Redundancy,
        Self::Unexpected,
        Self::Daily,
    ];

    /// As it is written in rules.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::RunBegan => "run-began",
            Self::RunPassed => "run-passed",
            Self::RunFailed => "run-failed",
            Self::RunInconclusive => "run-inconclusive",
            Self::RunHalted => "run-halted",
            Self::Guard => "guard",
            Self::ApprovalWanted => "approval-wanted",
            Self::SchedulePaused => "schedule-paused",
            Self::Halt => "halt",
            Self::OperationFailed => "operation-failed",
            Self::Redundancy => "redundancy",
            Self::Unexpected => "unexpected",
            Self::Daily => "daily",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for NoticeKind {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.into_iter().map(Self::word).collect();
            format!("{word:?} is no kind of message; there are {}", all.join(", "))
        })
    }
}

/// Something that lasts until it is over: a pager opens an incident for it and closes that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// The same for its beginning and its end, whoever tells of it (`halt`, `run/shop/kill-primary`).
    pub key: String,
    /// This is its end.
    pub over: bool,
}

/// One thing that people are told, before it is written for a receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// Unique for the event, the same however often it is looked at (`event/712`, `daily/2026-11-24`).
    pub key: String,
    /// What it is about.
    pub kind: NoticeKind,
    /// How loud.
    pub severity: Severity,
    /// When it happened.
    pub at: Timestamp,
    /// One line.
    pub title: String,
    /// The rest; empty when the line says everything.
    pub text: String,
    /// On which cluster.
    pub cluster: Option<ClusterName>,
    /// In which run.
    pub run: Option<RunId>,
    /// What lasts.
    pub trouble: Option<Trouble>,
}

/// Longest first line, in characters: a chat or a pager cuts longer ones.
pub const TITLE_CHARS_MAX: usize = 200;

/// What people are told of an event; `None`: nothing.
///
/// `drill`: a run or an attack on the event's cluster explains what goes wrong there. What was broken on purpose pages
/// nobody; what needs a person does, always.
#[must_use]
pub fn notice_of(event: &TimelineEvent, drill: bool) -> Option<Notice> {
    let (kind, trouble) = match &event.scope.about {
        Some(topic) => of_topic(topic, event),
        None => {
            let kind = of_kind(event, drill)?;
            (kind, Some(Trouble { key: unnamed_key(kind, event), over: false }))
        }
    };
    let (title, text) = title_and_text(&event.text);
    Some(Notice {
        key: format!("event/{}", event.sequence),
        kind,
        severity: event.severity,
        at: event.at,
        title,
        text,
        cluster: event.scope.cluster.clone(),
        run: event.scope.run.clone(),
        trouble,
    })
}

fn of_topic(topic: &Topic, event: &TimelineEvent) -> (NoticeKind, Option<Trouble>) {
    let cluster = event.scope.cluster.as_ref().map_or("", ClusterName::as_str);
    let begins = |key: String| Some(Trouble { key, over: false });
    let ends = |key: String| Some(Trouble { key, over: true });
    match topic {
        Topic::RunBegan => (NoticeKind::RunBegan, None),
        Topic::RunEnded { experiment, verdict, stopped } => {
            let key = format!("run/{cluster}/{experiment}");
            match verdict {
                _ if *stopped => (NoticeKind::RunHalted, None),
                Verdict::Passed => (NoticeKind::RunPassed, ends(key)),
                Verdict::Failed => (NoticeKind::RunFailed, begins(key)),
                Verdict::Inconclusive | Verdict::Error => (NoticeKind::RunInconclusive, None),
            }
        }
        Topic::Refused | Topic::Overridden => (NoticeKind::Guard, None),
        Topic::ApprovalWanted => (NoticeKind::ApprovalWanted, None),
        Topic::SchedulePaused { schedule } => (NoticeKind::SchedulePaused, begins(format!("schedule/{schedule}"))),
        Topic::ScheduleResumed { schedule } => (NoticeKind::SchedulePaused, ends(format!("schedule/{schedule}"))),
        Topic::Halted => (NoticeKind::Halt, begins("halt".to_owned())),
        Topic::Resumed => (NoticeKind::Halt, ends("halt".to_owned())),
        Topic::RedundancyLost => (NoticeKind::Redundancy, begins(format!("redundancy/{cluster}"))),
        Topic::RedundancyRestored => (NoticeKind::Redundancy, ends(format!("redundancy/{cluster}"))),
    }
}

/// Events that nobody has named a topic for.
fn of_kind(event: &TimelineEvent, drill: bool) -> Option<NoticeKind> {
    match (event.kind, event.severity) {
        (_, Severity::Info) => None,
        // An operation that waits for a person says so critically; one that was given up, with a warning.
        (EventKind::OperationStarted | EventKind::OperationEnded, Severity::Critical) => {
            Some(NoticeKind::OperationFailed)
        }
        (EventKind::OperationEnded, Severity::Warning) => (!drill).then_some(NoticeKind::OperationFailed),
        (_, Severity::Critical) => Some(NoticeKind::Unexpected),
        // Told by the topic of another event, or of interest to nobody who is not looking.
        (EventKind::Run | EventKind::Probe | EventKind::Guard | EventKind::Schedule | EventKind::Halt, _) => None,
        (EventKind::AttackStarted | EventKind::Server, _) => None,
        (_, Severity::Warning) => (!drill).then_some(NoticeKind::Unexpected),
    }
}

/// One failure is told of by many events: a pager keeps one incident for an operation, a cluster or a host, until a
/// person closes it.
fn unnamed_key(kind: NoticeKind, event: &TimelineEvent) -> String {
    let scope = &event.scope;
    match (&scope.operation, &scope.cluster, &scope.host) {
        (Some(operation), _, _) if kind == NoticeKind::OperationFailed => format!("operation/{operation}"),
        (_, Some(cluster), _) => format!("{kind}/{cluster}"),
        (_, None, Some(host)) => format!("{kind}/host/{host}"),
        _ => kind.word().to_owned(),
    }
}

/// The first line, cut where a chat would cut it, and the rest.
fn title_and_text(said: &str) -> (String, String) {
    let (first, rest) = said.split_once('\n').unwrap_or((said, ""));
    if first.chars().count() <= TITLE_CHARS_MAX {
        return (first.to_owned(), rest.trim_end().to_owned());
    }
    (cut(first, TITLE_CHARS_MAX), said.trim_end().to_owned())
}

/// At most so many characters, with a sign that there was more.
#[must_use]
pub fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars.saturating_sub(1)).chain(['…']).collect()
}
