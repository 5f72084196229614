//! Histories of a made-up cluster, with and without planted anomalies, through the whole ledger.

mod anomalies;
mod export;
mod file;
mod forks;
mod world;
