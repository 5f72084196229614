//! Takes connections and deals them out to the event loops.
//!
//! One thread accepts for all loops, because that keeps the loops evenly filled (the kernel's own sharding does not)
//! and leaves one place that counts sessions.

use super::config::GatewayConfig;
use super::error_packet::Turned;
use super::poll::{self, Bell};
use super::socket;
use super::stats::{self, Stats};
use super::worker::Handle;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Pause after the kernel had no descriptor or memory for a connection; the connection stays queued meanwhile.
const PAUSE_WHEN_EXHAUSTED: Duration = Duration::from_millis(10);

/// Accepts until stopped.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    max_sessions: u64,
    workers: Vec<Handle>,
    stats: Arc<Stats>,
    stop: Arc<Bell>,
}

impl Acceptor {
    pub(super) fn new(
        listener: TcpListener,
        config: &GatewayConfig,
        workers: Vec<Handle>,
        stats: Arc<Stats>,
        stop: Arc<Bell>,
    ) -> Self {
        Self { listener, max_sessions: config.max_sessions, workers, stats, stop }
    }

    pub(super) fn run(self) {
        loop {
            match self.listener.accept() {
                Ok((client, _)) => {
                    stats::count(&self.stats.accepted);
                    self.admit(client);
                }
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => {
                    if !matches!(poll::readable(&self.listener, &self.stop), Ok(true)) {
                        return;
                    }
                }
                // The client was gone before we came, or a signal came; the next one is not concerned.
                Err(problem)
                    if matches!(problem.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
                Err(problem) => {
                    tracing::warn!("a connection cannot be accepted now: {problem}");
                    if poll::stopped_within(&self.stop, PAUSE_WHEN_EXHAUSTED) {
                        return;
                    }
                }
            }
        }
    }

    fn admit(&self, client: TcpStream) {
        if client.set_nonblocking(true).and_then(|()| socket::tune(&client)).is_err() {
            // The kernel refuses options only on a connection that is dead already.
            return;
        }
        if !stats::take_place(&self.stats.sessions, self.max_sessions) {
            stats::count(&self.stats.too_many_sessions);
            Turned::TooManySessions { max: self.max_sessions }.tell(&client);
            return;
        }
        if let Some(least) = self.workers.iter().min_by_key(|worker| worker.load()) {
            least.client(client);
        }
    }
}
