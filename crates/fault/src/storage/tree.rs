//! What the kernel holds of this file system: nodes (files and directories it knows) and handles (open files). Each is
//! a descriptor, which the guardian's store has a copy of.

use super::desk::{Desk, NODES_MAX};
use super::handover::{self, Base};
use super::keep::Keep;
use super::store::{self, Key, Kind, Message};
use super::wire::ROOT;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// A node's number is its index and, above these bits, a serial number, so that an old number never means a new file.
const INDEX_BITS: u32 = NODES_MAX.trailing_zeros();
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// Which file: device and inode. Unambiguous while a descriptor of it is open.
pub(super) type FileKey = (u64, u64);

/// A file or directory.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: u64,
    /// Opened with `O_PATH`.
    pub(super) file: OwnedFd,
    pub(super) key: FileKey,
    /// The file that measurements are made with.
    pub(super) probe: bool,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) file: OwnedFd,
    pub(super) flags: OFlag,
    pub(super) node: Arc<Node>,
}

/// All nodes and handles.
#[derive(Debug)]
pub(super) struct Tree {
    desk: Arc<Desk>,
    /// The socket to the guardian.
    store: RwLock<OwnedFd>,
    guarded: AtomicBool,
    guardian: AtomicU32,
    nodes: RwLock<HashMap<u64, Arc<Node>>>,
    numbers: Mutex<Numbers>,
    handles: RwLock<HashMap<u64, Arc<Handle>>>,
    next_handle: AtomicU64,
}

#[derive(Debug)]
struct Numbers {
    by_key: HashMap<FileKey, u64>,
    free: Vec<usize>,
    next: usize,
    serial: u64,
}

