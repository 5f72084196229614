//! The live stream.
//!
//! Lines of the timeline are read from the store, by number: whoever comes back with the last number it saw gets
//! everything since, in order, once. Everything else (views, operations, samples) is the present state and is passed
//! on as it happens; a watcher that is too slow for it is cut off and comes back.

use super::body::Parameters;
use crate::access::Acting;
use crate::problem::{Failure, chain};
use crate::server::Server;
use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described, StatusCode as Status};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use firedrill_api::http::Live;
use firedrill_model::{ClusterName, RunId};
use firedrill_store::TimelineFilter;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// Lines read from the store at once.
const PAGE_ROWS: u32 = 200;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Query {
    after: Option<u64>,
    cluster: Option<ClusterName>,
    run: Option<String>,
    /// Say only what has changed: of clusters, operations and runs no more than their names, and nothing of what is true
    /// at the beginning.
    #[serde(default)]
    brief: bool,
}

/// `GET /events`.
pub(super) async fn stream(
    State(server): State<Arc<Server>>,
    acting: Acting,
    headers: HeaderMap,
    Parameters(query): Parameters<Query>,
) -> Result<Streamed, Failure> {
    // A browser that comes back names the last number by itself; it is newer than the one in the address.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let newest = server.timeline.newest();
    let after = match last.or(query.after) {
        Some(after) => after,
        None => *newest.borrow(),
    };
    let filter = TimelineFilter { cluster: query.cluster, run: query.run.map(RunId) };
    let live = server.live.subscribe();
    let brief = query.brief;
    let ready = if brief { VecDeque::new() } else { present(&server, &filter, &acting) };
    let watcher = Watcher { live, newest, after, unread: true, filter, ready, brief, server, acting };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    Ok(Streamed(Sse::new(events).keep_alive(KeepAlive::default()).into_response()))
}

/// The stream as an answer.
pub(super) struct Streamed(Response);

impl IntoResponse for Streamed {
    fn into_response(self) -> Response {
        self.0
    }
}

impl OperationOutput for Streamed {
    type Inner = Live;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<Described> {
        let mut response = Json::<Live>::operation_response(context, operation)?;
        response.description = "One message per event, in its `data`.".to_owned();
        response.content =
            response.content.into_values().map(|media| ("text/event-stream".to_owned(), media)).collect();
        Some(response)
    }

    fn inferred_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<Status>, Described)> {
        Self::operation_response(context, operation)
            .map(|response| (Some(Status::Code(200)), response))
            .into_iter()
            .collect()
    }
}

/// What is true now, so that a watcher need not ask for it.
fn present(server: &Server, filter: &TimelineFilter, acting: &Acting) -> VecDeque<Live> {
    let views = server.keepers.views().into_iter().map(|view| Live::Cluster { view: Box::new(view) });
    views.filter(|live| concerns(filter, live) && may_see(acting, live)).collect()
}

struct Watcher {
    server: Arc<Server>,
    filter: TimelineFilter,
    ready: VecDeque<Live>,
    live: broadcast::Receiver<Live>,
    newest: watch::Receiver<u64>,
    /// The last line that was read.
    after: u64,
    /// There may be lines behind it.
    unread: bool,
    brief: bool,
    acting: Acting,
}

impl Watcher {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(live) = self.ready.pop_front() {
                return event(&live, self.brief);
            }
            if self.unread {
                self.read_timeline().await?;
                continue;
            }
            tokio::select! {
                // A stream would hold the shutdown up for ever.
                () = self.server.shutdown.cancelled() => return None,
                changed = self.newest.changed() => {
                    changed.ok()?;
                    self.unread = true;
                }
                live = self.live.recv() => match live {
                    // Read from the store instead, where none is missing.
                    Ok(Live::Timeline { .. }) => {}
                    Ok(live) if concerns(&self.filter, &live) && may_see(&self.acting, &live) => self.ready.push_back(live),
                    Ok(_) => {}
                    Err(_) => return None,
                },
            }
        }
    }

    async fn read_timeline(&mut self) -> Option<()> {
        self.newest.mark_unchanged();
        let read = self.server.store.events_after(self.after, &self.filter, PAGE_ROWS).await;
        let lines = read.inspect_err(|error| tracing::error!(error = %chain(error), "a live stream ends")).ok()?;
        self.unread = lines.len() == PAGE_ROWS as usize;
        self.after = lines.last().map_or(self.after, |line| line.sequence);
        let lines = lines.into_iter().filter(|line| self.acting.sees(line.scope.cluster.as_ref()));
        self.ready.extend(lines.map(|event| Live::Timeline { event }));
        Some(())
    }
}

/// Whether whoever watches may see it. Samples name no cluster: their run's page is what asks for them.
fn may_see(acting: &Acting, live: &Live) -> bool {
    match live {
        Live::Timeline { event } => acting.sees(event.scope.cluster.as_ref()),
        Live::Cluster { view } => acting.sees(Some(&view.cluster)),
        Live::Operation { operation } => acting.sees(Some(&operation.cluster)),
        Live::Run { entry } => acting.sees(Some(&entry.cluster)),
        Live::Sample { .. } | Live::Halt { .. } => true,
    }
}

/// Whether a message is for that watcher. Lines of the timeline are filtered by the store.
fn concerns(filter: &TimelineFilter, live: &Live) -> bool {
    let (cluster, run) = match live {
        Live::Timeline { .. } | Live::Halt { .. } => return true,
        Live::Cluster { view } => (Some(&view.cluster), None),
        Live::Operation { operation } => (Some(&operation.cluster), None),
        Live::Sample { run, .. } => (None, Some(run)),
        Live::Run { entry } => (Some(&entry.cluster), Some(&entry.run)),
    };
    // What has no cluster (or no run) of its own cannot be told to be another's.
    let same = |wanted: Option<&str>, seen: Option<&str>| wanted.is_none() || seen.is_none() || wanted == seen;
    same(filter.cluster.as_ref().map(ClusterName::as_str), cluster.map(ClusterName::as_str))
        && same(filter.run.as_ref().map(|run| run.0.as_str()), run.map(|run| run.0.as_str()))
}

/// Named after the kind of message, so that a page can listen to one kind; only lines of the timeline have a number.
fn event(live: &Live, brief: bool) -> Option<Event> {
    let (kind, id) = match live {
        Live::Timeline { event } => ("timeline", Some(event.sequence)),
        Live::Cluster { .. } => ("cluster", None),
        Live::Operation { .. } => ("operation", None),
        Live::Sample { .. } => ("sample", None),
        Live::Run { .. } => ("run", None),
        Live::Halt { .. } => ("halt", None),
    };
    let event = Event::default().event(kind);
    let event = match live {
        Live::Cluster { view } if brief => event.json_data(json!({ "cluster": view.cluster })),
        Live::Operation { operation } if brief => event.json_data(json!({ "operation": operation.id })),
        Live::Run { entry } if brief => event.json_data(json!({ "run": entry.run })),
        live => event.json_data(live),
    };
    let event = event.inspect_err(|error| tracing::error!(%error, "a live message cannot be written as JSON")).ok()?;
    Some(match id {
        Some(id) => event.id(id.to_string()),
        None => event,
    })
}
