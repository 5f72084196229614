//! Resource faults: processors, memory, storage, files and threads are used up, or a process gets less of them.
//!
//! What is used up is held by a [`crate::worker`] process and gone with it. A limit that a process gets stays until it
//! is put back, so the undo record says what was there.

pub(crate) mod cpu;
pub(crate) mod cpu_quota;
pub(crate) mod descriptors;
pub(crate) mod disk_fill;
pub(crate) mod disk_io;
mod hierarchy;
pub(crate) mod inodes;
pub(crate) mod io_throttle;
mod level;
mod limit;
mod limited;
pub(crate) mod memory;
pub(crate) mod memory_limit;
pub(crate) mod pids_limit;
pub(crate) mod threads;
