//! A look at the host: load, memory, disk.

use crate::HostError;
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::Path;

pub use crate::clock::boot_id;

/// How busy and how full the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLoad {
    /// 1-minute load average, hundredths.
    pub load_hundredths: u32,
    /// Memory in all, bytes.
    pub memory_total_bytes: u64,
    /// Memory that can be had without swapping, bytes.
    pub memory_available_bytes: u64,
    /// Bytes that an unprivileged process can still write on the file system of the given path.
    pub disk_free_bytes: u64,
    /// Of so many bytes.
    pub disk_total_bytes: u64,
}

/// Looks at the host; `disk` names the file system of interest.
pub fn host(disk: &Path) -> Result<HostLoad, HostError> {
    let load = read(Path::new("/proc/loadavg"), parse_load)?;
    let (memory_total_bytes, memory_available_bytes) = read(Path::new("/proc/meminfo"), parse_memory)?;
    let space = statvfs(disk).map_err(|problem| HostError::at("look at the file system of", disk, problem))?;
    Ok(HostLoad {
        load_hundredths: load,
        memory_total_bytes,
        memory_available_bytes,
        disk_free_bytes: space.blocks_available() * space.fragment_size(),
        disk_total_bytes: space.blocks() * space.fragment_size(),
    })
}

fn read<T>(path: &Path, parse: impl Fn(&str) -> Option<T>) -> Result<T, HostError> {
    let text = fs::read_to_string(path).map_err(|problem| HostError::at("read", path, problem))?;
    parse(&text).ok_or_else(|| HostError::Format { path: path.to_owned(), text })
}

/// `0.42 …`: always two digits after the point.
fn parse_load(text: &str) -> Option<u32> {
    let (whole, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    Some(whole.parse::<u32>().ok()? * 100 + hundredths.parse::<u32>().ok()?)
}

fn parse_memory(text: &str) -> Option<(u64, u64)> {
    let kibibytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kibibytes("MemTotal:")? * 1024, kibibytes("MemAvailable:")? * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_files_are_read() {
        assert_eq!(parse_load("12.07 0.01 0.05 1/100 4242"), Some(1207));
        assert_eq!(parse_memory("MemTotal: 10 kB\nMemFree: 1 kB\nMemAvailable: 5 kB\n"), Some((10_240, 5_120)));
        assert_eq!(parse_load("nonsense"), None);
    }

    #[test]
    fn this_host_has_memory_and_disk() {
        let seen = host(Path::new("/")).expect("Linux");
        assert!(seen.memory_total_bytes > seen.memory_available_bytes);
        assert!(seen.disk_total_bytes > 0);
    }
}
