//! Which packets a table means, and the tests of a packet that say so, one list for each rule.

use firedrill_model::{Network, Ports};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};
use std::{fs, io};

/// Most rules of one hook: peers times protocols times ports. A packet passes all of them in turn.
pub const RULES_MAX: usize = 256;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP (6).
    Tcp,
    /// UDP (17).
    Udp,
    /// ICMP and ICMPv6 (1, 58).
    Icmp,
}

/// Packets by what stands in them. *Remote* is the other side, whichever way a packet goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flow {
    /// The other side is in one of these; empty: anywhere.
    pub networks: Vec<Network>,
    /// Of this protocol; `None`: of any, or of TCP and UDP when ports are given.
    pub protocol: Option<Protocol>,
    /// With one of these ports on the other side; empty: with any.
    pub remote_ports: Vec<Ports>,
    /// With one of these ports on this side; empty: with any.
    pub local_ports: Vec<Ports>,
    /// Only packets that open a TCP connection (SYN without ACK).
    pub opening: bool,
    /// Only packets of sockets that were made in this group or below it. Known only at input and output.
    pub group: Option<Group>,
}

/// A cgroup of version 2, as packets know it: by the socket that they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub(super) id: u64,
    /// How many groups it is below the root.
    pub(super) level: u32,
}

impl Group {
    /// That of a path below the mount.
    pub(super) fn at(mount: &Path, path: &str) -> io::Result<Option<Self>> {
        let below = Path::new(path.trim_matches('/'));
        let names = below.components().filter(|part| matches!(part, Component::Normal(_))).count();
        let level = u32::try_from(names).unwrap_or(u32::MAX);
        // The root has everybody in it: that is no choice; and nothing outside of the mount is a group.
        if level == 0 || names != below.components().count() {
            return Ok(None);
        }
        match fs::metadata(mount.join(below)) {
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(|seen| Some(Self { id: seen.ino(), level })),
        }
    }
}

/// Which packets a table means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// These.
    pub flow: Flow,
    /// But none of these: an exclusion wins.
    pub except: Vec<Flow>,
    /// Of those only so many in 100,000, by chance; `None`: all.
    pub chance: Option<u32>,
    /// Of those only what is above a limit; `None`: all.
    pub above: Option<Above>,
}

/// A limit, counted for each rule by itself: for each port, network and protocol of the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Above {
    /// Packets of other connections than the first so many that are open; those that were open before the table was
    /// made do not count. Needs connection tracking, which it turns on.
    Connections(u32),
    /// Packets above so many in a second, and as many at once.
    PerSecond(u32),
}

impl Filter {
    /// Everything from and to these hosts; of none: from and to everybody.
    #[must_use]
    pub fn peers(addresses: &[IpAddr]) -> Self {
        let networks = addresses.iter().map(|address| Network::from(*address)).collect();
        Self { flow: Flow { networks, ..Flow::default() }, ..Self::default() }
    }

    /// How many rules a hook gets by it.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.except.iter().chain([&self.flow]).map(|flow| flow.tests().len()).sum()
    }
}

/// One test of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    /// It is IPv4 or IPv6.
    Version { v6: bool },
    /// Its remote address is in the network.
    Remote(Network),
    /// Its remote address is a member of the set of hosts.
    RemoteHost { v6: bool },
    /// Its protocol has this number.
    Protocol(u8),
    /// Its port on the other side.
    RemotePort(Ports),
    /// Its port on this side.
    LocalPort(Ports),
    /// It opens a connection.
    Opening,
    /// Its socket was made in the group.
    Group(Group),
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

impl Flow {
    /// The hosts of the flow, which are looked up in sets, by address family.
    pub(super) fn hosts(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in self.networks.iter().filter_map(|network| network.host()) {
            match address {
                IpAddr::V4(address) => v4.push(address.octets().to_vec()),
                IpAddr::V6(address) => v6.push(address.octets().to_vec()),
            }
        }
        for members in [&mut v4, &mut v6] {
            members.sort();
            members.dedup();
        }
        (v4, v6)
    }

    /// The tests of each rule, hosts looked up in sets.
    pub(super) fn tests(&self) -> Vec<Vec<Test>> {
        let (v4, v6) = self.hosts();
        let sets = [(false, !v4.is_empty()), (true, !v6.is_empty())];
        let mut places: Vec<Vec<Test>> = sets
            .into_iter()
            .filter(|(_, there)| *there)
            .map(|(v6, _)| vec![Test::Version { v6 }, Test::RemoteHost { v6 }])
            .collect();
        let wide = self.networks.iter().filter(|network| network.host().is_none());
        places.extend(
            wide.map(|network| vec![Test::Version { v6: network.address().is_ipv6() }, Test::Remote(*network)]),
        );
        if places.is_empty() {
            places.push(Vec::new());
        }
        let mut all = Vec::new();
        for place in &places {
            for protocol in self.protocols() {
                for remote in alternatives(&self.remote_ports, Test::RemotePort) {
                    for local in alternatives(&self.local_ports, Test::LocalPort) {
                        let opening = self.opening.then_some(Test::Opening);
                        let tests = place.iter().copied().chain(protocol).chain(remote).chain(local).chain(opening);
                        // Last, as it looks for the socket.
                        all.push(tests.chain(self.group.map(Test::Group)).collect());
                    }
                }
            }
        }
        all
    }

    fn protocols(&self) -> Vec<Option<Test>> {
        let ports = !self.remote_ports.is_empty() || !self.local_ports.is_empty();
        let numbers: &[u8] = match self.protocol {
            Some(Protocol::Tcp) => &[TCP],
            Some(Protocol::Udp) => &[UDP],
            Some(Protocol::Icmp) => &[ICMP, ICMP_V6],
            None if self.opening => &[TCP],
            None if ports => &[TCP, UDP],
            None => return vec![None],
        };
        numbers.iter().map(|number| Some(Test::Protocol(*number))).collect()
    }
}

fn alternatives(ports: &[Ports], test: fn(Ports) -> Test) -> Vec<Option<Test>> {
    if ports.is_empty() { vec![None] } else { ports.iter().map(|ports| Some(test(*ports))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_directory_below_the_mount_and_not_the_mount() {
        let mount = tempfile::tempdir().expect("temp dir");
        fs::create_dir_all(mount.path().join("a/b")).expect("makes");
        let at = |path: &str| Group::at(mount.path(), path).expect("looks").map(|group| group.level);
        assert_eq!([at("a"), at("/a/b"), at("a/b/")], [Some(1), Some(2), Some(2)]);
        assert_eq!([at(""), at("/"), at("c"), at(".."), at("a/..")], [None; 5]);
    }

    #[test]
    fn a_rule_for_each_combination() {
        let everybody = Flow::default();
        assert_eq!(everybody.tests(), [Vec::<Test>::new()]);
        let flow = Flow {
            networks: ["10.0.0.1", "10.0.0.2", "fd00::/8"].map(|text| text.parse().expect("a network")).to_vec(),
            remote_ports: vec![Ports::one(3306)],
            ..Flow::default()
        };
        // Hosts share a set, the network has a rule of its own; ports mean TCP and UDP.
        assert_eq!(flow.tests().len(), 4);
        let opening = Flow { opening: true, ..Flow::default() };
        assert_eq!(opening.tests(), [vec![Test::Protocol(TCP), Test::Opening]]);
        assert_eq!(Filter { flow, except: vec![opening], ..Filter::default() }.rules(), 5);
    }
}
