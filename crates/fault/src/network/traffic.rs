//! Which packets a network fault means: the parameters that all of them share.

use super::check_host;
use crate::Context;
use crate::kinds::Refusal;
use firedrill_host::nft::{self, Filter, Flow, Group, Hook, Protocol, RULES_MAX, Verdict};
use firedrill_host::{cgroup, netns};
use firedrill_model::attack::{Direction, Peers};
use firedrill_model::{Network, Ports};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// DNS.
const DNS: Ports = Ports::one(53);
/// Secure shell.
const SSH: Ports = Ports::one(22);

/// Which packets.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Traffic {
    /// The other side: hosts of the fleet by a selector (`{role: replica}`), or addresses and networks
    /// (`["10.0.0.0/8"]`). Everybody when not given.
    pub(crate) peers: Option<Peers>,
    /// The other side is none of these, whatever `peers` says: an exclusion wins.
    pub(crate) except: Option<Peers>,
    /// Only packets of this protocol. Any when not given.
    pub(crate) protocol: Option<ProtocolName>,
    /// Only packets with one of these ports on the other side, such as `3306` or `"3306-3310"`.
    #[serde(default)]
    pub(crate) remote_ports: Vec<Ports>,
    /// Only packets with one of these ports on this side.
    #[serde(default)]
    pub(crate) local_ports: Vec<Ports>,
    /// Which connections: all, or only those that are opened now.
    #[serde(default)]
    pub(crate) connections: Connections,
    /// Only packets of this container, by its name, id or the beginning of its id: the fault is put into its own network
    /// namespace, or, when it shares that of the host, it is known by its cgroup.
    pub(crate) container: Option<String>,
    /// Only packets of processes in this cgroup and the groups below it, such as `system.slice/mariadb.service`; needs
    /// cgroups of version 2. What leaves is then stopped before the interfaces, where senders may learn of it.
    pub(crate) cgroup: Option<String>,
    /// What is left alone even when it matches. An empty list spares nothing, as a cut cable does.
    #[serde(default = "everything_spared")]
    pub(crate) spare: Vec<Spared>,
}

/// A protocol, as in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProtocolName {
    Tcp,
    Udp,
    Icmp,
}

/// Which connections a network fault means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Connections {
    /// Established ones, too.
    #[default]
    All,
    /// Only TCP connections that are opened while the fault lasts.
    New,
}

/// What a network fault leaves alone unless it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Spared {
    /// The agent's own connection to its server.
    Agent,
    /// Name resolution: port 53 on the other side.
    Dns,
    /// Secure shell, both ways.
    Ssh,
}

fn everything_spared() -> Vec<Spared> {
    vec![Spared::Agent, Spared::Dns, Spared::Ssh]
}

impl Traffic {
    /// Everything with that port on the other side.
    pub(crate) fn to_port(peers: Option<Peers>, port: Ports) -> Self {
        Self {
            peers,
            except: None,
            protocol: None,
            remote_ports: vec![port],
            local_ports: Vec::new(),
            connections: Connections::All,
            container: None,
            cgroup: None,
            spare: Vec::new(),
        }
    }

    /// Values that make no sense together.
    pub(crate) fn check(&self) -> Result<(), String> {
        let ports = !self.remote_ports.is_empty() || !self.local_ports.is_empty();
        if ports && self.protocol == Some(ProtocolName::Icmp) {
            return Err("`protocol: icmp` has no ports; leave one of the two out".to_owned());
        }
        if self.connections == Connections::New && self.protocol.is_some_and(|name| name != ProtocolName::Tcp) {
            return Err("`connections: new` speaks of TCP; leave `protocol` out or say tcp".to_owned());
        }
        if self.container.is_some() && self.cgroup.is_some() {
            return Err("`container` and `cgroup` are two ways to say whom; leave one of them out".to_owned());
        }
        if self.peers.as_ref().and_then(Peers::networks).is_some_and(<[Network]>::is_empty) {
            return Err("`peers` names nobody; leave it out for everybody".to_owned());
        }
        Ok(())
    }

    /// Whether the agent's own connection is among what is left alone: it is not one of a container.
    pub(crate) fn spares_agent(&self) -> bool {
        self.spare.contains(&Spared::Agent) || self.container.is_some() || self.cgroup.is_some()
    }

    /// Where packets can be told apart by the cgroup of their socket: inside, where the socket is known. Elsewhere as
    /// planned.
    pub(crate) fn places(&self, planned: Vec<Hook>, verdict: Verdict) -> Result<Vec<Hook>, Refusal> {
        if self.cgroup.is_none() {
            return Ok(planned);
        }
        if matches!(verdict, Verdict::Duplicate | Verdict::Corrupt { .. }) {
            return Err(Refusal(
                "this is done where interfaces send and receive, where packets of one cgroup cannot be told from those of \
                 others; aim it at a container with a network of its own, or at the whole host"
                    .to_owned(),
            ));
        }
        let inner = |hook| match hook {
            Hook::Ingress { .. } => Hook::Input,
            Hook::Egress { .. } => Hook::Output,
            other => other,
        };
        Ok(planned.into_iter().map(inner).collect())
    }

    /// Whether a handshake with that endpoint is among what is left alone.
    pub(crate) fn leaves_alone(&self, endpoint: SocketAddr, context: &Context) -> bool {
        let excepted = self.except.as_ref().and_then(Peers::networks).unwrap_or_default();
        let spared = |spared: &Spared| match spared {
            Spared::Agent => (context.servers)().contains(&endpoint),
            Spared::Dns => DNS.contains(endpoint.port()),
            Spared::Ssh => SSH.contains(endpoint.port()),
        };
        excepted.iter().any(|network| network.contains(endpoint.ip())) || self.spare.iter().any(spared)
    }

