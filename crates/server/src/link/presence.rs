//! What follows when a link comes or goes: the keepers are told first, then the rest.

use crate::attacks;
use crate::clock::now;
use crate::fleet::{Call, Presence, Session};
use crate::problem::chain;
use crate::server::Server;
use firedrill_api::link::Order;
use firedrill_keeper::Event;
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{AttackId, HostName, Severity, Span};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Taking a fault out and seeing it out.
const UNDO_WITHIN: Span = Span::secs(15);

/// Handles comings and goings in their order until the shutdown.
pub(crate) async fn follow(server: Arc<Server>, mut changes: mpsc::Receiver<Presence>, shutdown: CancellationToken) {
    loop {
        let change = tokio::select! {
            // First: links that close because the server stops are not lost.
            biased;
            () = shutdown.cancelled() => return,
            change = changes.recv() => change,
        };
        match change {
            Some(Presence::Connected(session)) => {
                server.keepers.presence(session.host(), Event::HostConnected(session.host().clone())).await;
                tokio::spawn(connected(Arc::clone(&server), session));
            }
            Some(Presence::Lost(session)) => {
                server.keepers.presence(session.host(), Event::HostLost(session.host().clone())).await;
                tokio::spawn(lost(Arc::clone(&server), session));
            }
            None => return,
        }
    }
}

/// Brings an agent that has just connected to where the server is.
async fn connected(server: Arc<Server>, session: Arc<Session>) {
    let host = session.host();
    let scope = scope(host);
    server.timeline.append(Severity::Info, EventKind::Agent, format!("the agent of {host} is connected"), scope).await;
    // A halt or a resume that the agent missed while it was away.
    let order = match server.halted() {
        Some(reason) => Order::Halt { reason },
        None => Order::Resume,
    };
    if let Err(failure) = session.call(Call::new(order, UNDO_WITHIN)).await {
        tracing::warn!(%host, %failure, "the agent could not be told whether faults are allowed");
    }
    for attack in &session.hello().attacks {
        if abandoned(&server, attack).await {
            tracing::warn!(%host, %attack, "a fault of a run that is over is still in place; taking it out");
            // Its outcome is reported by the agent like every other change of an attack.
            if let Err(failure) = session.call(Call::new(Order::Undo { attack: attack.clone() }, UNDO_WITHIN)).await {
                tracing::warn!(%host, %attack, %failure, "the fault could not be taken out; its deadline will");
            }
        }
    }
    attacks::settle_forgotten(&server, &session).await;
}

/// The attack belongs to a run that is not under way any more.
async fn abandoned(server: &Server, attack: &AttackId) -> bool {
    match server.store.attack(attack).await {
        Ok(Some(record)) => record.run.is_some_and(|run| server.runs.cluster_of(&run).is_none()),
        // By hand, or of another server's time: its own deadline takes it out.
        Ok(None) => false,
        Err(error) => {
            tracing::error!(%attack, error = %chain(&error), "cannot find out whose an attack is");
            false
        }
    }
}

async fn lost(server: Arc<Server>, session: Arc<Session>) {
    let host = session.host();
    let silent = now().since(session.heard());
    let text = format!("the link to the agent of {host} is lost; it was heard {silent} ago");
    server.timeline.append(Severity::Warning, EventKind::Agent, text, scope(host)).await;
    if let Err(error) = server.store.host_seen(host, session.heard()).await {
        tracing::error!(%host, error = %chain(&error), "when a host was last heard is not stored");
    }
}

fn scope(host: &HostName) -> Scope {
    Scope { host: Some(host.clone()), ..Scope::default() }
}
