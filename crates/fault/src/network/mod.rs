//! Network faults, and what they share: which packets ([`traffic`]), the packet table that acts on them
//! ([`filtered`]) or hands them over ([`holding`]), its name, how it grows ([`ramp`]), and how it is seen to be gone.

pub(crate) mod bandwidth;
pub(crate) mod connection_limit;
pub(crate) mod corruption;
pub(crate) mod dns;
pub(crate) mod duplication;
mod filtered;
mod holding;
pub(crate) mod latency;
pub(crate) mod loss;
pub(crate) mod partition;
mod ramp;
pub(crate) mod reset;
mod shaping;
mod traffic;

use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Failure, Family, Kind, Pending, Refusal, Scope, StillThere};
use crate::probe::{self, CLOSED_PORT, TARGETS_MAX};
use crate::shape::{Parameters, Shape};
use crate::{Context, FaultError};
use firedrill_host::capabilities::{self, Capability, Need};
use firedrill_host::nft::{self, Hook, QueueExpression, Verdict};
use firedrill_model::attack::Direction;
use firedrill_model::{AttackId, Percent, Span};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use traffic::Traffic;
pub(crate) use traffic::tells_groups_apart;

/// A healthy peer in the fleet answers a handshake within this; across regions a tenth of it is usual.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_millis(300);
/// The kernel removes a table while its holder's socket closes; a holder that is just being killed takes milliseconds.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Who is on the other side, and what can be probed there.
#[derive(Debug)]
pub(crate) struct Others {
    /// Endpoints that answered before the fault, fastest first, with their answer times.
    pub(crate) answering: Vec<(SocketAddr, Duration)>,
    /// Endpoints that did not.
    pub(crate) silent: Vec<SocketAddr>,
}

impl Others {
    /// Measures the peers before anything is done to them; of none, whom this host knows. What the fault leaves alone
    /// is not asked: it would answer as ever.
    pub(crate) async fn meet(traffic: &Traffic, context: &Context) -> Result<Self, Refusal> {
        let mut targets = endpoints(&traffic.hosts()?, &(context.acquaintances)());
        targets.retain(|target| !traffic.leaves_alone(*target, context));
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
        Ok(Self { answering, silent })
    }

    /// All of them, those that answered first.
    pub(crate) fn endpoints(&self) -> Vec<SocketAddr> {
        self.answering.iter().map(|(target, _)| *target).chain(self.silent.iter().copied()).collect()
    }
}

/// What every network fault needs of its host.
pub(crate) const NEEDS: &[Need] = &[
    Need::Capability(Capability::NetAdmin),
    Need::Kernel { major: 5, minor: 16, because: "packet tables with an owner, and the egress hook" },
];

/// A kind of network fault: what they all have in common, and what is its own.
pub(crate) const fn kind<P: Parameters>(
    (name, summary): (&'static str, &'static str),
    mechanism: fn() -> Result<String, String>,
    preflight: fn(Asked) -> Checking,
) -> Kind {
    Kind {
        name,
        summary,
        family: Family::Network,
        scope: Scope::Host,
        instant: false,
        shape: Shape::of::<P>(),
        needs: NEEDS,
        mechanism,
        preflight,
        undo,
        verify_undone,
    }
}

/// A share of packets that are struck.
pub(crate) fn check_share(percent: Percent, most: Percent) -> Result<(), String> {
    if percent.thousandths() == 0 || percent > most {
        return Err(format!("`percent` must be above 0 and at most {most}"));
    }
    Ok(())
}

/// Which way, where that is not said: as programs of this host see it, and by the faster of two mechanisms.
fn inbound() -> Direction {
    Direction::Inbound
}

/// Where interfaces send; the loopback interface is there on every host.
pub(crate) fn sending() -> Hook {
    Hook::Egress { devices: vec!["lo".to_owned()] }
}

/// Whether the kernel takes a verdict at a hook, in a table that matches nothing and is gone at once.
pub(crate) fn tries(hook: Hook, verdict: Verdict) -> Result<String, String> {
    let taken = nft::attempt(hook, verdict).map(|()| "an nftables table that its holder owns and leases".to_owned());
    taken.map_err(|problem| format!("this kernel's nftables cannot do it: {}", problem.full()))
}

/// Drops at the interfaces.
pub(crate) fn drops() -> Result<String, String> {
    tries(sending(), Verdict::Drop)
}

/// Holds packets back in user space.
pub(crate) fn holds() -> Result<String, String> {
    match nft::queue_expression() {
        Ok(QueueExpression::Native) => Ok("packets held in user space (nftables' queue)".to_owned()),
        Ok(QueueExpression::Xtables) => Ok("packets held in user space (the NFQUEUE target)".to_owned()),
        Err(problem) => Err(format!(
            "the kernel has neither nftables' `queue` nor the NFQUEUE target (modprobe nft_queue): {}",
            problem.full()
        )),
    }
}

fn check_host() -> Result<(), Refusal> {
    match capabilities::missing(NEEDS).first() {
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

/// The tables of an attack: what its journal holds.
#[derive(Debug, Serialize, Deserialize)]
struct Tables {
    table: String,
    /// Where what arrives and what leaves has one each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<String>,
}

/// What the journal holds of an attack that is packet tables.
pub(crate) fn to_undo<'a>(tables: impl IntoIterator<Item = &'a str>) -> Result<Undo, FaultError> {
    let mut names = tables.into_iter().map(str::to_owned);
    match names.next() {
        Some(table) => Undo::by(&Tables { table, others: names.collect() }),
        None => Ok(Undo::NOTHING),
    }
}

/// Nothing is to be done: who holds the table has let go of it, or is dead. Nobody else could remove it.
pub(crate) fn undo(_undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async { Ok(()) })
}

pub(crate) fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Some(Tables { table, others }) = undo.read()? else { return Ok("there was no packet table".to_owned()) };
        let began = Instant::now();
        for table in others.iter().chain([&table]) {
            while nft::tables()?.contains(table) {
                if began.elapsed() > GONE_WITHIN {
                    let within = Span(GONE_WITHIN);
                    return Err(StillThere(format!(
                        "the packet table {table} is still there after {within}: a live process holds it; its lease ends it"
                    )));
                }
                sleep(LOOK_EVERY).await;
            }
        }
        let all = if others.is_empty() { "" } else { ", and the others of the attack" };
        Ok(format!("the packet table {table} is gone{all}"))
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
