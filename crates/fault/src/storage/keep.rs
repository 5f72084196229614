//! What a power loss needs: the last durable state of every file that was changed since.
//!
//! While this is *armed*, the old content of each range is written to a log beside the layer before the range is
//! changed for the first time after the file's last successful sync. A sync makes the log empty. A power loss puts the
//! old content and the old size back. What was there when it was armed counts as durable.
//!
//! Logs are files: they survive the server (its successor goes on with them), not the machine, which is not the one that
//! loses power here.
//!
//! **Bound**: all logs together have at most [`KEPT_BYTES_MAX`] bytes. Before it is passed, the file with the longest
//! log is synced, as an operating system writes back old pages when it has many. A power loss says how often that was.

use super::names::Names;
use super::ranges::Ranges;
use super::store::Kind;
use super::tree::{FileKey, Node, Tree, key_of, reopen};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::unistd::{fdatasync, ftruncate};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most bytes of old content that are kept at a time, by default.
pub(super) const KEPT_BYTES_MAX: u64 = 1 << 30;
/// Old content is copied in pieces of at most this size.
const PIECE: u64 = 1 << 20;
const MAGIC: u64 = 0x6669_7265_6b65_6570;
const RECORD: usize = 32;

/// A file with unsynced changes.
#[derive(Debug)]
pub(super) struct Kept {
    id: u64,
    file: OwnedFd,
    log: File,
    /// Bytes in the log; 0 when nothing has changed since the last sync.
    length: u64,
    durable_size: u64,
    saved: Ranges,
    /// Made since the last commit of names, so that its first sync commits its name, too.
    born: bool,
}

/// What was put back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct PutBack {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// All of them, and the changes of names.
#[derive(Debug)]
pub(super) struct Keep {
    dir: PathBuf,
    armed: AtomicBool,
    files: Mutex<HashMap<FileKey, Arc<Mutex<Kept>>>>,
    next: AtomicU64,
    bytes: AtomicU64,
    limit: u64,
    written_back: AtomicU64,
    pub(super) names: Mutex<Names>,
}

impl Keep {
    /// With what a previous server left in the directory; `kept` are its files, by their number.
    pub(super) fn restore(dir: &Path, limit: u64, names: Names, kept: Vec<(u64, OwnedFd)>) -> std::io::Result<Self> {
        fs::create_dir_all(dir)?;
        let keep = Self {
            dir: dir.to_owned(),
            armed: AtomicBool::new(false),
            files: Mutex::default(),
            next: AtomicU64::new(kept.iter().map(|(id, _)| id + 1).max().unwrap_or(1)),
            bytes: AtomicU64::new(0),
            limit,
            written_back: AtomicU64::new(0),
            names: Mutex::new(names),
        };
        for (id, file) in kept {
            let key = key_of(&fstat(&file)?);
            let log = open_log(&keep.log_path(id))?;
            let one = Kept::read(id, file, log)?;
            keep.bytes.fetch_add(one.length, Ordering::Relaxed);
            keep.files().insert(key, Arc::new(Mutex::new(one)));
        }
        Ok(keep)
    }

    pub(super) fn armed(&self) -> bool {
        self.armed.load(Ordering::Acquire)
    }

    /// Begins to keep. Only while no operation is under way.
    pub(super) fn arm(&self) {
        self.written_back.store(0, Ordering::Relaxed);
        self.armed.store(true, Ordering::Release);
    }

    /// Goes on after the server before this one.
    pub(super) fn still_armed(&self) {
        self.armed.store(true, Ordering::Release);
    }

    /// Forgets everything that was kept. Only while no operation is under way.
    pub(super) fn disarm(&self, tree: &Tree) {
        self.armed.store(false, Ordering::Release);
        for (_, kept) in self.files().drain() {
            let id = lock(&kept).id;
            // A log that stays is found and emptied when its number is used again.
            let _gone = fs::remove_file(self.log_path(id));
            tree.let_go((Kind::Kept, id));
        }
        self.bytes.store(0, Ordering::Relaxed);
        self.names().commit();
    }

    /// How often a file was synced because the bound was reached.
    pub(super) fn written_back(&self) -> u64 {
        self.written_back.load(Ordering::Relaxed)
    }

