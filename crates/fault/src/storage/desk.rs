//! The desk: memory that outlives the server. Requests are read from the kernel straight into it, so that a server
//! which is killed leaves them lying there, and its successor answers them. Whoever called then sees nothing but a pause
//! of milliseconds. (The kernel can send unanswered requests again itself, from Linux 6.9; this works before, too.)
//!
//! A place on the desk is one request. It is *taken* from the moment that the kernel has filled it until it is cleared
//! after the answer. The successor of a killed server asks the kernel which of them still wait for an answer and does
//! those, perhaps for a second time. What cannot be done twice (a name can be removed once) leaves a *mark* before it is
//! done.

use super::wire::{BEFORE_DATA, PAYLOAD_MAX};
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Requests that are worked on at a time. A request that is made to wait takes a place, so this is also how many calls
/// a delay may hold before others wait, too.
pub(super) const PLACES: usize = 128;
/// Files and directories that the kernel may know at a time; each is a descriptor, so that limit usually comes first.
pub(super) const NODES_MAX: usize = 1 << 18;
const PAGE: usize = 4096;
const PLACE: usize = PAGE + PAYLOAD_MAX;
/// The data of a write begins on a page, as direct writes need it.
const REQUEST_AT: usize = PAGE - BEFORE_DATA;
const COUNTS: usize = NODES_MAX * size_of::<AtomicU64>();
const SIZE: usize = COUNTS + PLACES * PLACE;

/// The mapping.
#[derive(Debug)]
pub(super) struct Desk {
    base: *mut u8,
}

// SAFETY: what is shared is atomics, and the bytes of a place belong to the one thread that works on it.
unsafe impl Send for Desk {}
// SAFETY: as above.
unsafe impl Sync for Desk {}

/// A new desk's memory.
pub(super) fn create() -> io::Result<OwnedFd> {
    // SAFETY: a constant name with its zero byte; the kernel hands out a new descriptor or -1.
    let fd = unsafe { libc::memfd_create(c"firedrill-storage".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just handed out to us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    nix::unistd::ftruncate(&fd, SIZE as libc::off_t)?;
    Ok(fd)
}

impl Desk {
    pub(super) fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a new shared mapping of a descriptor that has SIZE bytes; nothing else is at the returned address.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast() })
    }

    /// How often the kernel was told of a node.
    pub(super) fn count(&self, index: usize) -> &AtomicU64 {
        assert!(index < NODES_MAX, "an index of a node");
        // SAFETY: within the mapping, aligned to 8 bytes, and only ever used as an atomic.
        unsafe { &*self.base.add(index * size_of::<AtomicU64>()).cast::<AtomicU64>() }
    }

    pub(super) fn place(&self, index: usize) -> Place<'_> {
        assert!(index < PLACES, "an index of a place");
        // SAFETY: within the mapping.
        Place { base: unsafe { self.base.add(COUNTS + index * PLACE) }, _desk: self }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made in `map`; places borrow the desk, so none is left.
        unsafe { libc::munmap(self.base.cast(), SIZE) };
    }
}

/// One request on the desk.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    base: *mut u8,
    _desk: &'a Desk,
}

