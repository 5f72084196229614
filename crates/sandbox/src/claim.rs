//! What a sandbox takes of what all share: a network and a port. Chosen under [`Lock::choosing`](crate::lock::Lock),
//! which is held until both can be seen to be in use.

use crate::error::SandboxError;
use crate::layout::Subnet;
use crate::name::SandboxName;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

/// The port of the server's HTTP API when it is free.
pub(crate) const HTTP_PORT_FIRST: u16 = 7070;
/// Tried in turn when it is not: as many as sandboxes fit on any machine.
const HTTP_PORT_LAST: u16 = 7169;

/// A network that nothing on this machine has an address or a route in.
///
/// # Errors
/// [`SandboxError::NoneFree`], or [`SandboxError::File`] when the routes cannot be read.
pub(crate) fn subnet(name: &SandboxName) -> Result<Subnet, SandboxError> {
    let path = Path::new("/proc/net/route");
    let routes = std::fs::read_to_string(path).map_err(SandboxError::file("read", path))?;
    let mut taken = destinations(&routes);
    let interfaces = nix::ifaddrs::getifaddrs().map_err(SandboxError::step("list the machine's addresses"))?;
    taken.extend(interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip())));
    Subnet::candidates(name)
        .find(|candidate| !taken.iter().any(|address| candidate.contains(*address)))
        .ok_or(SandboxError::NoneFree { what: "network", range: "10.213.0.0/16".to_owned() })
}

/// Destinations of all routes that are not wider than a sandbox's network. A wider one (a VPN's 10.0.0.0/8) loses
/// against ours only for our own addresses, and is no obstacle.
fn destinations(routes: &str) -> Vec<Ipv4Addr> {
    let narrow = |mask: u32| mask.count_ones() >= u32::from(Subnet::PREFIX);
    routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
            let (destination, mask) = (number(1)?, number(7)?);
            // The kernel prints the bytes of the address as they lie in memory.
            narrow(mask).then(|| Ipv4Addr::from(destination.to_ne_bytes()))
        })
        .collect()
}

/// The port that was asked for, or the first free one.
///
/// # Errors
/// [`SandboxError::PortInUse`] for a port that was asked for, [`SandboxError::NoneFree`].
pub(crate) fn http_port(wanted: Option<u16>) -> Result<u16, SandboxError> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    match wanted {
        Some(port) if free(port) => Ok(port),
        Some(port) => Err(SandboxError::PortInUse { port }),
        None => (HTTP_PORT_FIRST..=HTTP_PORT_LAST).find(|port| free(*port)).ok_or(SandboxError::NoneFree {
            what: "port of 127.0.0.1",
            range: format!("{HTTP_PORT_FIRST} to {HTTP_PORT_LAST}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_routes_take_a_network_and_wide_ones_do_not() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
            fd-1\t0009D50A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        // The machine's byte order is that of the text on every little-endian machine.
        assert_eq!(destinations(routes), [Ipv4Addr::new(10, 213, 9, 0)]);
        assert!(Subnet(9).contains(destinations(routes)[0]));
    }

    #[test]
    fn a_port_in_use_is_named() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = holder.local_addr().expect("bound").port();
        let message = http_port(Some(port)).expect_err("in use").to_string();
        assert!(message.contains(&port.to_string()) && message.contains("--http-port"), "{message}");
        drop(holder);
        assert_eq!(http_port(Some(port)).expect("free again"), port);
    }
}