    /// Does something to a file that changes the bytes from `from` to `to`.
    pub(super) fn change<T>(
        &self,
        tree: &Tree,
        node: &Node,
        (from, to): (u64, u64),
        work: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if !self.armed() || node.probe {
            return work();
        }
        let kept = self.of(tree, node)?;
        let mut kept = lock(&kept);
        match kept.save(from, to) {
            Ok(added) => {
                let all = self.bytes.fetch_add(added, Ordering::Relaxed) + added;
                if all > self.limit {
                    self.write_back(&mut kept);
                    // The range that is about to change is no longer kept, and what is written now is not synced.
                    let added = kept.save(from, to).unwrap_or(0);
                    self.bytes.fetch_add(added, Ordering::Relaxed);
                }
            }
            // No room for old content must not be a fault of its own: the file becomes durable instead.
            Err(problem) => {
                tracing::warn!(%problem, "old content cannot be kept; the file is synced instead");
                self.settle(&mut kept, true);
            }
        }
        work()
    }

    /// Syncs a file by `work`; after a success what it holds is durable. `again` is for a sync that a killed server had
    /// begun, of which nothing is known.
    pub(super) fn sync(
        &self,
        node: &Node,
        (data_only, again): (bool, bool),
        work: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let kept = self.armed().then(|| self.files().get(&node.key).cloned()).flatten();
        let Some(kept) = kept else { return work() };
        let mut kept = lock(&kept);
        work()?;
        // The journal is committed for a file whose inode has to be: a new one, or one of another size; any change of
        // it for a full sync. One commit is for all names: there is one journal.
        let changed = kept.length > 0;
        let resized = changed && fstat(&kept.file).map_or(true, |stat| size(&stat) != kept.durable_size);
        let commit = again || resized || changed && (!data_only || kept.born);
        self.settle(&mut kept, false);
        kept.born = false;
        drop(kept);
        if commit {
            self.names().commit();
        }
        Ok(())
    }

    /// A new file: nothing of it is durable.
    pub(super) fn born(&self, tree: &Tree, node: &Node) -> Result<(), Errno> {
        if !self.armed() || node.probe {
            return Ok(());
        }
        let kept = self.of(tree, node)?;
        let mut kept = lock(&kept);
        kept.born = true;
        let added = kept.save(0, 0).map_err(|problem| errno(&problem))?;
        self.bytes.fetch_add(added, Ordering::Relaxed);
        Ok(())
    }

    /// What a file holds now is durable, as far as this layer is concerned.
    pub(super) fn counts_as_synced(&self, file: FileKey) {
        let kept = self.files().get(&file).cloned();
        if let Some(kept) = kept {
            self.settle(&mut lock(&kept), false);
        }
    }

    /// Puts the last durable state back. Only while no operation is under way.
    pub(super) fn put_back(&self) -> std::io::Result<PutBack> {
        let mut all = PutBack::default();
        let files: Vec<_> = self.files().values().cloned().collect();
        for kept in files {
            let mut kept = lock(&kept);
            if kept.length > 0 {
                all.files += 1;
                all.bytes += kept.put_back()?;
                self.settle(&mut kept, false);
                kept.born = false;
            }
        }
        Ok(all)
    }

    /// Copies of all files whose old content is kept, by their number, for the guardian.
    pub(super) fn all(&self) -> std::io::Result<Vec<(u64, OwnedFd)>> {
        let files: Vec<_> = self.files().values().cloned().collect();
        let copy = |kept: &Arc<Mutex<Kept>>| {
            let kept = lock(kept);
            Ok((kept.id, kept.file.try_clone()?))
        };
        files.iter().map(copy).collect()
    }

    fn of(&self, tree: &Tree, node: &Node) -> Result<Arc<Mutex<Kept>>, Errno> {
        let mut files = self.files();
        if let Some(kept) = files.get(&node.key) {
            return Ok(Arc::clone(kept));
        }
        let file = reopen(&node.file, OFlag::O_RDWR)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // The guardian's copy first: a log without a file is nothing, a file without a log is unchanged.
        tree.keep((Kind::Kept, id), [0, 0], file.as_fd());
        let log = open_log(&self.log_path(id)).and_then(|log| log.set_len(0).map(|()| log));
        let log = log.map_err(|problem| errno(&problem))?;
        let (durable_size, saved) = (size(&fstat(&file)?), Ranges::default());
        let kept = Arc::new(Mutex::new(Kept { id, file, log, length: 0, durable_size, saved, born: false }));
        files.insert(node.key, Arc::clone(&kept));
        Ok(kept)
    }

