//! Every fault against a real kernel: its effect is measured from outside, and nothing is left of it, however it ends.
//! Needs root; fails loudly without.

mod combinations;
mod connection_limit;
mod container;
mod container_crash;
mod container_network;
mod course;
mod crash;
mod departure;
mod dns;
mod engine;
mod engine_crash;
// The recipe for servers is the engine's own.
#[path = "../../../engine/tests/it/fleet.rs"]
#[expect(dead_code, reason = "tests of the engine use the rest")]
mod fleet;
mod guardian;
mod host_clock;
mod kill;
mod kills;
mod lab;
mod latency;
mod layer;
mod limits;
mod network;
mod partition;
mod pause;
mod power;
mod pulse;
mod resource;
mod resource_crash;
mod runc;
mod state;
mod storage;
mod storage_attacks;
mod storm;
mod time_skew;
