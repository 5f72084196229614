//! What is told to everybody who watches.

use firedrill_api::http::Live;
use tokio::sync::broadcast;

/// Messages that a slow watcher may lag behind before it is cut off and comes back: some seconds of a busy fleet.
const BACKLOG_MAX: usize = 2048;

/// The live feed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LiveFeed {
    sender: broadcast::Sender<Live>,
}

impl LiveFeed {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG_MAX) }
    }

    /// Tells everybody; nobody needs to listen.
    pub fn send(&self, live: Live) {
        // An error only says that nobody listens.
        let _ = self.sender.send(live);
    }

    /// Everything from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Live> {
        self.sender.subscribe()
    }
}
