//! Waiting: an epoll set with our own tokens, and a bell (eventfd) by which one thread wakes another.

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Wakes whoever waits for it. Rings before anybody waits are kept.
#[derive(Debug)]
pub(super) struct Bell(EventFd);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    pub(super) fn ring(&self) {
        // The only failure is a counter at its maximum, which means that it is ringing already.
        let _ = self.0.write(1);
    }

    /// Silences it, so that the next ring is noticed.
    pub(super) fn hush(&self) {
        // Not ringing is fine too.
        let _ = self.0.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until `fd` is readable; `false`: `stop` rang first.
pub(super) fn readable(fd: impl AsFd, stop: &Bell) -> io::Result<bool> {
    loop {
        let mut set = [PollFd::new(fd.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut set, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(problem) => return Err(problem.into()),
            Ok(_) if set[1].any() == Some(true) => return Ok(false),
            Ok(_) if set[0].any() == Some(true) => return Ok(true),
            Ok(_) => {}
        }
    }
}

/// Waits for `stop`, at most `within`; true: it rang.
pub(super) fn stopped_within(stop: &Bell, within: Duration) -> bool {
    let mut set = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    // An interruption by a signal merely shortens the pause.
    let _ = nix::poll::poll(&mut set, timeout);
    set[0].any() == Some(true)
}

/// What happened to a socket, as far as the event loop cares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Happened(EpollFlags);

impl Happened {
    /// The peer will send nothing more (or is gone altogether).
    pub(super) fn ending(self) -> bool {
        self.0.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
    }

    /// There is something to read, be it the end.
    pub(super) fn readable(self) -> bool {
        self.0.contains(EpollFlags::EPOLLIN) || self.ending()
    }

    /// The connection failed: reset, timed out, refused.
    pub(super) fn failed(self) -> bool {
        self.0.contains(EpollFlags::EPOLLERR)
    }

    /// There may be room to write; for a socket that was connecting: it no longer is.
    pub(super) fn writable(self) -> bool {
        self.0.intersects(EpollFlags::EPOLLOUT | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
    }
}

/// Events taken from the kernel in one call: enough to make the call cheap per event, few enough that an order is
/// never far away.
const EVENTS_PER_WAIT: usize = 256;

/// An epoll set. Closing a descriptor takes it out.
#[derive(Debug)]
pub(super) struct Set {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Set {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: vec![EpollEvent::empty(); EVENTS_PER_WAIT] })
    }

    /// Reports every change of a socket, once per change (edge-triggered), so that no later call is ever needed.
    pub(super) fn add_socket(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        Ok(self.epoll.add(fd, EpollEvent::new(flags, token))?)
    }

    /// Reports a bell for as long as it rings.
    pub(super) fn add_bell(&self, bell: &Bell, token: u64) -> io::Result<()> {
        Ok(self.epoll.add(bell, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Waits until something happens or `until`; answers how many events there are. An interruption by a signal is a
    /// wait that ended early.
    pub(super) fn wait(&mut self, until: Option<Instant>) -> io::Result<usize> {
        let timeout = match until {
            None => EpollTimeout::NONE,
            Some(until) => {
                // Rounded up, so that a timer is due when its wait ends.
                let left = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
                EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
            }
        };
        match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => Ok(count),
            Err(nix::errno::Errno::EINTR) => Ok(0),
            Err(problem) => Err(problem.into()),
        }
    }

    /// The event of that number of the last wait.
    pub(super) fn event(&self, number: usize) -> (u64, Happened) {
        let event = self.events[number];
        (event.data(), Happened(event.events()))
    }
}
