//! The program from outside, with real fleets. Tests under `fleet_*` bring up a whole sandbox each; they need root and
//! the MariaDB packages, and run one at a time (`.config/nextest.toml`).

mod cli;
mod fleet;
mod fleet_calm;
mod fleet_crash;
mod fleet_ladder;
mod fleet_outside;
mod fleet_planted;
mod sandbox;
