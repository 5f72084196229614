//! State faults beside kill and pause: a process that is killed over and over, one whose clock is wrong, hosts whose
//! clock is wrong, and hosts that go down.

pub(crate) mod crash_loop;
pub(crate) mod host_clock;
pub(crate) mod host_down;
mod offset;
pub(crate) mod time_skew;
