//! A program that asks for the time without pause, to be attacked: `clock THREADS`.
//!
//! For each line that it reads it prints one: the time by `clock_gettime`, `gettimeofday` and `time`, and the monotonic
//! clock, all in nanoseconds. It ends when a clock goes wrong by itself: nanoseconds that are none, a monotonic clock that
//! goes back.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

const NANOS: i64 = 1_000_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads: usize = std::env::args().nth(1).ok_or("how many threads?")?.parse()?;
    for _ in 0..threads {
        std::thread::spawn(ask);
    }
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        line?;
        writeln!(
            out,
            "{} {} {} {}",
            gettime(libc::CLOCK_REALTIME),
            time_of_day(),
            seconds(),
            gettime(libc::CLOCK_MONOTONIC)
        )?;
        out.flush()?;
    }
    Ok(())
}

fn ask() {
    loop {
        // So many at a time, so that several such threads do not take a machine away from others.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1) {
            let before = gettime(libc::CLOCK_MONOTONIC);
            gettime(libc::CLOCK_REALTIME);
            time_of_day();
            seconds();
            assert!(gettime(libc::CLOCK_MONOTONIC) >= before, "the monotonic clock went back");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn gettime(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that lives until the call returns.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut time) }, 0);
    assert!((0..NANOS).contains(&time.tv_nsec), "{} nanoseconds", time.tv_nsec);
    time.tv_sec * NANOS + time.tv_nsec
}

fn time_of_day() -> i64 {
    let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: the first pointer is to a timeval that lives until the call returns, the second is null.
    assert_eq!(unsafe { libc::gettimeofday(&raw mut time, std::ptr::null_mut()) }, 0);
    assert!((0..1_000_000).contains(&time.tv_usec), "{} microseconds", time.tv_usec);
    time.tv_sec * NANOS + time.tv_usec * 1000
}

fn seconds() -> i64 {
    // SAFETY: a null pointer means that only the answer is wanted.
    unsafe { libc::time(std::ptr::null_mut()) * NANOS }
}