    /// Empties the log: what the file holds is durable. `sync` does so for the disk below, too.
    fn settle(&self, kept: &mut Kept, sync: bool) {
        if sync && let Err(problem) = fdatasync(&kept.file) {
            tracing::error!(%problem, "a file below the storage layer cannot be synced");
        }
        let length = std::mem::take(&mut kept.length);
        // A log that could not be written to its end has more than was counted.
        let _all =
            self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| Some(all.saturating_sub(length)));
        kept.saved.clear();
        if length > 0
            && let Err(problem) = kept.log.set_len(0)
        {
            tracing::error!(%problem, "a log of old content cannot be emptied");
        }
    }

    /// Makes room: the file with the longest log is synced. Logs in use are left out, except for the caller's own.
    fn write_back(&self, own: &mut Kept) {
        let files: Vec<_> = self.files().values().cloned().collect();
        let free = files.iter().filter_map(|kept| kept.try_lock().ok());
        let longest = free.max_by_key(|kept| kept.length).filter(|kept| kept.length > own.length);
        self.written_back.fetch_add(1, Ordering::Relaxed);
        match longest {
            Some(mut other) => self.settle(&mut other, true),
            None => self.settle(own, true),
        }
    }

    fn log_path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{id}.log"))
    }

    fn files(&self) -> MutexGuard<'_, HashMap<FileKey, Arc<Mutex<Kept>>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Writes the old content of a range to the log, as far as it is durable and not there yet. Returns by how much the
    /// log grew.
    fn save(&mut self, from: u64, to: u64) -> std::io::Result<u64> {
        let before = self.length;
        if self.length == 0 {
            self.durable_size = if self.born { 0 } else { size(&fstat(&self.file)?) };
            self.append(u64::from(self.born), &[])?;
        }
        let reader = File::from(self.file.try_clone()?);
        for (begin, end) in self.saved.gaps(from, to.min(self.durable_size)) {
            let mut at = begin;
            while at < end {
                let mut piece = vec![0; usize::try_from((end - at).min(PIECE)).unwrap_or(0)];
                let got = read_up_to(&reader, &mut piece, at)?;
                if got == 0 {
                    break;
                }
                self.append(at, &piece[..got])?;
                at += got as u64;
            }
            self.saved.add(begin, end);
        }
        Ok(self.length - before)
    }

    /// Header and data in one call; what is cut off by a crash was not followed by a change of the file.
    fn append(&mut self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let mut record = Vec::with_capacity(RECORD + data.len());
        for word in [MAGIC, offset, data.len() as u64, self.durable_size] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        record.extend_from_slice(data);
        self.log.write_all_at(&record, self.length)?;
        self.length += record.len() as u64;
        Ok(())
    }

    /// Takes up the log of a previous server.
    fn read(id: u64, file: OwnedFd, log: File) -> std::io::Result<Self> {
        let mut kept = Self { id, file, log, length: 0, durable_size: 0, saved: Ranges::default(), born: false };
        let records = kept.records()?;
        for record in &records {
            kept.durable_size = record.durable_size;
            kept.length = record.data_at + record.bytes;
            if record.bytes == 0 {
                kept.born = record.offset == 1;
            }
            kept.saved.add(record.offset, record.offset + record.bytes);
        }
        Ok(kept)
    }

    fn put_back(&self) -> std::io::Result<u64> {
        let (file, mut bytes) = (File::from(self.file.try_clone()?), 0);
        ftruncate(&self.file, i64::try_from(self.durable_size).unwrap_or(i64::MAX))?;
        // Backwards: a range that was written twice (by a server, and by its successor again) ends with the older.
        for record in self.records()?.iter().rev() {
            let mut piece = vec![0; usize::try_from(record.bytes).unwrap_or(0)];
            self.log.read_exact_at(&mut piece, record.data_at)?;
            file.write_all_at(&piece, record.offset)?;
            bytes += record.bytes;
        }
        Ok(bytes)
    }

    fn records(&self) -> std::io::Result<Vec<Record>> {
        let (end, mut at, mut records) = (self.log.metadata()?.len(), 0, Vec::new());
        let mut header = [0; RECORD];
        while at + RECORD as u64 <= end {
            self.log.read_exact_at(&mut header, at)?;
            let mut words = header.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
            let mut word = || words.next().unwrap_or(0);
            let (magic, offset, bytes, durable_size) = (word(), word(), word(), word());
            let data_at = at + RECORD as u64;
            if magic != MAGIC || bytes > PIECE || data_at + bytes > end {
                break;
            }
            records.push(Record { offset, bytes, durable_size, data_at });
            at = data_at + bytes;
        }
        Ok(records)
    }
}

struct Record {
    offset: u64,
    bytes: u64,
    durable_size: u64,
    data_at: u64,
}

fn open_log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64)? {
            0 => break,
            count => got += count,
        }
    }
    Ok(got)
}

fn size(stat: &libc::stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn errno(problem: &std::io::Error) -> Errno {
    problem.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    // A panic in between leaves at most a record too many, which is harmless.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
