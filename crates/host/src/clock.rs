//! The host's clocks: wall time for people, boot time for deadlines that must survive the process that set them.

use crate::HostError;
use firedrill_model::Timestamp;
use nix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock.
#[must_use]
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Time since boot, time asleep included (`CLOCK_BOOTTIME`); the same for every process until the next boot and never
/// moved by a clock correction.
#[must_use]
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The kernel's boot id: two readings differ if and only if the machine was booted in between.
pub fn boot_id() -> Result<String, HostError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|problem| HostError::at("read", path, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward() {
        assert!(wall() > Timestamp(1_700_000_000_000_000));
        let before = since_boot();
        assert!(since_boot() >= before && before > Duration::ZERO);
    }

    #[test]
    fn a_boot_has_one_id() {
        assert_eq!(boot_id().expect("Linux"), boot_id().expect("Linux"));
    }
}
