//! The decision core of one cluster: observations in, actions out.
//!
//! **What it never does**: I/O, clocks, randomness, threads, waiting. Time comes in with each event; what is to be
//! done comes out as [`Action`]s; what must survive a crash is in [`KeeperState`].
//!
//! **Where to begin**: [`Keeper::on`].

mod event;

pub use event::{Action, CallId, Event, Refusal, Request};
