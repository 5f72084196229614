//! Database servers on this host: looked at, started and stopped, given a role, copied.
//!
//! One [`Instance`] stands for one MariaDB server and its data directory. It says what it sees
//! ([`Instance::observe`], [`Instance::exited`]) and does what it is told ([`Instance::carry_out`]); every command is
//! idempotent and bounded in time, and whatever it must remember between two calls is on disk, so that an agent that
//! was killed goes on where it was.
//!
//! **What it never does**: decide. Whether a node is dead, who is promoted, which node may acknowledge, when a clone
//! is worth it: the keeper. It administers no server but its own, through the local unix socket, which works also when
//! the host is cut off; the one thing asked of another server is what its binary log holds, before it is followed.
//!
//! Faults change a server without a command. They take the way of an [`Admin`], and give way to commands.
//!
//! **Where to begin**: [`InstanceConfig`] (what describes a server), [`Instance`] (what can be done with it),
//! [`install`] (how the sandbox makes servers from nothing), [`preflight`] (what must be on the host). What is
//! peculiar to MariaDB lives in the module `mariadb`; a second engine is a sibling of it.

mod admin;
mod config;
mod error;
pub mod install;
mod instance;
mod mariadb;
mod preflight;
mod process;
mod turns;

pub use admin::Admin;
pub use config::{Binaries, InstanceConfig, Login, PortRange};
pub use error::EngineError;
pub use instance::Instance;
pub use mariadb::sql::{Session, Table, TableRow, identifier, literal};
pub use preflight::{Preflight, preflight};
pub use turns::TurnHeld;
