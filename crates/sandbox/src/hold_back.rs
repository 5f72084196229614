//! Replication held back, for [`Profile::Unsafe`](crate::Profile::Unsafe): every packet from another database host is
//! kept for a while at the input of each database host.
//!
//! That makes the loss of acknowledged writes certain: what a client had an OK for in the last moments before its
//! primary is killed is still held in front of every replica, and a promotion, which first of all stops them
//! receiving, leaves it there. Only traffic between database hosts is held: clients, agents and the gateway are not.
//!
//! It begins when the fleet is whole, because setting replication up takes many round trips: [`request`] leaves a file
//! that asks for it, the supervisor answers with another ([`begin_when_requested`]).
//!
//! The rules belong to the process that serves the queues (the supervisor) and go with it.

use crate::error::SandboxError;
use crate::layout::{HostLayout, Layout};
use crate::plan_file;
use firedrill_host::nft::{self, Definition, Filter, Hook, OwnerTable, Verdict};
use firedrill_host::queue::{Announce, PacketId, PacketVerdict, Queue};
use firedrill_host::{HostError, netns};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long each packet is held: well above the time a promotion takes to stop the replicas.
const HOLD: Duration = Duration::from_millis(300);
/// The rules end by themselves when the supervisor hangs for this long.
const LEASE: Duration = Duration::from_secs(10);
/// How often the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// Numbers of packet queues are per namespace; this one is far from those that faults begin with.
const QUEUE_FIRST: u16 = 31_000;
const TABLE: &str = "firedrill_sandbox_hold_back";

/// Holds replication back on one host until the process ends.
struct HoldBack {
    queue: Queue,
    table: OwnerTable,
    held: VecDeque<(Instant, PacketId)>,
    renewed: Instant,
}

/// Waiting for a file: how often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The supervisor needs milliseconds for its answer.
const IN_PLACE_WITHIN: Duration = Duration::from_secs(10);

fn wanted_file(layout: &Layout) -> PathBuf {
    layout.directory.join("hold-back.wanted")
}

fn in_place_file(layout: &Layout) -> PathBuf {
    layout.directory.join("hold-back.in-place")
}

/// Asks the supervisor to begin and waits until it has.
///
/// # Errors
/// [`SandboxError::NotReady`] when it does not; its log has the reason.
pub(crate) async fn request(layout: &Layout) -> Result<(), SandboxError> {
    plan_file::write_durably(&wanted_file(layout), b"", 0o644)?;
    let began = Instant::now();
    while !in_place_file(layout).exists() {
        let after = began.elapsed();
        if after >= IN_PLACE_WITHIN {
            let (what, seen) = ("holding replication back".to_owned(), "the supervisor did not begin".to_owned());
            return Err(SandboxError::NotReady { what, after, seen, log: layout.log("supervisor") });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The supervisor's side of [`request`]; a supervisor that was restarted begins again at once.
///
/// # Errors
/// As [`begin`].
pub(crate) async fn begin_when_requested(layout: &Layout) -> Result<(), SandboxError> {
    while !wanted_file(layout).exists() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    begin(layout)?;
    plan_file::write_durably(&in_place_file(layout), b"", 0o644)
}

/// Begins on every database host; each is served by a thread of its own.
///
/// # Errors
/// [`SandboxError::Step`] naming the host whose kernel refused.
fn begin(layout: &Layout) -> Result<(), SandboxError> {
    for host in layout.databases() {
        let others = layout.databases().filter(|other| other.name != host.name);
        let peers = others.map(|other| IpAddr::V4(other.address)).collect();
        let doing = format!("hold replication back on host {}", host.name);
        let mut hold_back = HoldBack::install(host, peers).map_err(SandboxError::step(&doing))?;
        let name = host.name.clone();
        let serve = move || loop {
            if let Err(problem) = hold_back.serve_once() {
                tracing::error!(host = %name, problem = problem.full(), "replication is no longer held back");
                return;
            }
        };
        std::thread::Builder::new()
            .name(format!("hold-{}", host.name))
            .spawn(serve)
            .map_err(SandboxError::step(&doing))?;
    }
    Ok(())
}

impl HoldBack {
    fn install(host: &HostLayout, peers: Vec<IpAddr>) -> Result<Self, HostError> {
        netns::enter(&netns::path(&host.netns), || {
            let queue = Queue::bind_free(QUEUE_FIRST, Announce::Ids)?;
            let verdict = Verdict::Queue { number: queue.number(), through: nft::queue_expression()? };
            let (name, hooks) = (TABLE.to_owned(), vec![Hook::Input]);
            let definition = Definition { name, hooks, filter: Filter::peers(&peers), verdict };
            let table = OwnerTable::create(definition, LEASE)?;
            Ok(Self { queue, table, held: VecDeque::new(), renewed: Instant::now() })
        })?
    }

    /// Waits for packets or for the next moment something is due, and does it.
    fn serve_once(&mut self) -> Result<(), HostError> {
        self.wait();
        let mut arrived = Vec::new();
        while self.queue.receive(&mut arrived)? {}
        let now = Instant::now();
        self.held.extend(arrived.into_iter().map(|packet| (now + HOLD, packet.id)));
        let due = due(&mut self.held, now);
        if !due.is_empty() {
            self.queue.decide(&due, PacketVerdict::Accept)?;
        }
        if now.duration_since(self.renewed) >= RENEW_EVERY {
            match self.table.renew(LEASE) {
                Ok(()) => self.renewed = now,
                Err(nft::RenewError::Lapsed(table)) => {
                    tracing::warn!(table, "the lease had run out: replication was not held back for a while");
                    self.renewed = now;
                }
                Err(nft::RenewError::Host(problem)) => return Err(problem),
            }
        }
        Ok(())
    }

    fn wait(&self) {
        let next = self.held.front().map_or(self.renewed + RENEW_EVERY, |(release, _)| *release);
        // One more millisecond, because the timeout is cut to whole ones.
        let wait = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(wait.min(RENEW_EVERY)).unwrap_or(PollTimeout::ZERO);
        // An interrupted wait is as good as an early one.
        let _woken = poll(&mut [PollFd::new(self.queue.as_fd(), PollFlags::POLLIN)], timeout);
    }
}

/// Takes the packets that have been held long enough.
fn due(held: &mut VecDeque<(Instant, PacketId)>, now: Instant) -> Vec<PacketId> {
    let count = held.iter().take_while(|(release, _)| *release <= now).count();
    held.drain(..count).map(|(_, packet)| packet).collect()
}
