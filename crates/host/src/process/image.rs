//! The memory of another process.

use super::Identity;
use crate::HostError;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A range of addresses of a process, as `/proc/<pid>/maps` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address after its last.
    pub end: u64,
    /// Its rights: four letters such as `r-xp`.
    pub rights: String,
    /// The file that is mapped, or a name in brackets (`[vdso]`, `[heap]`); empty for memory of the process's own.
    pub name: String,
}

impl Mapping {
    /// How many bytes it has.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// `start-end rights offset device inode   name`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let rights = fields.next()?.to_owned();
        let name = fields.nth(3).unwrap_or_default().trim().to_owned();
        (start <= end).then_some(Self { start, end, rights, name })
    }
}

/// All mappings of a process, by address. A kernel thread has none.
pub fn mappings(process: Identity) -> Result<Vec<Mapping>, HostError> {
    let path = PathBuf::from(format!("/proc/{}/maps", process.pid));
    let text = std::fs::read(&path).map_err(|problem| gone_or("read", process, &path, problem))?;
    if !process.alive() {
        return Err(HostError::NoProcess { pid: process.pid });
    }
    Ok(String::from_utf8_lossy(&text).lines().filter_map(Mapping::parse).collect())
}

/// A way into the memory of a process. It stays with the program that the process ran when it was opened: after the
/// process has started another program, or has ended, nothing can be read or written.
#[derive(Debug)]
pub struct Image {
    process: Identity,
    file: File,
}

impl Image {
    /// Opens it. Needs `CAP_SYS_PTRACE` for a process of another user.
    pub fn open(process: Identity) -> Result<Self, HostError> {
        let path = PathBuf::from(format!("/proc/{}/mem", process.pid));
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|problem| gone_or("open", process, &path, problem))?;
        // Looked at after the file was opened, so the file cannot be that of a successor with the same id.
        if process.alive() { Ok(Self { process, file }) } else { Err(HostError::NoProcess { pid: process.pid }) }
    }

    /// Whose it is.
    #[must_use]
    pub const fn process(&self) -> Identity {
        self.process
    }

    /// Reads so many bytes.
    pub fn read(&self, address: u64, bytes: usize) -> Result<Vec<u8>, HostError> {
        let mut buffer = vec![0; bytes];
        self.file.read_exact_at(&mut buffer, address).map_err(|problem| self.failed("read", address, problem))?;
        Ok(buffer)
    }

    /// As much as can be read from there on, at most so many bytes.
    #[must_use]
    pub fn read_some(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        let read = self.file.read_at(&mut buffer, address).unwrap_or(0);
        buffer.truncate(read);
        buffer
    }

    /// Writes, also where the process itself may not. Code that is written must not be running ([`super::stand_still`]).
    ///
    /// # Errors
    /// From Linux 6.12 on a kernel may be set up to allow this only to who traces the process: `EIO` to others.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), HostError> {
        self.file.write_all_at(bytes, address).map_err(|problem| self.failed("write", address, problem))
    }

    fn failed(&self, action: &'static str, address: u64, problem: io::Error) -> HostError {
        // The end of the file is what a process without memory shows.
        if !self.process.alive() || problem.kind() == io::ErrorKind::UnexpectedEof {
            return HostError::NoProcess { pid: self.process.pid };
        }
        HostError::system(action, format!("the memory of process {} at {address:x}", self.process.pid), problem)
    }
}

fn gone_or(action: &'static str, process: Identity, path: &Path, problem: io::Error) -> HostError {
    match problem.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => HostError::NoProcess { pid: process.pid },
        _ => HostError::at(action, path, problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read_with_and_without_a_name() {
        let named = Mapping::parse("7fd0-7fd2 r-xp 00000000 00:00 0                          [vdso]").expect("reads");
        assert_eq!((named.start, named.bytes(), &named.name[..]), (0x7fd0, 2, "[vdso]"));
        let blank = Mapping::parse("1000-2000 rw-p 00000000 00:00 0 ").expect("reads");
        assert_eq!((&blank.rights[..], &blank.name[..]), ("rw-p", ""));
        let spaced = Mapping::parse("1000-2000 r--p 00000000 fe:00 42 /a b (deleted)").expect("reads");
        assert_eq!(spaced.name, "/a b (deleted)");
        assert!(Mapping::parse("2000-1000 r--p 0 0 0 x").is_none() && Mapping::parse("").is_none());
    }

    #[test]
    fn the_own_memory_is_read_and_written() {
        let mut word = Box::new(*b"before");
        let address = word.as_mut_ptr() as u64;
        let me = Identity::current().expect("exists");
        let image = Image::open(me).expect("opens");
        assert_eq!(image.read(address, 6).expect("reads"), b"before");
        image.write(address, b"after!").expect("writes");
        assert_eq!(image.read(address, 6).expect("reads"), b"after!");
        assert!(image.read(0, 1).is_err(), "nothing is mapped there");
        assert!(mappings(me).expect("lists").iter().any(|mapping| mapping.name == "[stack]"));
        let other = Identity { start_time: me.start_time + 1, ..me };
        assert!(matches!(Image::open(other), Err(HostError::NoProcess { .. })));
    }
}
