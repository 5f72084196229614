//! Which operation is which, and those on single nodes: names looked up, attributes, extended attributes.

use super::server::{Answer, Call, PROBE, Server};
use super::tree::{locate, reopen, through};
use super::wire::{self, ROOT, Request, opcode};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, fstat, utimensat};
use nix::sys::statvfs::fstatvfs;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, ftruncate};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the kernel may keep attributes. Whoever changes them goes through it; a power loss drops them.
pub(super) const KEPT: Duration = Duration::from_secs(60);

impl Server {
    pub(super) fn dispatch(&self, call: &mut Call<'_>) -> Result<Answer, Errno> {
        match call.request.opcode {
            opcode::LOOKUP => self.look_up(call),
            opcode::GETATTR => self.attributes(call),
            opcode::SETATTR => self.set_attributes(call),
            opcode::READLINK => self.read_link(call),
            opcode::STATFS => self.space(call),
            opcode::SYMLINK => self.make_link(call),
            opcode::MKNOD => self.make_node(call),
            opcode::MKDIR => self.make_directory(call),
            opcode::LINK => self.link(call),
            opcode::CREATE => self.create(call),
            opcode::UNLINK => self.remove(call, false),
            opcode::RMDIR => self.remove(call, true),
            opcode::RENAME | opcode::RENAME2 => self.rename(call),
            opcode::OPEN => self.open(call),
            opcode::READ => self.read(call),
            opcode::WRITE => self.write(call),
            opcode::FSYNC | opcode::FSYNCDIR => self.sync(call),
            opcode::FALLOCATE => self.allocate(call),
            opcode::LSEEK => self.seek(call),
            opcode::RELEASE | opcode::RELEASEDIR => self.release(call),
            opcode::OPENDIR => self.open_directory(call),
            opcode::READDIR => self.read_directory(call),
            opcode::SETXATTR => self.set_extended(call),
            opcode::GETXATTR => self.extended(call, true),
            opcode::LISTXATTR => self.extended(call, false),
            opcode::REMOVEXATTR => self.remove_extended(call),
            // The kernel does these by itself from now on, as for a local file system: locks, copies, flushes.
            _ => Err(Errno::ENOSYS),
        }
    }

    fn look_up(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let name = call.request.fields().name()?;
        let dir = self.tree.node(call.request.node)?;
        if Self::hidden(&dir, name) {
            return Err(Errno::ENOENT);
        }
        let probe = dir.id == ROOT && name == PROBE;
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let file = if probe {
            nix::fcntl::open(&self.places.probe(), flags, Mode::empty())?
        } else {
            locate(&dir.file, name)?
        };
        let (node, stat) = self.tree.adopt(file, probe)?;
        Ok(Answer::Bytes(wire::Answer::default().entry(node.id, &stat, KEPT).0))
    }

    /// The nodes that the kernel forgets, and how many times each.
    pub(super) fn forgotten(&self, request: &Request<'_>) -> Result<Vec<(u64, u64)>, Errno> {
        let mut fields = request.fields();
        if request.opcode == opcode::FORGET {
            return Ok(vec![(request.node, fields.u64()?)]);
        }
        let (count, _) = (fields.u32()?, fields.u32()?);
        (0..count).map(|_| Ok((fields.u64()?, fields.u64()?))).collect()
    }

    fn attributes(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        const OF_HANDLE: u32 = 1;
        let mut fields = call.request.fields();
        let (flags, _, handle) = (fields.u32()?, fields.u32()?, fields.u64()?);
        let stat = if flags & OF_HANDLE != 0 {
            fstat(&self.tree.handle(handle)?.file)?
        } else {
            fstat(&self.tree.node(call.request.node)?.file)?
        };
        Ok(Answer::Bytes(wire::Answer::default().attributes_for(&stat, KEPT).0))
    }

