//! The store as its callers use it: on a file, opened, closed and opened again; and the same on PostgreSQL.

mod access;
mod backup;
mod decisions;
mod enrolment;
mod guards;
mod lease;
mod messages;
mod postgres;
mod records;
mod schedules;

use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{ClusterName, RunId, Severity, TimelineEvent, Timestamp};
use firedrill_store::{Epoch, PostgresUrl, Store};
use std::path::PathBuf;
use tempfile::TempDir;

/// A store in its own directory, or in its own database of a PostgreSQL server.
struct Fixture {
    dir: TempDir,
    store: Store,
    shared: Option<(PostgresUrl, Epoch)>,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let shared = postgres::of_this_test().await;
        let store = opened(&dir, shared.as_ref()).await;
        Self { dir, store, shared }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("firedrill.db")
    }

    /// As after a killed process: opened anew while the first is never closed.
    async fn reopened(&self) -> Store {
        opened(&self.dir, self.shared.as_ref()).await
    }
}

async fn opened(dir: &TempDir, shared: Option<&(PostgresUrl, Epoch)>) -> Store {
    match shared {
        None => Store::open(&dir.path().join("firedrill.db")).await.expect("a store"),
        Some((url, epoch)) => Store::open_shared(url, *epoch).await.expect("a store"),
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
