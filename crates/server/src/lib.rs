//! The server: it keeps the fleet's state, runs the keepers and the experiments, and shows what happens.
//!
//! **What it never does**: speak SQL to a database, touch a host, decide about a failover. Hosts are reached through
//! their agents only; decisions are the keeper's, which is pure; what must survive is in the store before it is done.
//!
//! **Where to begin**: [`run`], then [`Server`] (what all parts share), [`keepers`] (decisions become instructions),
//! [`fleet`] (the way to the agents), [`attacks`] and [`experiment`], with [`guards`] before both.

pub mod access;
pub mod attacks;
mod authority;
pub mod backup;
pub mod clock;
mod config;
mod error;
mod error_pages;
pub mod evidence;
pub mod experiment;
pub mod fleet;
mod game_day;
pub mod guards;
pub mod halt;
mod http;
mod interrupted;
pub mod keepers;
mod link;
mod live;
mod lock;
pub mod messages;
mod metrics;
mod openid;
mod orphans;
mod pages;
mod probes;
pub mod problem;
mod runs;
pub mod schedules;
mod series;
mod server;
mod shared;
mod start;
pub mod templates;
mod timeline;
mod traces;
mod workload_feed;

pub use authority::AuthorityError;
pub use config::{AGENT_CERTIFICATE_LIFE, LEASE, ServerConfig};
pub use error::StartError;
pub use firedrill_store::PostgresUrl;
pub use http::{openapi, paths};
pub use live::LiveFeed;
pub use openid::SettingsError as OpenIdError;
pub use probes::Destinations;
pub use runs::{RunGuard, RunRegistry};
pub use server::{Server, run_entry};
pub use shared::{Contending, contend};
pub use start::{Running, run, start};
pub use timeline::Timeline;
pub use traces::{Collector, CollectorError};
pub use workload_feed::{WorkloadFeed, WorkloadItem, WorkloadNews};
