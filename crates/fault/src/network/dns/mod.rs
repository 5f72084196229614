//! DNS: name resolution fails or lies, in one of several ways.

mod datagram;
mod message;
mod rewriting;

use super::filtered::{Filtered, Plan};
use super::holding::{Holding, Way};
use super::ramp::Course;
use super::traffic::{ProtocolName, Traffic};
use crate::kinds::{Asked, Checking, Effect, Kind, Mechanism, Refusal};
use crate::network;
use crate::shape::Parameters;
use firedrill_host::nft::{Hook, Verdict};
use firedrill_host::queue::Announce;
use firedrill_model::attack::Peers;
use firedrill_model::{Ports, Span};
use message::{Change, Pattern};
use rewriting::{Rewritten, Rule, Treatment};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Name resolution of the target fails or lies. Names in `/etc/hosts` and in caches still resolve, and so does what a
/// name server on this very host knows by itself. `silent` and `refused` without `names` hold for UDP and TCP; everything
/// else is done to answers over UDP, and the rare ones over TCP stay as they are. Nothing of it stays in caches.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Dns {
    /// How it fails: `silent` (the answers are lost: programs wait for their time-out, often ten seconds), `refused`
    /// (the question is turned away: programs fail at once), `nxdomain` (there is no such name), `servfail` (the name
    /// server could not find out), `empty` (the name has no such record), `slow` (the answers come late) or
    /// `wrong` (the name has another address).
    #[serde(default)]
    failure: DnsFailure,
    /// Only the answers of these name servers; of all when not given.
    servers: Option<Peers>,
    /// Only name resolution of this container, by its name, id or the beginning of its id.
    container: Option<String>,
    /// Only name resolution of processes in this cgroup and the groups below it; needs cgroups of version 2.
    cgroup: Option<String>,
    /// Only answers about these names: `db.example.com` is that name, `*.example.com` are all below it. Not for `refused`.
    #[serde(default)]
    names: Vec<String>,
    /// How late the answers of `slow` are, up to 60s.
    #[serde(default = "usual_delay")]
    delay: Span,
    /// The addresses of `wrong`: one of IPv4, one of IPv6, or both. Of the family that is not given a name has none.
    #[serde(default)]
    addresses: Vec<IpAddr>,
}

/// More than most programs wait before they ask again.
fn usual_delay() -> Span {
    Span::secs(3)
}

/// No resolver waits longer.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// Every answer is compared with all of them.
const NAMES_MAX: usize = 1000;

/// How name resolution fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum DnsFailure {
    #[default]
    Silent,
    Refused,
    Nxdomain,
    Servfail,
    Empty,
    Slow,
    Wrong,
}

impl Dns {
    fn patterns(&self) -> Result<Vec<Pattern>, String> {
        self.names.iter().map(|name| Pattern::read(name)).collect()
    }

    /// What is done to answers in user space; `None`: packets are stopped in the kernel.
    fn treatment(&self) -> Option<Treatment> {
        Some(match self.failure {
            DnsFailure::Silent if self.names.is_empty() => return None,
            DnsFailure::Refused => return None,
            DnsFailure::Silent => Treatment::Lost,
            DnsFailure::Nxdomain => Treatment::Change(Change::NoName),
            DnsFailure::Servfail => Treatment::Change(Change::ServerFailure),
            DnsFailure::Empty => Treatment::Change(Change::Nothing),
            DnsFailure::Slow => Treatment::Late(self.delay.duration()),
            DnsFailure::Wrong => Treatment::Change(Change::Address(self.addresses.clone())),
        })
    }

