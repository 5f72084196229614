//! Operations on names. One at a time: what was found before is then still so when the name is changed, which is what
//! tells a request that is done again from one that fails.

use super::names::{Change, Names};
use super::operations::KEPT;
use super::server::{Answer, Call, Server};
use super::tree::{Node, key_of, locate, through};
use super::wire::{self, opcode};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, mkdirat, mknodat};
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, ftruncate, linkat, symlinkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Server {
    pub(super) fn make_directory(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (mode, _umask, name) = (fields.u32()?, fields.u32()?, fields.name()?);
        let bits = Mode::from_bits_truncate(mode);
        let made = self.make(call, name, Some(bits), |dir| mkdirat(dir, name, bits))?;
        Ok(entry(&made))
    }

    pub(super) fn make_node(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (mode, device, _umask, _, name) =
            (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?, fields.name()?);
        let (kind, bits) = (SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()), Mode::from_bits_truncate(mode));
        let made = self.make(call, name, Some(bits), |dir| mknodat(dir, name, kind, bits, u64::from(device)))?;
        self.keep.born(&self.tree, &made.0)?;
        Ok(entry(&made))
    }

    pub(super) fn make_link(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (name, target) = (fields.name()?, fields.name()?);
        let made = self.make(call, name, None, |dir| symlinkat(target, dir, name))?;
        Ok(entry(&made))
    }

    pub(super) fn link(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (old, name) = (self.tree.node(fields.u64()?)?, fields.name()?);
        let dir = self.tree.node(call.request.node)?;
        let flags = LinkatFlags::AT_SYMLINK_FOLLOW;
        let made =
            self.name(call, &dir, name, |dir| linkat(nix::fcntl::AT_FDCWD, &through(&old.file), dir, name, flags))?;
        Ok(entry(&made))
    }

    pub(super) fn create(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (flags, mode, _umask, _, name) =
            (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?, fields.name()?);
        #[allow(clippy::cast_possible_wrap, reason = "only bits")]
        let flags = OFlag::from_bits_retain(flags as i32);
        let bits = Mode::from_bits_truncate(mode);
        let new = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let made = self.make(call, name, Some(bits), |dir| openat(dir, name, new, bits).map(drop));
        let (node, stat) = match made {
            Ok(made) => {
                self.keep.born(&self.tree, &made.0)?;
                made
            }
            Err(Errno::EEXIST) if !flags.contains(OFlag::O_EXCL) => {
                let dir = self.tree.node(call.request.node)?;
                self.tree.adopt(locate(&dir.file, name)?, false)?
            }
            Err(problem) => return Err(problem),
        };
        let handle = self.tree.open(&node, flags & !OFlag::O_TRUNC)?;
        if flags.contains(OFlag::O_TRUNC) && stat.st_size > 0 {
            let file = self.tree.handle(handle)?;
            self.keep.change(&self.tree, &node, (0, u64::MAX), || ftruncate(&file.file, 0))?;
        }
        let answer = wire::Answer::default().entry(node.id, &fstat(&node.file)?, KEPT);
        Ok(Answer::Bytes(answer.opened(handle, super::files::opened_as(flags)).0))
    }

    /// Makes something that has an owner.
    fn make(
        &self,
        call: &Call<'_>,
        name: &OsStr,
        mode: Option<Mode>,
        act: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
    ) -> Result<(Arc<Node>, libc::stat), Errno> {
        let dir = self.tree.node(call.request.node)?;
        self.name(call, &dir, name, |below| {
            let made = act(below);
            match made {
                Ok(()) | Err(Errno::EEXIST) => own(call, below, name, mode).and(made),
                other => other,
            }
        })
    }

    /// Gives a new name in a directory by `act`.
    fn name(
        &self,
        call: &Call<'_>,
        dir: &Arc<Node>,
        name: &OsStr,
        act: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
    ) -> Result<(Arc<Node>, libc::stat), Errno> {
        if Self::hidden(dir, name) {
            return Err(Errno::EPERM);
        }
        let mut names = self.keep.names();
        let begun = call.place.mark().load(Ordering::Relaxed) != 0;
        if !begun {
            match locate(&dir.file, name) {
                Ok(_) => return Err(Errno::EEXIST),
                Err(Errno::ENOENT) => {}
                Err(problem) => return Err(problem),
            }
            if self.keep.armed() {
                names.note(Change::Made { path: self.path_in(dir, name)? })?;
            }
            call.place.mark().store(1, Ordering::Relaxed);
        }
        match act(&dir.file) {
            Ok(()) => {}
            Err(Errno::EEXIST) if begun => {}
            Err(problem) => {
                if self.keep.armed() && !begun {
                    names.void();
                }
                return Err(problem);
            }
        }
        self.tree.adopt(locate(&dir.file, name)?, false)
    }

    pub(super) fn remove(&self, call: &Call<'_>, directory: bool) -> Result<Answer, Errno> {
        let name = call.request.fields().name()?;
        let dir = self.tree.node(call.request.node)?;
        if Self::hidden(&dir, name) {
            return Err(Errno::ENOENT);
        }
        let flag = if directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
        let mut names = self.keep.names();
        let begun = call.place.mark().load(Ordering::Relaxed);
        let mut grave = begun.saturating_sub(1);
        if begun == 0 {
            let found = fstat(&locate(&dir.file, name)?)?;
            may_go(&found, directory, || is_empty(&dir.file, name))?;
            if self.keep.armed() {
                grave = names.dig()?;
                names.note(Change::Removed { path: self.path_in(&dir, name)?, grave })?;
            }
            call.place.mark().store(grave + 1, Ordering::Relaxed);
        }
        let buried = self.bury(&names, &dir, name, grave);
        let removed = buried.and_then(|()| unlinkat(&dir.file, name, flag));
        match removed {
            Ok(()) => Ok(Answer::nothing()),
            // Into the grave as a whole, or by a server that was killed.
            Err(Errno::ENOENT) => Ok(Answer::nothing()),
            Err(problem) => {
                if grave > 0 {
                    names.void();
                }
                Err(problem)
            }
        }
    }

    /// Keeps what a name stands for, when there is a grave for it.
    fn bury(&self, names: &Names, dir: &Node, name: &OsStr, grave: u64) -> Result<(), Errno> {
        if grave == 0 {
            return Ok(());
        }
        match names.bury(&self.path_in(dir, name)?, grave) {
            // By a server that was killed.
            Err(Errno::EEXIST | Errno::ENOENT) => Ok(()),
            other => other,
        }
    }

    pub(super) fn rename(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let target = fields.u64()?;
        let flags = if call.request.opcode == opcode::RENAME2 {
            let flags = fields.u32()?;
            fields.u32()?;
            RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?
        } else {
            RenameFlags::empty()
        };
        let (name, new_name) = (fields.name()?, fields.name()?);
        let (dir, new_dir) = (self.tree.node(call.request.node)?, self.tree.node(target)?);
        if Self::hidden(&dir, name) || Self::hidden(&new_dir, new_name) {
            return Err(Errno::EPERM);
        }
        let mut names = self.keep.names();
        if flags.contains(RenameFlags::RENAME_EXCHANGE) {
            // Two names that change places are committed at once: databases do not do this.
            names.commit();
            return exchange(call, (&dir.file, name), (&new_dir.file, new_name));
        }
        let begun = call.place.mark().load(Ordering::Relaxed);
        let mut grave = begun.saturating_sub(1);
        let source = locate(&dir.file, name).and_then(|file| fstat(&file));
        let replaced = locate(&new_dir.file, new_name).and_then(|file| fstat(&file)).ok();
        if begun == 0 {
            let source = source?;
            if let Some(replaced) = &replaced {
                may_replace(&source, replaced, flags, || is_empty(&new_dir.file, new_name))?;
            }
            if self.keep.armed() {
                let over = replaced.as_ref().is_some_and(|replaced| key_of(replaced) != key_of(&source));
                grave = if over { names.dig()? } else { 0 };
                let (from, to) = (self.path_in(&dir, name)?, self.path_in(&new_dir, new_name)?);
                names.note(Change::Moved { from, to, grave: over.then_some(grave) })?;
            }
            call.place.mark().store(grave + 1, Ordering::Relaxed);
        }
        let buried = if source.is_ok() { self.bury(&names, &new_dir, new_name, grave) } else { Ok(()) };
        let renamed = buried.and_then(|()| renameat2(&dir.file, name, &new_dir.file, new_name, flags));
        match renamed {
            Ok(()) => {}
            Err(Errno::ENOENT) if begun != 0 => {}
            Err(problem) => {
                if self.keep.armed() && begun == 0 {
                    names.void();
                    self.unbury(&mut names, &new_dir, new_name, grave);
                }
                return Err(problem);
            }
        }
        drop(names);
        // ext4 writes the data of a file that replaces another before the name is committed.
        if let (Ok(source), Some(_)) = (&source, &replaced) {
            self.keep.counts_as_synced(key_of(source));
        }
        Ok(Answer::nothing())
    }

    fn unbury(&self, names: &mut Names, dir: &Node, name: &OsStr, grave: u64) {
        let path: Result<OsString, Errno> = self.path_in(dir, name);
        if grave > 0
            && let Ok(path) = path
        {
            names.unbury(&path, grave);
        }
    }

    pub(super) fn open_directory(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let node = self.tree.node(call.request.node)?;
        self.tree.close(call.place.mark().load(Ordering::Relaxed));
        let handle = self.tree.open(&node, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        call.place.mark().store(handle, Ordering::Relaxed);
        Ok(Answer::Bytes(wire::Answer::default().opened(handle, 0).0))
    }

    pub(super) fn read_directory(&self, call: &mut Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (handle, offset, room) = (fields.u64()?, fields.u64()?, fields.u32()? as usize);
        let handle = self.tree.handle(handle)?;
        nix::unistd::lseek(&handle.file, offset.cast_signed(), nix::unistd::Whence::SeekSet)?;
        let mut answer = wire::Answer::default();
        loop {
            let scratch = call.scratch.bytes();
            let size = room.min(scratch.len());
            // SAFETY: a descriptor of a directory and memory of the size that is given.
            let got =
                unsafe { libc::syscall(libc::SYS_getdents64, handle.file.as_raw_fd(), scratch.as_mut_ptr(), size) };
            let got = usize::try_from(Errno::result(got)?).unwrap_or(0);
            let mut entries = Entries(&scratch[..got]);
            let hide = |name: &[u8]| Self::hidden(&handle.node, OsStr::from_bytes(name));
            let full = entries
                .by_ref()
                .filter(|entry| !hide(entry.name))
                .any(|entry| !answer.directory_entry(room, (entry.ino, entry.next), entry.kind, entry.name));
            // Only hidden entries: an empty answer would mean the end.
            if full || got == 0 || !answer.0.is_empty() {
                return Ok(Answer::Bytes(answer.0));
            }
        }
    }
}