impl<'a> Place<'a> {
    fn word(&self, at: usize) -> &'a AtomicU32 {
        // SAFETY: within the place, aligned to 4 bytes; other threads use these words as atomics only, or not now.
        unsafe { &*self.base.add(at).cast::<AtomicU32>() }
    }

    /// Has all memory of the place ready. The kernel fails a request (`EIO`) whose reader is killed just while it has to
    /// find memory to put it into; memory that is there already it fills whatever happens to the reader.
    pub(super) fn make_ready(&self) {
        for page in 0..PLACE / PAGE {
            // Changes nothing, and makes the page this process's own to write.
            self.word(page * PAGE).fetch_or(0, Ordering::Relaxed);
        }
        // SAFETY: a part of our own mapping. Without the privilege it is only likely to stay, not certain.
        unsafe { libc::mlock(self.base.cast(), PLACE) };
    }

    /// How often work on this request was begun: more than once only after a server was killed.
    pub(super) fn attempts(&self) -> &'a AtomicU32 {
        self.word(0)
    }

    /// Set to have a waiting call look whether its caller is dying.
    pub(super) fn interrupted(&self) -> &'a AtomicU32 {
        self.word(4)
    }

    /// What was found before something was done that cannot be done twice; 0 for nothing yet.
    pub(super) fn mark(&self) -> &'a AtomicU64 {
        // SAFETY: as in `word`.
        unsafe { &*self.base.add(8).cast::<AtomicU64>() }
    }

    /// The length of the request that lies here, as the kernel wrote it; 0 when the place is free.
    fn length(&self) -> &'a AtomicU32 {
        self.word(REQUEST_AT)
    }

    /// Whose place it is, to find a request by its number from another thread.
    pub(super) fn unique(&self) -> u64 {
        // SAFETY: within the request's header, which is aligned to 8 bytes.
        unsafe { &*self.base.add(REQUEST_AT + 8).cast::<AtomicU64>() }.load(Ordering::Relaxed)
    }

    pub(super) fn taken(&self) -> bool {
        self.length().load(Ordering::Acquire) != 0
    }

    /// Frees the place. Only after the answer was written, or before work that must not be done twice.
    pub(super) fn clear(&self) {
        self.length().store(0, Ordering::Release);
        self.attempts().store(0, Ordering::Relaxed);
        self.interrupted().store(0, Ordering::Relaxed);
        self.mark().store(0, Ordering::Relaxed);
    }

    /// Waits for the next request and has the kernel put it here.
    pub(super) fn receive(&self, device: BorrowedFd<'_>) -> Result<(), Errno> {
        // SAFETY: from the request's beginning to the end of the place, which nobody else uses while it is free.
        let got =
            unsafe { libc::read(device.as_raw_fd(), self.base.add(REQUEST_AT).cast(), BEFORE_DATA + PAYLOAD_MAX) };
        Errno::result(got).map(drop)
    }

    /// The request that lies here.
    pub(super) fn request(&self) -> &'a [u8] {
        let length = (self.length().load(Ordering::Acquire) as usize).min(BEFORE_DATA + PAYLOAD_MAX);
        // SAFETY: within the place; the bytes do not change while it is taken, except by the thread that works on it.
        unsafe { std::slice::from_raw_parts(self.base.add(REQUEST_AT), length) }
    }
}

/// Memory of one thread that begins on a page, for data that is read or changed on its way.
pub(super) struct Scratch {
    base: *mut u8,
}

impl Scratch {
    const LAYOUT: std::alloc::Layout = match std::alloc::Layout::from_size_align(PAYLOAD_MAX, PAGE) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    };

    pub(super) fn new() -> Self {
        // SAFETY: the layout has a size other than 0.
        let base = unsafe { std::alloc::alloc_zeroed(Self::LAYOUT) };
        if base.is_null() {
            std::alloc::handle_alloc_error(Self::LAYOUT);
        }
        Self { base }
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated with this size, initialised, and borrowed as this value is.
        unsafe { std::slice::from_raw_parts_mut(self.base, PAYLOAD_MAX) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { std::alloc::dealloc(self.base, Self::LAYOUT) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_request_outlives_the_mapping_that_received_it() {
        let memory = create().expect("memory");
        let (read, write) = nix::unistd::pipe().expect("pipe");
        let mut sent = vec![0; 48];
        sent[..4].copy_from_slice(&48_u32.to_ne_bytes());
        sent[8..16].copy_from_slice(&7_u64.to_ne_bytes());
        nix::unistd::write(&write, &sent).expect("writes");
        let first = Desk::map(memory.as_fd()).expect("maps");
        assert!(!first.place(3).taken());
        first.place(3).receive(read.as_fd()).expect("receives");
        first.place(3).mark().store(9, Ordering::Relaxed);
        first.count(NODES_MAX - 1).store(5, Ordering::Relaxed);
        drop(first);
        let second = Desk::map(memory.as_fd()).expect("maps");
        let place = second.place(3);
        assert!(place.taken() && place.unique() == 7 && place.mark().load(Ordering::Relaxed) == 9);
        assert_eq!(place.request(), sent);
        assert_eq!(second.count(NODES_MAX - 1).load(Ordering::Relaxed), 5);
        place.clear();
        assert!(!place.taken() && place.mark().load(Ordering::Relaxed) == 0);
        assert!(!second.place(2).taken() && !second.place(4).taken());
    }

    #[test]
    fn the_data_of_a_write_begins_on_a_page() {
        assert_eq!((COUNTS + REQUEST_AT + BEFORE_DATA) % PAGE, 0);
        assert_eq!(REQUEST_AT % 8, 0);
    }
}