    /// The peers that are single hosts, for probes; none: everybody, or networks.
    pub(crate) fn hosts(&self) -> Result<Vec<IpAddr>, Refusal> {
        Ok(networks("peers", self.peers.as_ref())?.iter().filter_map(|network| network.host()).collect())
    }

    /// The filter, and whether every packet of the other side is meant (so that probes must feel it).
    pub(crate) fn filter(&self, context: &Context) -> Result<Filter, Refusal> {
        check_host()?;
        let peers = networks("peers", self.peers.as_ref())?;
        let own = |network: &&Network| {
            network.address().is_loopback() || network.host().is_some_and(|host| host.is_unspecified())
        };
        if let Some(own) = peers.iter().find(own) {
            return Err(Refusal(format!("the peer {own} is this host itself; its loopback traffic is never touched")));
        }
        let flow = Flow {
            networks: peers.to_vec(),
            protocol: self.protocol.map(|name| match name {
                ProtocolName::Tcp => Protocol::Tcp,
                ProtocolName::Udp => Protocol::Udp,
                ProtocolName::Icmp => Protocol::Icmp,
            }),
            remote_ports: self.remote_ports.clone(),
            local_ports: self.local_ports.clone(),
            opening: self.connections == Connections::New,
            group: self.cgroup.as_deref().map(group_of).transpose()?,
        };
        let mut except = Vec::new();
        let excluded = networks("except", self.except.as_ref())?;
        if !excluded.is_empty() {
            except.push(Flow { networks: excluded.to_vec(), ..Flow::default() });
        }
        except.extend(self.spare.iter().flat_map(|spared| spared.flows(context)));
        let filter = Filter { flow, except, ..Filter::default() };
        if filter.rules() > RULES_MAX {
            return Err(Refusal(format!(
                "{} rules would be needed for all combinations of networks, protocols and ports; at most {RULES_MAX}: \
                 name fewer, or wider ones",
                filter.rules()
            )));
        }
        Ok(filter)
    }

    /// Whether the packets of probes (a TCP handshake with any port) are meant.
    pub(crate) fn means_handshakes(&self) -> bool {
        self.protocol.is_none_or(|name| name == ProtocolName::Tcp)
            && self.cgroup.is_none()
            && self.remote_ports.is_empty()
            && self.local_ports.is_empty()
    }
}

impl Spared {
    fn flows(self, context: &Context) -> Vec<Flow> {
        match self {
            Self::Agent => (context.servers)()
                .into_iter()
                .map(|server| Flow {
                    networks: vec![Network::from(server.ip())],
                    protocol: Some(Protocol::Tcp),
                    remote_ports: vec![Ports::one(server.port())],
                    ..Flow::default()
                })
                .collect(),
            Self::Dns => vec![Flow { remote_ports: vec![DNS], ..Flow::default() }],
            Self::Ssh => [(vec![SSH], vec![]), (vec![], vec![SSH])]
                .map(|(local_ports, remote_ports)| Flow {
                    protocol: Some(Protocol::Tcp),
                    local_ports,
                    remote_ports,
                    ..Flow::default()
                })
                .to_vec(),
        }
    }
}

/// What the kernel compares sockets with; or why it cannot.
fn group_of(path: &str) -> Result<Group, Refusal> {
    let mount = tells_groups_apart().map_err(Refusal)?;
    nft::group(path)?.ok_or_else(|| {
        Refusal(format!(
            "there is no cgroup {path} of version 2, by which packets are told apart; look below {}",
            mount.display()
        ))
    })
}

/// Whether packets can be told apart by the cgroups of their sockets, and below which mount those are; or what is missing.
pub(crate) fn tells_groups_apart() -> Result<PathBuf, String> {
    let mount = cgroup::mount_of_version_2().ok_or_else(|| {
        "packets are told apart by cgroups of version 2, and none are mounted: mount -t cgroup2 none /sys/fs/cgroup/unified"
            .to_owned()
    })?;
    nft::attempt_groups().map_err(|problem| {
        format!("this kernel's nftables cannot tell packets apart by cgroups (modprobe nft_socket): {}", problem.full())
    })?;
    Ok(mount)
}

fn networks<'a>(name: &str, peers: Option<&'a Peers>) -> Result<&'a [Network], Refusal> {
    let Some(peers) = peers else { return Ok(&[]) };
    peers.networks().ok_or_else(|| {
        Refusal(format!("`{name}` selects hosts of a fleet, which only a server knows; name addresses or networks"))
    })
}

/// Where packets of a direction pass by the interfaces.
pub(crate) fn at_interfaces(direction: Direction) -> Result<Vec<Hook>, Refusal> {
    let devices = devices()?;
    let ingress = || Hook::Ingress { devices: devices.clone() };
    let egress = || Hook::Egress { devices: devices.clone() };
    Ok(match direction {
        Direction::Both => vec![ingress(), egress()],
        Direction::Inbound => vec![ingress()],
        Direction::Outbound => vec![egress()],
    })
}

/// All interfaces but the loopback.
fn devices() -> Result<Vec<String>, Refusal> {
    let mut devices = netns::interfaces()?;
    devices.retain(|name| name != "lo");
    if devices.is_empty() {
        return Err(Refusal("this host has no network interface but its loopback: nothing could be cut".to_owned()));
    }
    Ok(devices)
}
