//! The code that a skewed process runs instead of the kernel's clock functions: the real system call, and then, only
//! for the wall clock and only until a deadline of the monotonic clock, a skew that is added to its answer.
//!
//! It stands wherever it is put (all its addresses are relative), calls nothing and keeps no return address on the
//! stack: where no thread's registers point into it, and no signal handler returns into it, it is not in use.

use std::ops::Range;

/// What is added to the wall clock, and until when. Moments are of the monotonic clock, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// From here on nothing is added.
    pub(super) deadline: u64,
    /// The drift is counted from here.
    pub(super) start: u64,
    /// Added for each nanosecond since `start`, in parts of 2^32.
    pub(super) rate: i64,
    /// From here on `offset` is added.
    pub(super) jump: u64,
    /// In nanoseconds.
    pub(super) offset: i64,
}

/// Who has put it there, so that nobody else takes it out.
const OWNER: usize = 40;
const TERMS_BYTES: usize = 48;

impl Terms {
    /// As they stand at the end of a stub.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let word = |number: usize| Some(u64::from_le_bytes(bytes.get(number * 8..number * 8 + 8)?.try_into().ok()?));
        Some(Self {
            deadline: word(0)?,
            start: word(1)?,
            rate: word(2)?.cast_signed(),
            jump: word(3)?,
            offset: word(4)?.cast_signed(),
        })
    }

    fn bytes(self, owner: u64) -> [u8; TERMS_BYTES] {
        let mut bytes = [0; TERMS_BYTES];
        let words =
            [self.deadline, self.start, self.rate.cast_unsigned(), self.jump, self.offset.cast_unsigned(), owner];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// The stub as it is written, and where its parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stub {
    pub(super) bytes: Vec<u8>,
    /// Where the replacement of each of [`super::vdso::CLOCKS`] begins.
    pub(super) entries: [usize; 3],
    /// Where the deadline stands: eight bytes, aligned to eight when the stub is aligned to sixteen.
    pub(super) deadline: usize,
    /// Where its owner stands.
    pub(super) owner: Range<usize>,
}

impl Stub {
    /// `None` on machines for which there is no such code.
    pub(super) fn new(terms: Terms, owner: u64) -> Option<Self> {
        let (code, entries) = code::template()?;
        let deadline = code.len().checked_sub(TERMS_BYTES)?;
        let mut bytes = code.to_vec();
        bytes[deadline..].copy_from_slice(&terms.bytes(owner));
        Some(Self { bytes, entries, deadline, owner: deadline + OWNER..deadline + OWNER + 8 })
    }
}

