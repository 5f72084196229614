//! The timeline: stored first, then told.

use crate::clock::now;
use crate::live::LiveFeed;
use crate::problem::chain;
use firedrill_api::http::Live;
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{Severity, TimelineEvent};
use firedrill_store::Store;
use tokio::sync::watch;

/// Appends to the timeline and tells those who follow it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Timeline {
    store: Store,
    newest: watch::Sender<u64>,
    live: LiveFeed,
}

impl Timeline {
    pub(crate) fn new(store: Store, newest: u64, live: LiveFeed) -> Self {
        Self { store, newest: watch::Sender::new(newest), live }
    }

    /// Adds a line. A store that cannot be written is logged, and the line is lost: what the timeline tells of has
    /// happened and must go on.
    pub async fn append(&self, severity: Severity, kind: EventKind, text: impl Into<String>, scope: Scope) {
        self.append_event(TimelineEvent { sequence: 0, at: now(), severity, kind, text: text.into(), scope }).await;
    }

    /// Adds a line that has its own moment; see [`Timeline::append`].
    pub async fn append_event(&self, event: TimelineEvent) {
        match self.store.append_event(&event).await {
            Ok(event) => self.stored(event),
            Err(error) => tracing::error!(error = %chain(&error), text = event.text, "a line of the timeline is lost"),
        }
    }

    /// Tells of a line that is in the store.
    pub(crate) fn stored(&self, event: TimelineEvent) {
        self.newest.send_if_modified(|newest| {
            let grown = event.sequence > *newest;
            *newest = event.sequence.max(*newest);
            grown
        });
        self.live.send(Live::Timeline { event });
    }

    /// The number of the newest line, and when it grows. Numbers grow in the order of commits, so that reading what is
    /// after the last one read misses nothing.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}
