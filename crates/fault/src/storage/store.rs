//! The store: the guardian keeps a copy of every descriptor that the server works with, under a key, and gives all of
//! them to the next server. One message is four numbers and at most one descriptor; the socket keeps messages apart.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub(super) enum Kind {
    /// The connection to the kernel.
    Device = 1,
    /// The directory below the mount.
    Below = 2,
    /// The memory of the desk.
    Desk = 3,
    /// The listening control socket.
    Control = 4,
    /// A file or directory that the kernel knows. First number: 1 for the probe file.
    Node = 5,
    /// An open file. First number: its node; second: the flags it was opened with.
    Handle = 6,
    /// A file whose old content is kept.
    Kept = 7,
    /// Everything was handed over.
    Ready = 8,
    /// The file system was unmounted: there is nothing left to do.
    Over = 9,
    /// Forget the key given in the numbers.
    Drop = 10,
}

impl Kind {
    pub(super) fn from(number: u64) -> Option<Self> {
        use Kind::{Below, Control, Desk, Device, Drop, Handle, Kept, Node, Over, Ready};
        let all = [Device, Below, Desk, Control, Node, Handle, Kept, Ready, Over, Drop];
        all.into_iter().find(|kind| *kind as u64 == number)
    }
}

/// Under what a descriptor is kept.
pub(super) type Key = (Kind, u64);

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) key: Key,
    pub(super) numbers: [u64; 2],
    pub(super) fd: Option<OwnedFd>,
}

const WORDS: usize = 4;
const BYTES: usize = WORDS * 8;

/// Both ends, close-on-exec.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Sends one message. Waits while the other end has unread ones.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    (kind, id): Key,
    numbers: [u64; 2],
    fd: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut bytes = [0; BYTES];
    for (place, word) in bytes.chunks_exact_mut(8).zip([kind as u64, id, numbers[0], numbers[1]]) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    let raw: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// The next message; `None` when the other end is closed.
pub(super) fn receive(socket: BorrowedFd<'_>) -> Result<Option<Message>, Errno> {
    let mut bytes = [0; BYTES];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let (count, fd) = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Ok(None),
            Err(problem) => return Err(problem),
            Ok(got) => break (got.bytes, only_descriptor(got.cmsgs()?)),
        }
    };
    if count == 0 {
        return Ok(None);
    }
    let mut words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
    let mut word = || words.next().unwrap_or(0);
    let kind = Kind::from(word()).filter(|_| count == BYTES).ok_or(Errno::EPROTO)?;
    Ok(Some(Message { key: (kind, word()), numbers: [word(), word()], fd }))
}

fn only_descriptor(messages: impl Iterator<Item = ControlMessageOwned>) -> Option<OwnedFd> {
    let all = messages.filter_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => Some(fds),
        _ => None,
    });
    // SAFETY: the kernel just made these descriptors in this process, and nobody else knows of them.
    all.flatten().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn messages_carry_descriptors_and_the_end_is_seen() {
        let (one, other) = pair().expect("pair");
        let file = tempfile::tempfile().expect("file");
        send(one.as_fd(), (Kind::Handle, 5), [6, 7], Some(file.as_fd())).expect("sends");
        send(one.as_fd(), (Kind::Drop, Kind::Handle as u64), [5, 0], None).expect("sends");
        drop(one);
        let first = receive(other.as_fd()).expect("receives").expect("a message");
        assert_eq!((first.key, first.numbers, first.fd.is_some()), ((Kind::Handle, 5), [6, 7], true));
        let second = receive(other.as_fd()).expect("receives").expect("a message");
        assert_eq!((second.key.0, second.fd.is_some()), (Kind::Drop, false));
        assert!(receive(other.as_fd()).expect("no error").is_none());
    }
}
