//! What a process, a core or a volume uses, as the kernel counts it: to measure a load from outside.

use crate::HostError;
use crate::process::Identity;
use nix::sys::statvfs::statvfs;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Processor time that a process has used in all its threads, to the nanosecond.
pub fn cpu_time(process: Identity) -> Result<Duration, HostError> {
    let gone = || HostError::NoProcess { pid: process.pid };
    let pid = i32::try_from(process.pid).map_err(|_| gone())?;
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).map_err(|_| gone())?;
    let used = clock_gettime(clock).map_err(|_| gone())?;
    // Asked after the clock was read: a successor with the same id is not mistaken for it.
    if process.alive() { Ok(used.into()) } else { Err(gone()) }
}

/// How a core spent its time since boot, in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreTime {
    /// Its number.
    pub core: u32,
    /// Running anything.
    pub busy: u64,
    /// Nothing to run, or only waiting for a device.
    pub idle: u64,
}

/// The cores that are on line.
pub fn cores() -> Result<Vec<CoreTime>, HostError> {
    let path = Path::new("/proc/stat");
    let text = fs::read_to_string(path).map_err(|problem| HostError::at("read", path, problem))?;
    Ok(text.lines().filter_map(parse_core).collect())
}

/// `cpu3 user nice system idle iowait irq softirq steal guest …`; guest time is counted in user time already.
fn parse_core(line: &str) -> Option<CoreTime> {
    let mut words = line.strip_prefix("cpu")?.split_whitespace();
    let core = words.next()?.parse().ok()?;
    let times: Vec<u64> = words.take(8).filter_map(|word| word.parse().ok()).collect();
    let (idle, all) = (times.get(3)? + times.get(4)?, times.iter().sum::<u64>());
    // The line of all cores has no number and does not get here.
    (!line.starts_with("cpu ")).then_some(CoreTime { core, busy: all - idle, idle })
}

/// Memory of a process that is in RAM, bytes.
pub fn resident_bytes(pid: u32) -> Result<u64, HostError> {
    Ok(field(pid, "status", "VmRSS:")? * 1024)
}

/// Bytes that a process has had read from and written to storage devices.
pub fn storage_bytes(pid: u32) -> Result<(u64, u64), HostError> {
    Ok((field(pid, "io", "read_bytes:")?, field(pid, "io", "write_bytes:")?))
}

/// How many threads a process has.
pub fn threads(pid: u32) -> Result<u64, HostError> {
    field(pid, "status", "Threads:")
}

/// A number in a file of `/proc/PID` whose lines begin with a name.
fn field(pid: u32, file: &str, name: &str) -> Result<u64, HostError> {
    let path = Path::new("/proc").join(pid.to_string()).join(file);
    let text = fs::read_to_string(&path).map_err(|problem| match problem.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => HostError::NoProcess { pid },
        _ => HostError::at("read", &path, problem),
    })?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok());
    number.ok_or(HostError::Format { path, text })
}

/// How full a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// In use.
    pub used_bytes: u64,
    /// What those without privileges can still write.
    pub free_bytes: u64,
    /// All inodes; 0 where they are made as needed.
    pub inodes: u64,
    /// Inodes that can still be made.
    pub free_inodes: u64,
}

impl Volume {
    /// The volume of a file or directory.
    pub fn of(path: &Path) -> Result<Self, HostError> {
        let seen = statvfs(path).map_err(|problem| HostError::at("look at the volume of", path, problem))?;
        Ok(Self {
            used_bytes: (seen.blocks() - seen.blocks_free()) * seen.fragment_size(),
            free_bytes: seen.blocks_available() * seen.fragment_size(),
            inodes: seen.files(),
            free_inodes: seen.files_free(),
        })
    }

    /// What is not kept back for root, in use or not; `df` counts its percentages of this.
    #[must_use]
    pub fn usable_bytes(&self) -> u64 {
        self.used_bytes + self.free_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_read() {
        let line = "cpu1 100 1 50 1000 20 3 4 5 0 0";
        assert_eq!(parse_core(line), Some(CoreTime { core: 1, busy: 163, idle: 1020 }));
        assert_eq!(parse_core("cpu  100 1 50 1000 20 3 4 5 0 0"), None, "all cores together");
        assert_eq!(parse_core("ctxt 12345"), None);
        assert!(!cores().expect("Linux").is_empty());
    }

    #[test]
    fn this_process_uses_something() {
        let me = Identity::current().expect("exists");
        let before = cpu_time(me).expect("counts");
        assert!(resident_bytes(me.pid).expect("counts") > 1 << 20);
        assert!(threads(me.pid).expect("counts") >= 2, "a test runs beside the main thread");
        storage_bytes(me.pid).expect("counts");
        assert!(cpu_time(me).expect("counts") > before);
        let other = Identity { start_time: me.start_time + 1, ..me };
        assert!(matches!(cpu_time(other), Err(HostError::NoProcess { .. })));
    }

    #[test]
    fn a_volume_has_room_and_inodes() {
        let root = Volume::of(Path::new("/")).expect("there");
        assert!(root.usable_bytes() > root.used_bytes && root.used_bytes > 0);
    }
}
