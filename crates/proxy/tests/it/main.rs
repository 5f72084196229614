//! The gateway against real sockets, real processes and a real MariaDB server.

mod carry;
mod hold;
mod mariadb;
mod process;
mod support;
mod switch;
