//! The kernel's nftables messages, for the few forms that [`super::Definition`] can take. Numbers are those of
//! `linux/netfilter/nf_tables.h`.

use super::expression::{self, Expressions};
use super::filter::{Flow, Test};
use super::{Count, Counter, Definition, Hook, Verdict};
use crate::netlink::{
    Answer, Attributes, Message, NFNL_SUBSYS_NFTABLES, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, attributes,
};
use std::time::Duration;

const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const DELRULE: u16 = 8;
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
const NF_ACCEPT: u32 = 1;
/// Every attribute list of elements has this kind (`NFTA_LIST_ELEM`).
const LIST_ELEMENT: u16 = 1;
/// Before connection tracking and address translation (`NF_IP_PRI_RAW`).
const PRIORITY: i32 = -300;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// What the members of a set are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Members {
    V4,
    V6,
    /// Both address families: a set that matches everything while its lease lasts.
    Versions,
}

impl Members {
    const fn bytes(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
            Self::Versions => 2,
        }
    }

    /// The type number by which `nft list` prints members (`ipv4_addr`, `ipv6_addr`, `ether_type`).
    const fn kind(self) -> u32 {
        match self {
            Self::V4 => 7,
            Self::V6 => 8,
            Self::Versions => 10,
        }
    }
}

/// A set of the table. The members of leased ones leave by themselves.
struct Set {
    name: String,
    members: Members,
    values: Vec<Vec<u8>>,
    leased: bool,
}

/// The set that every matching rule looks into: without members, nothing matches.
const LEASE: &str = "lease";

/// The sets that a definition needs. Hosts of the flow are in sets, those of exclusions in others.
fn sets(definition: &Definition) -> Vec<Set> {
    let versions = vec![ETHERTYPE_IPV4.to_vec(), ETHERTYPE_IPV6.to_vec()];
    let mut all = vec![Set { name: LEASE.to_owned(), members: Members::Versions, values: versions, leased: true }];
    for (number, flow) in definition.filter.except.iter().chain([&definition.filter.flow]).enumerate() {
        let (v4, v6) = flow.hosts();
        for (v6, values) in [(false, v4), (true, v6)] {
            if !values.is_empty() {
                let members = if v6 { Members::V6 } else { Members::V4 };
                all.push(Set { name: hosts_name(number, v6), members, values, leased: false });
            }
        }
    }
    all
}

fn hosts_name(flow: usize, v6: bool) -> String {
    format!("hosts{flow}v{}", if v6 { 6 } else { 4 })
}

fn family(definition: &Definition) -> u8 {
    let inet = definition.hooks.iter().any(|hook| matches!(hook, Hook::Input | Hook::Output | Hook::Departure(_)));
    if inet { NFPROTO_INET } else { NFPROTO_NETDEV }
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
    for (id, set) in (1..).zip(sets(definition)) {
        let description = of_table(definition)
            .text(2, &set.name)
            .number(3, if set.leased { SET_F_TIMEOUT } else { 0 })
            .number(4, set.members.kind())
            .number(5, set.members.bytes())
            .number(10, id);
        all.push(message(definition, NEWSET, NEW, description));
        let lease = set.leased.then_some(lease);
        all.push(message(definition, NEWSETELEM, NLM_F_CREATE, members_of(definition, &set, lease)));
    }
    for (number, hook) in definition.hooks.iter().enumerate() {
        for counter in [Counter::Seen, Counter::Hit] {
            let object = of_table(definition).text(2, &counter.name(number)).number(3, OBJECT_COUNTER);
            all.push(message(definition, NEWOBJ, NEW, object.nest(4, Attributes::default())));
        }
        all.push(message(definition, NEWCHAIN, NEW, chain(definition, number, hook)));
        all.extend(new_rules(definition, number, hook));
    }
    all
}

fn new_rules(definition: &Definition, number: usize, hook: &Hook) -> impl Iterator<Item = Message> {
    rules(definition, number, hook).into_iter().map(move |rule| {
        let rule = of_table(definition).text(2, &chain_name(number)).nest(4, rule);
        message(definition, NEWRULE, NLM_F_CREATE | NLM_F_APPEND, rule)
    })
}

/// Takes all rules out of every chain, and puts in those of the definition as it is now.
pub(super) fn other_rules(definition: &Definition) -> Vec<Message> {
    let mut all = Vec::new();
    for (number, hook) in definition.hooks.iter().enumerate() {
        all.push(message(definition, DELRULE, 0, of_table(definition).text(2, &chain_name(number))));
        all.extend(new_rules(definition, number, hook));
    }
    all
}

/// Takes every leased member out and puts it in again with the new time-out: kernels before 6.12 ignore a new time-out
/// for a member that is there. The transaction makes it one step.
pub(super) fn renewal(definition: &Definition, lease: Duration) -> Vec<Message> {
    let mut all = Vec::new();
    for set in sets(definition).iter().filter(|set| set.leased) {
        all.push(message(definition, DELSETELEM, 0, members_of(definition, set, None)));
        all.push(message(definition, NEWSETELEM, NLM_F_CREATE, members_of(definition, set, Some(lease))));
    }
    all
}

