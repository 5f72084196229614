//! Packet rules that cannot outlive their holder.
//!
//! An [`OwnerTable`] is an nftables table with the *owner* flag (Linux 5.12): the kernel removes it when the socket that
//! made it closes, which it does when its process dies, however it dies. Its rules look into a set whose members have a
//! time-out, the *lease*: when the holder hangs and does not renew it, the rules stop matching by themselves. Nothing else may change or remove such a table while its holder lives.

mod encode;
mod expression;
mod filter;

pub use filter::{Above, Filter, Flow, Group, Protocol, RULES_MAX};

use crate::HostError;
use crate::cgroup;
use crate::netlink::{Answer, Socket};
use crate::resend::Place;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Which packets a table sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// What the interfaces receive, before anything else looks at it. Silent: nobody on this host learns of a drop.
    Ingress {
        /// Names of the interfaces.
        devices: Vec<String>,
    },
    /// What the interfaces send, after everything else has looked at it. Silent: the sender sees a success.
    Egress {
        /// Names of the interfaces.
        devices: Vec<String>,
    },
    /// What is delivered to this host's own sockets, the loopback interface left out.
    Input,
    /// What this host's own sockets send, the loopback interface left out. Senders learn of a drop.
    Output,
    /// The same, before all others look at it, and without what was sent again at this place or a later one
    /// ([`crate::resend`]).
    Departure(Place),
}

/// What happens to the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They vanish.
    Drop,
    /// TCP: the sender gets a reset in the name of the other side, and the packet vanishes. Only at input and output.
    Reset,
    /// The sender is told that the port cannot be reached, and the packet vanishes. Only at input and output.
    Unreachable,
    /// They go twice. Copies pass the same rule again. Only at egress.
    Duplicate,
    /// One byte at this offset from the transport header gets a random value; a packet that is shorter passes whole. Only
    /// at ingress and egress.
    Corrupt {
        /// Bytes from the beginning of the transport header.
        offset: u32,
    },
    /// They go to a queue in user space ([`crate::queue`]); when nobody serves it they pass.
    Queue {
        /// Its number.
        number: u16,
        /// How the kernel is asked.
        through: QueueExpression,
    },
}

/// Kernels have one or the other, most have both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueExpression {
    /// nftables' own `queue` (`CONFIG_NFT_QUEUE`).
    Native,
    /// The `NFQUEUE` target of xtables inside an nftables rule (`CONFIG_NFT_COMPAT`).
    Xtables,
}

/// A table to be made: for each hook, the packets that the filter means are counted and get the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name: letters, digits and `_`, at most 100 bytes, so that every `nft` can print and parse it.
    pub name: String,
    /// Where it looks. Ingress and egress may stand together, and input and output (another table family).
    pub hooks: Vec<Hook>,
    /// Which packets.
    pub filter: Filter,
    /// What happens to them.
    pub verdict: Verdict,
}

/// Which packets are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// All that the filter means, chance left aside.
    Seen,
    /// Those that got the verdict.
    Hit,
}

/// Packets that were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// How many.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a lease was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// It had run out: the rules matched nothing for a while.
    #[error("the lease of table {0} had run out: its holder did not renew it in time")]
    Lapsed(String),
    /// The kernel refused.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// A table in force, for as long as this value lives and its lease is renewed.
#[derive(Debug)]
pub struct OwnerTable {
    definition: Definition,
    socket: Socket,
}

