//! Looks at the database servers and at the host, again and again, and at once when a server process ends.

use crate::nodes::Node;
use crate::outbox::Outbox;
use firedrill_api::link::{HostObservation, Upward};
use firedrill_model::observation::ProcessState;
use firedrill_model::{NodeObservation, Span};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Four looks a second at each server.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// One look a second at the host.
const HOST_EVERY: Duration = Duration::from_secs(1);
/// After the end of a server was reported, looks go on as before; this keeps a server that dies at each start from
/// filling the link.
const AFTER_EXIT: Duration = Duration::from_millis(50);

/// Watches one node, for ever.
pub(crate) async fn node(node: Arc<Node>, outbox: Arc<Outbox>) {
    loop {
        // Held over many looks, so that no end of the process falls between two watches.
        let exited = node.instance.exited();
        tokio::pin!(exited);
        let pid = loop {
            let next = Instant::now() + LOOK_EVERY;
            tokio::select! {
                biased;
                pid = &mut exited => break pid,
                () = look(&node, &outbox, next) => {}
            }
        };
        // Said from what the kernel told, without another look: this is the first moment of a failover.
        outbox.push_exit(NodeObservation {
            node: node.instance.config().node.clone(),
            process: ProcessState::Exited { pid },
            status: None,
            unanswered_for: Span::ZERO,
            error: Some("the server process has ended".to_owned()),
            disk_trouble: None,
        });
        sleep(AFTER_EXIT).await;
    }
}

async fn look(node: &Node, outbox: &Outbox, next: Instant) {
    let observation = node.instance.observe().await;
    outbox.push(Upward::Observation { observation: Box::new(observation) });
    tokio::select! {
        () = sleep_until(next) => {}
        () = node.look.notified() => {}
    }
}

/// Watches the host, for ever; `disk` is where its data lives.
pub(crate) async fn host(disk: PathBuf, outbox: Arc<Outbox>) {
    let mut told = false;
    loop {
        match look_at_host(&disk) {
            Ok(observation) => outbox.push(Upward::Host { observation }),
            Err(error) if !told => {
                tracing::warn!(error = error.full(), "the host cannot be observed");
                told = true;
            }
            Err(_) => {}
        }
        sleep(HOST_EVERY).await;
    }
}

fn look_at_host(disk: &Path) -> Result<HostObservation, firedrill_host::HostError> {
    let seen = firedrill_host::observe::host(disk)?;
    Ok(HostObservation {
        load_hundredths: seen.load_hundredths,
        memory_total_bytes: seen.memory_total_bytes,
        memory_available_bytes: seen.memory_available_bytes,
        disk_free_bytes: seen.disk_free_bytes,
        disk_total_bytes: seen.disk_total_bytes,
    })
}

/// So long after the start, program pages that are not in use leave memory for the first time, and then after twice as
/// long each time: a start, a failover and a clone run code that a quiet day does not.
const PAGES_RELEASED_FIRST: Duration = Duration::from_secs(10);
/// The longest time between two releases.
const PAGES_RELEASED_EVERY: Duration = Duration::from_secs(600);

/// Keeps the agent small between events, for ever: it shares its host with a database that wants the memory.
pub(crate) async fn own_memory() {
    let mut wait = PAGES_RELEASED_FIRST;
    loop {
        sleep(wait).await;
        wait = (wait * 2).min(PAGES_RELEASED_EVERY);
        if let Err(error) = firedrill_host::memory::release_program_pages() {
            tracing::debug!(error = error.full(), "unused program pages stay in memory");
        }
    }
}
