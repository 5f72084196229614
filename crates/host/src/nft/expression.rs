//! Single expressions of a rule: what is loaded into which register, compared, counted, and done. Numbers are those of
//! `linux/netfilter/nf_tables.h`.

use super::{Above, QueueExpression, Verdict};
use crate::netlink::Attributes;
use firedrill_model::{Network, Ports};

/// `NFT_META_IIF` and `NFT_META_OIF`: the interface a packet came by, or leaves by.
pub(super) const IIF: u32 = 4;
pub(super) const OIF: u32 = 5;

const LIST_ELEMENT: u16 = 1;
const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const META_PROTOCOL: u32 = 1;
const META_MARK: u32 = 3;
const META_L4PROTO: u32 = 16;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const CMP_LT: u32 = 2;
const CMP_LTE: u32 = 3;
const CMP_GTE: u32 = 5;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const OBJECT_COUNTER: u32 = 1;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// `LOOPBACK_IFINDEX`: the same in every namespace.
const LOOPBACK: u32 = 1;
/// Chances are of this many.
pub(super) const WHOLE: u32 = 100_000;

/// The expressions of a rule, in order. A comparison that does not hold ends the rule.
#[derive(Debug, Default)]
pub(super) struct Expressions(Attributes);

impl Expressions {
    pub(super) fn into_attributes(self) -> Attributes {
        self.0
    }

    fn push(self, name: &str, data: Attributes) -> Self {
        Self(self.0.nest(LIST_ELEMENT, Attributes::default().text(1, name).nest(2, data)))
    }

    fn meta(self, key: u32) -> Self {
        self.push("meta", Attributes::default().number(1, REG_1).number(2, key))
    }

    fn payload(self, base: u32, offset: u32, length: u32) -> Self {
        let load = Attributes::default().number(1, REG_1).number(2, base).number(3, offset).number(4, length);
        self.push("payload", load)
    }

    fn compare(self, operator: u32, value: &[u8]) -> Self {
        let value = Attributes::default().raw(1, value);
        self.push("cmp", Attributes::default().number(1, REG_1).number(2, operator).nest(3, value))
    }

    fn masked(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or_default();
        let mask = Attributes::default().raw(1, mask);
        let none = Attributes::default().raw(1, &vec![0; length as usize]);
        let bitwise = Attributes::default().number(1, REG_1).number(2, REG_1).number(3, length);
        self.push("bitwise", bitwise.nest(4, mask).nest(5, none))
    }

    pub(super) fn not_loopback(self, interface: u32) -> Self {
        self.meta(interface).compare(CMP_NEQ, &LOOPBACK.to_ne_bytes())
    }

    pub(super) fn ethertype(self, ethertype: [u8; 2]) -> Self {
        self.meta(META_PROTOCOL).compare(CMP_EQ, &ethertype)
    }

    /// Loads the remote address: the source of what comes in, the destination of what goes out.
    fn remote(self, v6: bool, outbound: bool) -> Self {
        let offset = match (v6, outbound) {
            (false, false) => 12,
            (false, true) => 16,
            (true, false) => 8,
            (true, true) => 24,
        };
        self.payload(NETWORK_HEADER, offset, if v6 { 16 } else { 4 })
    }

