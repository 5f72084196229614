//! Sends packets of others again: for what must wait on its way out.
//!
//! A packet that is held by the kernel before it has left counts against the socket that sent it, and TCP keeps no more
//! than about a millisecond's worth of such packets: held for ten, a connection crawls. So the packet is taken off the
//! kernel (dropped after its queue has a copy, of which the sender learns nothing) and sent again from here when its time
//! has come. A mark says that it was, so that it is not taken again; the [`Place`] in the mark lets several such holders
//! stand one after the other.

use crate::HostError;
use crate::queue::Packet;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendmsg,
    setsockopt, socket,
    sockopt::{Broadcast, Mark, SndBufForce},
};
use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

/// The upper half of the marks; the lower is a place.
const MARKS: u32 = 0xfd11_0000;
/// Of the first place, before everything that looks at what leaves.
const PRIORITY: i32 = -100_000;
/// What the interfaces and their qdiscs have not taken yet, bytes with bookkeeping. More is lost, as in a switch.
const SEND_BUFFER_BYTES: usize = 16 << 20;
/// No interface with IPv6 takes less in one piece, and hardly one without.
const BYTES_EVERYWHERE: usize = 1280;
const TCP: u8 = 6;

/// Where in a row of holders one stands: the lower number looks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub u16);

impl Place {
    pub(crate) fn priority(self) -> i32 {
        PRIORITY + i32::from(self.0)
    }

    /// Marks of packets that have passed this place.
    pub(crate) fn marks(self) -> (u32, u32) {
        (MARKS | u32::from(self.0), MARKS | u32::from(u16::MAX))
    }
}

/// Sends packets from one place on.
#[derive(Debug)]
pub struct Resender {
    v4: OwnedFd,
    /// `None` on a host without IPv6.
    v6: Option<OwnedFd>,
}

impl Resender {
    /// Opens the sockets, in the network namespace of the calling thread.
    pub fn open(place: Place) -> Result<Self, HostError> {
        let refused = |problem| HostError::system("open", "a raw socket (CAP_NET_RAW) to send packets again", problem);
        let open = |family| -> nix::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let fd = socket(family, SockType::Raw, flags, SockProtocol::Raw)?;
            setsockopt(&fd, Mark, &place.marks().0)?;
            setsockopt(&fd, SndBufForce, &SEND_BUFFER_BYTES)?;
            setsockopt(&fd, Broadcast, &true)?;
            Ok(fd)
        };
        let v6 = match open(AddressFamily::Inet6) {
            Err(nix::Error::EAFNOSUPPORT) => None,
            other => Some(other.map_err(refused)?),
        };
        Ok(Self { v4: open(AddressFamily::Inet).map_err(refused)?, v6 })
    }

    /// Whether a packet can be sent again just as it was: TCP always can be; of other protocols what need not be cut into
    /// pieces; nothing that bears a mark of others, which would be lost. What cannot must be held by the kernel.
    #[must_use]
    pub fn takes(&self, packet: &Packet<'_>) -> bool {
        can_be_sent_again(packet.contents, packet.mark, self.v6.is_some())
    }

    /// Sends a packet, from its network header on, by the interface that it was to leave by. False when it was lost:
    /// there is no room, or no way there any more.
    #[must_use]
    pub fn send(&self, contents: &[u8], leaves_by: u32) -> bool {
        let sent = match (version(contents), &self.v6) {
            (Some(4), _) => self.send_v4(contents, leaves_by),
            (Some(6), Some(socket)) => send_v6(socket, contents, leaves_by),
            _ => return false,
        };
        sent.is_ok()
    }

    fn send_v4(&self, contents: &[u8], leaves_by: u32) -> nix::Result<()> {
        let address = |at: usize| -> Option<[u8; 4]> { contents.get(at..at + 4)?.try_into().ok() };
        let (Some(from), Some(to)) = (address(12), address(16)) else { return Err(nix::Error::EMSGSIZE) };
        let by = libc::in_pktinfo {
            ipi_ifindex: i32::try_from(leaves_by).unwrap_or_default(),
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let target = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::from(to), 0));
        let control = [ControlMessage::Ipv4PacketInfo(&by)];
        let parts = [IoSlice::new(contents)];
        sendmsg(self.v4.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&target)).map(drop)
    }
}

fn send_v6(socket: &OwnedFd, contents: &[u8], leaves_by: u32) -> nix::Result<()> {
    let to: Option<[u8; 16]> = contents.get(24..40).and_then(|address| address.try_into().ok());
    let Some(to) = to else { return Err(nix::Error::EMSGSIZE) };
    // The number is looked at for addresses of the link alone.
    let target = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::from(to), 0, 0, leaves_by));
    let parts = [IoSlice::new(contents)];
    sendmsg(socket.as_raw_fd(), &parts, &[], MsgFlags::MSG_DONTWAIT, Some(&target)).map(drop)
}

fn can_be_sent_again(contents: &[u8], mark: u32, v6: bool) -> bool {
    let protocol = match version(contents) {
        Some(4) if contents.len() >= 20 => contents[9],
        Some(6) if contents.len() >= 40 && v6 => contents[6],
        _ => return false,
    };
    let unmarked = mark == 0 || mark & 0xffff_0000 == MARKS;
    unmarked && (protocol == TCP || contents.len() <= BYTES_EVERYWHERE)
}

fn version(contents: &[u8]) -> Option<u8> {
    contents.first().map(|byte| byte >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_place_looks_at_what_an_earlier_one_has_sent() {
        let (early, late) = (Place(3), Place(7));
        assert!(early.priority() < late.priority());
        let within = |mark: u32, (first, last): (u32, u32)| (first..=last).contains(&mark);
        let sent_early = early.marks().0;
        assert!(within(sent_early, early.marks()) && !within(sent_early, late.marks()));
        assert!(within(late.marks().0, early.marks()) && within(late.marks().0, late.marks()));
        assert!(!within(0, Place(1).marks()));
    }

    #[test]
    fn only_what_stays_as_it_was_is_sent_again() {
        const UDP: u8 = 17;
        let v4 = |protocol: u8, size: usize| {
            let mut contents = vec![0; size];
            (contents[0], contents[9]) = (0x45, protocol);
            contents
        };
        let again = |contents: &[u8], mark| can_be_sent_again(contents, mark, false);
        assert!(again(&v4(TCP, 9000), 0) && again(&v4(UDP, 1280), 0));
        assert!(!again(&v4(UDP, 1281), 0), "it may have to be cut into pieces");
        assert!(again(&v4(TCP, 40), Place(9).marks().0) && !again(&v4(TCP, 40), 1), "a mark of others would be lost");
        let mut v6 = vec![0; 40];
        (v6[0], v6[6]) = (0x60, TCP);
        assert!(can_be_sent_again(&v6, 0, true) && !again(&v6, 0), "there is no IPv6 here");
        assert!(!again(&[], 0) && !again(&v4(TCP, 19), 0));
    }
}
