//! The server: it takes requests off the kernel, has them disturbed, does them on the directory below, and answers.
//! It may be killed at any moment; what it works with lives with the guardian, on the desk and in files.

use super::cut;
use super::desk::{Desk, PLACES, Place, Scratch};
use super::gate::{Gate, is_dying};
use super::handover::{self, Base};
use super::keep::{KEPT_BYTES_MAX, Keep};
use super::names::{GRAVEYARD, Names};
use super::rulebook::Rulebook;
use super::rules::{Disturbed, Operation, Subject};
use super::store::{Kind, Message};
use super::succession;
use super::tree::{Node, Tree, through};
use super::wire::{self, ANSWER_HEADER, Request, answer_header, opcode};
use firedrill_host::process::Spawn;
use nix::errno::Errno;
use nix::sys::uio::writev;
use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

/// Threads that a server begins with. More are started when all are busy, up to the number of places.
const WORKERS: usize = 4;
/// Above those, a thread ends when so many others are idle.
const IDLE_MAX: usize = 8;
/// A request that so many servers have died of is answered with an error instead of being tried again.
const ATTEMPTS_MAX: u32 = 16;
/// How often deadlines and the age of names are looked at while there are any.
const TICK: Duration = Duration::from_millis(100);
/// Events that wait for the main thread: one of each thread that finds the file system unmounted, and the guardian's end.
const EVENTS_MAX: usize = PLACES + 2;
/// The name, in the mount point, of the file that effects are measured with.
pub(super) const PROBE: &str = ".firedrill-probe";

/// Where the layer's own files are.
#[derive(Debug, Clone)]
pub(super) struct Places(pub(super) PathBuf);

impl Places {
    pub(super) fn control(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    pub(super) fn rules(&self) -> PathBuf {
        self.0.join("rules.json")
    }

    pub(super) fn kept(&self) -> PathBuf {
        self.0.join("kept")
    }

    pub(super) fn probe(&self) -> PathBuf {
        self.0.join("probe")
    }

    /// Is there while a power loss is under way.
    pub(super) fn cut(&self) -> PathBuf {
        self.0.join("power-loss")
    }

    /// What the latest one did.
    pub(super) fn lost(&self) -> PathBuf {
        self.0.join("power-lost")
    }
}

/// Everything that its threads share.
pub(super) struct Server {
    pub(super) base: Base,
    pub(super) desk: Arc<Desk>,
    pub(super) tree: Tree,
    pub(super) rules: Rulebook,
    pub(super) gate: Gate,
    pub(super) keep: Keep,
    pub(super) places: Places,
    /// The path of the directory below, before the file system was mounted over it.
    below: PathBuf,
    idle: AtomicUsize,
    /// Which places have a thread.
    manned: Mutex<[bool; PLACES]>,
    events: mpsc::SyncSender<Event>,
}

/// What the main thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The file system was unmounted.
    Over,
    /// The guardian is dead.
    Alone,
}

/// What an operation answers with.
pub(super) enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes at the beginning of the thread's scratch memory.
    Data(usize),
}

impl Answer {
    pub(super) fn nothing() -> Self {
        Self::Bytes(Vec::new())
    }
}

/// One request with what belongs to it.
pub(super) struct Call<'a> {
    pub(super) request: Request<'a>,
    pub(super) place: Place<'a>,
    pub(super) scratch: &'a mut Scratch,
    pub(super) disturbed: Disturbed,
}

impl Call<'_> {
    /// How many bytes are written, when the kernel writes pages that were changed through a mapping.
    fn belated(&self) -> Option<u32> {
        const WRITTEN_FROM_CACHE: u32 = 1;
        if self.request.opcode != opcode::WRITE {
            return None;
        }
        let mut fields = self.request.fields();
        let (_handle, _offset, size, flags) =
            (fields.u64().ok()?, fields.u64().ok()?, fields.u32().ok()?, fields.u32().ok()?);
        (flags & WRITTEN_FROM_CACHE != 0).then_some(size)
    }
}

