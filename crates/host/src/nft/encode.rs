//! The kernel's nftables messages, for the few forms that [`super::Definition`] can take. Numbers are those of
//! `linux/netfilter/nf_tables.h`.

use super::{Count, Definition, Hook, Peers, QueueExpression, Verdict};
use crate::netlink::{Answer, Attributes, Message, NFNL_SUBSYS_NFTABLES, NLM_F_CREATE, NLM_F_EXCL, attributes};
use std::net::IpAddr;
use std::time::Duration;

const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
const NEWOBJ: u16 = 18;
const GETOBJ: u16 = 19;

const NFPROTO_INET: u8 = 1;
const NFPROTO_NETDEV: u8 = 5;

const TABLE_F_OWNER: u32 = 0x2;
const SET_F_TIMEOUT: u32 = 0x10;
const OBJECT_COUNTER: u32 = 1;
const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const META_PROTOCOL: u32 = 1;
const META_IIF: u32 = 4;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// Every attribute list of elements has this kind (`NFTA_LIST_ELEM`).
const LIST_ELEMENT: u16 = 1;
/// `LOOPBACK_IFINDEX`: the same in every namespace.
const LOOPBACK: u32 = 1;
/// Before connection tracking and address translation (`NF_IP_PRI_RAW`).
const PRIORITY: i32 = -300;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// A set of the table: what its members are, and which member of the packet is looked up in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    V4,
    V6,
    Protocol,
}

impl Set {
    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "peers4",
            Self::V6 => "peers6",
            Self::Protocol => "everybody",
        }
    }

    const fn key_bytes(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
            Self::Protocol => 2,
        }
    }

    /// The type number by which `nft list` prints members (`ipv4_addr`, `ipv6_addr`, `ether_type`).
    const fn key_type(self) -> u32 {
        match self {
            Self::V4 => 7,
            Self::V6 => 8,
            Self::Protocol => 10,
        }
    }
}

/// The sets that a definition needs, with their members.
fn sets(peers: &Peers) -> Vec<(Set, Vec<Vec<u8>>)> {
    match peers {
        Peers::Everybody => vec![(Set::Protocol, vec![ETHERTYPE_IPV4.to_vec(), ETHERTYPE_IPV6.to_vec()])],
        Peers::Addresses(addresses) => {
            let (mut v4, mut v6) = (Vec::new(), Vec::new());
            for address in addresses {
                match address.to_canonical() {
                    IpAddr::V4(address) => v4.push(address.octets().to_vec()),
                    IpAddr::V6(address) => v6.push(address.octets().to_vec()),
                }
            }
            for members in [&mut v4, &mut v6] {
                members.sort();
                members.dedup();
            }
            [(Set::V4, v4), (Set::V6, v6)].into_iter().filter(|(_, members)| !members.is_empty()).collect()
        }
    }
}

fn family(definition: &Definition) -> u8 {
    if definition.hooks.contains(&Hook::Input) { NFPROTO_INET } else { NFPROTO_NETDEV }
}

fn message(definition: &Definition, kind: u16, flags: u16, attributes: Attributes) -> Message {
    Message { kind: NFNL_SUBSYS_NFTABLES << 8 | kind, flags, family: family(definition), resource: 0, attributes }
}

/// An attribute list that begins with the table's name, as all but tables themselves have it in attribute 1.
fn of_table(definition: &Definition) -> Attributes {
    Attributes::default().text(1, &definition.name)
}

/// Everything that makes the table, in order.
pub(super) fn creation(definition: &Definition, lease: Duration) -> Vec<Message> {
    const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
    let mut all = vec![message(definition, NEWTABLE, NEW, of_table(definition).number(2, TABLE_F_OWNER))];
    let sets = sets(&definition.peers);
    for (id, (set, members)) in (1..).zip(&sets) {
        let description = of_table(definition)
            .text(2, set.name())
            .number(3, SET_F_TIMEOUT)
            .number(4, set.key_type())
            .number(5, set.key_bytes())
            .number(10, id);
        all.push(message(definition, NEWSET, NEW, description));
        all.push(message(definition, NEWSETELEM, NLM_F_CREATE, members_of(definition, *set, members, Some(lease))));
    }
    for (number, hook) in definition.hooks.iter().enumerate() {
        let counter = of_table(definition).text(2, &counter_name(number)).number(3, OBJECT_COUNTER);
        let counter = counter.nest(4, Attributes::default());
        all.push(message(definition, NEWOBJ, NEW, counter));
        all.push(message(definition, NEWCHAIN, NEW, chain(definition, number, hook)));
        for (set, _) in &sets {
            let rule = of_table(definition)
                .text(2, &chain_name(number))
                .nest(4, rule(hook, *set, &counter_name(number), definition.verdict));
            all.push(message(definition, NEWRULE, NLM_F_CREATE, rule));
        }
    }
    all
}

/// Takes every member out and puts it in again with the new time-out: kernels before 6.12 ignore a new time-out for a
/// member that is there. The transaction makes it one step.
pub(super) fn renewal(definition: &Definition, lease: Duration) -> Vec<Message> {
    let mut all = Vec::new();
    for (set, members) in sets(&definition.peers) {
        all.push(message(definition, DELSETELEM, 0, members_of(definition, set, &members, None)));
        all.push(message(definition, NEWSETELEM, NLM_F_CREATE, members_of(definition, set, &members, Some(lease))));
    }
    all
}

