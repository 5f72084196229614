//! Traces for a collector of OpenTelemetry: the calls of the API, runs, attacks and operations as spans.
//!
//! They are made from what the server knows anyway, when something has ended, with the times that were stored; so a run of
//! an hour, or an operation that a restarted server has carried on, is one span with its true length. That, and that
//! nothing more is to be built or started, is why this speaks the JSON form of OTLP itself instead of going through a
//! library that follows the program's own scopes.
//!
//! Nothing waits for a collector: the queue is bounded, what does not fit is counted and lost.
//!
//! **Where to begin**: [`Traces::take`], then [`follow`].

mod collector;
mod export;
mod span;

pub use collector::{Collector, CollectorError};
pub(crate) use span::of_attack;

use crate::clock::now;
use crate::problem::{Shown, chain};
use crate::server::Server;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use export::Export;
use firedrill_api::http::Live;
use firedrill_model::OperationId;
use firedrill_model::report::RunState;
use span::{Call, Span, SpanId, of_call, of_operation, of_run};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Spans that wait for the collector: some seconds of a busy server, and a few megabytes.
const WAITING_MAX: usize = 4096;
/// Operations that were told last; what is said again of one of them is no new span.
const TOLD_MAX: usize = 100;
/// Calls below this are told; pages, health and metrics are asked for all the time by machines.
const API: &str = "/api/";

/// The way of spans to the collector.
#[derive(Debug)]
pub(crate) struct Traces {
    queue: Option<mpsc::Sender<Span>>,
    /// Until [`follow`] takes it.
    receiver: Mutex<Option<mpsc::Receiver<Span>>>,
    lost: AtomicU64,
}

impl Traces {
    /// `wanted`: there is a collector.
    pub(crate) fn new(wanted: bool) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let (queue, receiver) = if wanted { (Some(sender), Some(receiver)) } else { (None, None) };
        Self { queue, receiver: Mutex::new(receiver), lost: AtomicU64::new(0) }
    }

    /// Takes a span on its way, or counts it as lost. Never waits.
    pub(crate) fn take(&self, span: impl FnOnce() -> Option<Span>) {
        let Some(queue) = &self.queue else { return };
        if span().is_some_and(|span| queue.try_send(span).is_err()) {
            self.lose(1);
        }
    }

    pub(crate) fn lose(&self, spans: usize) {
        self.lost.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many spans have not reached the collector since the start; `None`: there is no collector.
    pub(crate) fn lost(&self) -> Option<u64> {
        self.queue.as_ref().map(|_| self.lost.load(Ordering::Relaxed))
    }
}

/// Sends spans until the shutdown, and what waits then, as long as that is quick.
pub(crate) async fn follow(server: Arc<Server>, shutdown: CancellationToken) {
    let receiver = server.traces.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some(receiver), Some(collector)) = (receiver, server.config.otlp.clone()) else { return };
    let export = Export::new(collector, receiver);
    tokio::join!(watch(&server, &shutdown), export.carry_on(&server.traces, &shutdown));
}

/// Makes spans of what the live feed tells.
async fn watch(server: &Server, shutdown: &CancellationToken) {
    let mut live = server.live.subscribe();
    let mut told: VecDeque<OperationId> = VecDeque::new();
    loop {
        let said = tokio::select! {
            said = live.recv() => said,
            () = shutdown.cancelled() => return,
        };
        match said {
            Ok(Live::Operation { operation }) if operation.ended.is_some() && !told.contains(&operation.id) => {
                of_operation(&operation).into_iter().for_each(|span| server.traces.take(|| Some(span)));
                told.push_back(operation.id);
                if told.len() > TOLD_MAX {
                    told.pop_front();
                }
            }
            Ok(Live::Run { entry }) if entry.state != RunState::Running => match server.store.run(&entry.run).await {
                Ok(report) => server.traces.take(|| report.map(|report| of_run(&report))),
                Err(error) => {
                    tracing::debug!(run = %entry.run, error = %chain(&error), "a run gets no span");
                    server.traces.lose(1);
                }
            },
            Ok(_) => {}
            // How many of those were ends of something is not known; at least that is said.
            Err(RecvError::Lagged(_)) => server.traces.lose(1),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Tells of a call, when its answer's head is there.
pub(crate) async fn call(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned().filter(|route| route.as_str().starts_with(API));
    let (Some(route), Some(_)) = (route, &server.traces.queue) else { return next.run(request).await };
    let caller = request.headers().get("traceparent").and_then(|header| header.to_str().ok());
    let caller = caller.and_then(SpanId::of_caller);
    let (method, began) = (request.method().clone(), now());
    let response = next.run(request).await;
    let problem = response.extensions().get::<Shown>().map(|shown| shown.0.code.as_str());
    let call = Call {
        method: method.as_str(),
        route: route.as_str(),
        status: response.status(),
        problem,
        caller,
        began,
        ended: now(),
    };
    server.traces.take(|| Some(of_call(call, &uuid::Uuid::new_v4().to_string())));
    response
}