    pub(super) fn remote_network(self, network: Network, outbound: bool) -> Self {
        let address = match network.address() {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        self.remote(address.len() == 16, outbound).masked(&network.mask()).compare(CMP_EQ, &address)
    }

    pub(super) fn remote_host(self, set: &str, v6: bool, outbound: bool) -> Self {
        self.remote(v6, outbound).lookup(set)
    }

    fn lookup(self, set: &str) -> Self {
        self.push("lookup", Attributes::default().text(1, set).number(2, REG_1))
    }

    pub(super) fn protocol(self, number: u8) -> Self {
        self.meta(META_L4PROTO).compare(CMP_EQ, &[number])
    }

    pub(super) fn port(self, ports: Ports, destination: bool) -> Self {
        let loaded = self.payload(TRANSPORT_HEADER, if destination { 2 } else { 0 }, 2);
        if ports.first() == ports.last() {
            return loaded.compare(CMP_EQ, &ports.first().to_be_bytes());
        }
        loaded.compare(CMP_GTE, &ports.first().to_be_bytes()).compare(CMP_LTE, &ports.last().to_be_bytes())
    }

    /// The TCP flags SYN and ACK stand in byte 13 of the header; only the first packet of a connection has SYN alone.
    pub(super) fn opening(self) -> Self {
        const SYN: u8 = 0x02;
        const ACK: u8 = 0x10;
        self.payload(TRANSPORT_HEADER, 13, 1).masked(&[SYN | ACK]).compare(CMP_EQ, &[SYN])
    }

    /// Of a socket whose cgroup, at that many groups below the root, has this number. A packet without a socket is not.
    pub(super) fn socket_of(self, level: u32, id: u64) -> Self {
        const CGROUP_V2: u32 = 3;
        let load = Attributes::default().number(1, CGROUP_V2).number(2, REG_1).number(3, level);
        self.push("socket", load).compare(CMP_EQ, &id.to_ne_bytes())
    }

    /// Not a TCP reset itself (byte 13 of the header).
    pub(super) fn not_reset(self) -> Self {
        const RST: u8 = 0x04;
        self.payload(TRANSPORT_HEADER, 13, 1).masked(&[RST]).compare(CMP_EQ, &[0])
    }

    /// Only while the set of address families has its members.
    pub(super) fn leased(self, set: &str) -> Self {
        self.meta(META_PROTOCOL).lookup(set)
    }

    pub(super) fn count(self, counter: &str) -> Self {
        self.push("objref", Attributes::default().number(1, OBJECT_COUNTER).text(2, counter))
    }

    fn random(self, modulus: u32) -> Self {
        const RANDOM: u32 = 1;
        self.push("numgen", Attributes::default().number(1, REG_1).number(2, modulus).number(3, RANDOM).number(4, 0))
    }

    /// Numbers are compared byte by byte: the highest must come first.
    fn in_network_order(self) -> Self {
        const TO_NETWORK_ORDER: u32 = 1;
        let swap = Attributes::default().number(1, REG_1).number(2, REG_1).number(3, TO_NETWORK_ORDER);
        self.push("byteorder", swap.number(4, 4).number(5, 4))
    }

    /// Goes on for so many packets of [`WHOLE`].
    pub(super) fn by_chance(self, chance: u32) -> Self {
        self.random(WHOLE).in_network_order().compare(CMP_LT, &chance.to_be_bytes())
    }

    /// With a firewall mark of this range.
    pub(super) fn marked(self, (first, last): (u32, u32)) -> Self {
        let loaded = self.meta(META_MARK).in_network_order();
        loaded.compare(CMP_GTE, &first.to_be_bytes()).compare(CMP_LTE, &last.to_be_bytes())
    }

    /// Goes on for what is above a limit.
    pub(super) fn above(self, limit: Above) -> Self {
        /// `NFT_CONNLIMIT_F_INV` and `NFT_LIMIT_F_INV`: above it, not within.
        const ABOVE: u32 = 1;
        match limit {
            Above::Connections(count) => {
                self.push("connlimit", Attributes::default().number(1, count).number(2, ABOVE))
            }
            Above::PerSecond(rate) => {
                let in_a_second = Attributes::default()
                    .raw(1, &u64::from(rate).to_be_bytes())
                    .raw(2, &1_u64.to_be_bytes())
                    .number(3, rate)
                    .number(4, 0);
                self.push("limit", in_a_second.number(5, ABOVE))
            }
        }
    }

    fn end(self, code: u32) -> Self {
        let code = Attributes::default().nest(2, Attributes::default().number(1, code));
        self.push("immediate", Attributes::default().number(1, REG_VERDICT).nest(2, code))
    }

    pub(super) fn accept(self) -> Self {
        self.end(NF_ACCEPT)
    }

    pub(super) fn verdict(self, verdict: Verdict) -> Self {
        match verdict {
            Verdict::Drop => self.end(NF_DROP),
            Verdict::Reset => {
                const TCP_RESET: u32 = 1;
                self.push("reject", Attributes::default().number(1, TCP_RESET))
            }
            Verdict::Unreachable => {
                const ICMPX: u32 = 2;
                const PORT_UNREACHABLE: u8 = 1;
                self.push("reject", Attributes::default().number(1, ICMPX).raw(2, &[PORT_UNREACHABLE]))
            }
            Verdict::Duplicate => self.meta(OIF).push("dup", Attributes::default().number(2, REG_1)),
            Verdict::Corrupt { offset } => {
                // The lowest byte of the number, which this machine's byte order puts first.
                let write = Attributes::default().number(5, REG_1).number(2, TRANSPORT_HEADER);
                self.random(256).push("payload", write.number(3, offset).number(4, 1))
            }
            Verdict::Queue { number, through: QueueExpression::Native } => {
                const BYPASS: u16 = 1;
                let queue = Attributes::default().raw(1, &number.to_be_bytes()).raw(2, &1_u16.to_be_bytes());
                self.push("queue", queue.raw(3, &BYPASS.to_be_bytes()))
            }
            Verdict::Queue { number, through: QueueExpression::Xtables } => self.push("target", nfqueue_target(number)),
        }
    }
}

/// `struct xt_NFQ_info_v3 { queuenum, queues_total, flags }`, padded to 8 bytes.
fn nfqueue_target(number: u16) -> Attributes {
    const REVISION: u32 = 3;
    const BYPASS: u16 = 1;
    let info: Vec<u8> = [number, 1, BYPASS, 0].iter().flat_map(|field| field.to_ne_bytes()).collect();
    Attributes::default().text(1, "NFQUEUE").number(2, REVISION).raw(3, &info)
}