/// Runs as the server until the file system is unmounted. `guardian` is the socket to it, `program` gives the command line
/// of this program up to the role.
pub(super) fn serve(dir: &Path, point: &Path, guardian: OwnedFd, program: &dyn Fn() -> Spawn) -> io::Result<()> {
    let (base, rest) = handover::take(guardian.as_fd())?;
    let control = base.control.try_clone()?;
    let watched = guardian.try_clone()?;
    let (events, told) = mpsc::sync_channel(EVENTS_MAX);
    let server = Arc::new(Server::restore(dir, base, rest, guardian, events)?);
    let cut_short = server.places.cut().exists();
    if !server.places.probe().exists() {
        // With content, so that there is something to read.
        std::fs::write(server.places.probe(), [0; 4096])?;
    }
    if cut_short {
        // Before anybody is served: what was lost must not be seen.
        server.gate.close(Duration::ZERO)?;
    }
    come_first();
    server.start_workers();
    cut::finish(&server);
    let (controlled, ticking) = (Arc::clone(&server), Arc::clone(&server));
    std::thread::spawn(move || super::control::listen(&controlled, control));
    std::thread::spawn(move || ticking.tick());
    succession::watch(&server, watched);
    succession::oversee(&server, &told, || program().arg("next-guardian").arg(dir).arg(point));
    // Its threads end with the process.
    server.tree.tell((Kind::Over, 0), [0, 0], None);
    Ok(())
}

/// A disk does not wait for a processor: the threads of this process run before others, where that is allowed.
fn come_first() {
    // SAFETY: plain integers; threads started from now on have the same priority. A refusal changes nothing.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
}

/// Those that answer, even more: where sessions share the processor in equal parts, a priority counts only within the
/// session. The kernel leaves a part of the time to all others, whatever these threads do, and does not let what they
/// start inherit it.
fn come_at_once() {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: for this thread alone, with a structure that lives through the call. A refusal changes nothing.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
}

impl Server {
    /// With what the servers before this one left.
    fn restore(
        dir: &Path,
        base: Base,
        rest: Vec<Message>,
        guardian: OwnedFd,
        events: mpsc::SyncSender<Event>,
    ) -> io::Result<Self> {
        let places = Places(dir.to_owned());
        let desk = Arc::new(Desk::map(base.desk.as_fd())?);
        let (kept, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|message| message.key.0 == Kind::Kept);
        let tree = Tree::restore(Arc::clone(&desk), guardian, &base.below, rest)?;
        std::fs::create_dir_all(places.kept())?;
        let names = Names::restore(&places.kept().join("names.log"), base.below.try_clone()?)?;
        let kept = kept.into_iter().filter_map(|message| Some((message.key.1, message.fd?))).collect();
        let keep = Keep::restore(&places.kept(), KEPT_BYTES_MAX, names, kept)?;
        let rules = Rulebook::open(&places.rules());
        if rules.keeps() || places.cut().exists() {
            keep.still_armed();
        } else {
            keep.disarm(&tree);
        }
        Ok(Self {
            below: std::fs::read_link(through(&base.below))?,
            base,
            desk,
            tree,
            rules,
            gate: Gate::new(),
            keep,
            places,
            idle: AtomicUsize::new(0),
            manned: Mutex::new([false; PLACES]),
            events,
        })
    }

    /// Tells the main thread.
    pub(super) fn tell(&self, event: Event) {
        // A queue that is full has the same event in it already.
        let _told = self.events.try_send(event);
    }

    /// One thread for each request that a dead server left, and some more.
    fn start_workers(self: &Arc<Self>) {
        let mut first = [false; PLACES];
        for (index, manned) in first.iter_mut().enumerate() {
            *manned = index < WORKERS || self.desk.place(index).taken();
        }
        // All are told before the first begins: those who begin start more, and a place has one thread.
        *self.manned() = first;
        for index in (0..PLACES).filter(|index| first[*index]) {
            self.start_worker(index);
        }
    }

    fn start_worker(self: &Arc<Self>, index: usize) {
        let server = Arc::clone(self);
        std::thread::spawn(move || server.work(index));
    }

    /// When all threads are busy, or wait in a delay.
    fn one_more(self: &Arc<Self>) {
        let mut manned = self.manned();
        if let Some(index) = manned.iter().position(|manned| !manned) {
            manned[index] = true;
            drop(manned);
            self.start_worker(index);
        }
    }

    /// Whether a thread ends: the kernel wakes idle ones in turn, so the fewer there are, the warmer they are. Enough
    /// stay for a load that comes and goes: a start prepares memory, which stops the others meanwhile.
    fn leaves(&self, index: usize) -> bool {
        let leaves = index >= WORKERS && self.idle.load(Ordering::Relaxed) >= IDLE_MAX;
        if leaves {
            self.manned()[index] = false;
        }
        leaves
    }

