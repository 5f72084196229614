//! One direction of a session: bytes from one socket to the other, and the end of the stream behind them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

/// Most full buffers that one direction moves before others get their turn.
const ROUNDS_PER_TURN: usize = 16;

/// A non-blocking byte stream.
pub(super) trait Stream {
    fn take(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn put(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Says that nothing more will be put.
    fn end(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&mut &*self).read(buffer)
    }

    fn put(&self, bytes: &[u8]) -> io::Result<usize> {
        (&mut &*self).write(bytes)
    }

    fn end(&self) -> io::Result<()> {
        match self.shutdown(Shutdown::Write) {
            // The peer has closed altogether meanwhile: it needs not be told.
            Err(problem) if problem.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        }
    }
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// One of the sockets has to become ready first.
    Waits,
    /// There may be more; others first.
    More,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Flow {
    #[default]
    Open,
    /// The source has ended; the destination has not been told.
    Ended,
    /// Ended and told.
    Closed,
}

/// The state of one direction. What the destination does not take at once is kept here (at most one buffer), and
/// nothing more is read until it has gone: the sender feels the receiver's pace.
#[derive(Debug, Default)]
pub(super) struct Pump {
    pending: Vec<u8>,
    written: usize,
    flow: Flow,
    /// The kernel has announced the source's end: read until it is reached, a short read is no sign of emptiness.
    ending: bool,
    moved: u64,
}

impl Pump {
    /// The source's end was announced.
    pub(super) fn expect_end(&mut self) {
        self.ending = true;
    }

    /// It waits for room at the destination.
    pub(super) fn waits_for_room(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The end of the stream was passed on; nothing more will happen here.
    pub(super) fn is_closed(&self) -> bool {
        self.flow == Flow::Closed
    }

    /// Bytes taken since the last call.
    pub(super) fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved)
    }

    /// As [`Pump::run`], when `wanted`.
    pub(super) fn run_if(
        &mut self,
        wanted: bool,
        from: &impl Stream,
        to: &impl Stream,
        buffer: &mut [u8],
    ) -> io::Result<Turn> {
        if wanted { self.run(from, to, buffer) } else { Ok(Turn::Waits) }
    }

    /// Moves what can be moved now. `buffer` is scratch space; its length is the size of one read.
    ///
    /// # Errors
    /// When either socket has failed: the session is over.
    pub(super) fn run(&mut self, from: &impl Stream, to: &impl Stream, buffer: &mut [u8]) -> io::Result<Turn> {
        for _ in 0..ROUNDS_PER_TURN {
            if !self.flush(to)? {
                return Ok(Turn::Waits);
            }
            match self.flow {
                Flow::Closed => return Ok(Turn::Waits),
                Flow::Ended => {
                    to.end()?;
                    self.flow = Flow::Closed;
                    return Ok(Turn::Waits);
                }
                Flow::Open => {}
            }
            let Some(taken) = unless_blocked(|| from.take(buffer))? else { return Ok(Turn::Waits) };
            if taken == 0 {
                self.flow = Flow::Ended;
                continue;
            }
            self.moved += taken as u64;
            let put = unless_blocked(|| to.put(&buffer[..taken]))?.unwrap_or(0);
            if put < taken {
                self.pending.extend_from_slice(&buffer[put..taken]);
                return Ok(Turn::Waits);
            }
            // A short read has emptied the socket; the next byte makes a new event.
            if taken < buffer.len() && !self.ending {
                return Ok(Turn::Waits);
            }
        }
        Ok(Turn::More)
    }

    /// Puts what is pending; true: nothing is any more.
    fn flush(&mut self, to: &impl Stream) -> io::Result<bool> {
        while self.written < self.pending.len() {
            match unless_blocked(|| to.put(&self.pending[self.written..]))? {
                Some(put) => self.written += put,
                None => return Ok(false),
            }
        }
        if !self.pending.is_empty() {
            // The memory goes back too: thousands of sessions that were slow once must not keep a buffer each.
            self.pending = Vec::new();
            self.written = 0;
        }
        Ok(true)
    }
}

/// The result of a non-blocking call; `None`: it would have blocked.
fn unless_blocked(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(count) => return Ok(Some(count)),
            Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
            Err(problem) => return Err(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    /// A socket that gives what was put into `incoming` and takes at most `room` bytes.
    #[derive(Default)]
    struct Fake {
        incoming: RefCell<VecDeque<u8>>,
        outgoing: RefCell<Vec<u8>>,
        room: Cell<usize>,
        finished: Cell<bool>,
        told: Cell<bool>,
    }

    impl Stream for Fake {
        fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut incoming = self.incoming.borrow_mut();
            if incoming.is_empty() && !self.finished.get() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = incoming.len().min(buffer.len());
            for (slot, byte) in buffer.iter_mut().zip(incoming.drain(..count)) {
                *slot = byte;
            }
            Ok(count)
        }

        fn put(&self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room.get());
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room.set(self.room.get() - count);
            self.outgoing.borrow_mut().extend(&bytes[..count]);
            Ok(count)
        }

        fn end(&self) -> io::Result<()> {
            self.told.set(true);
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_waits_and_nothing_more_is_read() {
        let (from, to) = (Fake::default(), Fake::default());
        from.incoming.borrow_mut().extend(*b"abcdefgh");
        to.room.set(3);
        let (mut pump, mut buffer) = (Pump::default(), [0; 4]);
        assert_eq!(pump.run(&from, &to, &mut buffer).expect("runs"), Turn::Waits);
        assert_eq!((to.outgoing.borrow().as_slice(), from.incoming.borrow().len()), (b"abc".as_slice(), 4));
        assert!(pump.waits_for_room());
        to.room.set(100);
        assert_eq!(pump.run(&from, &to, &mut buffer).expect("runs"), Turn::Waits);
        assert!(!pump.waits_for_room());
        assert_eq!(to.outgoing.borrow().as_slice(), b"abcdefgh");
    }

    #[test]
    fn the_end_comes_after_the_last_byte() {
        let (from, to) = (Fake::default(), Fake::default());
        from.incoming.borrow_mut().extend(*b"abcdef");
        from.finished.set(true);
        to.room.set(2);
        let (mut pump, mut buffer) = (Pump::default(), [0; 16]);
        pump.expect_end();
        pump.run(&from, &to, &mut buffer).expect("runs");
        assert!(!to.told.get() && !pump.is_closed(), "four bytes are still here");
        to.room.set(100);
        pump.run(&from, &to, &mut buffer).expect("runs");
        assert!(to.told.get() && pump.is_closed());
        assert_eq!(to.outgoing.borrow().as_slice(), b"abcdef");
    }

    #[test]
    fn a_long_stream_lets_others_in() {
        let (from, to) = (Fake::default(), Fake::default());
        from.incoming.borrow_mut().extend([7; 1000]);
        to.room.set(10_000);
        let (mut pump, mut buffer) = (Pump::default(), [0; 10]);
        assert_eq!(pump.run(&from, &to, &mut buffer).expect("runs"), Turn::More);
        assert_eq!(pump.take_moved(), (ROUNDS_PER_TURN * 10) as u64);
    }
}
