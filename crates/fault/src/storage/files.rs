//! Operations on open files.

use super::chance;
use super::rules::{Operation, Subject};
use super::server::{Answer, Call, Server};
use super::tree::Handle;
use super::wire::{self, PAYLOAD_MAX};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Whence, fdatasync, fsync, lseek};
use std::sync::atomic::Ordering;

/// A disk writes whole sectors; a torn write ends between two.
const SECTOR: usize = 512;
/// Direct writes may be asked for pages.
const PAGE: usize = 4096;

impl Server {
    pub(super) fn open(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        #[allow(clippy::cast_possible_wrap, reason = "only bits")]
        let flags = OFlag::from_bits_retain(call.request.fields().u32()? as i32);
        let node = self.tree.node(call.request.node)?;
        // Opened by a server that was killed: nobody knows that handle.
        self.tree.close(call.place.mark().load(Ordering::Relaxed));
        let handle = self.tree.open(&node, flags)?;
        call.place.mark().store(handle, Ordering::Relaxed);
        Ok(Answer::Bytes(wire::Answer::default().opened(handle, opened_as(flags)).0))
    }

    pub(super) fn release(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        self.tree.close(call.request.fields().u64()?);
        Ok(Answer::nothing())
    }

    pub(super) fn read(&self, call: &mut Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (handle, offset, size) = (fields.u64()?, fields.u64()?, fields.u32()? as usize);
        let handle = self.tree.handle(handle)?;
        let room = &mut call.scratch.bytes()[..size.min(PAYLOAD_MAX)];
        let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let mut got = 0;
        while got < room.len() {
            match pread(&handle.file, &mut room[got..], offset + got as i64) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(Errno::EINTR) => {}
                Err(problem) if got == 0 => return Err(problem),
                // A direct read that goes on at an odd place, at the end of the file.
                Err(_) => break,
            }
        }
        if call.disturbed.flip {
            flip(&mut room[..got]);
        }
        Ok(Answer::Data(got))
    }

    pub(super) fn write(&self, call: &mut Call<'_>) -> Result<Answer, Errno> {
        const KILL_PRIVILEGES: u32 = 1 << 2;
        let mut fields = call.request.fields();
        let (handle, offset, size, flags) = (fields.u64()?, fields.u64()?, fields.u32()?, fields.u32()?);
        let (_owner, _open_flags, _padding) = (fields.u64()?, fields.u32()?, fields.u32()?);
        let data = fields.bytes(size)?;
        let handle = self.tree.handle(handle)?;
        if flags & KILL_PRIVILEGES != 0 {
            drop_privileges(&handle)?;
        }
        let disturbed = call.disturbed;
        let mut count = data.len();
        if disturbed.short || disturbed.torn {
            count = part_of(count, chance::draw());
        }
        let data = if disturbed.flip {
            let changed = &mut call.scratch.bytes()[..count];
            changed.copy_from_slice(&data[..count]);
            flip(changed);
            &*changed
        } else {
            &data[..count]
        };
        let end = offset + data.len() as u64;
        let written = self.keep.change(&self.tree, &handle.node, (offset, end), || write_all(&handle, data, offset))?;
        if handle.flags.intersects(OFlag::O_DSYNC | OFlag::O_SYNC) && !self.loses_sync(&handle) {
            self.keep.sync(&handle.node, (true, call.again()), || Ok(()))?;
        }
        let told = if disturbed.torn && written == count { size } else { u32::try_from(written).unwrap_or(size) };
        Ok(Answer::Bytes(wire::Answer::default().u32(told).u32(0).0))
    }

    /// A file opened with `O_SYNC` or `O_DSYNC` is synced by each write; that may be lost, too.
    fn loses_sync(&self, handle: &Handle) -> bool {
        if !self.rules.any() {
            return false;
        }
        let path = (!handle.node.probe).then(|| self.path_of(&handle.node));
        let now = firedrill_host::clock::since_boot();
        self.rules.decide(&Subject { operation: Operation::Sync, path: path.as_deref(), now }).lose_sync
    }

    pub(super) fn sync(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        const DATA_ONLY: u32 = 1;
        let mut fields = call.request.fields();
        let (handle, flags) = (fields.u64()?, fields.u32()?);
        let handle = self.tree.handle(handle)?;
        if call.disturbed.lose_sync {
            return Ok(Answer::nothing());
        }
        let data_only = flags & DATA_ONLY != 0;
        let work = || if data_only { fdatasync(&handle.file) } else { fsync(&handle.file) };
        if call.request.opcode == wire::opcode::FSYNCDIR {
            work()?;
            if self.keep.armed() {
                self.keep.names().commit();
            }
        } else {
            self.keep.sync(&handle.node, (data_only, call.again()), work)?;
        }
        Ok(Answer::nothing())
    }

    pub(super) fn allocate(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (handle, offset, length, mode) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u32()?);
        let handle = self.tree.handle(handle)?;
        #[allow(clippy::cast_possible_wrap, reason = "only bits")]
        let mode = FallocateFlags::from_bits_retain(mode as i32);
        let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
        let (from, count) = (i64::try_from(offset), i64::try_from(length));
        let (Ok(from), Ok(count)) = (from, count) else { return Err(Errno::EFBIG) };
        // Space that is only reserved changes no content, though perhaps the size.
        let changes = mode.intersects(FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_ZERO_RANGE);
        let range = if changes { (offset, end) } else { (u64::MAX, u64::MAX) };
        self.keep.change(&self.tree, &handle.node, range, || fallocate(&handle.file, mode, from, count))?;
        Ok(Answer::nothing())
    }

    pub(super) fn seek(&self, call: &Call<'_>) -> Result<Answer, Errno> {
        let mut fields = call.request.fields();
        let (handle, offset, whence) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let handle = self.tree.handle(handle)?;
        let whence = match whence.cast_signed() {
            libc::SEEK_DATA => Whence::SeekData,
            libc::SEEK_HOLE => Whence::SeekHole,
            _ => return Err(Errno::EINVAL),
        };
        // All other operations name their offset, so moving this one disturbs nobody.
        let found = lseek(&handle.file, i64::try_from(offset).map_err(|_| Errno::EINVAL)?, whence)?;
        Ok(Answer::Bytes(wire::Answer::default().u64(found.cast_unsigned()).0))
    }
}

