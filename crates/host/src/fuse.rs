//! File systems in user space: mounted, found again, and who uses them.

use crate::HostError;
use crate::process::Identity;
use nix::mount::{MntFlags, MsFlags};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The type that our mounts carry in the mount table, so that they are found again and never taken for others.
const TYPE: &str = "fuse.firedrill";

/// One of our mounts, as the mount table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Id within this mount namespace.
    pub id: u32,
    /// Device, as `major:minor`.
    pub device: String,
    /// Where.
    pub point: PathBuf,
    /// What the mounting process called it.
    pub source: PathBuf,
}

/// Mounts a file system over a directory. Whoever reads and answers on the descriptor is that file system; when its
/// last copy is closed the mount is dead.
pub fn mount(point: &Path, source: &Path) -> Result<OwnedFd, HostError> {
    let device = Path::new("/dev/fuse");
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(device);
    let fd = OwnedFd::from(file.map_err(|problem| HostError::at("open", device, problem))?);
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fd.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(Some(source), point, Some(TYPE), flags, Some(options.as_str()))
        .map_err(|problem| HostError::at("mount a file system over", point, problem))?;
    Ok(fd)
}

/// Takes the uppermost mount off a directory. Processes that have files of it open keep them.
pub fn unmount(point: &Path) -> Result<(), HostError> {
    nix::mount::umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
        .map_err(|problem| HostError::at("unmount", point, problem))
}

/// Our mounts that this process sees.
pub fn mounts() -> Result<Vec<Mounted>, HostError> {
    mounts_in(Path::new("/proc/self/mountinfo"))
}

/// Our mounts that a process has files of open.
pub fn mounts_used_by(process: Identity) -> Result<Vec<Mounted>, HostError> {
    let mut all = mounts_in(&PathBuf::from(format!("/proc/{}/mountinfo", process.pid)))?;
    let open = open_mounts(process.pid);
    all.retain(|mount| open.contains(&mount.id));
    Ok(all)
}

fn mounts_in(path: &Path) -> Result<Vec<Mounted>, HostError> {
    let text = std::fs::read_to_string(path).map_err(|problem| HostError::at("read", path, problem))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// `36 35 0:47 / /var/lib/mysql rw,nosuid - fuse.firedrill SOURCE rw,user_id=0`.
fn parse(line: &str) -> Option<Mounted> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    if kind.next()? != TYPE {
        return None;
    }
    let source = kind.next()?;
    let mut fields = mount.split(' ');
    let id = fields.next()?.parse().ok()?;
    let device = fields.nth(1)?.to_owned();
    let point = fields.nth(1)?;
    Some(Mounted { id, device, point: unescape(point), source: unescape(source) })
}

/// Blanks and backslashes are written as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'\\')
            .then(|| tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

impl Mounted {
    /// The processes that have a file of it open or mapped, or their working directory in it. Asks only the kernel's
    /// tables and never the file system itself, which may stand still just now.
    #[must_use]
    pub fn users(&self) -> Vec<Identity> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| self.used_by(*pid)).filter_map(|pid| Identity::of(pid).ok()).collect()
    }

    fn used_by(&self, pid: u32) -> bool {
        open_mounts(pid).contains(&self.id) || self.mapped_by(pid) || self.lived_in_by(pid)
    }

    fn mapped_by(&self, pid: u32) -> bool {
        // `7f…-7f… rw-s 00000000 00:2f 1234 /path`, the device in hexadecimal digits.
        let Some((major, minor)) = self.device.split_once(':') else { return false };
        let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>()) else { return false };
        let device = format!("{major:02x}:{minor:02x}");
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.lines().any(|line| line.split_whitespace().nth(3) == Some(device.as_str()))
    }

    fn lived_in_by(&self, pid: u32) -> bool {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|dir| dir.starts_with(&self.point))
    }
}

/// The ids of the mounts that a process has files of open; none when it is gone.
fn open_mounts(pid: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return Vec::new() };
    let texts = entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let mut ids: Vec<u32> = texts.filter_map(|text| mount_id(&text)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn mount_id(fdinfo: &str) -> Option<u32> {
    fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// Says that the kernel has no file systems in user space, or that this process may not use them.
pub fn available() -> Result<(), HostError> {
    let device = Path::new("/dev/fuse");
    let opened: io::Result<_> = OpenOptions::new().read(true).write(true).open(device);
    opened.map(drop).map_err(|problem| HostError::at("open", device, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_lines_of_the_mount_table_are_read() {
        let line = r"636 35 0:47 / /var/lib/my\040sql rw,nosuid shared:1 - fuse.firedrill /run/a\134b rw,user_id=0";
        let mounted = parse(line).expect("ours");
        assert_eq!((mounted.id, mounted.device.as_str()), (636, "0:47"));
        assert_eq!(mounted.point, Path::new("/var/lib/my sql"));
        assert_eq!(mounted.source, Path::new(r"/run/a\b"));
        assert_eq!(parse("36 35 0:47 / /x rw - ext4 /dev/vda rw"), None);
    }

    #[test]
    fn the_mount_of_a_descriptor_is_read() {
        assert_eq!(mount_id("pos:\t0\nflags:\t02\nmnt_id:\t29\nino:\t5\n"), Some(29));
        assert!(!open_mounts(std::process::id()).is_empty());
    }
}
