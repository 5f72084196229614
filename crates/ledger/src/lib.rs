//! What a live workload did, and what became of it.
//!
//! A [`history`] records every operation of a workload with the moments it was begun and answered, and ends with the
//! final reads of every node. [`check`] replays a history and says what was lost, stale, duplicated, forked or
//! diverged, and how long writes and reads were out. [`jepsen`] writes a history in the form that outside checkers
//! read.
//!
//! **What it never does**: open files, read a clock, start threads, talk to a database. Bytes come and go through
//! `std::io::Read` and `Write` that the caller hands in.
//!
//! **Where to begin**: [`history::Record`] (what is recorded), then [`check`].

mod check;
pub mod history;
pub mod interval;
pub mod jepsen;
mod token;

pub use check::{ACKNOWLEDGED_MIN, check};
pub use token::{Nanos, Token};