#[cfg(target_arch = "x86_64")]
mod code {
    // In order: clock_gettime(edi, rsi), gettimeofday(rdi, rsi), time(rdi); then what they share: `rsi` points to
    // seconds and nanoseconds, `r9` is where it goes on. System calls spoil rax, rcx and r11; everything that is used
    // here may be spoilt by a function. 228 is the number of clock_gettime, 96 that of gettimeofday.
    //
    // Its marks are local labels of one piece of inline assembly: names of a piece on its own are lost when the linker
    // optimises across crates (20 the beginning, 22 gettimeofday, 23 time, 24 what is shared, 25 the terms, 26 the end).
    macro_rules! instructions {
        () => {
            concat!(
                ".balign 16\n",
                "20:\n",
                // clock_gettime: of all clocks, REALTIME (0) and REALTIME_COARSE (5) are skewed.
                "mov eax, 228\n",
                "syscall\n",
                "test eax, eax\n",
                "jnz 2f\n",
                "test edi, edi\n",
                "jz 3f\n",
                "cmp edi, 5\n",
                "jne 2f\n",
                "3: lea r9, [rip + 4f]\n",
                "jmp 24f\n",
                "4: xor eax, eax\n",
                "2: ret\n",
                // gettimeofday: the nanoseconds of clock_gettime, unless somebody wants the time zone.
                ".balign 16\n",
                "22:\n",
                "test rsi, rsi\n",
                "jnz 3f\n",
                "test rdi, rdi\n",
                "jz 8f\n",
                "mov r8, rdi\n",
                "mov rsi, rdi\n",
                "xor edi, edi\n",
                "mov eax, 228\n",
                "syscall\n",
                "test eax, eax\n",
                "jnz 9f\n",
                "jmp 4f\n",
                "3: mov r8, rdi\n",
                "mov eax, 96\n",
                "syscall\n",
                "test eax, eax\n",
                "jnz 9f\n",
                "test r8, r8\n",
                "jz 8f\n",
                "imul rax, qword ptr [r8 + 8], 1000\n",
                "mov qword ptr [r8 + 8], rax\n",
                "4: mov rsi, r8\n",
                "lea r9, [rip + 5f]\n",
                "jmp 24f\n",
                "5: mov rax, qword ptr [rsi + 8]\n",
                "xor edx, edx\n",
                "mov ecx, 1000\n",
                "div rcx\n",
                "mov qword ptr [rsi + 8], rax\n",
                "8: xor eax, eax\n",
                "9: ret\n",
                // time: whole seconds.
                ".balign 16\n",
                "23:\n",
                "mov r10, rdi\n",
                "sub rsp, 24\n",
                "mov edi, 5\n",
                "mov rsi, rsp\n",
                "mov eax, 228\n",
                "syscall\n",
                "lea r9, [rip + 3f]\n",
                "jmp 24f\n",
                "3: mov rax, qword ptr [rsp]\n",
                "add rsp, 24\n",
                "test r10, r10\n",
                "jz 4f\n",
                "mov qword ptr [r10], rax\n",
                "4: ret\n",
                ".balign 16\n",
                "24:\n",
                "mov rdx, rsi\n",
                "sub rsp, 24\n",
                "mov edi, 1\n",
                "mov rsi, rsp\n",
                "mov eax, 228\n",
                "syscall\n",
                "imul rcx, qword ptr [rsp], 1000000000\n",
                "add rcx, qword ptr [rsp + 8]\n",
                "add rsp, 24\n",
                "mov rsi, rdx\n",
                "test eax, eax\n",
                "jnz 6f\n",
                "cmp rcx, qword ptr [rip + 25f]\n",
                "jae 6f\n",
                // The drift: a product of 128 bits, of which the whole nanoseconds are kept.
                "mov rax, rcx\n",
                "sub rax, qword ptr [rip + 25f + 8]\n",
                "imul qword ptr [rip + 25f + 16]\n",
                "shrd rax, rdx, 32\n",
                "cmp rcx, qword ptr [rip + 25f + 24]\n",
                "jb 3f\n",
                "add rax, qword ptr [rip + 25f + 32]\n",
                // Carried over into the seconds, so that nanoseconds are never negative.
                "3: add rax, qword ptr [rsi + 8]\n",
                "cqo\n",
                "mov ecx, 1000000000\n",
                "idiv rcx\n",
                "test rdx, rdx\n",
                "jns 4f\n",
                "add rdx, rcx\n",
                "dec rax\n",
                "4: add qword ptr [rsi], rax\n",
                "mov qword ptr [rsi + 8], rdx\n",
                "6: jmp r9\n",
                ".balign 16\n",
                "25:\n",
                ".fill 6, 8, 0\n",
                "26:\n",
            )
        };
    }

