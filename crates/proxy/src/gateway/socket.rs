//! TCP sockets as the gateway wants them.

use firedrill_model::Endpoint;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::sockopt::{
    KeepAlive, Linger, ReuseAddr, TcpKeepCount, TcpKeepIdle, TcpKeepInterval, TcpUserTimeout,
};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen as listen_on, setsockopt, socket,
};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

/// Idle seconds before the first keepalive probe; with the two below a peer that vanished while idle is noticed after
/// 10 + 3 × 5 = 25 s. A primary that vanished is noticed by the keeper much sooner; this is for clients, whose dead
/// sessions hold locks on the primary.
const KEEPALIVE_IDLE_SECS: u32 = 10;
const KEEPALIVE_INTERVAL_SECS: u32 = 5;
const KEEPALIVE_PROBES: u32 = 3;

/// How long sent data may stay unacknowledged, or a peer's window closed, before the kernel gives the connection up
/// (instead of about 15 minutes). Above the server's own `net_write_timeout` (60 s), so that the gateway is never the
/// first to lose patience with a client that is slow to read.
const USER_TIMEOUT_MILLIS: u32 = 120_000;

/// Connections that the kernel may queue before we accept them (cut down by it to `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

fn tcp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    Ok(socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?)
}

fn socket_address(endpoint: Endpoint) -> SocketAddr {
    SocketAddr::from((endpoint.address, endpoint.port))
}

/// Listens there. `SO_REUSEADDR`, so that a restart need not wait for the sessions of the process before; not
/// `SO_REUSEPORT`, which would let two gateways share the address.
pub(super) fn listen(endpoint: Endpoint) -> io::Result<TcpListener> {
    let address = socket_address(endpoint);
    let fd = tcp_socket(address)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen_on(&fd, Backlog::new(BACKLOG)?)?;
    Ok(TcpListener::from(fd))
}

/// Where a listener listens.
pub(super) fn local_endpoint(listener: &TcpListener) -> io::Result<Endpoint> {
    let address = listener.local_addr()?;
    Ok(Endpoint { address: address.ip(), port: address.port() })
}

/// Begins to connect. Writable: it succeeded, or `take_error` says why not.
pub(super) fn begin_connect(endpoint: Endpoint) -> io::Result<TcpStream> {
    let address = socket_address(endpoint);
    let stream = TcpStream::from(tcp_socket(address)?);
    tune(&stream)?;
    match connect(stream.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(stream),
        Err(problem) => Err(problem.into()),
    }
}

/// Sets what both sides of a session need: no delay (a query is one small packet and somebody waits for the answer),
/// and an end to sessions whose peer has vanished.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, KeepAlive, &true)?;
    setsockopt(stream, TcpKeepIdle, &KEEPALIVE_IDLE_SECS)?;
    setsockopt(stream, TcpKeepInterval, &KEEPALIVE_INTERVAL_SECS)?;
    setsockopt(stream, TcpKeepCount, &KEEPALIVE_PROBES)?;
    setsockopt(stream, TcpUserTimeout, &USER_TIMEOUT_MILLIS)?;
    Ok(())
}

/// Closes with a reset: the peer learns at once, and nothing that is still queued is sent any more.
pub(super) fn reset(stream: TcpStream) {
    // When the kernel refuses the option (it does not for a TCP socket) the close below still ends the connection.
    let _ = setsockopt(&stream, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 });
    drop(stream);
}

/// Makes sure that `needed` descriptors may be open, raising the soft limit if that helps.
///
/// # Errors
/// The hard limit, when it is lower.
pub(super) fn allow_descriptors(needed: u64) -> Result<(), u64> {
    // A kernel that does not tell the limit will tell when it is reached.
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if soft >= needed {
        return Ok(());
    }
    if hard < needed || setrlimit(Resource::RLIMIT_NOFILE, needed, hard).is_err() {
        return Err(hard);
    }
    Ok(())
}
