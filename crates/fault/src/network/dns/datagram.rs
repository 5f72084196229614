//! UDP over IP: read, and written anew with another payload. Pure.

use std::ops::Range;

const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;
const V4_HEADER_BYTES_MIN: usize = 20;
const V6_HEADER_BYTES: usize = 40;

/// A whole datagram, from the network header on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    v6: bool,
    /// The headers before that of UDP.
    network: &'a [u8],
    udp: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// `None` for what is no UDP, a fragment, cut short, or has headers in between.
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let v6 = match packet.first()? >> 4 {
            4 => false,
            6 => true,
            _ => return None,
        };
        let (header, end, protocol) = if v6 {
            (V6_HEADER_BYTES, V6_HEADER_BYTES.checked_add(number(packet, 4)?)?, *packet.get(6)?)
        } else {
            let fragment = number(packet, 6)? & 0x3fff;
            if fragment != 0 {
                return None;
            }
            (usize::from(packet[0] & 0x0f) * 4, number(packet, 2)?, *packet.get(9)?)
        };
        if protocol != UDP || (!v6 && header < V4_HEADER_BYTES_MIN) {
            return None;
        }
        let network = packet.get(..header)?;
        let rest = packet.get(header..end)?;
        let payload = rest.get(UDP_HEADER_BYTES..number(rest, 4)?)?;
        Some(Self { v6, network, udp: &rest[..UDP_HEADER_BYTES], payload })
    }

    /// The same datagram with another payload, lengths and checksums made right; `None` when it would be too long.
    pub(super) fn with(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let udp_bytes = u16::try_from(UDP_HEADER_BYTES + payload.len()).ok()?;
        let mut network = self.network.to_vec();
        if self.v6 {
            network[4..6].copy_from_slice(&udp_bytes.to_be_bytes());
        } else {
            let whole = u16::try_from(network.len()).ok()?.checked_add(udp_bytes)?;
            network[2..4].copy_from_slice(&whole.to_be_bytes());
            network[10..12].fill(0);
            let sum = checksum(0, &network);
            network[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let mut udp = [self.udp, payload].concat();
        udp[4..6].copy_from_slice(&udp_bytes.to_be_bytes());
        udp[6..8].fill(0);
        // No checksum at all is written as 0.
        let sum = match checksum(self.pseudo_header(udp_bytes), &udp) {
            0 => 0xffff,
            sum => sum,
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        network.extend_from_slice(&udp);
        Some(network)
    }

    /// Addresses, protocol and length, which count as if they stood before the UDP header.
    fn pseudo_header(&self, udp_bytes: u16) -> u32 {
        let addresses: Range<usize> = if self.v6 { 8..40 } else { 12..20 };
        sum(&self.network[addresses]) + u32::from(UDP) + u32::from(udp_bytes)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

/// At most 64 KiB are summed: no overflow.
fn sum(bytes: &[u8]) -> u32 {
    let pair = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(pair).sum()
}

fn checksum(begin: u32, bytes: &[u8]) -> u16 {
    let mut all = begin + sum(bytes);
    while all > 0xffff {
        all = (all & 0xffff) + (all >> 16);
    }
    !u16::try_from(all).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    /// A datagram from port 53 with that payload.
    pub(crate) fn datagram(v6: bool, payload: &[u8]) -> Vec<u8> {
        let network = if v6 {
            let mut header = [0; V6_HEADER_BYTES];
            (header[0], header[6], header[7]) = (0x60, UDP, 64);
            header[8..40].copy_from_slice(&std::array::from_fn::<u8, 32, _>(|place| place as u8));
            header.to_vec()
        } else {
            vec![0x45, 0, 0, 0, 1, 2, 0x40, 0, 64, UDP, 0, 0, 10, 0, 0, 53, 10, 0, 0, 1]
        };
        let udp = [0, 53, 0x12, 0x34, 0, 0, 0, 0];
        Datagram { v6, network: &network, udp: &udp, payload: &[] }.with(payload).expect("short")
    }

    #[test]
    fn what_is_written_is_read_and_its_sums_are_right() {
        for v6 in [false, true] {
            for payload in [&b""[..], b"a", b"ab", &[0xff; 300]] {
                let packet = datagram(v6, payload);
                let read = Datagram::read(&packet).expect("reads");
                assert_eq!(read.payload, payload);
                let udp = [read.udp, payload].concat();
                let length = u16::try_from(udp.len()).expect("short");
                assert_eq!(checksum(read.pseudo_header(length), &udp), 0, "a right sum sums up to nothing");
                assert!(v6 || checksum(0, read.network) == 0);
                assert_eq!(read.with(payload), Some(packet.clone()));
                let longer = read.with(b"something else").expect("short");
                assert_eq!(Datagram::read(&longer).expect("reads").payload, b"something else");
            }
        }
    }

    #[test]
    fn a_known_packet_has_its_known_sum() {
        // 10.0.0.53:53 to 10.0.0.1:4660, payload "ab".
        let packet = datagram(false, b"ab");
        assert_eq!(packet[10..12], [0x25, 0x98]);
        assert_eq!(packet[26..28], [0x77, 0xd9]);
    }

    #[test]
    fn whatever_comes_is_read_within_its_bounds() {
        let mut random = SmallRng::seed_from_u64(5);
        for round in 0..50_000 {
            let mut packet = datagram(round % 2 == 0, &[7; 40]);
            packet.truncate(random.random_range(0..=packet.len()));
            for _ in 0..random.random_range(0..4) {
                let place = random.random_range(0..packet.len().max(1));
                if let Some(byte) = packet.get_mut(place) {
                    *byte = random.random();
                }
            }
            if let Some(read) = Datagram::read(&packet) {
                assert!(read.payload.len() <= packet.len());
                assert!(read.with(b"x").is_some());
            }
        }
        let fragment = {
            let mut packet = datagram(false, b"x");
            packet[6] = 0x20;
            packet
        };
        assert_eq!(Datagram::read(&fragment), None);
    }
}
