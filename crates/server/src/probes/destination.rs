//! Where probes may lead the server.

use super::DESTINATION;
use firedrill_model::Network;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::lookup_host;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Names looked up at once. Each takes a thread, for as long as a resolver that does not answer lets it wait.
static LOOK_UPS: Semaphore = Semaphore::const_new(16);

/// The addresses to which probes may connect. By default all but link-local ones: clouds keep the credentials of a
/// machine at one of those (169.254.169.254), for whoever asks from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destinations {
    allowed: Vec<Network>,
}

impl Destinations {
    /// Only these networks; all but link-local ones when there are none.
    #[must_use]
    pub fn only(allowed: Vec<Network>) -> Self {
        Self { allowed }
    }

    /// Whether a probe may connect there.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        if self.allowed.is_empty() {
            return !is_link_local(address.to_canonical());
        }
        self.allowed.iter().any(|network| network.contains(address))
    }

    /// The addresses of a host, when a probe may connect to each of them: a name that also leads elsewhere leads there
    /// at the next question.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) async fn resolve(&self, host: &str, port: u16, end: Instant) -> Result<Vec<SocketAddr>, String> {
        let addresses = match timeout_at(end, tokio::spawn(look_up(host.to_owned(), port))).await {
            Ok(Ok(Ok(addresses))) => addresses,
            Ok(Ok(Err(error))) => return Err(format!("the name {host} has no address here: {error}")),
            Ok(Err(_)) | Err(_) => return Err(format!("the name {host} was not resolved in time")),
        };
        match addresses.iter().find(|address| !self.allow(address.ip())) {
            Some(refused) => Err(self.refusal(host, refused.ip())),
            None if addresses.is_empty() => Err(format!("the name {host} has no address here")),
            None => Ok(addresses),
        }
    }

    fn refusal(&self, host: &str, address: IpAddr) -> String {
        let rule = if self.allowed.is_empty() {
            "link-local addresses are not asked unless the server is started with --probe-destination".to_owned()
        } else {
            let networks: Vec<String> = self.allowed.iter().map(Network::to_string).collect();
            format!("this server's probes connect only to {}", networks.join(", "))
        };
        let named = if host == address.to_string() { host.to_owned() } else { format!("{host} ({address})") };
        format!("{DESTINATION}: {named} was not asked: {rule}")
    }
}

/// Goes on when nobody waits any more, as the system's own look-up does: that must count as long as it lasts.
async fn look_up(host: String, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let _place = LOOK_UPS.acquire().await.map_err(std::io::Error::other)?;
    Ok(lookup_host((host, port)).await?.collect())
}

fn is_link_local(address: IpAddr) -> bool {
    /// Where one cloud has its credentials in IPv6, which is no link-local address.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V4(address) => address.is_link_local() || address == Ipv4Addr::BROADCAST,
        IpAddr::V6(address) => address.is_unicast_link_local() || address == METADATA,
    }
}

/// Takes `host:port` apart; an IPv6 address is in brackets.
pub(super) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(destinations: &Destinations, address: &str) -> bool {
        destinations.allow(address.parse().expect("an address"))
    }

    #[test]
    fn credentials_of_the_machine_are_out_of_reach() {
        let open = Destinations::default();
        for refused in ["169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254"] {
            assert!(!allow(&open, refused), "{refused}");
        }
        for fine in ["127.0.0.1", "10.0.0.1", "8.8.8.8", "::1", "fd00::1"] {
            assert!(allow(&open, fine), "{fine}");
        }
    }

    #[test]
    fn a_list_is_the_whole_list() {
        let networks = ["10.0.0.0/8", "169.254.1.1"].map(|network| network.parse().expect("a network"));
        let few = Destinations::only(networks.into());
        assert!(allow(&few, "10.255.0.1") && allow(&few, "169.254.1.1") && allow(&few, "::ffff:10.0.0.1"));
        assert!(!allow(&few, "11.0.0.1") && !allow(&few, "169.254.169.254") && !allow(&few, "127.0.0.1"));
    }

    #[tokio::test]
    async fn a_refusal_names_the_code_and_the_rule() {
        let end = Instant::now() + std::time::Duration::from_secs(5);
        let refused = Destinations::default().resolve("169.254.169.254", 80, end).await.expect_err("refused");
        assert!(refused.starts_with("S120: 169.254.169.254") && refused.contains("--probe-destination"), "{refused}");
        let few = Destinations::only(vec!["10.0.0.0/8".parse().expect("a network")]);
        let refused = few.resolve("localhost", 80, end).await.expect_err("refused");
        assert!(refused.contains("only to 10.0.0.0/8"), "{refused}");
        assert!(Destinations::default().resolve("localhost", 80, end).await.is_ok());
    }

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(host_and_port("x:80"), Some(("x", 80)));
        assert_eq!(host_and_port("[::1]:80"), Some(("::1", 80)));
        assert_eq!(host_and_port("x"), None);
    }
}
