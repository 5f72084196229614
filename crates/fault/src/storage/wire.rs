//! The kernel's side of a file system in user space (FUSE 7.31 and later): requests as they are read from the device,
//! answers as they are written to it. All fields are in the machine's own byte order.

use nix::errno::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Most bytes of one read or write: what the kernel may put into one request.
pub(super) const PAYLOAD_MAX: usize = 256 * 1024;
/// The header of a request.
const HEADER: usize = 40;
/// Header and fixed part of a write: what stands before its data.
pub(super) const BEFORE_DATA: usize = HEADER + 40;
/// The header of an answer.
pub(super) const ANSWER_HEADER: usize = 16;
/// The node of the mount point.
pub(super) const ROOT: u64 = 1;

/// Set in the number of a request, it means the interruption of that request.
pub(super) const INTERRUPTION: u64 = 1;

/// What the kernel asks for.
pub(super) mod opcode {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const SETATTR: u32 = 4;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const SYMLINK: u32 = 6;
    pub(crate) const MKNOD: u32 = 8;
    pub(crate) const MKDIR: u32 = 9;
    pub(crate) const UNLINK: u32 = 10;
    pub(crate) const RMDIR: u32 = 11;
    pub(crate) const RENAME: u32 = 12;
    pub(crate) const LINK: u32 = 13;
    pub(crate) const OPEN: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const RELEASE: u32 = 18;
    pub(crate) const FSYNC: u32 = 20;
    pub(crate) const SETXATTR: u32 = 21;
    pub(crate) const GETXATTR: u32 = 22;
    pub(crate) const LISTXATTR: u32 = 23;
    pub(crate) const REMOVEXATTR: u32 = 24;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const OPENDIR: u32 = 27;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const RELEASEDIR: u32 = 29;
    pub(crate) const FSYNCDIR: u32 = 30;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const FALLOCATE: u32 = 43;
    pub(crate) const RENAME2: u32 = 45;
    pub(crate) const LSEEK: u32 = 46;
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) opcode: u32,
    pub(super) unique: u64,
    pub(super) node: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The thread that asks; 0 for the kernel itself and for threads that this process cannot see.
    pub(super) pid: u32,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// `None` for bytes that are no request.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(bytes.get(..HEADER)?);
        let _length = fields.u32().ok()?;
        Some(Self {
            opcode: fields.u32().ok()?,
            unique: fields.u64().ok()?,
            node: fields.u64().ok()?,
            uid: fields.u32().ok()?,
            gid: fields.u32().ok()?,
            pid: fields.u32().ok()?,
            body: &bytes[HEADER..],
        })
    }

    pub(super) fn fields(&self) -> Fields<'a> {
        Fields(self.body)
    }
}

/// Reads the parts of a request one after the other. A request that is too short is the kernel's fault: `EINVAL`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Errno> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Errno::EINVAL)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Errno> {
        let bytes = self.take(4)?;
        Ok(u32::from_ne_bytes(bytes.try_into().map_err(|_| Errno::EINVAL)?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Errno> {
        let bytes = self.take(8)?;
        Ok(u64::from_ne_bytes(bytes.try_into().map_err(|_| Errno::EINVAL)?))
    }

    /// A text that ends with a zero byte.
    pub(super) fn name(&mut self) -> Result<&'a OsStr, Errno> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Errno::EINVAL)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(OsStr::from_bytes(text))
    }

    /// So many bytes.
    pub(super) fn bytes(&mut self, count: u32) -> Result<&'a [u8], Errno> {
        self.take(count as usize)
    }
}

/// The body of an answer, written part by part.
#[derive(Debug, Default)]
pub(super) struct Answer(pub(super) Vec<u8>);

