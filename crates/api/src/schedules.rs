//! Schedules on the HTTP API.
//!
//! | call | takes | gives |
//! |---|---|---|
//! | `GET /api/v1/schedules`, `GET …/schedules/{s}` | | [`ScheduleView`], several or one |
//! | `PUT /api/v1/schedules/{s}` | [`Schedule`] | [`ScheduleView`]; replaces the one of that name |
//! | `DELETE /api/v1/schedules/{s}` | | `Done` |
//! | `POST /api/v1/schedules/{s}/pause`, `…/resume` | `Reason` | [`ScheduleView`] |
//! | `GET /api/v1/calendar?days=&back=&schedule=` | | [`Calendar`] |
//! | `GET /api/v1/today?zone=` | | [`TodayMessage`] |
//! | `GET /api/v1/blackouts`, `POST /api/v1/blackouts` | [`AddClosure`] | `Vec<Closure>`, `Closure` |
//! | `DELETE /api/v1/blackouts/{id}` | | `Done` |
//! | `GET /api/v1/presence`, `POST /api/v1/presence` | [`SayPresence`] | `Vec<Presence>`, `Presence` |

use firedrill_model::{ClusterName, ScheduleName, Timestamp};
use firedrill_schedule::programme::Standing;
use firedrill_schedule::{Occurrence, Outcome, Planned, Schedule, Scope, Today};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reads a schedule from YAML; the server checks its rules.
///
/// # Errors
/// It is not YAML, or not a schedule; with the place.
pub fn read(text: &str) -> Result<Schedule, NotASchedule> {
    serde_saphyr::from_str(text).map_err(|error| NotASchedule(error.without_snippet().to_string()))
}

/// Why a text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotASchedule(String);

/// A schedule and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleView {
    /// What a person has written.
    pub schedule: Schedule,
    /// All its lots are drawn from this.
    pub seed: u64,
    /// Why nothing starts.
    pub paused: Option<String>,
    /// The due time that comes next, within the next weeks; also when it is paused.
    pub next: Option<Planned>,
    /// The last due time and what came of it.
    pub last: Option<Occurrence>,
    /// Why this week has fewer times than the schedule says.
    pub note: Option<String>,
    /// Where each rung stands on each cluster, for a programme.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladders: Vec<Ladder>,
}

/// Where the rungs stand on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ladder {
    /// On which cluster.
    pub cluster: ClusterName,
    /// Lowest first.
    pub rungs: Vec<Standing>,
}

/// What ran and what comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Calendar {
    /// In order of time.
    pub entries: Vec<CalendarEntry>,
    /// There are more, which were left out at the far ends.
    pub truncated: bool,
}

/// One due time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CalendarEntry {
    /// When.
    pub due: Timestamp,
    /// The same, as the clock of the schedule shows it.
    pub local: String,
    /// Of which schedule.
    pub schedule: ScheduleName,
    /// On which cluster.
    pub cluster: ClusterName,
    /// What; for a programme that is still to come: what it would be if every run passed.
    pub experiment: String,
    /// What came of it; absent while it is to come.
    pub result: Option<Outcome>,
    /// What is in the way of one to come, as things stand.
    pub note: Option<String>,
}

/// The message of the day, for a chat or a mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TodayMessage {
    /// What it says.
    #[serde(flatten)]
    pub today: Today,
    /// The same, for people.
    pub text: String,
}

/// Closes something for schedules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddClosure {
    /// Where.
    pub scope: Scope,
    /// At once, when absent.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Until it is removed, when absent: opting out.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// For people.
    pub reason: String,
}

/// Somebody is there, from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SayPresence {
    /// Who.
    pub person: String,
    /// For this cluster only; absent: for all.
    #[serde(default)]
    pub cluster: Option<ClusterName>,
    /// Until when; a moment that is over: they leave now.
    pub until: Timestamp,
}
