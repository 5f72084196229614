//! DNS: name resolution fails, in one of two ways.

use super::filtered::{Filtered, Plan};
use super::traffic::Traffic;
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Scope};
use crate::network;
use crate::shape::{Parameters, Shape};
use firedrill_host::nft::{Hook, Verdict};
use firedrill_model::Ports;
use firedrill_model::attack::Peers;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Name resolution of the target fails, over UDP and TCP. Names in `/etc/hosts` and in caches still resolve.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Dns {
    /// How it fails: `silent` (the answers are lost: programs wait for their time-out, often ten seconds) or `refused`
    /// (the question is turned away: programs fail at once).
    #[serde(default)]
    failure: DnsFailure,
    /// Only the answers of these name servers; of all when not given.
    servers: Option<Peers>,
    /// Only name resolution of this container, by its name, id or the beginning of its id.
    container: Option<String>,
    /// Only name resolution of processes in this cgroup and the groups below it; needs cgroups of version 2.
    cgroup: Option<String>,
}

/// How name resolution fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum DnsFailure {
    #[default]
    Silent,
    Refused,
}

impl Parameters for Dns {}

pub(crate) static KIND: Kind = Kind {
    name: "dns",
    summary: "Name resolution fails: in silence, or at once.",
    family: Family::Network,
    scope: Scope::Host,
    instant: false,
    shape: Shape::of::<Dns>(),
    needs: network::NEEDS,
    mechanism: || network::tries(Hook::Output, Verdict::Unreachable),
    preflight,
    undo: network::undo,
    verify_undone: network::verify_undone,
};

const DNS: Ports = Ports::one(53);

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Dns { failure, servers, container, cgroup } = asked.parameters()?;
        let traffic = Traffic { container, cgroup, ..Traffic::to_port(servers, DNS) };
        // Answers are lost where they arrive: a question that is dropped on its way out is an error at once.
        let (hooks, verdict, description) = match failure {
            DnsFailure::Silent => (vec![Hook::Input], Verdict::Drop, "answers of name servers dropped at the input"),
            DnsFailure::Refused => (vec![Hook::Output], Verdict::Unreachable, "questions to name servers refused"),
        };
        let named = traffic.hosts()?;
        let servers = if named.is_empty() { resolvers() } else { named };
        let plan = Plan {
            hooks,
            verdict,
            chance: None,
            description: description.to_owned(),
            judge: Box::new(move |seen| {
                ask(&servers);
                match seen.hit.packets {
                    0 if seen.last => Some(Effect::NotSeen(format!(
                        "no packet of name resolution came by; this host asks {} name servers",
                        servers.len()
                    ))),
                    0 => None,
                    hit => Some(Effect::Seen(format!("{hit} packets of name resolution stopped so far"))),
                }
            }),
        };
        Filtered::prepare(&asked, &traffic, plan).await
    })
}

/// The name servers of this host.
fn resolvers() -> Vec<IpAddr> {
    parse_resolvers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn parse_resolvers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok();
    text.lines().filter_map(server).filter(|server| !server.is_loopback()).collect()
}

/// Asks each name server for the root's own servers, and does not wait: the counters tell.
fn ask(servers: &[IpAddr]) {
    /// Id 0x4644, recursion desired, one question: `.` NS IN.
    const QUESTION: [u8; 17] = [0x46, 0x44, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    for server in servers {
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        if let Ok(socket) = std::net::UdpSocket::bind((any, 0)) {
            // Refused is one of the effects that are looked for.
            let _counted = socket.send_to(&QUESTION, SocketAddr::from((*server, DNS.first())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read() {
        let text = "# x\nnameserver 10.0.0.53\nsearch example.org\nnameserver ::1\n nameserver fd00::53\n";
        assert_eq!(
            parse_resolvers(text),
            ["10.0.0.53", "fd00::53"].map(|text| text.parse::<IpAddr>().expect("address"))
        );
    }
}
