//! MariaDB 10.11 and later: its statements, its files, its tools.

mod binlog;
mod capture;
mod clone;
mod disk_probe;
mod fingerprint;
pub(crate) mod heartbeat;
pub(crate) mod observer;
mod option;
mod question;
mod replication;
mod roles;
mod server;
pub(crate) mod sql;
pub(crate) mod status;

pub(crate) use roles::SEMI_SYNC_TIMEOUT_MS;
pub(crate) use server::Server;