    /// The code with terms of zeros at its end, and where the three functions begin.
    #[allow(clippy::unnecessary_wraps, reason = "there are machines without such code")]
    pub(super) fn template() -> Option<(&'static [u8], [usize; 3])> {
        let (begin, gettimeofday, time, end): (*const u8, *const u8, *const u8, *const u8);
        // SAFETY: it jumps over the code and only tells where its parts are.
        unsafe {
            std::arch::asm!(
                "lea {begin}, [rip + 20f]",
                "lea {gettimeofday}, [rip + 22f]",
                "lea {time}, [rip + 23f]",
                "lea {end}, [rip + 26f]",
                "jmp 27f",
                instructions!(),
                "27:",
                begin = out(reg) begin,
                gettimeofday = out(reg) gettimeofday,
                time = out(reg) time,
                end = out(reg) end,
                options(nomem, nostack, preserves_flags)
            );
        }
        let offset = |of: *const u8| of as usize - begin as usize;
        let (length, entries) = (offset(end), [0, offset(gettimeofday), offset(time)]);
        // SAFETY: both marks are in one piece of this program's code, which is mapped and never changes.
        Some((unsafe { std::slice::from_raw_parts(begin, length) }, entries))
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod code {
    pub(super) fn template() -> Option<(&'static [u8], [usize; 3])> {
        None
    }
}

/// A copy of the stub in this process, to be run.
#[cfg(target_arch = "x86_64")]
pub(super) mod rehearsal {
    use super::{Stub, Terms};
    use std::io;
    use std::ptr::NonNull;

    type ClockGettime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int;
    /// The kernel's `struct timezone`; libc's type of that name has no fields and no size.
    #[cfg(test)]
    type Zone = [libc::c_int; 2];
    #[cfg(test)]
    type Gettimeofday = unsafe extern "C" fn(*mut libc::timeval, *mut Zone) -> libc::c_int;
    #[cfg(test)]
    type Time = unsafe extern "C" fn(*mut libc::time_t) -> libc::time_t;

    const NANOS: i128 = 1_000_000_000;

    /// Unmapped when dropped.
    #[derive(Debug)]
    pub(crate) struct Rehearsal {
        place: NonNull<libc::c_void>,
        length: usize,
        entries: [usize; 3],
    }

    impl Rehearsal {
        /// The code is this program's own, which whoever asks has found to be that of the process.
        pub(crate) fn new(terms: Terms) -> io::Result<Self> {
            let stub = Stub::new(terms, 0).ok_or(io::ErrorKind::Unsupported)?;
            let length = stub.bytes.len();
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let writable = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a new mapping of its own, at an address that the kernel chooses.
            let place = unsafe { libc::mmap(std::ptr::null_mut(), length, writable, flags, -1, 0) };
            let place = NonNull::new(place).filter(|place| place.as_ptr() != libc::MAP_FAILED);
            let place = place.ok_or_else(io::Error::last_os_error)?;
            let rehearsal = Self { place, length, entries: stub.entries };
            // SAFETY: the mapping is as long as the stub, writable, and nobody else's.
            unsafe { std::ptr::copy_nonoverlapping(stub.bytes.as_ptr(), place.as_ptr().cast(), length) };
            // SAFETY: the mapping is this value's own.
            let answer = unsafe { libc::mprotect(place.as_ptr(), length, libc::PROT_READ | libc::PROT_EXEC) };
            if answer == 0 { Ok(rehearsal) } else { Err(io::Error::last_os_error()) }
        }

        fn entry(&self, number: usize) -> *mut libc::c_void {
            // SAFETY: the entries are within the mapping.
            unsafe { self.place.as_ptr().byte_add(self.entries[number]) }
        }

        /// A clock as the stub tells it, in nanoseconds.
        pub(crate) fn clock(&self, clock: libc::clockid_t) -> i128 {
            // SAFETY: the stub's first function is one of this type.
            let function = unsafe { std::mem::transmute::<*mut libc::c_void, ClockGettime>(self.entry(0)) };
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the pointer is to a timespec that lives until the call returns.
            let answer = unsafe { function(clock, &raw mut time) };
            assert_eq!(answer, 0, "these clocks are always there");
            i128::from(time.tv_sec) * NANOS + i128::from(time.tv_nsec)
        }

        /// The time of day as the stub tells it, in nanoseconds, with or without asking for the time zone.
        #[cfg(test)]
        pub(crate) fn time_of_day(&self, zone: bool) -> i128 {
            // SAFETY: the stub's second function is one of this type.
            let function = unsafe { std::mem::transmute::<*mut libc::c_void, Gettimeofday>(self.entry(1)) };
            let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
            let mut place: Zone = [0; 2];
            let place = if zone { &raw mut place } else { std::ptr::null_mut() };
            // SAFETY: both pointers are null or to values that live until the call returns.
            assert_eq!(unsafe { function(&raw mut time, place) }, 0);
            assert!((0..1_000_000).contains(&time.tv_usec), "{}", time.tv_usec);
            i128::from(time.tv_sec) * NANOS + i128::from(time.tv_usec) * 1000
        }

        /// The seconds as the stub tells them; both ways must be the same.
        #[cfg(test)]
        pub(crate) fn seconds(&self) -> i64 {
            // SAFETY: the stub's third function is one of this type.
            let function = unsafe { std::mem::transmute::<*mut libc::c_void, Time>(self.entry(2)) };
            let mut told = 0;
            // SAFETY: the pointer is to a number that lives until the call returns.
            let answer = unsafe { function(&raw mut told) };
            assert_eq!(answer, told);
            // SAFETY: a null pointer means that only the answer is wanted.
            assert!(unsafe { function(std::ptr::null_mut()) } >= answer);
            answer
        }
    }

    impl Drop for Rehearsal {
        fn drop(&mut self) {
            // SAFETY: the mapping is this value's own, and nobody runs it: it is borrowed while it runs.
            let unmapped = unsafe { libc::munmap(self.place.as_ptr(), self.length) };
            debug_assert_eq!(unmapped, 0, "a mapping of our own");
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::rehearsal::Rehearsal;
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn own(clock: libc::clockid_t) -> i128 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a timespec that lives until the call returns.
        assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut time) }, 0);
        i128::from(time.tv_sec) * i128::from(SECOND) + i128::from(time.tv_nsec)
    }

