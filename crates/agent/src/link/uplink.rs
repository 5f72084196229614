//! Sends what waits in the outbox, over two connections, so that an answer or a process exit never waits behind a
//! report that is under way.

use super::connection::{Connection, Full, LinkError, post};
use crate::outbox::{Outbox, Way};
use bytes::Bytes;
use firedrill_api::link::Report;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::StatusCode;
use serde::de::IgnoredAny;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A report that has no answer after this long has found a broken link; TCP repeats a lost segment several times
/// within it also at 200 ms latency.
const REPORT_WITHIN: Duration = Duration::from_secs(5);

type Lane = Connection<Full<Bytes>>;

/// A batch under way. Dropped unsettled (the session ended), its items go back into the outbox.
struct Batch<'a> {
    outbox: &'a Outbox,
    way: Way,
    report: Report,
    settled: bool,
}

impl Batch<'_> {
    async fn deliver(mut self, lane: &mut Lane, path: &str) -> Result<(), LinkError> {
        let sent: Result<IgnoredAny, _> = post(lane, "sending a report", path, &self.report, REPORT_WITHIN).await;
        match &sent {
            Ok(_) => self.settled = true,
            // Sent again it would be refused again, for ever.
            Err(LinkError::Refused { status, message })
                if status.is_client_error() && *status != StatusCode::CONFLICT =>
            {
                tracing::error!(items = self.report.items.len(), message, "the server refuses a report; it is dropped");
                self.settled = true;
            }
            Err(_) => {}
        }
        sent.map(|_| ())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.settled {
            self.outbox.confirm();
        } else {
            self.outbox.put_back(self.way, std::mem::take(&mut self.report.items));
        }
    }
}

/// Runs until a report cannot be delivered, and says why. The lanes take turns, which keeps both warm. A report goes out
/// at least every `beat`, if only as a sign of life.
pub(crate) async fn run(outbox: &Outbox, session: u64, beat: Duration, lanes: [Lane; 2]) -> LinkError {
    let path = format!("/link/v1/report?session={session}");
    let mut idle = VecDeque::from(lanes);
    let mut under_way = FuturesUnordered::new();
    let mut regular_free = true;
    let mut due = Instant::now();
    loop {
        while let Some(mut lane) = idle.pop_front() {
            let Some((way, items)) = outbox.take(regular_free, Instant::now() >= due) else {
                idle.push_front(lane);
                break;
            };
            if way == Way::Regular {
                regular_free = false;
                due = Instant::now() + beat;
            }
            let batch = Batch { outbox, way, report: Report { items }, settled: false };
            let path = &path;
            under_way.push(async move { (way, batch.deliver(&mut lane, path).await, lane) });
        }
        tokio::select! {
            () = outbox.wake.notified(), if !idle.is_empty() => {}
            () = sleep_until(due), if !idle.is_empty() && regular_free => {}
            Some((way, delivered, lane)) = under_way.next() => {
                if let Err(error) = delivered {
                    return error;
                }
                regular_free |= way == Way::Regular;
                idle.push_back(lane);
            }
        }
    }
}
