//! The host's clocks: wall time for people, boot time for deadlines that must survive the process that set them. And
//! how the kernel keeps the wall clock, which is that of the whole machine.

use crate::HostError;
use firedrill_model::Timestamp;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::io;
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

/// Several clocks at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The wall clock (`CLOCK_REALTIME`).
    pub wall: i64,
    /// `CLOCK_BOOTTIME`: whoever sets the wall clock does not move it, but it runs as fast or slow as that.
    pub since_boot: i64,
    /// `CLOCK_MONOTONIC_RAW`: it runs as the hardware does, whatever is asked of the kernel, and stands still while the
    /// machine sleeps.
    pub raw: i64,
    /// How long the machine has slept.
    pub asleep: i64,
}

impl Reading {
    /// Now. Of several tries the one that was least disturbed.
    #[must_use]
    pub fn now() -> Self {
        const TRIES: u32 = 8;
        let one = || {
            let before = nanos(ClockId::CLOCK_MONOTONIC_RAW);
            let (wall, since_boot) = (nanos(ClockId::CLOCK_REALTIME), nanos(ClockId::CLOCK_BOOTTIME));
            let after = nanos(ClockId::CLOCK_MONOTONIC_RAW);
            let asleep = nanos(ClockId::CLOCK_BOOTTIME) - nanos(ClockId::CLOCK_MONOTONIC);
            // The two differ by what asking takes.
            let asleep = if asleep < ASKING_NS { 0 } else { asleep };
            (after - before, Self { wall, since_boot, raw: before + (after - before) / 2, asleep })
        };
        let first = one();
        (1..TRIES).map(|_| one()).fold(first, |best, next| if next.0 < best.0 { next } else { best }).1
    }
}

/// No sleep of a machine is so short, and no question takes so long.
const ASKING_NS: i64 = 100_000_000;

fn nanos(clock: ClockId) -> i64 {
    let now = clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// How fast all clocks of the machine but the raw one run, as the kernel was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Microseconds that a hundredth of a second counts for; 10,000 is as it should be.
    pub tick: i64,
    /// On top of it, in 65,536ths of a millionth; what a client of NTP sets.
    pub frequency: i64,
}

impl Rate {
    /// Against the raw clock.
    #[must_use]
    pub fn factor(self) -> f64 {
        self.tick as f64 / 10_000.0 + self.frequency as f64 / 65_536.0 / 1e6
    }
}

/// How the kernel keeps the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// How fast it runs.
    pub rate: Rate,
    /// Somebody (a client of NTP) vouches for it: the kernel then also sets the hardware's clock by it.
    pub vouched_for: bool,
    /// All flags.
    pub status: i32,
}

/// How the kernel keeps the wall clock.
///
/// # Errors
/// It does not say.
pub fn keeping() -> Result<Keeping, HostError> {
    let seen = adjust("look at", timex())?;
    Ok(Keeping {
        rate: Rate { tick: seen.tick, frequency: seen.freq },
        vouched_for: seen.status & libc::STA_UNSYNC == 0,
        status: seen.status,
    })
}

/// Sets how fast the clocks of the machine run.
///
/// # Errors
/// The kernel refuses: no `CAP_SYS_TIME`, or more than a tenth faster or slower.
pub fn set_rate(rate: Rate) -> Result<(), HostError> {
    let wanted =
        libc::timex { modes: libc::ADJ_TICK | libc::ADJ_FREQUENCY, tick: rate.tick, freq: rate.frequency, ..timex() };
    adjust("set the speed of", wanted).map(drop)
}

/// Moves the wall clock of the machine by so much, at once, to the microsecond.
///
/// # Errors
/// The kernel refuses: no `CAP_SYS_TIME`, or a time before the boot.
pub fn step(nanos: i64) -> Result<(), HostError> {
    const SECOND: i64 = 1_000_000;
    // In nanoseconds (`ADJ_NANO`) the kernel would from then on tell everybody's times in these.
    let micros = nanos / 1000;
    let time = libc::timeval { tv_sec: micros.div_euclid(SECOND), tv_usec: micros.rem_euclid(SECOND) };
    adjust("set", libc::timex { modes: libc::ADJ_SETOFFSET, time, ..timex() }).map(drop)
}

/// Says whether somebody vouches for the wall clock: while nobody does, the hardware's clock is left alone.
///
/// # Errors
/// The kernel refuses: no `CAP_SYS_TIME`.
pub fn vouch(vouched_for: bool) -> Result<(), HostError> {
    let status = adjust("look at", timex())?.status;
    let status = if vouched_for { status & !libc::STA_UNSYNC } else { status | libc::STA_UNSYNC };
    adjust("change the state of", libc::timex { modes: libc::ADJ_STATUS, status, ..timex() }).map(drop)
}

fn timex() -> libc::timex {
    // SAFETY: a timex is numbers, for all of which zero is a value.
    unsafe { std::mem::zeroed() }
}

fn adjust(action: &'static str, mut wanted: libc::timex) -> Result<libc::timex, HostError> {
    // SAFETY: the pointer is to a timex that lives until the call returns.
    let answer = unsafe { libc::adjtimex(&raw mut wanted) };
    if answer < 0 {
        return Err(HostError::system(action, "the machine's clock", io::Error::last_os_error()));
    }
    Ok(wanted)
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
    fn clocks_that_are_read_together_agree() {
        let (one, two) = (Reading::now(), Reading::now());
        let passed = |of: fn(&Reading) -> i64| of(&two) - of(&one);
        assert!(passed(|reading| reading.raw) > 0);
        let apart = passed(|reading| reading.wall) - passed(|reading| reading.since_boot);
        assert!(apart.abs() < 100_000_000, "{one:?} {two:?}");
        assert_eq!(passed(|reading| reading.asleep), 0);
    }

    #[test]
    fn a_rate_is_a_tick_and_a_frequency() {
        assert!((Rate { tick: 10_000, frequency: 0 }.factor() - 1.0).abs() < 1e-12);
        assert!((Rate { tick: 10_100, frequency: -65_536 }.factor() - 1.009_999).abs() < 1e-12);
        let seen = keeping().expect("Linux").rate;
        assert!((0.89..1.11).contains(&seen.factor()), "{seen:?}");
    }

    #[test]
    fn a_boot_has_one_id() {
        assert_eq!(boot_id().expect("Linux"), boot_id().expect("Linux"));
    }
}