fn members_of(definition: &Definition, set: &Set, lease: Option<Duration>) -> Attributes {
    let list = set.values.iter().fold(Attributes::default(), |list, member| {
        let key = Attributes::default().nest(1, Attributes::default().raw(1, member));
        let element = match lease {
            // A time-out of 0 would mean none at all.
            Some(lease) => key.raw(4, &u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1).to_be_bytes()),
            None => key,
        };
        list.nest(LIST_ELEMENT, element)
    });
    of_table(definition).text(2, &set.name).nest(3, list)
}

impl Counter {
    fn name(self, hook: usize) -> String {
        match self {
            Self::Seen => format!("seen{hook}"),
            Self::Hit => format!("hit{hook}"),
        }
    }
}

fn chain_name(hook: usize) -> String {
    format!("hook{hook}")
}

fn chain(definition: &Definition, number: usize, hook: &Hook) -> Attributes {
    const NETDEV_INGRESS: u32 = 0;
    const NETDEV_EGRESS: u32 = 1;
    const INET_LOCAL_IN: u32 = 1;
    const INET_LOCAL_OUT: u32 = 3;
    let (place, devices) = match hook {
        Hook::Ingress { devices } => (NETDEV_INGRESS, Some(devices)),
        Hook::Egress { devices } => (NETDEV_EGRESS, Some(devices)),
        Hook::Input => (INET_LOCAL_IN, None),
        Hook::Output | Hook::Departure(_) => (INET_LOCAL_OUT, None),
    };
    let priority = match hook {
        Hook::Departure(place) => place.priority(),
        _ => PRIORITY,
    };
    let mut at = Attributes::default().number(1, place).raw(2, &priority.to_be_bytes());
    if let Some(devices) = devices {
        at = at.nest(4, devices.iter().fold(Attributes::default(), |list, device| list.text(1, device)));
    }
    of_table(definition).text(3, &chain_name(number)).nest(4, at).number(5, NF_ACCEPT).text(7, "filter")
}

/// The rules of a hook: exclusions first, which end the table's say in a packet.
fn rules(definition: &Definition, number: usize, hook: &Hook) -> Vec<Attributes> {
    let filter = &definition.filter;
    let mut all = Vec::new();
    if let Hook::Departure(place) = hook {
        all.push(Expressions::default().marked(place.marks()).accept().into_attributes());
    }
    for (place, flow) in filter.except.iter().enumerate() {
        all.extend(matching(flow, place, hook).into_iter().map(|rule| rule.accept().into_attributes()));
    }
    for rule in matching(&filter.flow, filter.except.len(), hook) {
        // A reset that answers a packet passes these rules, too.
        let rule = if definition.verdict == Verdict::Reset { rule.not_reset() } else { rule };
        let mut rule = rule.leased(LEASE).count(&Counter::Seen.name(number));
        if let Some(chance) = filter.chance {
            rule = rule.by_chance(chance);
        }
        if let Some(above) = filter.above {
            rule = rule.above(above);
        }
        all.push(rule.count(&Counter::Hit.name(number)).verdict(definition.verdict).into_attributes());
    }
    all
}

/// Expressions that let pass only the packets of a flow, a list for each rule.
fn matching(flow: &Flow, place: usize, hook: &Hook) -> Vec<Expressions> {
    let begin = || match hook {
        Hook::Input => Expressions::default().not_loopback(expression::IIF),
        Hook::Output | Hook::Departure(_) => Expressions::default().not_loopback(expression::OIF),
        Hook::Ingress { .. } | Hook::Egress { .. } => Expressions::default(),
    };
    let outbound = matches!(hook, Hook::Egress { .. } | Hook::Output | Hook::Departure(_));
    let add = |rule: Expressions, test: Test| match test {
        Test::Version { v6 } => rule.ethertype(if v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 }),
        Test::Remote(network) => rule.remote_network(network, outbound),
        Test::RemoteHost { v6 } => rule.remote_host(&hosts_name(place, v6), v6, outbound),
        Test::Protocol(number) => rule.protocol(number),
        Test::RemotePort(ports) => rule.port(ports, outbound),
        Test::LocalPort(ports) => rule.port(ports, !outbound),
        Test::Opening => rule.opening(),
        Test::Group(group) => rule.socket_of(group.level, group.id),
    };
    flow.tests().into_iter().map(|tests| tests.into_iter().fold(begin(), add)).collect()
}

pub(super) fn counter_request(definition: &Definition, hook: usize, counter: Counter) -> Message {
    let which = of_table(definition).text(2, &counter.name(hook)).number(3, OBJECT_COUNTER);
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