    fn manned(&self) -> MutexGuard<'_, [bool; PLACES]> {
        self.manned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(self: Arc<Self>, index: usize) {
        // SAFETY: sets a property of this thread alone: delays are to be exact.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
        come_at_once();
        let place = self.desk.place(index);
        place.make_ready();
        let mut scratch = Scratch::new();
        if place.taken() && self.answered(place) {
            place.clear();
        }
        loop {
            if place.taken() {
                self.answer(place, &mut scratch);
            }
            place.clear();
            if self.leaves(index) {
                return;
            }
            self.idle.fetch_add(1, Ordering::Relaxed);
            let received = place.receive(self.base.device.as_fd());
            let idle = self.idle.fetch_sub(1, Ordering::Relaxed);
            match received {
                Ok(()) => {
                    if idle <= 1 {
                        self.one_more();
                    }
                }
                Err(Errno::EINTR | Errno::EAGAIN | Errno::ENOENT) => {}
                Err(problem) => {
                    if problem != Errno::ENODEV {
                        tracing::error!(%problem, "the kernel's side of the storage layer is gone");
                    }
                    self.tell(Event::Over);
                    return;
                }
            }
        }
    }

    /// Whether a server that was killed before it could clear the place had answered. Doing the request again could
    /// then undo what its caller has done since. The kernel is asked in the one way that it answers to: by what would be
    /// the answer to an interruption of the request, were there one.
    fn answered(&self, place: Place<'_>) -> bool {
        let Some(request) = Request::parse(place.request()) else { return true };
        let unanswered_by_nature = [opcode::FORGET, opcode::BATCH_FORGET].contains(&request.opcode);
        let asked = answer_header(request.unique | wire::INTERRUPTION, Err(Errno::EINVAL));
        !unanswered_by_nature && self.send(&asked, &[]) == Err(Errno::ENOENT)
    }

    /// Does what is asked for on the place and answers.
    fn answer(&self, place: Place<'_>, scratch: &mut Scratch) {
        let Some(request) = Request::parse(place.request()) else { return };
        match request.opcode {
            opcode::FORGET | opcode::BATCH_FORGET => {
                // Counted down once, or in the worst case not at all: a node too many is kept, never one too few.
                let forgotten = self.forgotten(&request).unwrap_or_default();
                place.clear();
                forgotten.into_iter().for_each(|(node, times)| self.tree.forget(node, times));
                return;
            }
            opcode::INTERRUPT => {
                self.interrupt(&request);
                return;
            }
            _ => {}
        }
        let outcome = if place.attempts().fetch_add(1, Ordering::Relaxed) < ATTEMPTS_MAX {
            self.attempt(request, place, scratch)
        } else {
            tracing::error!(operation = request.opcode, "servers die of this request; it fails");
            Err(Errno::EIO)
        };
        let header = |body| answer_header(request.unique, body);
        let sent = match &outcome {
            Ok(Answer::Bytes(body)) => self.send(&header(Ok(body.len())), body),
            Ok(Answer::Data(count)) => self.send(&header(Ok(*count)), &scratch.bytes()[..*count]),
            Err(errno) => self.send(&header(Err(*errno)), &[]),
        };
        match sent {
            // The caller is gone, or a killed server answered already.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(problem) => tracing::error!(%problem, operation = request.opcode, "an answer was refused"),
        }
    }

    fn send(&self, header: &[u8; ANSWER_HEADER], body: &[u8]) -> Result<(), Errno> {
        writev(&self.base.device, &[IoSlice::new(header), IoSlice::new(body)]).map(drop)
    }

    fn attempt(&self, request: Request<'_>, place: Place<'_>, scratch: &mut Scratch) -> Result<Answer, Errno> {
        let mut call = Call { request, place, scratch, disturbed: Disturbed::default() };
        if self.rules.any()
            && let Some(operation) = operation(request.opcode)
        {
            call.disturbed = self.disturb(&call, operation)?;
        }
        let belated = call.belated();
        let _passed = match self.gate.enter(request.pid, belated.is_some()) {
            Ok(passed) => passed,
            Err(errno) => return self.refuse_the_dying(&call, belated.ok_or(errno)),
        };
        self.dispatch(&mut call)
    }

