//! The calls about schedules; see [`crate::schedules`].

use super::{Client, ClientError};
use crate::http::{Done, Reason};
use crate::schedules::{AddClosure, Calendar, SayPresence, ScheduleView, TodayMessage};
use firedrill_model::ScheduleName;
use firedrill_schedule::{Closure, Presence, Schedule, Zone};
use reqwest::Method;
use serde::Serialize;

/// Which part of the calendar is meant.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CalendarQuery {
    /// So many days from now on; the server's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// So many days back; the server's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back: Option<u32>,
    /// Only of this schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleName>,
}

impl Client {
    /// All schedules, by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn schedules(&self) -> Result<Vec<ScheduleView>, ClientError> {
        self.get("/api/v1/schedules").await
    }

    /// One schedule.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such schedule.
    pub async fn schedule(&self, name: &ScheduleName) -> Result<ScheduleView, ClientError> {
        self.get(&format!("/api/v1/schedules/{name}")).await
    }

    /// Adds a schedule, or replaces the one of its name.
    ///
    /// # Errors
    /// [`ClientError`]; it is malformed, or contradicts itself.
    pub async fn put_schedule(&self, schedule: &Schedule) -> Result<ScheduleView, ClientError> {
        self.put(&format!("/api/v1/schedules/{}", schedule.name), schedule).await
    }

    /// Removes a schedule; a run of it goes on.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such schedule.
    pub async fn remove_schedule(&self, name: &ScheduleName) -> Result<Done, ClientError> {
        let path = format!("/api/v1/schedules/{name}");
        self.send(&path, self.call(Method::DELETE, &path)).await
    }

    /// Lets a schedule start nothing any more.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such schedule, or it is paused already.
    pub async fn pause_schedule(&self, name: &ScheduleName, reason: &str) -> Result<ScheduleView, ClientError> {
        self.post(&format!("/api/v1/schedules/{name}/pause"), &Reason { reason: reason.to_owned() }).await
    }

    /// Lets a schedule start again.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such schedule, or it is not paused.
    pub async fn resume_schedule(&self, name: &ScheduleName, reason: &str) -> Result<ScheduleView, ClientError> {
        self.post(&format!("/api/v1/schedules/{name}/resume"), &Reason { reason: reason.to_owned() }).await
    }

    /// What ran and what comes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn calendar(&self, query: &CalendarQuery) -> Result<Calendar, ClientError> {
        self.send("/api/v1/calendar", self.call(Method::GET, "/api/v1/calendar").query(query)).await
    }

    /// The message of the day, by the clock of a zone.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn today(&self, zone: Option<&Zone>) -> Result<TodayMessage, ClientError> {
        let query: Vec<_> = zone.iter().map(|zone| ("zone", zone.name())).collect();
        self.send("/api/v1/today", self.call(Method::GET, "/api/v1/today").query(&query)).await
    }

    /// What is closed for schedules, now or later.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn blackouts(&self) -> Result<Vec<Closure>, ClientError> {
        self.get("/api/v1/blackouts").await
    }

    /// Closes something for schedules.
    ///
    /// # Errors
    /// [`ClientError`]; it ends before it begins.
    pub async fn add_blackout(&self, closure: &AddClosure) -> Result<Closure, ClientError> {
        self.post("/api/v1/blackouts", closure).await
    }

    /// Opens it again.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such black-out.
    pub async fn remove_blackout(&self, id: &str) -> Result<Done, ClientError> {
        let path = format!("/api/v1/blackouts/{id}");
        self.send(&path, self.call(Method::DELETE, &path)).await
    }

    /// Who is there, now or later.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn presences(&self) -> Result<Vec<Presence>, ClientError> {
        self.get("/api/v1/presence").await
    }

    /// Says that somebody is there, or leaves.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn say_presence(&self, presence: &SayPresence) -> Result<Presence, ClientError> {
        self.post("/api/v1/presence", presence).await
    }
}