/// How the kernel is to treat a file opened with these flags. Whoever asks for direct writes gets them, several at a
/// time; pages of others are dropped when a file is opened.
pub(super) fn opened_as(flags: OFlag) -> u32 {
    const DIRECT: u32 = 1;
    const PARALLEL_WRITES: u32 = 1 << 6;
    if flags.contains(OFlag::O_DIRECT) { DIRECT | PARALLEL_WRITES } else { 0 }
}

fn write_all(handle: &Handle, data: &[u8], offset: u64) -> Result<usize, Errno> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EFBIG)?;
    let mut done = 0;
    while done < data.len() {
        match pwrite(&handle.file, &data[done..], offset + done as i64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::EINTR) => {}
            Err(problem) if done == 0 => return Err(problem),
            // What fits is written and told; the next write meets the problem.
            Err(_) => break,
        }
    }
    Ok(done)
}

/// As the kernel does on a write: a changed program does not keep the rights of the old one.
fn drop_privileges(handle: &Handle) -> Result<(), Errno> {
    let mode = Mode::from_bits_truncate(fstat(&handle.file)?.st_mode);
    let mut gone = mode & Mode::S_ISUID;
    if mode.contains(Mode::S_IXGRP) {
        gone |= mode & Mode::S_ISGID;
    }
    if gone.is_empty() { Ok(()) } else { fchmod(&handle.file, mode - gone) }
}

/// How much of a write gets to the disk: at least nothing, at most all but a bit, cut where disks cut.
fn part_of(count: usize, draw: f64) -> usize {
    let unit = if count > PAGE {
        PAGE
    } else if count > SECTOR {
        SECTOR
    } else {
        1
    };
    // At least one unit, so that a caller who is told of a short write can go on.
    let units = (count.saturating_sub(1)) / unit;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
    let kept = (units as f64 * draw) as usize + 1;
    (kept.min(units.max(1)) * unit).min(count)
}

fn flip(data: &mut [u8]) {
    if !data.is_empty() {
        let bit = chance::below(data.len() * 8);
        data[bit / 8] ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_less_than_all_and_ends_at_a_sector() {
        for count in [2, 100, 512, 513, 1024, 4096, 16_384, 16_385, PAYLOAD_MAX] {
            for draw in [0.0, 0.3, 0.999] {
                let part = part_of(count, draw);
                assert!(part > 0 && part < count, "{part} of {count}");
                assert!(count <= SECTOR || part.is_multiple_of(SECTOR), "{part} of {count}");
            }
        }
        assert_eq!(part_of(1, 0.5), 1);
    }

    #[test]
    fn one_bit_is_flipped() {
        let mut data = vec![0; 4096];
        flip(&mut data);
        assert_eq!(data.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        flip(&mut []);
    }
}