impl OwnerTable {
    /// Makes the table, in the network namespace of the calling thread, all of it at once, with the first lease.
    pub fn create(definition: Definition, lease: Duration) -> Result<Self, HostError> {
        let refused = |problem| HostError::system("create the packet table", definition.name.clone(), problem);
        let mut socket = Socket::open().map_err(refused)?;
        socket.change(encode::creation(&definition, lease)).map_err(|(_, problem)| refused(problem))?;
        Ok(Self { definition, socket })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Sets a new lease, counted from now. In one transaction: no packet slips through.
    pub fn renew(&mut self, lease: Duration) -> Result<(), RenewError> {
        let name = self.definition.name.clone();
        self.socket.change(encode::renewal(&self.definition, lease)).map_err(|(_, problem)| {
            match problem.raw_os_error() {
                Some(libc::ENOENT) => RenewError::Lapsed(name),
                _ => HostError::system("renew the lease of the packet table", name, problem).into(),
            }
        })
    }

    /// From now on so many in 100,000 get the verdict; `None`: all. In one transaction, and the counters go on.
    pub fn strike(&mut self, chance: Option<u32>) -> Result<(), HostError> {
        if self.definition.filter.chance == chance {
            return Ok(());
        }
        self.definition.filter.chance = chance;
        self.socket.change(encode::other_rules(&self.definition)).map_err(|(_, problem)| {
            HostError::system("change the rules of the packet table", self.definition.name.clone(), problem)
        })
    }

    /// Packets counted at the hook of this place in [`Definition::hooks`].
    pub fn count(&mut self, hook: usize, counter: Counter) -> Result<Count, HostError> {
        let mut count = Count::default();
        let request = encode::counter_request(&self.definition, hook, counter);
        self.socket
            .get(request, |answer| count = encode::read_counter(answer).unwrap_or_default())
            .map_err(|problem| HostError::system("read the counter of the packet table", self.name(), problem))?;
        Ok(count)
    }

    /// Packets counted at all hooks.
    pub fn total(&mut self, counter: Counter) -> Result<Count, HostError> {
        let mut total = Count::default();
        for hook in 0..self.definition.hooks.len() {
            let count = self.count(hook, counter)?;
            total.packets += count.packets;
            total.bytes += count.bytes;
        }
        Ok(total)
    }
}

/// Names of all tables in the network namespace of the calling thread, of every family, whoever made them.
pub fn tables() -> Result<Vec<String>, HostError> {
    let failed = |problem| HostError::system("list", "packet tables", problem);
    let mut names = Vec::new();
    let visit = |answer: &Answer<'_>| names.extend(encode::read_table_name(answer));
    Socket::open().and_then(|mut socket| socket.dump(encode::tables_request(), visit)).map_err(failed)?;
    Ok(names)
}

/// Whether this kernel takes such a verdict, found by making (and dropping) a table that matches nothing.
///
/// # Errors
/// What the kernel answers.
pub fn attempt(hook: Hook, verdict: Verdict) -> Result<(), HostError> {
    attempt_with(hook, verdict, None, None)
}

/// The same with a limit.
///
/// # Errors
/// What the kernel answers.
pub fn attempt_above(hook: Hook, verdict: Verdict, above: Option<Above>) -> Result<(), HostError> {
    attempt_with(hook, verdict, above, None)
}

/// As [`attempt`], whether this kernel tells packets apart by the cgroup of their socket.
///
/// # Errors
/// What the kernel answers.
pub fn attempt_groups() -> Result<(), HostError> {
    attempt_with(Hook::Input, Verdict::Drop, None, Some(Group { id: 1, level: 1 }))
}

fn attempt_with(hook: Hook, verdict: Verdict, above: Option<Above>, group: Option<Group>) -> Result<(), HostError> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Never routed (RFC 5737).
    let nobody = Filter::peers(&[IpAddr::from([192, 0, 2, 1])]);
    let definition = Definition {
        // Several threads of this process may try at a time.
        name: format!("firedrill_attempt_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)),
        hooks: vec![hook],
        filter: Filter { chance: Some(1), above, flow: Flow { group, ..nobody.flow }, ..Filter::default() },
        verdict,
    };
    OwnerTable::create(definition, Duration::from_secs(1)).map(drop)
}

/// The cgroup of this path below the mount of version 2; `None` when there is none of that path, or no such mount.
///
/// # Errors
/// It cannot be looked at.
pub fn group(path: &str) -> Result<Option<Group>, HostError> {
    let Some(mount) = cgroup::mount_of_version_2() else { return Ok(None) };
    Group::at(&mount, path).map_err(|problem| HostError::at("look at the cgroup", &mount.join(path), problem))
}

/// Which way of queueing this kernel knows. It is asked until it has named one: each question costs it tens of
/// milliseconds, and no kernel forgets.
///
/// # Errors
/// What the kernel answers when it knows none.
pub fn queue_expression() -> Result<QueueExpression, HostError> {
    static KNOWN: OnceLock<QueueExpression> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let way = |through| attempt(Hook::Input, Verdict::Queue { number: u16::MAX, through }).map(|()| through);
    let through = way(QueueExpression::Native).or_else(|_| way(QueueExpression::Xtables))?;
    Ok(*KNOWN.get_or_init(|| through))
}
