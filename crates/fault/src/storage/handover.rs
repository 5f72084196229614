//! Handing over: what a process of the layer gives to another one, so that this one can go on when the giver dies. The
//! guardian gives all it has to each server that it starts, and a server to the guardian that comes after a dead one.

use super::store::{self, Key, Kind, Message};
use super::wire::Agreed;
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What there is one of in each layer.
#[derive(Debug)]
pub(super) struct Base {
    /// The connection to the kernel.
    pub(super) device: OwnedFd,
    /// What was agreed on with it.
    pub(super) agreed: Agreed,
    /// The directory below the mount.
    pub(super) below: OwnedFd,
    /// The memory of the desk.
    pub(super) desk: OwnedFd,
    /// The listening control socket.
    pub(super) control: OwnedFd,
}

/// Gives everything, and says that this was all.
pub(super) fn give<'a>(
    to: BorrowedFd<'_>,
    base: &Base,
    kept: impl IntoIterator<Item = (Key, [u64; 2], BorrowedFd<'a>)>,
) -> Result<(), Errno> {
    let agreed = [u64::from(base.agreed.minor), u64::from(base.agreed.resends)];
    let none = [0, 0];
    store::send(to, (Kind::Device, 0), agreed, Some(base.device.as_fd()))?;
    store::send(to, (Kind::Below, 0), none, Some(base.below.as_fd()))?;
    store::send(to, (Kind::Desk, 0), none, Some(base.desk.as_fd()))?;
    store::send(to, (Kind::Control, 0), none, Some(base.control.as_fd()))?;
    for (key, numbers, fd) in kept {
        store::send(to, key, numbers, Some(fd))?;
    }
    store::send(to, (Kind::Ready, 0), none, None)
}

/// Takes everything. Fails when the giver dies before the end: a part would not do.
pub(super) fn take(from: BorrowedFd<'_>) -> io::Result<(Base, Vec<Message>)> {
    let gone = || io::Error::new(io::ErrorKind::UnexpectedEof, "the other process of the storage layer ended");
    let (mut device, mut below, mut desk, mut control, mut rest) = (None, None, None, None, Vec::new());
    let mut agreed = Agreed { minor: 0, resends: false };
    loop {
        let message = store::receive(from)?.ok_or_else(gone)?;
        match message.key.0 {
            Kind::Device => {
                #[allow(clippy::cast_possible_truncation, reason = "the giver made it of 32 bits")]
                let minor = message.numbers[0] as u32;
                agreed = Agreed { minor, resends: message.numbers[1] == 1 };
                device = message.fd;
            }
            Kind::Below => below = message.fd,
            Kind::Desk => desk = message.fd,
            Kind::Control => control = message.fd,
            Kind::Ready => break,
            _ => rest.push(message),
        }
    }
    match (device, below, desk, control) {
        (Some(device), Some(below), Some(desk), Some(control)) => {
            Ok((Base { device, agreed, below, desk, control }, rest))
        }
        _ => Err(gone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        tempfile::tempfile().expect("file").into()
    }

    #[test]
    fn all_arrives_or_nothing() {
        let agreed = Agreed { minor: 38, resends: true };
        let base = Base { device: file(), agreed, below: file(), desk: file(), control: file() };
        let (one, other) = store::pair().expect("pair");
        let open = file();
        give(one.as_fd(), &base, [((Kind::Handle, 4), [5, 6], open.as_fd())]).expect("gives");
        let (taken, rest) = take(other.as_fd()).expect("takes");
        assert_eq!(taken.agreed, agreed);
        assert_eq!((rest.len(), rest[0].key, rest[0].numbers), (1, (Kind::Handle, 4), [5, 6]));

        store::send(one.as_fd(), (Kind::Device, 0), [0, 0], Some(base.device.as_fd())).expect("sends");
        drop(one);
        let problem = take(other.as_fd()).expect_err("a part");
        assert_eq!(problem.kind(), io::ErrorKind::UnexpectedEof);
    }
}