/// The path by which this process reaches what a descriptor stands for.
pub(super) fn through(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

pub(super) fn key_of(stat: &libc::stat) -> FileKey {
    (stat.st_dev, stat.st_ino)
}

impl Tree {
    /// From what the guardian handed over; `below` is the directory under the mount.
    pub(super) fn restore(desk: Arc<Desk>, store: OwnedFd, below: &OwnedFd, kept: Vec<Message>) -> Result<Self, Errno> {
        let numbers = Numbers { by_key: HashMap::new(), free: Vec::new(), next: 2, serial: 1 };
        let tree = Self {
            desk,
            store: RwLock::new(store),
            guarded: AtomicBool::new(true),
            guardian: AtomicU32::new(nix::unistd::getppid().as_raw().unsigned_abs()),
            nodes: RwLock::default(),
            numbers: Mutex::new(numbers),
            handles: RwLock::default(),
            next_handle: AtomicU64::new(1),
        };
        tree.insert(ROOT, below.try_clone().map_err(|_| Errno::EMFILE)?, false)?;
        for Message { key: (kind, id), numbers, fd } in kept {
            match (kind, fd) {
                (Kind::Node, Some(fd)) => tree.insert(id, fd, numbers[0] == 1).map(drop)?,
                (Kind::Handle, Some(file)) => {
                    // Handles come after nodes; one without its node was being closed.
                    let Some(node) = tree.find(numbers[0]) else { continue };
                    #[allow(clippy::cast_possible_truncation, reason = "flags of open are 32 bits")]
                    let flags = OFlag::from_bits_retain(numbers[1] as i32);
                    write(&tree.handles).insert(id, Arc::new(Handle { file, flags, node }));
                    tree.next_handle.fetch_max(id + 1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        tree.count_free();
        Ok(tree)
    }

    fn insert(&self, id: u64, file: OwnedFd, probe: bool) -> Result<Arc<Node>, Errno> {
        let key = key_of(&fstat(&file)?);
        let node = Arc::new(Node { id, file, key, probe });
        write(&self.nodes).insert(id, Arc::clone(&node));
        let mut numbers = self.numbers();
        numbers.by_key.insert(key, id);
        numbers.next = numbers.next.max(index(id) + 1);
        numbers.serial = numbers.serial.max((id >> INDEX_BITS) + 1);
        Ok(node)
    }

    fn count_free(&self) {
        let mut numbers = self.numbers();
        let used: std::collections::HashSet<usize> = numbers.by_key.values().map(|id| index(*id)).collect();
        numbers.free = (2..numbers.next).filter(|index| !used.contains(index)).collect();
    }

    /// Whether a guardian stands by.
    pub(super) fn guarded(&self) -> bool {
        self.guarded.load(Ordering::Relaxed)
    }

    pub(super) fn unguarded(&self) {
        self.guarded.store(false, Ordering::Relaxed);
    }

    /// The process that stands by, or did last.
    pub(super) fn guardian(&self) -> u32 {
        self.guardian.load(Ordering::Relaxed)
    }

    /// Gives everything to a new guardian, with the files whose old content is kept, and has it stand by. Only while no
    /// operation is under way: between what it is given and what it is told from then on, nothing may be missing.
    pub(super) fn hand_over(&self, to: OwnedFd, guardian: u32, base: &Base, keep: &Keep) -> std::io::Result<()> {
        // The kernel forgets nodes at any time, without an operation.
        let _none_forgotten = self.numbers();
        let nodes: Vec<_> = read(&self.nodes).values().filter(|node| node.id != ROOT).cloned().collect();
        let handles: Vec<_> = read(&self.handles).iter().map(|(id, handle)| (*id, Arc::clone(handle))).collect();
        let old = keep.all()?;
        let all = nodes.iter().map(|node| ((Kind::Node, node.id), [u64::from(node.probe), 0], node.file.as_fd()));
        let all =
            all.chain(handles.iter().map(|(id, handle)| {
                ((Kind::Handle, *id), numbers_of(handle.node.id, handle.flags), handle.file.as_fd())
            }));
        let all = all.chain(old.iter().map(|(id, file)| ((Kind::Kept, *id), [0, 0], file.as_fd())));
        handover::give(to.as_fd(), base, all)?;
        *write(&self.store) = to;
        self.guardian.store(guardian, Ordering::Relaxed);
        self.guarded.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn node(&self, id: u64) -> Result<Arc<Node>, Errno> {
        self.find(id).ok_or(Errno::ESTALE)
    }

    fn find(&self, id: u64) -> Option<Arc<Node>> {
        read(&self.nodes).get(&id).cloned()
    }

    /// The numbers of all nodes.
    pub(super) fn all(&self) -> Vec<u64> {
        read(&self.nodes).keys().copied().collect()
    }

    /// The node of a file just opened with `O_PATH`, counted once more as known to the kernel.
    pub(super) fn adopt(&self, file: OwnedFd, probe: bool) -> Result<(Arc<Node>, libc::stat), Errno> {
        let stat = fstat(&file)?;
        let key = key_of(&stat);
        let mut numbers = self.numbers();
        if let Some(node) = numbers.by_key.get(&key).and_then(|id| self.find(*id)) {
            self.desk.count(index(node.id)).fetch_add(1, Ordering::Relaxed);
            return Ok((node, stat));
        }
        let place = match numbers.free.pop() {
            Some(place) => place,
            None if numbers.next < NODES_MAX => {
                numbers.next += 1;
                numbers.next - 1
            }
            None => return Err(Errno::ENFILE),
        };
        let id = numbers.serial << INDEX_BITS | place as u64;
        numbers.serial += 1;
        self.desk.count(place).store(1, Ordering::Relaxed);
        self.keep((Kind::Node, id), [u64::from(probe), 0], file.as_fd());
        numbers.by_key.insert(key, id);
        let node = Arc::new(Node { id, file, key, probe });
        write(&self.nodes).insert(id, Arc::clone(&node));
        Ok((node, stat))
    }

    /// The kernel forgets a node so many times.
    pub(super) fn forget(&self, id: u64, times: u64) {
        if id == ROOT {
            return;
        }
        let mut numbers = self.numbers();
        let Some(node) = self.find(id) else { return };
        let count = self.desk.count(index(id));
        let left = count.load(Ordering::Relaxed).saturating_sub(times);
        count.store(left, Ordering::Relaxed);
        if left == 0 {
            numbers.by_key.remove(&node.key);
            write(&self.nodes).remove(&id);
            self.let_go((Kind::Node, id));
            numbers.free.push(index(id));
        }
    }

    /// Opens a node anew.
    pub(super) fn open(&self, node: &Arc<Node>, flags: OFlag) -> Result<u64, Errno> {
        let flags = flags & !(OFlag::O_NOFOLLOW | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOCTTY);
        // Offsets come with each write: a descriptor that appends would not heed them.
        let file = reopen(&node.file, flags & !OFlag::O_APPEND)?;
        let id = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.keep((Kind::Handle, id), numbers_of(node.id, flags), file.as_fd());
        write(&self.handles).insert(id, Arc::new(Handle { file, flags, node: Arc::clone(node) }));
        Ok(id)
    }

    pub(super) fn handle(&self, id: u64) -> Result<Arc<Handle>, Errno> {
        read(&self.handles).get(&id).cloned().ok_or(Errno::EBADF)
    }

    /// Closes a handle; one that is closed already is no error.
    pub(super) fn close(&self, id: u64) {
        if write(&self.handles).remove(&id).is_some() {
            self.let_go((Kind::Handle, id));
        }
    }

    /// Gives the guardian a copy.
    pub(super) fn keep(&self, key: Key, numbers: [u64; 2], fd: BorrowedFd<'_>) {
        self.tell(key, numbers, Some(fd));
    }

    /// Has the guardian close its copy.
    pub(super) fn let_go(&self, (kind, id): Key) {
        self.tell((Kind::Drop, kind as u64), [id, 0], None);
    }

    /// Without a guardian this server goes on alone, until it has started another.
    pub(super) fn tell(&self, key: Key, numbers: [u64; 2], fd: Option<BorrowedFd<'_>>) {
        if self.guarded()
            && let Err(problem) = store::send(read(&self.store).as_fd(), key, numbers, fd)
        {
            tracing::warn!(%problem, "the guardian of the storage layer is gone");
            self.unguarded();
        }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A second, independent descriptor of the same file.
pub(super) fn reopen(file: &OwnedFd, flags: OFlag) -> Result<OwnedFd, Errno> {
    nix::fcntl::open(&through(file), flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// What has this name in a directory, not followed if it is a symbolic link.
pub(super) fn locate(dir: &OwnedFd, name: &std::ffi::OsStr) -> Result<OwnedFd, Errno> {
    openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

fn index(id: u64) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "masked to fewer bits")]
    let index = (id & INDEX_MASK) as usize;
    index
}

/// What a handle is kept with: its node and the flags it was opened with.
fn numbers_of(node: u64, flags: OFlag) -> [u64; 2] {
    #[allow(clippy::cast_sign_loss, reason = "only bits")]
    let flags = flags.bits() as u32;
    [node, u64::from(flags)]
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    // Each change is one call on a map: whole after it.
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
