//! What the server remembers: in one SQLite file, or in a PostgreSQL database that several servers share.
//!
//! # What do we store?
//!
//! *Durable before anything is done* (an fsync per commit; on PostgreSQL as the database is set up): the state of each keeper together with
//! the operations and timeline lines of the same decision; clusters; enrolment tokens and certificates; the halt flag;
//! schedules, the plans of their weeks, and each due time that something is about to be started at; the limits of guards,
//! overrides and requests for approval; users, teams, API tokens, sessions and the audit log; answers to calls that carry a
//! key; receivers, rules, and the queue of messages with the line of the timeline that it has come to.
//! A server that is killed at any point, or whose machine loses power, continues from these.
//!
//! *Durable against a killed process* (`synchronous=NORMAL`, or `synchronous_commit=off`; a power cut may take the last
//! second): hosts as they
//! introduced themselves, timeline lines of other origin, run reports, attacks, passed rungs.
//!
//! *Not stored, rebuilt*: links and sessions, observations, views, the route of the gateway (the keeper asks and tells
//! anew), live samples of a run until its report is written. Histories of runs are files beside the database.
//!
//! One server acts at a time ([`Lease`]); statements are the same for both databases, in what they have in common.
//!
//! **What it never does**: decide. No rule of the product is in here; only what must be unique or grow is enforced.
//!
//! **Where to begin**: [`Store::open`], then [`Store::commit_keeper`], the one hot call.

mod access;
mod answers;
mod attacks;
mod backup;
mod certificates;
mod clusters;
mod document;
mod error;
mod guards;
mod halt;
mod hosts;
mod lease;
mod messages;
mod open;
mod operations;
mod page;
mod place;
mod runs;
mod schedules;
mod templates;
mod timeline;
mod turn;
mod values;

pub use access::{AuditRow, SessionRecord, TeamRecord, TokenRecord, UserRecord};
pub use answers::{ANSWERS_KEPT, KeptAnswer, KeyUse, KeyedCall};
pub use attacks::AttackRecord;
pub use backup::Copied;
pub use certificates::{CertificateRecord, NewCertificate, Revocation};
pub use clusters::{ClusterRecord, KeeperCommit};
pub use error::StoreError;
pub use halt::Halt;
pub use hosts::{HostRecord, TokenUse};
pub use lease::{Acting, Contender, Epoch, Lease};
pub use messages::{NewMessage, QueuedMessage, ReceiverRecord};
pub use page::Page;
pub use place::{NoPostgresUrl, Place, PostgresUrl};
pub use runs::{RunFilter, RunSummary};
pub use schedules::{OccurrenceFilter, ScheduleRecord};
pub use timeline::TimelineFilter;

use sqlx::AnyPool;
use std::sync::Arc;

/// Most rows of one answer, whatever was asked for; callers page on.
pub const ROWS_MAX: u32 = 1000;

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    /// One connection, an fsync per commit.
    durable: AnyPool,
    /// One connection, no fsync per commit.
    ordinary: AnyPool,
    /// The writers wait in this line.
    line: Arc<tokio::sync::Mutex<()>>,
    readers: AnyPool,
    place: Place,
}

impl Store {
    /// Waits for running statements and closes the connections; the write-ahead log of a file is folded in.
    pub async fn close(&self) {
        self.readers.close().await;
        self.ordinary.close().await;
        self.durable.close().await;
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Names what was being done when the database gave an error.
    fn failed(&self, doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError + '_ {
        move |source| StoreError::of(&self.place, doing, source)
    }
}
