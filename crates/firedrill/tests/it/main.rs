//! The program from outside, with real fleets. Tests under `fleet_*` bring up a whole sandbox each; they need root and
//! the MariaDB packages, and run one at a time (`.config/nextest.toml`).

#![allow(
    clippy::disallowed_methods,
    reason = "tests start the program as a user does, with nothing of ours in between"
)]
#![allow(clippy::print_stderr, reason = "what a failed test shows")]

mod cli;
mod console;
mod fleet;
mod fleet_attacks;
mod fleet_calm;
mod fleet_crash;
mod fleet_ladder;
mod fleet_outside;
mod fleet_planted;
mod fleet_probes;
mod fleet_region;
mod local_attack;
mod sandbox;
mod server_kills;