impl Answer {
    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_ne_bytes());
        self
    }

    /// What `stat` knows of a file.
    pub(super) fn attributes(self, stat: &libc::stat) -> Self {
        #[allow(clippy::cast_sign_loss, reason = "the kernel reads the same 64 bits back as a signed number")]
        let (atime, mtime, ctime) = (stat.st_atime as u64, stat.st_mtime as u64, stat.st_ctime as u64);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "nanoseconds fit; the protocol's widths"
        )]
        let (atime_ns, mtime_ns, ctime_ns, links, device, block) = (
            stat.st_atime_nsec as u32,
            stat.st_mtime_nsec as u32,
            stat.st_ctime_nsec as u32,
            stat.st_nlink as u32,
            stat.st_rdev as u32,
            stat.st_blksize as u32,
        );
        #[allow(clippy::cast_sign_loss, reason = "sizes are not negative")]
        let (size, blocks) = (stat.st_size as u64, stat.st_blocks as u64);
        self.u64(stat.st_ino)
            .u64(size)
            .u64(blocks)
            .u64(atime)
            .u64(mtime)
            .u64(ctime)
            .u32(atime_ns)
            .u32(mtime_ns)
            .u32(ctime_ns)
            .u32(stat.st_mode)
            .u32(links)
            .u32(stat.st_uid)
            .u32(stat.st_gid)
            .u32(device)
            .u32(block)
            .u32(0)
    }

    /// Attributes with the time for which the kernel may keep them.
    pub(super) fn attributes_for(self, stat: &libc::stat, valid: Duration) -> Self {
        self.u64(valid.as_secs()).u32(valid.subsec_nanos()).u32(0).attributes(stat)
    }

    /// A name that was found. The name itself is never kept by the kernel: names can change under it in a power loss.
    pub(super) fn entry(self, node: u64, stat: &libc::stat, valid: Duration) -> Self {
        self.u64(node).u64(0).u64(0).u64(valid.as_secs()).u32(0).u32(valid.subsec_nanos()).attributes(stat)
    }

    /// An open file.
    pub(super) fn opened(self, handle: u64, flags: u32) -> Self {
        self.u64(handle).u32(flags).u32(0)
    }

    /// One entry of a directory; `false` when it does not fit into `room` any more.
    pub(super) fn directory_entry(&mut self, room: usize, (ino, next): (u64, u64), kind: u8, name: &[u8]) -> bool {
        let length = (24 + name.len()).next_multiple_of(8);
        if self.0.len() + length > room {
            return false;
        }
        let end = self.0.len() + length;
        #[allow(clippy::cast_possible_truncation, reason = "names have at most 255 bytes")]
        let count = name.len() as u32;
        *self = std::mem::take(self).u64(ino).u64(next).u32(count).u32(u32::from(kind));
        self.0.extend_from_slice(name);
        self.0.resize(end, 0);
        true
    }
}

/// The header of an answer with a body of so many bytes.
pub(super) fn answer_header(unique: u64, outcome: Result<usize, Errno>) -> [u8; ANSWER_HEADER] {
    let (length, error) = match outcome {
        Ok(body) => (ANSWER_HEADER + body, 0),
        Err(errno) => (ANSWER_HEADER, -(errno as i32)),
    };
    header(length, error, unique)
}

fn header(length: usize, code: i32, unique: u64) -> [u8; ANSWER_HEADER] {
    let mut bytes = [0; ANSWER_HEADER];
    #[allow(clippy::cast_possible_truncation, reason = "answers are at most a payload and a header long")]
    bytes[..4].copy_from_slice(&(length as u32).to_ne_bytes());
    bytes[4..8].copy_from_slice(&code.to_ne_bytes());
    bytes[8..].copy_from_slice(&unique.to_ne_bytes());
    bytes
}

/// Tells the kernel to drop what it keeps of a node: attributes and pages.
pub(super) fn forget_pages_of(node: u64) -> Vec<u8> {
    const INVALIDATE_NODE: i32 = 2;
    let body = Answer::default().u64(node).u64(0).u64(0).0;
    let mut message = header(ANSWER_HEADER + body.len(), INVALIDATE_NODE, 0).to_vec();
    message.extend_from_slice(&body);
    message
}

/// What was agreed on with the kernel when the file system was mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) minor: u32,
    /// Whether the kernel can be asked to send requests again that nobody has answered (Linux 6.9).
    pub(super) resends: bool,
}

