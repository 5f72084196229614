//! Just enough netlink for the packet filter: attributes, batches, answers. Sockets are close-on-exec and block at most
//! [`ANSWER_WITHIN`] for an answer.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt, socket,
    sockopt::{RcvBufForce, ReceiveTimeout},
};
use nix::sys::time::TimeVal;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The kernel answers a request of ours within the call that sends it, short of memory pressure.
const ANSWER_WITHIN: TimeVal = TimeVal::new(5, 0);

/// Answers come in datagrams of at most this many bytes (`NLMSG_GOODSIZE` and its multiples).
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

const HEADER_BYTES: usize = 16;
/// `struct nfgenmsg`: family, version, resource id.
const NFGEN_BYTES: usize = 4;

pub(crate) const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
/// After those that are there, not before them.
pub(crate) const NLM_F_APPEND: u16 = 0x800;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// A growing list of attributes.
#[derive(Debug, Default, Clone)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn raw(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("attributes made here are short");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.raw(kind, &value.to_be_bytes())
    }

    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.raw(kind, &bytes)
    }

    pub(crate) fn nest(self, kind: u16, inner: Self) -> Self {
        self.raw(kind | NLA_F_NESTED, &inner.0)
    }
}

/// One message to the packet filter.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Subsystem in the upper byte, message in the lower.
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) family: u8,
    /// Queue number, or subsystem of a batch.
    pub(crate) resource: u16,
    pub(crate) attributes: Attributes,
}

impl Message {
    fn write(&self, sequence: u32, into: &mut Vec<u8>) {
        let length = HEADER_BYTES + NFGEN_BYTES + self.attributes.0.len();
        into.extend_from_slice(&u32::try_from(length).expect("messages made here are short").to_ne_bytes());
        into.extend_from_slice(&self.kind.to_ne_bytes());
        into.extend_from_slice(&(self.flags | NLM_F_REQUEST).to_ne_bytes());
        into.extend_from_slice(&sequence.to_ne_bytes());
        into.extend_from_slice(&[0; 4]);
        into.extend_from_slice(&[self.family, 0]);
        into.extend_from_slice(&self.resource.to_be_bytes());
        into.extend_from_slice(&self.attributes.0);
    }
}

/// An answer or a notification.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Answer<'_> {
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u16, &[u8])> {
        attributes(self.body.get(NFGEN_BYTES..).unwrap_or_default())
    }

    pub(crate) fn attribute(&self, wanted: u16) -> Option<&[u8]> {
        self.attributes().find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    }

    fn error(&self) -> Option<io::Error> {
        let number = i32::from_ne_bytes(self.body.get(..4)?.try_into().ok()?);
        (number != 0).then(|| io::Error::from_raw_os_error(-number))
    }
}

/// The attributes in a piece of a message; stops at the first that is cut short.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The messages in a datagram; stops at the first that is cut short.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
        let body = bytes.get(HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Answer { kind, sequence, body })
    })
}