    /// What a rule does to the call; its delay is over when this returns.
    fn disturb(&self, call: &Call<'_>, operation: Operation) -> Result<Disturbed, Errno> {
        let node = self.tree.node(call.request.node)?;
        let path = (!node.probe).then(|| self.path_of(&node));
        let subject = Subject { operation, path: path.as_deref(), now: firedrill_host::clock::since_boot() };
        let disturbed = self.rules.decide(&subject);
        if !disturbed.delay.is_zero() {
            let interrupted: &AtomicU32 = call.place.interrupted();
            let dying = || interrupted.swap(0, Ordering::Relaxed) != 0 && is_dying(call.request.pid, &HashSet::new());
            self.rules.wait(disturbed.delay, dying)?;
        }
        match disturbed.errno {
            Some(errno) => Err(Errno::from_raw(errno)),
            None => Ok(disturbed),
        }
    }

    /// Pages that the kernel writes for a process that was killed are thrown away: they were not synced.
    fn refuse_the_dying(&self, call: &Call<'_>, written: Result<u32, Errno>) -> Result<Answer, Errno> {
        match call.request.opcode {
            opcode::RELEASE | opcode::RELEASEDIR => self.release(call),
            _ => written.map(|bytes| Answer::Bytes(wire::Answer::default().u32(bytes).u32(0).0)),
        }
    }

    fn interrupt(&self, request: &Request<'_>) {
        let Ok(unique) = request.fields().u64() else { return };
        for index in 0..PLACES {
            let place = self.desk.place(index);
            if place.taken() && place.unique() == unique {
                place.interrupted().store(1, Ordering::Relaxed);
            }
        }
        self.rules.wake();
    }

    /// A node's path from the mount point on, as it is now.
    pub(super) fn path_of(&self, node: &Node) -> String {
        let path = std::fs::read_link(through(&node.file)).unwrap_or_default();
        path.strip_prefix(&self.below).unwrap_or(&path).to_string_lossy().into_owned()
    }

    /// The path of a name in a directory, as `names.rs` needs it.
    pub(super) fn path_in(&self, dir: &Node, name: &std::ffi::OsStr) -> Result<std::ffi::OsString, Errno> {
        let path = std::fs::read_link(through(&dir.file)).map_err(|_| Errno::EIO)?;
        let path = path.strip_prefix(&self.below).map_err(|_| Errno::ESTALE)?;
        Ok(path.join(name).into_os_string())
    }

    /// Whether a name of the mount point is the layer's own.
    pub(super) fn hidden(dir: &Node, name: &std::ffi::OsStr) -> bool {
        dir.id == super::wire::ROOT && name == GRAVEYARD
    }

    /// Ends what has passed its deadline, and commits names in time.
    fn tick(&self) {
        loop {
            std::thread::sleep(TICK);
            if self.rules.any() || self.keep.armed() {
                self.rules.expire();
                self.arm_or_disarm();
            }
            if self.keep.armed() && !self.gate.killing() {
                self.keep.names().commit_in_time();
            }
        }
    }

    /// Keeps old content if, and only if, a rule wants it.
    pub(super) fn arm_or_disarm(&self) {
        /// Operations under way take as long as the disk below; when they do not end, it is tried at the next tick.
        const WITHIN: Duration = Duration::from_secs(2);
        if self.rules.keeps() == self.keep.armed() || self.gate.close(WITHIN).is_err() {
            return;
        }
        match (self.rules.keeps(), self.keep.armed()) {
            (true, false) => self.keep.arm(),
            (false, true) => self.keep.disarm(&self.tree),
            _ => {}
        }
        self.gate.open();
    }
}

fn operation(opcode: u32) -> Option<Operation> {
    Some(match opcode {
        opcode::READ | opcode::LSEEK => Operation::Read,
        opcode::WRITE | opcode::FALLOCATE => Operation::Write,
        opcode::FSYNC | opcode::FSYNCDIR => Operation::Sync,
        opcode::OPEN | opcode::CREATE => Operation::Open,
        opcode::SETATTR
        | opcode::SYMLINK
        | opcode::MKNOD
        | opcode::MKDIR
        | opcode::UNLINK
        | opcode::RMDIR
        | opcode::RENAME
        | opcode::RENAME2
        | opcode::LINK
        | opcode::SETXATTR
        | opcode::REMOVEXATTR => Operation::Change,
        opcode::LOOKUP
        | opcode::GETATTR
        | opcode::READLINK
        | opcode::STATFS
        | opcode::GETXATTR
        | opcode::LISTXATTR
        | opcode::OPENDIR
        | opcode::READDIR => Operation::Look,
        _ => return None,
    })
}
