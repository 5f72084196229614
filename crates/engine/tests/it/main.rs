//! The engine against real MariaDB servers on loopback. Needs root, mariadb-server and mariadb-backup; fails without.

mod clone;
mod evidence;
mod fleet;
mod observe;
mod promotion;
mod rejoin;