/// A socket to the packet filter of the network namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
        setsockopt(&fd, ReceiveTimeout, &ANSWER_WITHIN)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Has all changes made, or none. The error is of the first change that was refused, with its place in the list.
    pub(crate) fn change(&mut self, changes: Vec<Message>) -> Result<(), (usize, io::Error)> {
        let bound = |kind| Message {
            kind,
            flags: 0,
            family: 0,
            resource: NFNL_SUBSYS_NFTABLES,
            attributes: Attributes::default(),
        };
        let count = changes.len();
        let mut bytes = Vec::new();
        let begin = self.next_sequence();
        bound(NFNL_MSG_BATCH_BEGIN).write(begin, &mut bytes);
        for mut change in changes {
            change.flags |= NLM_F_ACK;
            change.write(self.next_sequence(), &mut bytes);
        }
        let last = self.sequence;
        bound(NFNL_MSG_BATCH_END).write(self.next_sequence(), &mut bytes);
        self.send(&bytes).map_err(|problem| (0, problem))?;

        let mut first: Option<(usize, io::Error)> = None;
        let mut answered = 0;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        while answered < count {
            let size = self.receive(&mut buffer).map_err(|problem| (0, problem))?;
            for answer in messages(&buffer[..size]).filter(|answer| answer.kind == NLMSG_ERROR) {
                let place = answer.sequence.wrapping_sub(begin) as usize;
                if place > (last.wrapping_sub(begin)) as usize {
                    continue; // Of an earlier request that timed out.
                }
                answered += 1;
                if let Some(problem) = answer.error() {
                    first.get_or_insert((place.saturating_sub(1), problem));
                    if place == 0 {
                        answered = count; // The batch as a whole was refused: no other answers follow.
                    }
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// One request that is answered by an acknowledgement.
    pub(crate) fn command(&mut self, mut message: Message) -> io::Result<()> {
        message.flags |= NLM_F_ACK;
        self.exchange(message, |_| {})
    }

    /// One request for one object; `visit` sees it.
    pub(crate) fn get(&mut self, mut message: Message, visit: impl FnMut(&Answer<'_>)) -> io::Result<()> {
        message.flags |= NLM_F_ACK;
        self.exchange(message, visit)
    }

    /// One request for all objects of a kind; `visit` sees each.
    pub(crate) fn dump(&mut self, mut message: Message, visit: impl FnMut(&Answer<'_>)) -> io::Result<()> {
        message.flags |= NLM_F_DUMP;
        self.exchange(message, visit)
    }

    fn exchange(&mut self, message: Message, mut visit: impl FnMut(&Answer<'_>)) -> io::Result<()> {
        let mut bytes = Vec::new();
        let sequence = self.next_sequence();
        message.write(sequence, &mut bytes);
        self.send(&bytes)?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let size = self.receive(&mut buffer)?;
            for answer in messages(&buffer[..size]).filter(|answer| answer.sequence == sequence) {
                match answer.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return answer.error().map_or(Ok(()), Err),
                    _ => visit(&answer),
                }
            }
        }
    }

    /// Sends messages together without waiting for an answer; an error in one of them is still answered, and then
    /// found among what is received.
    pub(crate) fn tell(&mut self, all: impl Iterator<Item = Message>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for message in all {
            message.write(self.next_sequence(), &mut bytes);
        }
        self.send(&bytes)
    }

    /// Makes the receive buffer large, and lost notifications no error.
    pub(crate) fn tolerate_overruns(&self, bytes: usize) -> io::Result<()> {
        setsockopt(&self.fd, RcvBufForce, &bytes)?;
        let on: libc::c_int = 1;
        let size = libc::socklen_t::try_from(size_of_val(&on)).expect("4");
        // SAFETY: the option reads one int, which lives until the call returns.
        let answer = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_NO_ENOBUFS,
                (&raw const on).cast(),
                size,
            )
        };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// One datagram that is there already; `WouldBlock` when none is.
    pub(crate) fn receive_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).map_err(io::Error::from)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty()) {
                Err(nix::Error::EINTR) => {}
                other => return other.map_err(io::Error::from),
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        let sent = sendto(self.fd.as_raw_fd(), bytes, &kernel, MsgFlags::empty())?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let list = Attributes::default().text(1, "ab").nest(2, Attributes::default().number(3, 7));
        let read: Vec<(u16, Vec<u8>)> = attributes(&list.0).map(|(kind, value)| (kind, value.to_vec())).collect();
        assert_eq!(read[0], (1, b"ab\0".to_vec()));
        assert_eq!(read[1].0, 2);
        assert_eq!(attributes(&read[1].1).next(), Some((3, &[0, 0, 0, 7][..])));
    }

    #[test]
    fn bytes_that_are_cut_short_end_the_list() {
        let list = Attributes::default().text(1, "abcdef");
        for cut in 0..list.0.len() {
            assert!(attributes(&list.0[..cut]).count() <= 1);
        }
        assert_eq!(attributes(&[1, 0, 0, 0]).count(), 0, "a length below its own header");
        assert_eq!(messages(&[255; 40]).count(), 0);
    }
}