    fn now() -> u64 {
        u64::try_from(own(libc::CLOCK_MONOTONIC)).expect("after boot")
    }

    /// By how much the answer is off, within the time that asking takes.
    #[track_caller]
    fn off(ask: impl Fn() -> i128, clock: libc::clockid_t, expected: i128, coarse: i128) {
        let before = own(clock);
        let told = ask();
        let after = own(clock);
        let range = before + expected - coarse..=after + expected + coarse;
        assert!(range.contains(&told), "{} instead of {expected}", told - before);
    }

    fn offset(offset: i64) -> Terms {
        Terms { deadline: u64::MAX, start: now(), rate: 0, jump: 0, offset }
    }

    #[test]
    fn the_wall_clock_is_off_and_no_other() {
        for by in [3600 * SECOND, -3600 * SECOND, 1, -1, SECOND - 1, 1 - SECOND, 3650 * 86_400 * SECOND] {
            let stub = Rehearsal::new(offset(by)).expect("maps");
            let expected = i128::from(by);
            let tick = 10_000_000;
            off(|| stub.clock(libc::CLOCK_REALTIME), libc::CLOCK_REALTIME, expected, 0);
            off(|| stub.clock(libc::CLOCK_REALTIME_COARSE), libc::CLOCK_REALTIME_COARSE, expected, tick);
            off(|| stub.clock(libc::CLOCK_MONOTONIC), libc::CLOCK_MONOTONIC, 0, 0);
            off(|| stub.clock(libc::CLOCK_BOOTTIME), libc::CLOCK_BOOTTIME, 0, 0);
            for zone in [false, true] {
                // Cut to microseconds before and after.
                off(|| stub.time_of_day(zone), libc::CLOCK_REALTIME, expected, 2000);
            }
            off(|| i128::from(stub.seconds()) * i128::from(SECOND), libc::CLOCK_REALTIME, expected, SECOND.into());
        }
    }

    #[test]
    fn it_ends_at_its_deadline_and_jumps_at_its_moment() {
        let past = Rehearsal::new(Terms { deadline: now(), ..offset(3600 * SECOND) }).expect("maps");
        off(|| past.clock(libc::CLOCK_REALTIME), libc::CLOCK_REALTIME, 0, 0);
        let later = Rehearsal::new(Terms { jump: now() + 3_600_000_000_000, ..offset(SECOND) }).expect("maps");
        off(|| later.clock(libc::CLOCK_REALTIME), libc::CLOCK_REALTIME, 0, 0);
    }

    #[test]
    fn a_clock_that_drifts_gains_or_loses() {
        for (rate, expected) in [(1_i64 << 31, 1800), (-(1 << 31), -1800), (1 << 22, 3)] {
            // An hour of the monotonic clock ago; 2^22 of 2^32 are 1/1024: 3.5 s in an hour.
            let terms = Terms { start: now().wrapping_sub(3_600_000_000_000), rate, ..offset(0) };
            let stub = Rehearsal::new(terms).expect("maps");
            off(
                || stub.clock(libc::CLOCK_REALTIME),
                libc::CLOCK_REALTIME,
                expected * i128::from(SECOND),
                SECOND.into(),
            );
        }
    }

    #[test]
    fn the_terms_are_where_they_are_said_to_be() {
        let stub = Stub::new(Terms { deadline: 0x1122, ..offset(1) }, 0x3344).expect("this machine has one");
        assert_eq!(stub.deadline % 8, 0);
        assert_eq!(stub.bytes[stub.deadline..stub.deadline + 8], 0x1122_u64.to_le_bytes());
        assert_eq!(stub.bytes[stub.owner.clone()], 0x3344_u64.to_le_bytes());
        assert!(stub.bytes.len() < 512, "{} bytes: vDSOs have little room", stub.bytes.len());
    }
}
