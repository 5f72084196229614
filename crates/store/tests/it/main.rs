//! The store as its callers use it: on a file, opened, closed and opened again.

mod access;
mod decisions;
mod enrolment;
mod guards;
mod messages;
mod records;
mod schedules;

use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{ClusterName, RunId, Severity, TimelineEvent, Timestamp};
use firedrill_store::Store;
use std::path::PathBuf;
use tempfile::TempDir;

/// A store in its own directory.
struct Fixture {
    dir: TempDir,
    store: Store,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(&dir.path().join("firedrill.db")).await.expect("a new store");
        Self { dir, store }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("firedrill.db")
    }

    /// As after a killed process: the file is opened anew while the first is never closed.
    async fn reopened(&self) -> Store {
        Store::open(&self.path()).await.expect("the same store")
    }
}

fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a name")
}

fn event(text: &str, cluster: Option<&str>, run: Option<&str>) -> TimelineEvent {
    let scope = Scope {
        cluster: cluster.map(|name| name.parse().expect("a name")),
        run: run.map(|run| RunId(run.to_owned())),
        ..Scope::default()
    };
    let kind = EventKind::Health;
    TimelineEvent { sequence: 0, at: Timestamp(1), severity: Severity::Info, kind, text: text.to_owned(), scope }
}

fn texts(events: &[TimelineEvent]) -> Vec<(u64, &str)> {
    events.iter().map(|event| (event.sequence, event.text.as_str())).collect()
}