    fn set_attributes(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        const MODE: u32 = 1;
        const USER: u32 = 1 << 1;
        const GROUP: u32 = 1 << 2;
        const SIZE: u32 = 1 << 3;
        const HANDLE: u32 = 1 << 6;
        let mut fields = call.request.fields();
        let (valid, _, handle, size, _) = (fields.u32()?, fields.u32()?, fields.u64()?, fields.u64()?, fields.u64()?);
        let times = [fields.u64()?, fields.u64()?, fields.u64()?];
        let parts = [fields.u32()?, fields.u32()?, fields.u32()?];
        let (mode, _, user, group) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        let node = self.tree.node(call.request.node)?;
        let path = through(&node.file);
        if valid & (USER | GROUP) != 0 {
            let user = (valid & USER != 0).then(|| Uid::from_raw(user));
            let group = (valid & GROUP != 0).then(|| Gid::from_raw(group));
            fchownat(&node.file, "", user, group, AtFlags::AT_EMPTY_PATH)?;
        }
        if valid & MODE != 0 {
            let mode = Mode::from_bits_truncate(mode);
            fchmodat(nix::fcntl::AT_FDCWD, &path, mode, FchmodatFlags::FollowSymlink)?;
        }
        if valid & SIZE != 0 {
            let size_wanted = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
            self.keep.change(&self.tree, &node, (size, u64::MAX), || {
                if valid & HANDLE != 0 {
                    return ftruncate(&self.tree.handle(handle)?.file, size_wanted);
                }
                ftruncate(reopen(&node.file, OFlag::O_WRONLY)?, size_wanted)
            })?;
        }
        let (read, changed) = (time(valid, (4, 7), times[0], parts[0]), time(valid, (5, 8), times[1], parts[1]));
        if read.tv_nsec() != libc::UTIME_OMIT || changed.tv_nsec() != libc::UTIME_OMIT {
            utimensat(nix::fcntl::AT_FDCWD, &path, &read, &changed, UtimensatFlags::FollowSymlink)?;
        }
        Ok(Answer::Bytes(wire::Answer::default().attributes_for(&fstat(&node.file)?, KEPT).0))
    }

    fn read_link(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let node = self.tree.node(call.request.node)?;
        let target = nix::fcntl::readlinkat(&node.file, "")?;
        Ok(Answer::Bytes(target.as_bytes().to_vec()))
    }

    fn space(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let space = fstatvfs(&self.tree.node(call.request.node)?.file)?;
        #[allow(clippy::cast_possible_truncation, reason = "block sizes and lengths of names are small")]
        let (block, name, fragment) =
            (space.block_size() as u32, space.name_max() as u32, space.fragment_size() as u32);
        let answer = wire::Answer::default()
            .u64(space.blocks())
            .u64(space.blocks_free())
            .u64(space.blocks_available())
            .u64(space.files())
            .u64(space.files_free())
            .u32(block)
            .u32(name)
            .u32(fragment);
        let mut bytes = answer.0;
        bytes.resize(80, 0);
        Ok(Answer::Bytes(bytes))
    }

    fn extended(&self, call: &Call<'_>, one: bool) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (room, _) = (fields.u32()?, fields.u32()?);
        let path = self.c_path(call)?;
        let mut value = vec![0_u8; room as usize];
        let got = if one {
            let name = c_string(fields.name()?)?;
            // SAFETY: two texts with their zero bytes, and memory of the size that is given.
            unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) }
        } else {
            // SAFETY: a text with its zero byte, and memory of the size that is given.
            unsafe { libc::listxattr(path.as_ptr(), value.as_mut_ptr().cast(), value.len()) }
        };
        let got = Errno::result(got)?;
        if room == 0 {
            let size = u32::try_from(got).map_err(|_| Errno::E2BIG)?;
            return Ok(Answer::Bytes(wire::Answer::default().u32(size).u32(0).0));
        }
        value.truncate(usize::try_from(got).unwrap_or(0));
        Ok(Answer::Bytes(value))
    }

    fn set_extended(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (size, flags, name) = (fields.u32()?, fields.u32()?, c_string(fields.name()?)?);
        let value = fields.bytes(size)?;
        let path = self.c_path(call)?;
        // Set by a server that was killed: it is there already, or just not any more.
        let again = call.again();
        #[allow(clippy::cast_possible_wrap, reason = "only bits")]
        let flags = if again { 0 } else { flags as i32 };
        // SAFETY: two texts with their zero bytes, and a value of the length that is given.
        let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) };
        Errno::result(set)?;
        Ok(Answer::nothing())
    }

    fn remove_extended(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let (name, path) = (c_string(call.request.fields().name()?)?, self.c_path(call)?);
        // SAFETY: two texts with their zero bytes.
        let removed = Errno::result(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) });
        match removed {
            Err(Errno::ENODATA) if call.again() => Ok(Answer::nothing()),
            other => other.map(|_| Answer::nothing()),
        }
    }

    fn c_path(&self, call: &Call<'_>) -> Result<CString, Errno> {
        c_string(through(&self.tree.node(call.request.node)?.file).as_os_str())
    }
}

impl Call<'_> {
    /// Whether a server that was killed may have done it already.
    pub(super) fn again(&self) -> bool {
        self.place.attempts().load(Ordering::Relaxed) > 1
    }
}

fn c_string(text: &OsStr) -> Result<CString, Errno> {
    CString::new(text.as_bytes()).map_err(|_| Errno::EINVAL)
}

/// A time to be set: given, now, or none, as the bits say.
fn time(valid: u32, (given, now): (u32, u32), seconds: u64, nanoseconds: u32) -> TimeSpec {
    if valid & 1 << now != 0 {
        TimeSpec::UTIME_NOW
    } else if valid & 1 << given != 0 {
        TimeSpec::new(seconds.cast_signed(), i64::from(nanoseconds))
    } else {
        TimeSpec::UTIME_OMIT
    }
}
