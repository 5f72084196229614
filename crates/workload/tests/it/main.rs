//! The workload against real MariaDB servers of its own.

mod live;
mod server;
