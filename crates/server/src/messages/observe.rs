//! From the timeline into the queue.

use super::{addressed, drill};
use crate::Server;
use firedrill_model::message::{Notice, notice_of};
use firedrill_model::{ClusterName, Timestamp};
use firedrill_store::{StoreError, TimelineFilter};
use std::collections::{BTreeMap, BTreeSet};

/// Lines read from the store at once.
const PAGE_ROWS: u32 = 200;

/// What the looks remember from one to the next.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// The last line of the timeline that was looked at; the store knows it after a restart.
    sequence: Option<u64>,
    /// Since when clusters are short of something.
    pub(super) short_since: BTreeMap<ClusterName, Timestamp>,
    /// What lasts and was told of; `None`: the store was not asked yet.
    pub(super) troubles: Option<BTreeSet<String>>,
}

/// Looks at all lines that are new.
pub(super) async fn look(server: &Server, looked: &mut Looked, now: Timestamp) -> Result<(), StoreError> {
    let newest = *server.timeline.newest().borrow();
    let mut sequence = match looked.sequence {
        Some(sequence) => sequence,
        None => server.store.message_progress(newest).await?,
    };
    looked.sequence = Some(sequence);
    while sequence < newest {
        let events = server.store.events_after(sequence, &TimelineFilter::default(), PAGE_ROWS).await?;
        let Some(last) = events.last() else { return Ok(()) };
        sequence = last.sequence;
        let mut notices = Vec::new();
        for event in &events {
            notices.extend(notice(server, event).await?);
        }
        put_in(server, &notices, sequence, now).await?;
        looked.sequence = Some(sequence);
    }
    Ok(())
}

/// What people are told of a line. Whether a drill explains it is looked up only where that matters.
async fn notice(server: &Server, event: &firedrill_model::TimelineEvent) -> Result<Option<Notice>, StoreError> {
    let (alone, in_drill) = (notice_of(event, false), notice_of(event, true));
    if alone == in_drill || !drill::explains(server, event).await? { Ok(alone) } else { Ok(in_drill) }
}

async fn put_in(server: &Server, notices: &[Notice], sequence: u64, now: Timestamp) -> Result<(), StoreError> {
    let mut messages = Vec::new();
    if !notices.is_empty() {
        let (rules, receivers) = (server.store.rules().await?, server.store.receivers().await?);
        messages.extend(notices.iter().flat_map(|notice| addressed(notice, &rules, &receivers)));
    }
    server.store.enqueue(&messages, sequence, now).await?;
    if !messages.is_empty() {
        server.messages.put_in.notify_one();
    }
    Ok(())
}
