//! Bridges, veth pairs, addresses and routes, by one `ip -batch` per namespace: all lines of a batch cost one process.

use crate::HostError;
use crate::process::{Spawn, run, run_with_input};
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `ip` answers within milliseconds; a batch that takes this long is stuck on a kernel lock.
const IP_WITHIN: Duration = Duration::from_secs(10);

/// Longest name of an interface, in bytes (the kernel's `IFNAMSIZ` less its end mark).
pub const INTERFACE_BYTES_MAX: usize = 15;

/// Changes to the links of one namespace, carried out in order by [`Batch::apply`].
#[derive(Debug, Clone, Default)]
pub struct Batch {
    lines: String,
}

impl Batch {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a bridge and brings it up. It has no learning delay: a port forwards at once.
    #[must_use]
    pub fn bridge(self, name: &str) -> Self {
        self.line(format_args!("link add name {name} type bridge forward_delay 0")).up(name)
    }

    /// Adds a pair of joined interfaces: `name` here, `peer` in the named namespace `peer_netns`.
    #[must_use]
    pub fn veth(self, name: &str, peer: &str, peer_netns: &str) -> Self {
        self.line(format_args!("link add name {name} type veth peer name {peer} netns {peer_netns}"))
    }

    /// Makes an interface a port of a bridge.
    #[must_use]
    pub fn master(self, name: &str, bridge: &str) -> Self {
        self.line(format_args!("link set dev {name} master {bridge}"))
    }

    /// Gives an interface an address with its prefix length.
    #[must_use]
    pub fn address(self, name: &str, address: IpAddr, prefix: u8) -> Self {
        // Without duplicate detection a new IPv6 address can be used at once.
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        self.line(format_args!("address add {address}/{prefix} dev {name}{nodad}"))
    }

    /// Brings an interface up.
    #[must_use]
    pub fn up(self, name: &str) -> Self {
        self.line(format_args!("link set dev {name} up"))
    }

    /// Removes an interface; of a pair, both.
    #[must_use]
    pub fn delete(self, name: &str) -> Self {
        self.line(format_args!("link delete dev {name}"))
    }

    /// Sends everything that has no other route to a gateway.
    #[must_use]
    pub fn default_route(self, gateway: IpAddr) -> Self {
        self.line(format_args!("route add default via {gateway}"))
    }

    /// Any other line in the language of `ip`, without the word `ip`.
    #[must_use]
    pub fn line(mut self, line: std::fmt::Arguments<'_>) -> Self {
        writeln!(self.lines, "{line}").unwrap_or_default();
        self
    }

    /// Carries the changes out in a namespace (by path; `None`: this process's own), up to the first that fails.
    pub async fn apply(self, netns: Option<&Path>) -> Result<(), HostError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let spawn = within(Spawn::new("ip").args(["-batch", "-"]), netns);
        run_with_input(spawn, self.lines.into_bytes(), IP_WITHIN).await.map(drop)
    }
}

/// Names of the interfaces in a namespace (by path; `None`: the calling thread's own).
pub fn names(netns: Option<&Path>) -> Result<Vec<String>, HostError> {
    match netns {
        Some(path) => crate::netns::enter(path, crate::netns::interfaces)?,
        None => crate::netns::interfaces(),
    }
}

/// Removes an interface of this process's namespace; one that is not there is no error.
pub async fn delete(name: &str) -> Result<(), HostError> {
    if !names(None)?.iter().any(|found| found == name) {
        return Ok(());
    }
    match run(Spawn::new("ip").args(["link", "delete", "dev", name]), IP_WITHIN).await {
        // Somebody else removed it meanwhile (a veth goes with its peer's namespace).
        Err(HostError::Tool { .. }) if !names(None)?.iter().any(|found| found == name) => Ok(()),
        other => other.map(drop),
    }
}

fn within(spawn: Spawn, netns: Option<&Path>) -> Spawn {
    match netns {
        Some(path) => spawn.netns(PathBuf::from(path)),
        None => spawn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_lines_of_ip_in_order() {
        let batch = Batch::new()
            .bridge("br0")
            .veth("a0", "eth0", "host-a")
            .master("a0", "br0")
            .address("br0", "10.0.0.1".parse().expect("address"), 24)
            .up("a0");
        assert_eq!(
            batch.lines,
            "link add name br0 type bridge forward_delay 0\nlink set dev br0 up\n\
             link add name a0 type veth peer name eth0 netns host-a\nlink set dev a0 master br0\n\
             address add 10.0.0.1/24 dev br0\nlink set dev a0 up\n"
        );
    }
}
