//! What the network faults share: whose packets, which interfaces, the table's name, and how it is seen to be gone.

use crate::Context;
use crate::journal::Undo;
use crate::kinds::{Pending, Refusal, StillThere};
use crate::probe::{self, CLOSED_PORT, TARGETS_MAX};
use firedrill_host::capabilities::{self, Capability, Need};
use firedrill_host::nft::{self, Peers};
use firedrill_host::{HostError, netns};
use firedrill_model::{AttackId, Span};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A healthy peer in the fleet answers a handshake within this; across regions a tenth of it is usual.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_millis(300);
/// The kernel removes a table while its holder's socket closes; a holder that is just being killed takes milliseconds.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Who is on the other side, and what can be probed there.
pub(crate) struct Others {
    pub(crate) peers: Peers,
    /// Endpoints that answered before the fault, fastest first, with their answer times.
    pub(crate) answering: Vec<(SocketAddr, Duration)>,
    /// Endpoints that did not.
    pub(crate) silent: Vec<SocketAddr>,
}

impl Others {
    /// Checks that packets can be filtered here, and measures the peers before anything is done to them.
    pub(crate) async fn meet(peers: &[IpAddr], context: &Context) -> Result<Self, Refusal> {
        check_host()?;
        if let Some(own) = peers.iter().find(|peer| peer.is_loopback() || peer.is_unspecified()) {
            return Err(Refusal(format!("the peer {own} is this host itself; its loopback traffic is never touched")));
        }
        let targets = endpoints(peers, &(context.acquaintances)());
        let answers = probe::round_trips(&targets, ANSWERED_WITHIN).await;
        let mut answering = Vec::new();
        let mut silent = Vec::new();
        for (target, answer) in targets.into_iter().zip(answers) {
            match answer {
                Some(took) => answering.push((target, took)),
                None => silent.push(target),
            }
        }
        answering.sort_by_key(|(_, took)| *took);
        let peers = if peers.is_empty() { Peers::Everybody } else { Peers::Addresses(peers.to_vec()) };
        Ok(Self { peers, answering, silent })
    }
}

fn check_host() -> Result<(), Refusal> {
    let needs = [
        Need::Capability(Capability::NetAdmin),
        Need::Kernel { major: 5, minor: 16, because: "packet tables with an owner, and the egress hook" },
    ];
    match capabilities::missing(&needs).first() {
        Some(missing) => Err(Refusal(missing.to_string())),
        None => Ok(()),
    }
}

/// What to probe: a closed port of each peer, or, when everybody is meant, of everybody known; then endpoints that the
/// agent says may be disturbed.
fn endpoints(peers: &[IpAddr], acquaintances: &[SocketAddr]) -> Vec<SocketAddr> {
    let hosts: Vec<IpAddr> = if peers.is_empty() {
        let known = acquaintances.iter().map(SocketAddr::ip).filter(|address| !address.is_loopback());
        known.chain(probe::neighbours()).collect()
    } else {
        peers.to_vec()
    };
    let closed = hosts.iter().map(|host| SocketAddr::from((*host, CLOSED_PORT)));
    let known = acquaintances.iter().filter(|endpoint| hosts.contains(&endpoint.ip())).copied();
    let mut all = Vec::new();
    for endpoint in closed.chain(known) {
        if !all.contains(&endpoint) && all.len() < TARGETS_MAX {
            all.push(endpoint);
        }
    }
    all
}

/// All interfaces but the loopback.
pub(crate) fn devices() -> Result<Vec<String>, Refusal> {
    let mut devices = netns::interfaces()?;
    devices.retain(|name| name != "lo");
    if devices.is_empty() {
        return Err(Refusal("this host has no network interface but its loopback: nothing could be cut".to_owned()));
    }
    Ok(devices)
}

/// A name that `nft` can print and parse, that belongs to one attack, and that the journal can repeat: the id with
/// everything but letters and digits replaced, and a checksum that keeps different ids apart.
pub(crate) fn table_name(id: &AttackId) -> String {
    const READABLE_BYTES: usize = 60;
    let readable: String =
        id.0.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(READABLE_BYTES).collect();
    format!("firedrill_{readable}_{:08x}", fnv1a(id.0.as_bytes()))
}

/// 32-bit FNV-1a: the name must be the same in every build, which the standard hasher does not promise.
pub(crate) fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Nothing is to be done: who holds the table has let go of it, or is dead. Nobody else could remove it.
pub(crate) fn undo(_undo: &Undo) -> Pending<'_, Result<(), HostError>> {
    Box::pin(async { Ok(()) })
}

pub(crate) fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Undo::Table { name } = undo else { return Ok("there was no packet table".to_owned()) };
        let began = Instant::now();
        while nft::tables()?.contains(name) {
            if began.elapsed() > GONE_WITHIN {
                let within = Span(GONE_WITHIN);
                return Err(StillThere(format!(
                    "the packet table {name} is still there after {within}: a live process holds it; its lease ends it"
                )));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(format!("the packet table {name} is gone"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_are_readable_and_distinct() {
        let name = |id: &str| table_name(&AttackId(id.to_owned()));
        assert!(name("run-1.east").starts_with("firedrill_run_1_east_"));
        assert_ne!(name("a-b"), name("a_b"));
        assert!(name(&"x".repeat(100)).len() <= 100);
    }

    #[test]
    fn closed_ports_are_probed_first_and_only_of_the_peers() {
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let known = [SocketAddr::from((address(2), 99)), SocketAddr::from((address(3), 99))];
        assert_eq!(
            endpoints(&[address(2)], &known),
            [SocketAddr::from((address(2), CLOSED_PORT)), SocketAddr::from((address(2), 99))]
        );
    }
}