/// The first request and what we make of it: the answer, and what was agreed on. The layer needs no resending (see
/// `desk.rs`) but tells whether there is.
pub(super) fn agree(request: &Request<'_>) -> Result<(Vec<u8>, Agreed), Errno> {
    const ASYNC_READ: u64 = 1 << 0;
    const BIG_WRITES: u64 = 1 << 5;
    const ASYNC_DIRECT: u64 = 1 << 15;
    const PARALLEL_LOOKUPS: u64 = 1 << 18;
    const MAX_PAGES: u64 = 1 << 22;
    const KILLS_PRIVILEGES: u64 = 1 << 28;
    const MORE_FLAGS: u64 = 1 << 30;
    const DIRECT_MAPPABLE: u64 = 1 << 36;
    const RESENDS: u64 = 1 << 39;
    const WANTED: u64 = ASYNC_READ
        | BIG_WRITES
        | ASYNC_DIRECT
        | PARALLEL_LOOKUPS
        | MAX_PAGES
        | KILLS_PRIVILEGES
        | MORE_FLAGS
        | DIRECT_MAPPABLE;
    /// Requests of the kernel itself (read-ahead, asynchronous direct writes) that may wait here at a time.
    const BACKGROUND: u32 = 64;
    const MAJOR: u32 = 7;
    const MINOR: u32 = 38;
    if request.opcode != opcode::INIT {
        return Err(Errno::EPROTO);
    }
    let mut fields = request.fields();
    let (major, minor, read_ahead, low) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
    if major != MAJOR || minor < 31 {
        return Err(Errno::EPROTO);
    }
    let offered = u64::from(low) | if u64::from(low) & MORE_FLAGS == 0 { 0 } else { u64::from(fields.u32()?) << 32 };
    let flags = WANTED & offered;
    #[allow(clippy::cast_possible_truncation, reason = "the two halves; pages of a payload are few")]
    let (low, high, pages) = (flags as u32, (flags >> 32) as u32, (PAYLOAD_MAX / 4096) as u32);
    #[allow(clippy::cast_possible_truncation, reason = "a quarter of a mebibyte")]
    let answer = Answer::default()
        .u32(MAJOR)
        .u32(MINOR)
        .u32(read_ahead)
        .u32(low)
        .u32(BACKGROUND | (BACKGROUND * 3 / 4) << 16)
        .u32(PAYLOAD_MAX as u32)
        .u32(1)
        .u32(pages)
        .u32(high)
        .u32(0)
        .u64(0)
        .u64(0)
        .u64(0);
    Ok((answer.0, Agreed { minor, resends: offered & RESENDS != 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_size_that_the_kernel_expects() {
        // SAFETY: all bytes zero are a valid stat.
        let stat: libc::stat = unsafe { std::mem::zeroed() };
        assert_eq!(Answer::default().attributes(&stat).0.len(), 88);
        assert_eq!(Answer::default().attributes_for(&stat, Duration::ZERO).0.len(), 104);
        assert_eq!(Answer::default().entry(1, &stat, Duration::ZERO).0.len(), 128);
        assert_eq!(Answer::default().opened(1, 0).0.len(), 16);
        assert_eq!(forget_pages_of(1).len(), 40);
    }

    #[test]
    fn the_first_request_is_answered_with_what_both_know() {
        let body = Answer::default().u32(7).u32(44).u32(131_072).u32(u32::MAX).u32(1 << 7 | 1 << 4).0;
        let request = Request { opcode: opcode::INIT, unique: 1, node: 0, uid: 0, gid: 0, pid: 0, body: &body };
        let (answer, agreed) = agree(&request).expect("agrees");
        assert_eq!(answer.len(), 64);
        assert_eq!(agreed, Agreed { minor: 44, resends: true });
        let old = Answer::default().u32(7).u32(31).u32(131_072).u32(1).0;
        let (answer, agreed) = agree(&Request { body: &old, ..request }).expect("agrees");
        assert_eq!((answer[12], agreed.resends), (1, false));
        let ancient = Answer::default().u32(7).u32(12).u32(131_072).u32(1).0;
        assert_eq!(agree(&Request { body: &ancient, ..request }).err(), Some(Errno::EPROTO));
    }

    #[test]
    fn a_short_request_is_refused_and_directories_are_cut_at_the_end_of_the_room() {
        assert!(Request::parse(&[0; 39]).is_none());
        let mut bytes = vec![0; 40];
        bytes.extend_from_slice(b"name\0rest");
        let request = Request::parse(&bytes).expect("whole");
        let mut fields = request.fields();
        assert_eq!(fields.name().expect("ends"), "name");
        assert_eq!(fields.name().err(), Some(Errno::EINVAL));
        let mut answer = Answer::default();
        assert!(answer.directory_entry(64, (1, 1), 4, b"four"));
        assert!(!answer.directory_entry(64, (1, 1), 4, b"too much now"));
        assert_eq!(answer.0.len(), 32);
    }
}