    /// In words, for reports.
    fn asked(&self) -> String {
        let names = match self.names.as_slice() {
            [] => "all names".to_owned(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {} others", rest.len()),
        };
        match self.failure {
            DnsFailure::Slow => format!("answers {} late about {names}", self.delay),
            failure => format!("{} for {names}", format!("{failure:?}").to_lowercase()),
        }
    }
}

impl Parameters for Dns {
    fn check(&self) -> Result<(), String> {
        self.patterns()?;
        if self.names.len() > NAMES_MAX {
            return Err(format!("{} names are more than {NAMES_MAX}; use *.example.com", self.names.len()));
        }
        if self.failure == DnsFailure::Refused && !self.names.is_empty() {
            return Err("`refused` turns questions away before they are read; leave `names` out".to_owned());
        }
        let wrong = self.failure == DnsFailure::Wrong;
        let families =
            [IpAddr::is_ipv4, IpAddr::is_ipv6].map(|family| self.addresses.iter().filter(|one| family(one)).count());
        if wrong == self.addresses.is_empty() || families.iter().any(|count| *count > 1) {
            return Err("`wrong` wants `addresses`, at most one of each family, and nothing else does".to_owned());
        }
        if self.failure == DnsFailure::Slow && (self.delay == Span::ZERO || self.delay.duration() > DELAY_MAX) {
            return Err(format!("a delay of {} is not above 0 and at most {}", self.delay, Span(DELAY_MAX)));
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = network::kind::<Dns>(
    ("dns", "Name resolution fails, is slow or lies; for all names or for some."),
    mechanism,
    preflight,
);

const DNS: Ports = Ports::one(53);

fn mechanism() -> Result<String, String> {
    let stopped = network::tries(Hook::Output, Verdict::Unreachable)?;
    Ok(match network::holds() {
        Ok(held) => format!("{stopped}; for answers that are changed or late, {held}"),
        Err(missing) => format!("{stopped}; only `silent` and `refused`: {missing}"),
    })
}

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let wanted: Dns = asked.parameters()?;
        if let Some(treatment) = wanted.treatment() {
            return rewritten(&asked, wanted, treatment).await;
        }
        let Dns { failure, servers, container, cgroup, .. } = wanted;
        let traffic = Traffic { container, cgroup, ..Traffic::to_port(servers, DNS) };
        // Answers are lost where they arrive: a question that is dropped on its way out is an error at once.
        let (hooks, verdict, description) = match failure {
            DnsFailure::Silent => (vec![Hook::Input], Verdict::Drop, "answers of name servers dropped at the input"),
            _ => (vec![Hook::Output], Verdict::Unreachable, "questions to name servers refused"),
        };
        let named = traffic.hosts()?;
        let servers = if named.is_empty() { resolvers() } else { named };
        let plan = Plan {
            hooks,
            verdict,
            course: Course::EVERY,
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

async fn rewritten(asked: &Asked, wanted: Dns, treatment: Treatment) -> Result<Box<dyn Mechanism>, Refusal> {
    let rule = Rule { names: wanted.patterns().map_err(Refusal)?, treatment };
    let text = wanted.asked();
    let Dns { servers, container, cgroup, .. } = wanted;
    let traffic = Traffic { protocol: Some(ProtocolName::Udp), container, cgroup, ..Traffic::to_port(servers, DNS) };
    let filter = traffic.filter(&asked.context)?;
    let holding = Holding::prepare(Way::Arriving, network::table_name(&asked.id), filter, Announce::Contents)?;
    let named = traffic.hosts()?;
    let servers = if named.is_empty() { resolvers() } else { named };
    Ok(Box::new(Rewritten::prepare(holding, rule, (servers, text)).await))
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

    #[test]
    fn ways_to_fail_have_their_own_parameters() {
        let check = |text: &str| serde_json::from_str::<Dns>(text).expect("reads").check();
        assert!(check(r#"{"failure": "nxdomain", "names": ["*.example.com", "db"]}"#).is_ok());
        assert!(check(r#"{"failure": "refused", "names": ["db"]}"#).is_err());
        assert!(check(r#"{"failure": "wrong"}"#).is_err());
        assert!(check(r#"{"failure": "wrong", "addresses": ["10.0.0.1", "fd00::1"]}"#).is_ok());
        assert!(check(r#"{"failure": "wrong", "addresses": ["10.0.0.1", "10.0.0.2"]}"#).is_err());
        assert!(check(r#"{"failure": "empty", "addresses": ["10.0.0.1"]}"#).is_err());
        assert!(check(r#"{"failure": "slow", "delay": "2m"}"#).is_err());
        assert!(check(r#"{"names": ["a b"]}"#).is_err());
    }
}