fn members_of(definition: &Definition, set: Set, members: &[Vec<u8>], lease: Option<Duration>) -> Attributes {
    let list = members.iter().fold(Attributes::default(), |list, member| {
        let key = Attributes::default().nest(1, Attributes::default().raw(1, member));
        let element = match lease {
            // A time-out of 0 would mean none at all.
            Some(lease) => key.raw(4, &u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1).to_be_bytes()),
            None => key,
        };
        list.nest(LIST_ELEMENT, element)
    });
    of_table(definition).text(2, set.name()).nest(3, list)
}

fn counter_name(hook: usize) -> String {
    format!("matched{hook}")
}

fn chain_name(hook: usize) -> String {
    format!("hook{hook}")
}

fn chain(definition: &Definition, number: usize, hook: &Hook) -> Attributes {
    const NETDEV_INGRESS: u32 = 0;
    const NETDEV_EGRESS: u32 = 1;
    const INET_LOCAL_IN: u32 = 1;
    let (place, devices) = match hook {
        Hook::Ingress { devices } => (NETDEV_INGRESS, Some(devices)),
        Hook::Egress { devices } => (NETDEV_EGRESS, Some(devices)),
        Hook::Input => (INET_LOCAL_IN, None),
    };
    let mut at = Attributes::default().number(1, place).raw(2, &PRIORITY.to_be_bytes());
    if let Some(devices) = devices {
        at = at.nest(4, devices.iter().fold(Attributes::default(), |list, device| list.text(1, device)));
    }
    of_table(definition).text(3, &chain_name(number)).nest(4, at).number(5, NF_ACCEPT).text(7, "filter")
}

fn rule(hook: &Hook, set: Set, counter: &str, verdict: Verdict) -> Attributes {
    let mut all = Attributes::default();
    if *hook == Hook::Input {
        all = push(all, "meta", Attributes::default().number(1, REG_1).number(2, META_IIF));
        all = push(all, "cmp", compare(CMP_NEQ, &LOOPBACK.to_ne_bytes()));
    }
    all = push(all, "meta", Attributes::default().number(1, REG_1).number(2, META_PROTOCOL));
    let end_of_packet = |source, destination, length, ethertype: [u8; 2], all| {
        let offset = if matches!(hook, Hook::Egress { .. }) { destination } else { source };
        let all = push(all, "cmp", compare(CMP_EQ, &ethertype));
        let load = Attributes::default().number(1, REG_1).number(2, NETWORK_HEADER).number(3, offset).number(4, length);
        push(all, "payload", load)
    };
    all = match set {
        Set::V4 => end_of_packet(12, 16, 4, ETHERTYPE_IPV4, all),
        Set::V6 => end_of_packet(8, 24, 16, ETHERTYPE_IPV6, all),
        Set::Protocol => all,
    };
    all = push(all, "lookup", Attributes::default().text(1, set.name()).number(2, REG_1));
    all = push(all, "objref", Attributes::default().number(1, OBJECT_COUNTER).text(2, counter));
    match verdict {
        Verdict::Drop => {
            let code = Attributes::default().nest(2, Attributes::default().number(1, NF_DROP));
            push(all, "immediate", Attributes::default().number(1, REG_VERDICT).nest(2, code))
        }
        Verdict::Queue { number, through: QueueExpression::Native } => {
            const BYPASS: u16 = 1;
            let queue = Attributes::default().raw(1, &number.to_be_bytes()).raw(2, &1_u16.to_be_bytes());
            push(all, "queue", queue.raw(3, &BYPASS.to_be_bytes()))
        }
        Verdict::Queue { number, through: QueueExpression::Xtables } => push(all, "target", nfqueue_target(number)),
    }
}

/// `struct xt_NFQ_info_v3 { queuenum, queues_total, flags }`, padded to 8 bytes.
fn nfqueue_target(number: u16) -> Attributes {
    const REVISION: u32 = 3;
    const BYPASS: u16 = 1;
    let info: Vec<u8> = [number, 1, BYPASS, 0].iter().flat_map(|field| field.to_ne_bytes()).collect();
    Attributes::default().text(1, "NFQUEUE").number(2, REVISION).raw(3, &info)
}

fn compare(operator: u32, value: &[u8]) -> Attributes {
    Attributes::default().number(1, REG_1).number(2, operator).nest(3, Attributes::default().raw(1, value))
}

fn push(all: Attributes, name: &str, data: Attributes) -> Attributes {
    all.nest(LIST_ELEMENT, Attributes::default().text(1, name).nest(2, data))
}

pub(super) fn counter_request(definition: &Definition, hook: usize) -> Message {
    let which = of_table(definition).text(2, &counter_name(hook)).number(3, OBJECT_COUNTER);
    message(definition, GETOBJ, 0, which)
}

pub(super) fn read_counter(answer: &Answer<'_>) -> Option<Count> {
    if answer.kind != NFNL_SUBSYS_NFTABLES << 8 | NEWOBJ {
        return None;
    }
    let number = |wanted| {
        let (_, value) = attributes(answer.attribute(4)?).find(|(kind, _)| *kind == wanted)?;
        Some(u64::from_be_bytes(value.try_into().ok()?))
    };
    Some(Count { bytes: number(1)?, packets: number(2)? })
}

pub(super) fn tables_request() -> Message {
    Message {
        kind: NFNL_SUBSYS_NFTABLES << 8 | GETTABLE,
        flags: 0,
        family: 0,
        resource: 0,
        attributes: Attributes::default(),
    }
}

pub(super) fn read_table_name(answer: &Answer<'_>) -> Option<String> {
    if answer.kind != NFNL_SUBSYS_NFTABLES << 8 | NEWTABLE {
        return None;
    }
    let name = answer.attribute(1)?;
    Some(String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned())
}
