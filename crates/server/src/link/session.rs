//! Hello and the stream.

use super::{Caller, certificates};
use crate::attacks;
use crate::clock::now;
use crate::fleet::Session;
use crate::problem::{Failure, LINK_VERSION, SESSION, problem};
use crate::server::Server;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use firedrill_api::link::{Downward, Hello, Welcome};
use firedrill_model::HostName;
use firedrill_store::HostRecord;
use futures_util::stream;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// `?session=N`.
#[derive(Debug, Deserialize)]
pub(super) struct SessionQuery {
    session: u64,
}

impl SessionQuery {
    /// The session, when it is the present one of that host.
    pub(super) fn find(&self, server: &Server, host: &HostName) -> Result<Arc<Session>, Failure> {
        server.fleet.session_numbered(host, self.session).ok_or_else(|| {
            let message = format!("session {} of host {host} has ended; say hello again", self.session);
            Failure(problem(SESSION, message))
        })
    }
}

/// `POST /link/v1/hello`.
pub(super) async fn hello(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Json(hello): Json<Hello>,
) -> Result<Json<Welcome>, Failure> {
    let host = &caller.host;
    if hello.link_version != firedrill_api::LINK_VERSION {
        let message = format!(
            "the agent of host {host} (version {}) speaks link version {}, this server {}; install the same version of firedrill on both",
            hello.agent_version,
            hello.link_version,
            firedrill_api::LINK_VERSION
        );
        return Err(Failure(problem(LINK_VERSION, message)));
    }
    let certificate = certificates::taken_into_use(&server, &caller).await?;
    let host = caller.host.clone();
    let record = HostRecord {
        name: host,
        address: hello.address,
        region: hello.region.clone(),
        tags: hello.tags.clone(),
        agent_version: hello.agent_version.clone(),
        boot_id: hello.boot_id.clone(),
        nodes: hello.nodes.clone(),
        gateway_of: hello.gateway_of.clone(),
        allowed: hello.allowed.clone(),
    };
    server.store.save_host(&record, now()).await?;
    let unaccounted = attacks::unaccounted(&server, &record.name, &hello).await?;
    let concerns_a_keeper =
        !record.nodes.is_empty() || record.gateway_of.is_some() || server.keepers.concern(&record.name);
    let session = server.fleet.open(record, (hello, unaccounted), concerns_a_keeper);
    session.good_until(certificate.expires);
    // A revocation that came meanwhile has found no session to end.
    if let Err(refused) = certificates::in_force(&server, &caller).await {
        session.end("its certificate is not in force any more");
        return Err(refused);
    }
    let beat_ms = u64::try_from(session.beat().as_millis()).unwrap_or(u64::MAX);
    let lease_ms = u64::try_from(server.config.lease.as_millis()).unwrap_or(u64::MAX);
    let renew_at = Some(certificates::renew_at(&certificate));
    Ok(Json(Welcome { session: session.number(), at: now(), lease_ms, beat_ms, epoch: server.epoch.0, renew_at }))
}

/// `GET /link/v1/stream`.
pub(super) async fn stream(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Query(query): Query<SessionQuery>,
) -> Result<Response, Failure> {
    let session = query.find(&server, &caller.host)?;
    let queue = session.open_stream().ok_or_else(|| {
        let message =
            format!("session {} of host {} has a stream already; say hello again", query.session, caller.host);
        Failure(problem(SESSION, message))
    })?;
    let mut pings = interval(session.beat());
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let down = DownStream { session, queue, pings, close: caller.close };
    let lines = stream::unfold(down, |mut down| async move {
        let line = down.next().await?;
        Some((Ok::<_, Infallible>(line), down))
    });
    Ok(([("content-type", "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// What goes to one agent. Dropped when the connection closes, whoever closes it, and then the session is over.
struct DownStream {
    session: Arc<Session>,
    queue: mpsc::Receiver<Downward>,
    pings: Interval,
    close: CancellationToken,
}

impl DownStream {
    /// The next line; `None` when the session is over.
    async fn next(&mut self) -> Option<Bytes> {
        let message = tokio::select! {
            biased;
            () = self.session.ended() => return None,
            message = self.queue.recv() => message?,
            _ = self.pings.tick() => Downward::Ping { at: now() },
        };
        match serde_json::to_vec(&message) {
            Ok(mut line) => {
                line.push(b'\n');
                Some(line.into())
            }
            Err(error) => {
                // Cannot happen with the types of the link; the instruction's caller gets its time-out.
                tracing::error!(%error, ?message, "a message to an agent cannot be written as JSON");
                Some(Bytes::from_static(b"\n"))
            }
        }
    }
}

impl Drop for DownStream {
    fn drop(&mut self) {
        self.session.end("its stream was closed");
        // A silent host's socket would otherwise linger until the kernel gives it up.
        self.close.cancel();
    }
}