use std::os::unix::ffi::OsStrExt;

fn entry((node, stat): &(Arc<Node>, libc::stat)) -> Answer {
    Answer::Bytes(wire::Answer::default().entry(node.id, stat, KEPT).0)
}

/// Gives a new file to whoever made it; its group is the directory's where that is set so.
fn own(call: &Call<'_>, dir: &OwnedFd, name: &OsStr, mode: Option<Mode>) -> Result<(), Errno> {
    let (user, group) = (call.request.uid, call.request.gid);
    if user == 0 && group == 0 {
        return Ok(());
    }
    let inherits = Mode::from_bits_truncate(fstat(dir)?.st_mode).contains(Mode::S_ISGID);
    let group = (!inherits).then(|| Gid::from_raw(group));
    fchownat(dir, name, Some(Uid::from_raw(user)), group, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match mode {
        // A change of owner takes these away.
        Some(mode) if mode.intersects(Mode::S_ISUID | Mode::S_ISGID) => {
            fchmodat(dir, name, mode, FchmodatFlags::FollowSymlink)
        }
        _ => Ok(()),
    }
}

fn is_directory(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

fn may_go(found: &libc::stat, directory: bool, empty: impl FnOnce() -> Result<bool, Errno>) -> Result<(), Errno> {
    match (directory, is_directory(found)) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        (true, true) if !empty()? => Err(Errno::ENOTEMPTY),
        _ => Ok(()),
    }
}

fn may_replace(
    source: &libc::stat,
    replaced: &libc::stat,
    flags: RenameFlags,
    empty: impl FnOnce() -> Result<bool, Errno>,
) -> Result<(), Errno> {
    if flags.contains(RenameFlags::RENAME_NOREPLACE) {
        return Err(Errno::EEXIST);
    }
    may_go(replaced, is_directory(source), empty)
}

fn is_empty(dir: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    let inner = locate(dir, name)?;
    let mut entries = std::fs::read_dir(through(&inner)).map_err(|_| Errno::EIO)?;
    Ok(entries.next().is_none())
}

/// Done again, it would undo itself: the file that was found under the first name is told from the other.
fn exchange(call: &Call<'_>, one: (&OwnedFd, &OsStr), other: (&OwnedFd, &OsStr)) -> Result<Answer, Errno> {
    let mark = call.place.mark();
    let at = |(dir, name): (&OwnedFd, &OsStr)| fstat(&locate(dir, name)?).map(|stat| stat.st_ino);
    let begun = mark.load(Ordering::Relaxed);
    if begun != 0 && at(other)? == begun {
        return Ok(Answer::nothing());
    }
    mark.store(at(one)?, Ordering::Relaxed);
    renameat2(one.0, one.1, other.0, other.1, RenameFlags::RENAME_EXCHANGE)?;
    Ok(Answer::nothing())
}

/// The entries that the kernel gives of a directory below.
struct Entries<'a>(&'a [u8]);

struct Entry<'a> {
    ino: u64,
    next: u64,
    kind: u8,
    name: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let word = |at: usize| Some(u64::from_ne_bytes(self.0.get(at..at + 8)?.try_into().ok()?));
        let (ino, next) = (word(0)?, word(8)?);
        let length = usize::from(u16::from_ne_bytes(self.0.get(16..18)?.try_into().ok()?));
        let entry = self.0.get(..length)?;
        let name = entry.get(19..)?;
        let end = name.iter().position(|byte| *byte == 0)?;
        let found = Entry { ino, next, kind: entry[18], name: &name[..end] };
        self.0 = &self.0[length..];
        Some(found)
    }
}
